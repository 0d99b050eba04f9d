"""Listening sockets that the parent binds and the workers take connections from."""

from __future__ import annotations

import os
import socket
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.internet.tcp import Port
from twisted.internet.unix import Port as UNIXPort
from twisted.python.failure import Failure

from twisted import __version__ as twisted_version
from wsredis.config.values import endpoint_description
from wsredis.errors import ConfigError, incompatible

__all__ = ["SharedEndpoint", "SharedSocket", "check_shareable", "check_twisted", "stop_accepting"]

#: Kinds of endpoints for which a worker needs the listening socket and nothing else.
_SHAREABLE = ("tcp", "tcp6", "unix", "systemd")


class SharedSocket(NamedTuple):
    """
    One listening socket, as a worker inherits it.

    Attributes:
        descriptor: File descriptor in the worker.
        family: The address family, such as AF_INET.
        proxied: Whether connections begin with the PROXY protocol.
        secure: Whether connections use TLS.
    """

    descriptor: int
    family: int
    proxied: bool
    secure: bool


def check_shareable(option: str, text: str) -> None:
    """
    Check that workers can share an endpoint.

    Args:
        option: The setting that *text* comes from.
        text: A port number, or the description of an endpoint.

    Raises:
        ConfigError: They cannot.
    """
    kind = endpoint_description(text.removeprefix("haproxy:")).partition(":")[0]
    if kind not in _SHAREABLE:
        raise ConfigError(
            f"{option}: {text!r} cannot be used with --workers: "
            f"only numbers and {', '.join(_SHAREABLE)} and haproxy endpoints can"
        )


def check_twisted(port: type = Port) -> None:
    """
    Check that ports of Twisted have the private name that this module uses.

    Args:
        port: The class to check.

    Raises:
        ConfigError: They do not.
    """
    if not hasattr(port, "_shouldShutdown"):
        problem = f"{port.__name__}._shouldShutdown is missing, for --workers"
        raise incompatible("Twisted", twisted_version, problem)


def stop_accepting(port: Any) -> None:
    """Keep a port of the parent open without taking connections from it."""
    port.stopReading()
    # A shutdown reaches all processes that share the socket: ports of the workers would fail.
    port._shouldShutdown = False


class SharedEndpoint:
    """An endpoint in a worker, made of a listening socket of the parent."""

    def __init__(self, reactor: Any, shared: SharedSocket) -> None:
        self._reactor = reactor
        self._shared = shared

    def listen(self, factory: Any) -> Deferred[Any]:
        """
        Take connections from the socket.

        Returns:
            A Deferred that has fired, with the port.
        """
        descriptor, family, *_ = self._shared
        if family == socket.AF_UNIX:
            port = _SharedUNIXPort(self._reactor, descriptor, factory)
            port.startListening()
            return succeed(port)
        port = self._reactor.adoptStreamPort(descriptor, family, factory)
        # The port has a duplicate.
        os.close(descriptor)
        return succeed(port)


class _SharedUNIXPort(UNIXPort):
    """
    A UNIX socket that the parent bound.

    The port that `adoptStreamPort` makes would set mode and backlog again, and remove the file of
    the socket when one worker stops.
    """

    _shouldShutdown = False

    def __init__(self, reactor: Any, descriptor: int, factory: Any) -> None:
        self._adopted = socket.socket(fileno=descriptor)
        super().__init__(self._adopted.getsockname(), factory, reactor=reactor)

    def startListening(self) -> None:
        """Take connections."""
        assert self.factory is not None
        self.factory.doStart()
        self.connected = True
        self.socket = self._adopted
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and leave its file to the parent."""
        Port.connectionLost(self, reason)
