"""
Connecting again: a `ClientService` with a back-off of our own, and the self-test of the libraries.

This is the only module that knows something that Twisted, txredisapi and hiredis do not promise:

- Twisted: ``ClientService._log`` is the logger of every attempt to connect.
- txredisapi: its subscriber protocol takes ``charset`` and ``convertNumbers``, leaves reading and
  the start of a connection to methods that a subclass may replace, and its subscriber factory can
  be made without arguments and without a connection pool.
- hiredis: error replies are values of the class that its reader is given.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from typing import Any

import hiredis
import txredisapi
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from wsredis.brokers.redis.protocol import InvalidReply, NoReply, RedisFactory, RedisProtocol
from wsredis.errors import incompatible

__all__ = ["MAX_DELAY", "Reconnector", "retry_delay", "self_test"]

#: The longest wait between two attempts to connect, in seconds.
MAX_DELAY = 3.0

#: So many attempts in a row may fail before the reason is reported: a server that is being started
#: needs a moment.
_UNREPORTED_ATTEMPTS = 3


def retry_delay(attempt: int) -> float:
    """
    Compute the wait before an attempt to connect; two gateways do not wait equally long.

    Args:
        attempt: The number of attempts in a row that did not succeed, at least 1.

    Returns:
        Seconds: 0.05 to 0.1 for the first attempt, half of `MAX_DELAY` to `MAX_DELAY` for late
        ones.
    """
    return min(MAX_DELAY, 0.05 * 2.0 ** min(attempt, 10)) * random.uniform(0.5, 1.0)


class Reconnector:
    """
    Keeps one connection open: connects, and connects again whenever it is lost.

    Args:
        failed: Called with the reason when an attempt to connect failed, but not for the first
            three in a row.
    """

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        factory: RedisFactory,
        failed: Callable[[str], None],
    ) -> None:
        self._failed = failed
        #: Waits since the last call of `succeeded`, for the back-off.
        self._waits = 0
        #: Attempts since the last call of `succeeded` that ended without a connection.
        self._failures = 0
        self._service = _QuietClientService(
            _ReportingEndpoint(endpoint, self._not_connected),
            factory,
            retryPolicy=self._next_delay,
            clock=clock,
        )

    def start(self) -> None:
        """Connect, and go on until `stop`."""
        self._service.startService()

    def stop(self) -> Deferred[None]:
        """
        Close the connection, after all that was written has gone out, and make no other.

        Returns:
            Fires when it is closed.
        """
        return self._service.stopService()

    def succeeded(self) -> None:
        """
        Forget the failures: the connection is of use.

        A server that accepts connections and then refuses them does not reset the back-off.
        """
        self._waits = self._failures = 0

    def _next_delay(self, _: int) -> float:
        self._waits += 1
        return retry_delay(self._waits)

    def _not_connected(self, reason: str) -> None:
        self._failures += 1
        if self._failures > _UNREPORTED_ATTEMPTS:
            self._failed(reason)


class _QuietClientService(ClientService):
    """Logs nothing: it would log a line for each attempt, and an outage may last for hours."""

    _log = Logger(observer=LogPublisher())


@implementer(IStreamClientEndpoint)
class _ReportingEndpoint:
    """Reports why a connection could not be made, which ClientService does not pass on."""

    def __init__(self, endpoint: IStreamClientEndpoint, failed: Callable[[str], None]) -> None:
        self._endpoint = endpoint
        self._failed = failed

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        return self._endpoint.connect(factory).addErrback(self._report)

    def _report(self, failure: Failure) -> Failure:
        self._failed(failure.getErrorMessage())
        return failure


@cache
def self_test() -> None:
    """
    Check that the installed libraries behave as this package relies on. Cheap after the first call.

    Raises:
        ConfigError: One of them does not; the text names the library and its version.
    """
    for library, check in (
        ("Twisted", _check_twisted),
        ("hiredis", _check_hiredis),
        ("txredisapi", _check_txredisapi),
    ):
        try:
            check()
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise incompatible(library, version(library), problem) from None


def _check_twisted() -> None:
    if not isinstance(getattr(ClientService, "_log", None), Logger):
        raise TypeError("ClientService has no logger that can be replaced")


def _check_hiredis() -> None:
    reader = hiredis.Reader(protocolError=InvalidReply, replyError=txredisapi.ResponseError)
    reader.feed(b"-ERR no\r\n*1\r\n$1\r\nx\r\n*")
    replies = [reader.gets(), reader.gets(), reader.gets()]
    if not isinstance(replies[0], txredisapi.ResponseError) or replies[1:] != [[b"x"], False]:
        raise ValueError(f"its reader returned {replies!r}")
    if hiredis.pack_command(("A", b"b")) != b"*2\r\n$1\r\nA\r\n$1\r\nb\r\n":
        raise ValueError("pack_command returned other bytes")


def _check_txredisapi() -> None:
    owner = _SilentOwner()
    factory = RedisFactory(lambda: RedisProtocol(owner, 100))
    protocol = factory.buildProtocol(None)
    transport = _Transport()
    protocol.makeConnection(transport)
    replies: list[object] = []
    protocol.call("PING").addCallback(replies.append)
    protocol.dataReceived(b"$2\r\n42\r\n")
    protocol.call("PING").addErrback(lambda failure: replies.append(failure.type))
    protocol.connectionLost(Failure(ConnectionError()))
    if transport.written != [b"*1\r\n$4\r\nPING\r\n"] * 2 or replies != [b"42", NoReply]:
        raise ValueError(f"sent {transport.written!r} and read {replies!r}")


class _Transport:
    """Takes the bytes that are sent."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


class _SilentOwner:
    """See `wsredis.brokers.redis.protocol.ProtocolOwner`."""

    def connection_made(self, protocol: RedisProtocol) -> None:
        """Send nothing."""

    def protocol_failed(self, protocol: RedisProtocol, error: Exception) -> None:
        """Let the test fail."""
        raise error

    def connection_lost(self, protocol: RedisProtocol, reason: Failure) -> None:
        """Do nothing."""
