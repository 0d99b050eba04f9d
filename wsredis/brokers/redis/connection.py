"""
A connection to Redis that comes back: it logs in, is kept alive, and is made again when it is lost.

Both connections of a gateway are of this kind: the one that subscribes and the one that sends
commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, ITCPTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.brokers.redis.protocol import (
    InvalidReply,
    NoReply,
    NotServing,
    RedisFactory,
    RedisProtocol,
    Reply,
    ReplyHandler,
    check_pong,
)
from wsredis.brokers.redis.reconnect import Reconnector, self_test
from wsredis.brokers.redis.role import wrong_role
from wsredis.brokers.redis.unread import unread_bytes
from wsredis.config.redis_url import RedisTarget, error_text
from wsredis.errors import ConfigError
from wsredis.gateway.publication import Publication
from wsredis.gateway.timers import PeriodicTask

__all__ = ["SILENCE", "RedisConnection"]

#: Seconds in which a command must be answered, and after which a server counts as gone. A reply of
#: which parts have come has twice the time.
SILENCE = 6.0

#: The same for an answer before which publications come without a break: Redis may have so many of
#: them to send before it, on a slow line. A proof of delivery finds sooner what is not so.
_BACKLOG = 30.0

#: Seconds between two looks at the commands that are not answered.
_LOOK = 0.5

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
        refuse: Called with the reply to ROLE of each login. Returns the reason why this server is
            not used; None if it is.

    Attributes:
        protocol: The protocol of the established connection. If None, there is none.
        last_end: The reason for which the last one ended, for the log. Empty before.
        last_reply: Time of the clock at which a reply or a publication was last known to have come,
            up to half a second late.

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
        refuse: Callable[[Reply], str | None] = wrong_role,
    ) -> None:
        self_test()
        self._clock = clock
        self._target = target
        self._established = established
        self._lost = lost
        self._report = failed
        self._refuse_role = refuse
        factory = RedisFactory(lambda: RedisProtocol(self, max_reply, deliver))
        self._reconnector = Reconnector(clock, endpoint, factory, self._failed)
        self._ping_interval = ping_interval
        self._looks = PeriodicTask(clock, min(_LOOK, ping_interval), lambda _: self._keep_alive())
        #: The command whose answer is waited for, and for how many seconds.
        self._awaited: object = None
        self._waited = 0.0
        #: Whether something else came before each look since then.
        self._is_flowing = True
        #: Times of the clock: of the last look and PING, and of the last part of a reply.
        self._last_look = 0.0
        self._last_ping = 0.0
        self._last_part = 0.0
        #: Since when PING has been answered with errors alone. If None, it has not.
        self._refused_since: float | None = None
        self.last_reply = 0.0
        #: The newest connection, logged in or not. If None, there is none that is still of use.
        self._current: RedisProtocol | None = None
        self._paused = False
        self._stopping = False
        self.protocol: RedisProtocol | None = None
        self.last_end = ""

    def start(self) -> None:
        """Connect, and go on until `stop`."""
        self._reconnector.start()
        self._looks.start()

    def stop(self) -> Deferred[None]:
        """
        Close the connection. Bytes that were written go out first, within a second.

        Returns:
            Fires when it is closed.
        """
        self._stopping = True
        self._looks.stop()
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

    @property
    def is_behind(self) -> bool:
        """Whether bytes have come that were not read: its silence says nothing then."""
        protocol = self.protocol
        return protocol is not None and (protocol.is_paused or unread_bytes(protocol.transport) > 0)

    def connection_made(self, protocol: RedisProtocol) -> None:
        """See `ProtocolOwner`. Send AUTH, SELECT, PING and ROLE without waiting in between."""
        self._current = protocol
        self._awaited = self._refused_since = None
        self._last_ping = self._last_look = self._last_part = self._clock.seconds()
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
        if isinstance(error, NotServing):
            self._failed(str(error))
        elif isinstance(error, (InvalidReply, MemoryError)):
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
            self.last_end = _explain_end(reason)
            self._lost()

    def _login(self, protocol: RedisProtocol, command: str) -> ReplyHandler:
        def handler(reply: Reply) -> bool:
            if protocol is not self._current:
                # The login has failed already, or the connection is gone.
                return True
            if isinstance(reply, Exception) and not _is_harmless(command, reply):
                self._refuse(protocol, f"{command} was refused: {reply}")
            elif command == "ROLE":
                problem = self._refuse_role(reply)
                if problem is None:
                    self._logged_in(protocol)
                else:
                    self._refuse(protocol, problem)
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
        self.last_reply = self._clock.seconds()
        if self._paused:
            protocol.pause()
        self._established(protocol)

    def _failed(self, reason: str) -> None:
        if not self._stopping:
            self._report(reason)

    def _abort(self) -> None:
        if self._current is not None:
            self._current.transport.abortConnection()

    def _keep_alive(self) -> None:
        """Look whether the next answer is overdue, and send a PING if nothing else is sent."""
        protocol = self._current
        if protocol is None:
            return
        now = self._clock.seconds()
        if protocol.reply_arrived:
            self.last_reply = now
        else:
            self._is_flowing = False
            if protocol.bytes_arrived:
                # They may be a large message on a slow line, or belong to a length without an end.
                self._last_part = now
        protocol.bytes_arrived = protocol.reply_arrived = False
        awaited = protocol.next_answer
        if awaited is None or awaited != self._awaited or protocol.is_paused:
            self._await(awaited)
        else:
            # A process that did not run for long reads first what has come meanwhile.
            self._waited += min(now - self._last_look, SILENCE / 2)
            limit = self._limit(now)
            if self._waited >= limit and not unread_bytes(protocol.transport):
                self._give_up(protocol, f"no answer for {limit:g} seconds")
                return
        self._last_look = now
        is_due = now - self._last_ping >= self._ping_interval
        if is_due and self.protocol is protocol and awaited is None:
            self._last_ping = now
            protocol.send(partial(self._pinged, protocol), "PING")
            self._await(protocol.next_answer)

    def _await(self, awaited: object) -> None:
        self._awaited, self._waited, self._is_flowing = awaited, 0.0, True

    def _limit(self, now: float) -> float:
        """Seconds that the next answer may take. Single publications make no difference."""
        if self._is_flowing:
            return _BACKLOG
        return 2 * SILENCE if now - self._last_part < SILENCE else SILENCE

    def _pinged(self, protocol: RedisProtocol, reply: Reply) -> bool:
        """Take the answer to a PING. An error is not a sign of life."""
        check_pong(reply)
        if not isinstance(reply, Exception) or _is_harmless("PING", reply):
            self._refused_since = None
        elif protocol is self.protocol and not isinstance(reply, NoReply):
            now = self._clock.seconds()
            if self._refused_since is None:
                self._refused_since = now
            elif now - self._refused_since >= SILENCE:
                self._give_up(protocol, f"PING is answered with {error_text(reply)}")
        return True

    def _give_up(self, protocol: RedisProtocol, reason: str) -> None:
        self._current = None
        self._failed(reason)
        protocol.transport.abortConnection()


def _explain(reason: Failure) -> str:
    """Describe why a connection was lost during the login; OpenSSL has a list of triples."""
    error = reason.value
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return "TLS: " + "; ".join(str(part[-1]) for part in error.args[0])
    if isinstance(error, VerificationError):
        return "TLS: the certificate is not for this host name"
    return "the connection was closed during the login"


def _explain_end(reason: Failure) -> str:
    """Describe why a connection ended that was established."""
    if reason.check(ConnectionDone):
        return "Redis has closed it"
    if reason.check(ConnectionAborted):
        # Another line has the reason.
        return "the gateway gave it up"
    return str(reason.getErrorMessage())


def _is_harmless(command: str, error: Exception) -> bool:
    """Tell whether an error reply still means that Redis is there and accepts the login."""
    if command == "ROLE":
        return True
    return command == "PING" and str(error).startswith(("LOADING", "NOPERM", "MASTERDOWN"))
