"""
A connection to Redis that comes back: it logs in, is kept alive, and is made again when it is lost.

Both connections of a gateway are of this kind: the one that subscribes and the one that sends
commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.brokers.redis.protocol import (
    InvalidReply,
    RedisFactory,
    RedisProtocol,
    Reply,
    ReplyHandler,
)
from wsredis.brokers.redis.reconnect import Reconnector, self_test
from wsredis.brokers.redis.role import is_replica
from wsredis.config.redis_url import RedisTarget
from wsredis.errors import ConfigError
from wsredis.gateway.publication import Publication
from wsredis.gateway.timers import PeriodicTask

__all__ = ["SILENCE", "RedisConnection"]

#: Seconds without an answer after which a server counts as gone: two PINGs of the subscriber.
SILENCE = 6.0

#: Seconds that a connection has to send its last bytes when it is stopped.
_STOP_TIMEOUT = 1.0


class RedisConnection:
    """
    A connection to Redis that comes back.

    Args:
        endpoint: Leads to the server; asked anew for each connection.
        target: Name and credentials of the server.
        ping_interval: Seconds between two PINGs.
        max_reply: See `RedisProtocol`.
        established: Called with the protocol whenever Redis accepted the login.
        lost: Called when an established connection is gone.
        failed: Called with the reason whenever a connection could not be made or kept.
        deliver: See `RedisProtocol`.

    Attributes:
        protocol: The protocol of the established connection. If None, there is none.

    Raises:
        ConfigError: An installed library is of a version that this cannot work with.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        target: RedisTarget,
        *,
        ping_interval: float,
        max_reply: int,
        established: Callable[[RedisProtocol], None],
        lost: Callable[[], None],
        failed: Callable[[str], None],
        deliver: Callable[[Sequence[Publication]], None] | None = None,
    ) -> None:
        self_test()
        self._clock = clock
        self._target = target
        self._established = established
        self._lost = lost
        self._report = failed
        factory = RedisFactory(lambda: RedisProtocol(self, max_reply, deliver))
        self._reconnector = Reconnector(clock, endpoint, factory, self._failed)
        self._pings = PeriodicTask(clock, ping_interval, self._keep_alive)
        #: So many checks in a row without an answer mean that the server is gone.
        self._max_silent_checks = max(2, round(SILENCE / ping_interval))
        self._silent_checks = 0.0
        #: The newest connection, logged in or not. If None, there is none that is still of use.
        self._current: RedisProtocol | None = None
        self._paused = False
        self._stopping = False
        self.protocol: RedisProtocol | None = None

    def start(self) -> None:
        """Connect, and go on until `stop`."""
        self._reconnector.start()
        self._pings.start()

    def stop(self) -> Deferred[None]:
        """
        Close the connection. Bytes that were written go out first, within a second.

        Returns:
            Fires when it is closed.
        """
        self._stopping = True
        self._pings.stop()
        # A frozen server does not take the last bytes.
        timeout = self._clock.callLater(_STOP_TIMEOUT, self._abort)

        def stopped(_: None) -> None:
            if timeout.active():
                timeout.cancel()

        return self._reconnector.stop().addCallback(stopped)

    def pause(self) -> None:
        """Deliver nothing and read nothing until `resume`, also when the connection is new."""
        self._paused = True
        if self.protocol is not None:
            self.protocol.pause()

    def resume(self) -> None:
        """Read again. Harmless when the connection is not paused."""
        self._paused = False
        if self.protocol is not None:
            self.protocol.resume()

    def leave(self) -> None:
        """Cut the connection, so that the name is looked up again and a new one is made."""
        self._abort()

    def connection_made(self, protocol: RedisProtocol) -> None:
        """See `ProtocolOwner`. Send AUTH, SELECT, PING and ROLE without waiting in between."""
        self._current = protocol
        target = self._target
        try:
            password = target.current_password()
        except ConfigError as error:
            self._refuse(protocol, str(error))
            return
        if ITCPTransport.providedBy(protocol.transport):
            protocol.transport.setTcpNoDelay(True)
        if password is not None:
            user = () if target.username is None else (target.username,)
            protocol.send(self._login(protocol, "AUTH"), "AUTH", *user, password)
        if target.database:
            protocol.send(self._login(protocol, "SELECT"), "SELECT", str(target.database))
        protocol.send(self._login(protocol, "PING"), "PING")
        protocol.send(self._login(protocol, "ROLE"), "ROLE")

    def protocol_failed(self, protocol: RedisProtocol, error: Exception) -> None:
        """See `ProtocolOwner`. Close the connection, so that a new one is made."""
        if isinstance(error, (InvalidReply, MemoryError)):
            self._failed(f"invalid reply: {error}")
        else:
            self._log.failure(
                "reading from {redis} failed", event="redis-read-failed", redis=self._target.name
            )
        protocol.transport.abortConnection()

    def connection_lost(self, protocol: RedisProtocol, reason: Failure) -> None:
        """See `ProtocolOwner`."""
        if self._current is protocol:
            self._current = None
            if self.protocol is not protocol:
                self._failed(_explain(reason))
        if self.protocol is protocol:
            self.protocol = None
            self._lost()

    def _login(self, protocol: RedisProtocol, command: str) -> ReplyHandler:
        def handler(reply: Reply) -> bool:
            if protocol is not self._current:
                # The login has failed already, or the connection is gone.
                return True
            if isinstance(reply, Exception) and not _is_harmless(command, reply):
                self._refuse(protocol, f"{command} was refused: {reply}")
            elif command == "ROLE" and is_replica(reply):
                self._refuse(protocol, "this server is a replica, not the master")
            elif command == "ROLE":
                self._logged_in(protocol)
            return True

        return handler

    def _refuse(self, protocol: RedisProtocol, reason: str) -> None:
        """Give up a connection before it is established."""
        self._failed(reason)
        protocol.transport.loseConnection()
        self._current = None

    def _logged_in(self, protocol: RedisProtocol) -> None:
        self._reconnector.succeeded()
        self.protocol = protocol
        if self._paused:
            protocol.pause()
        self._established(protocol)

    def _failed(self, reason: str) -> None:
        if not self._stopping:
            self._report(reason)

    def _abort(self) -> None:
        if self._current is not None:
            self._current.transport.abortConnection()

    def _keep_alive(self, count: int) -> None:
        protocol = self._current
        if protocol is None:
            return
        if protocol.reply_arrived or protocol.is_paused:
            self._silent_checks = 0
        elif protocol.unanswered:
            # Bytes without a complete reply are half a sign of life: they may be a large message
            # on a slow line, or belong to a length that never comes to an end.
            self._silent_checks += 0.5 if protocol.bytes_arrived else 1
            if self._silent_checks >= self._max_silent_checks:
                self._current = None
                self._failed(f"no answer for {SILENCE:g} seconds")
                protocol.transport.abortConnection()
                return
        protocol.bytes_arrived = protocol.reply_arrived = False
        if self.protocol is protocol and not protocol.unanswered:
            protocol.send(lambda reply: True, "PING")


def _explain(reason: Failure) -> str:
    """Describe why a connection was lost during the login; OpenSSL has a list of triples."""
    error = reason.value
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return "TLS: " + "; ".join(str(part[-1]) for part in error.args[0])
    if isinstance(error, VerificationError):
        return "TLS: the certificate is not for this host name"
    return "the connection was closed during the login"


def _is_harmless(command: str, error: Exception) -> bool:
    """Tell whether an error reply still means that Redis is there and accepts the login."""
    if command == "ROLE":
        return True
    return command == "PING" and str(error).startswith(("LOADING", "NOPERM", "MASTERDOWN", "BUSY"))
