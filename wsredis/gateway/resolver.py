"""Looking up host names in threads of their own, which do not keep the process from ending."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from threading import Thread
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IReactorThreads,
    IResolutionReceiver,
)
from zope.interface import directlyProvides, implementer, providedBy

__all__ = ["HostnameResolver", "with_resolver"]

#: Looks up a host and a port, as ``socket.getaddrinfo``.
_Lookup = Callable[..., Sequence[tuple[Any, ...]]]


@implementer(IHostResolution)
class _Resolution:
    """
    One question for a host name.

    Attributes:
        receiver: Gets the addresses. If None, nobody waits for them any more.
    """

    def __init__(self, name: str, port: int, receiver: IResolutionReceiver) -> None:
        self.name = name
        self.port = port
        self.receiver: IResolutionReceiver | None = receiver

    def cancel(self) -> None:
        """See `IHostResolution`. The thread goes on, and its answer is thrown away."""
        self.receiver = None

    def answer(self, found: Sequence[tuple[Any, ...]]) -> None:
        """Hand over the answer of the lookup. Without an address the name is not known."""
        if self.receiver is None:
            return
        for family, _, _, _, address in found:
            kind = IPv6Address if family == socket.AF_INET6 else IPv4Address
            self.receiver.addressResolved(kind("TCP", address[0], self.port))
        self.receiver.resolutionComplete()


@implementer(IHostnameResolver)
class HostnameResolver:
    """
    Resolves names as the system does.

    Twisted does it in the threads of the reactor, and a process that ends waits for those: where a
    name server does not answer, for as long as the system tries. Here each name that is being
    looked up has one daemon thread, however many ask for it.

    Args:
        reactor: Gets the answers.
        lookup: Blocks until it has an answer, or raises OSError.
    """

    def __init__(self, reactor: Any, lookup: _Lookup = socket.getaddrinfo) -> None:
        self._reactor = reactor
        self._lookup = lookup
        self._waiting: dict[str, list[_Resolution]] = {}

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """See `IHostnameResolver`. All addresses are found, for TCP."""
        resolution = _Resolution(hostName, portNumber, resolutionReceiver)
        resolutionReceiver.resolutionBegan(resolution)
        if _is_address(hostName):
            # The system answers this without a name server.
            resolution.answer(self._look_up(hostName))
            return resolution
        waiting = self._waiting.setdefault(hostName, [])
        waiting.append(resolution)
        if len(waiting) == 1:
            Thread(target=self._run, args=(hostName,), name="resolver", daemon=True).start()
        return resolution

    def _run(self, name: str) -> None:
        found = self._look_up(name)
        self._reactor.callFromThread(self._answer, name, found)

    def _look_up(self, name: str) -> Sequence[tuple[Any, ...]]:
        try:
            return self._lookup(name, None, socket.AF_UNSPEC, socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return ()

    def _answer(self, name: str, found: Sequence[tuple[Any, ...]]) -> None:
        for resolution in self._waiting.pop(name):
            resolution.answer(found)


class _ReactorWithResolver:
    """A reactor whose host names are resolved by another resolver."""

    def __init__(self, reactor: Any, resolver: HostnameResolver) -> None:
        self._reactor = reactor
        self.nameResolver = resolver
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)


#: The resolver of a reactor, so that all who ask for a name share one thread.
_resolvers: dict[int, HostnameResolver] = {}


def with_resolver(reactor: Any) -> Any:
    """
    Return *reactor* for use by an endpoint, so that looking up a name delays no stop.

    A reactor without threads, and one that was given another resolver than that of Twisted, is
    returned as it is.
    """
    if not (
        IReactorThreads.providedBy(reactor) and IReactorPluggableNameResolver.providedBy(reactor)
    ):
        return reactor
    if not type(reactor.nameResolver).__module__.startswith("twisted.internet."):
        return reactor
    resolver = _resolvers.get(id(reactor))
    if resolver is None:
        resolver = _resolvers[id(reactor)] = HostnameResolver(reactor)
    return _ReactorWithResolver(reactor, resolver)


def _is_address(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
