"""Tests of looking up host names in threads that nobody waits for."""

from __future__ import annotations

import socket
from collections.abc import Callable
from threading import Event
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IHostnameResolver,
    IReactorPluggableNameResolver,
    IReactorThreads,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from wsredis.gateway.resolver import HostnameResolver, with_resolver

_FOUND: list[tuple[Any, ...]] = [
    (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", 0, 0, 0)),
    (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
]


@implementer(IReactorThreads, IReactorPluggableNameResolver, IReactorTime)
class _Reactor:
    """Keeps the calls of threads until the test runs them."""

    def __init__(self, name_resolver: object = None) -> None:
        self.nameResolver = name_resolver
        self.called = Event()
        self._calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def callFromThread(self, function: Callable[..., object], *args: Any) -> None:
        self._calls.append((function, args))
        self.called.set()

    def run(self) -> None:
        """Wait for a thread, and make its calls."""
        if not self.called.wait(20):
            raise AssertionError("no thread came")
        self.called.clear()
        calls, self._calls = self._calls, []
        for function, args in calls:
            function(*args)


@implementer(IResolutionReceiver)
class _Receiver:
    """Keeps its calls."""

    def __init__(self) -> None:
        self.resolution: Any = None
        self.found: list[object] = []
        self.is_complete = False

    def resolutionBegan(self, resolution: Any) -> None:
        self.resolution = resolution

    def addressResolved(self, address: object) -> None:
        self.found.append(address)

    def resolutionComplete(self) -> None:
        self.is_complete = True


class ResolverTests(SynchronousTestCase):
    """Names become addresses."""

    def setUp(self) -> None:
        """A name server that answers when the test says so."""
        self.reactor = _Reactor()
        self.questions: list[str] = []
        self.may_answer = Event()
        self.error: Exception | None = None
        self.resolver = HostnameResolver(self.reactor, self.look_up)

    def look_up(self, name: str, *more: object) -> list[tuple[Any, ...]]:
        """See ``socket.getaddrinfo``."""
        self.questions.append(name)
        self.may_answer.wait(20)
        if self.error is not None:
            raise self.error
        return _FOUND

    def ask(self, name: str) -> _Receiver:
        """Begin to look a name up."""
        receiver = _Receiver()
        resolution = self.resolver.resolveHostName(receiver, name, 6379)
        self.assertIs(resolution, receiver.resolution)
        self.assertEqual(name, resolution.name)
        return receiver

    def test_interface(self) -> None:
        """It is a resolver of Twisted."""
        verifyObject(IHostnameResolver, self.resolver)

    def test_name(self) -> None:
        """All addresses come, in the order of the system, with the port."""
        receiver = self.ask("redis")
        self.assertFalse(receiver.is_complete)
        self.may_answer.set()
        self.reactor.run()
        self.assertEqual(
            [IPv6Address("TCP", "2001:db8::1", 6379), IPv4Address("TCP", "192.0.2.1", 6379)],
            receiver.found,
        )
        self.assertTrue(receiver.is_complete)

    def test_unknown(self) -> None:
        """A name without an address, and one that cannot be a name, complete with nothing."""
        self.may_answer.set()
        for error in (socket.gaierror(-2, "unknown"), UnicodeError("label too long")):
            self.error = error
            receiver = self.ask("nowhere")
            self.reactor.run()
            self.assertEqual(([], True), (receiver.found, receiver.is_complete))

    def test_shared(self) -> None:
        """All who ask for a name while it is looked up share the answer; later it is asked anew."""
        receivers = [self.ask("redis") for _ in range(3)]
        self.may_answer.set()
        self.reactor.run()
        self.assertEqual([2] * 3, [len(each.found) for each in receivers])
        self.ask("redis")
        self.reactor.run()
        self.assertEqual(["redis"] * 2, self.questions)

    def test_cancelled(self) -> None:
        """One who does not want to know any more hears nothing."""
        one, two = self.ask("redis"), self.ask("redis")
        one.resolution.cancel()
        self.may_answer.set()
        self.reactor.run()
        self.assertEqual((False, True), (one.is_complete, two.is_complete))

    def test_address(self) -> None:
        """An address needs neither a thread nor a name server."""
        for address in ("127.0.0.1", "::1"):
            receiver = _Receiver()
            HostnameResolver(self.reactor).resolveHostName(receiver, address, 1)
            self.assertEqual(([address], True), (_hosts(receiver), receiver.is_complete))


class WithResolverTests(SynchronousTestCase):
    """A reactor gets the resolver if it has that of Twisted."""

    def test_of_twisted(self) -> None:
        """The resolver of Twisted is replaced, and everything else is the reactor's."""
        from twisted.internet import reactor

        made = with_resolver(reactor)
        self.assertIsInstance(made.nameResolver, HostnameResolver)
        self.assertIs(made.nameResolver, with_resolver(reactor).nameResolver)
        self.assertTrue(IReactorTime.providedBy(made))
        self.assertEqual(made.getDelayedCalls, reactor.getDelayedCalls)  # type: ignore[attr-defined]

    def test_of_the_program(self) -> None:
        """A resolver that the program installed counts."""
        reactor = _Reactor(HostnameResolver(None))
        self.assertIs(reactor, with_resolver(reactor))

    def test_without_threads(self) -> None:
        """A reactor in memory has no threads."""
        reactor = MemoryReactorClock()
        self.assertIs(reactor, with_resolver(reactor))


def _hosts(receiver: _Receiver) -> list[object]:
    return [getattr(each, "host", None) for each in receiver.found]
