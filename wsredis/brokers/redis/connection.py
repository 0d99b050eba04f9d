"""
One connection to Redis that is kept: connect, greet, keep alive, connect again.

Both connections of a gateway are of this kind: the one that subscribes and the one that commands.
It is txredisapi's subscriber factory and protocol, with three things done here: replies are read
with hiredis and matched with what was sent, AUTH and SELECT are sent by us (txredisapi gives up
for ever when they fail), and a server that falls silent is left.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import txredisapi
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from wsredis.brokers.redis.url import Target
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.publication import Publication
from wsredis.gateway.timers import PeriodicTask

__all__ = ["RedisConnection", "RedisProtocol", "Reply"]

#: What hiredis makes of one reply; an error is a value, not raised.
Reply = Any

#: A silent server is left after this many seconds: two pings of the subscriber without an answer.
SILENCE = 6.0

#: The longest wait between two attempts to connect, in seconds.
MAX_DELAY = 3.0

#: Seconds that a connection has to send its last bytes when it is stopped.
_STOP_PATIENCE = 1.0

#: So many attempts in a row may fail before the reason is told.
_UNTOLD_ATTEMPTS = 3


class RedisProtocol(txredisapi.SubscriberProtocol):  # type: ignore[misc]
    """
    Redis' protocol (RESP2), replies in the order of commands, pushed messages apart.

    Attributes:
        heard: Set by every byte that arrives.
        answered: Set by every whole reply and message.
        held: Nothing is read; see `pause`.
        owner: Whom to tell; set by the factory.
    """

    owner: RedisConnection

    def __init__(self, max_reply: int) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._reader = hiredis.Reader(protocolError=_Rubbish, replyError=txredisapi.ResponseError)
        self._max_reply = max_reply
        self._unparsed = 0
        #: A reply that was read before it was its turn.
        self._kept: list[Reply] = []
        self._expected: deque[Callable[[Reply], bool]] = deque()
        self.heard = True
        self.answered = True
        self.held = False

    def connectionMade(self) -> None:
        """Log in; the link counts only when Redis answered."""
        self.owner.greet(self)

    def greeted(self) -> None:
        """Redis answered and let us in: txredisapi need not back off any more."""
        super().connectionMade()

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """Hand over all messages of one read together."""
        self.heard = True
        try:
            self._read(data)
        except Exception as error:
            self.owner.protocol_failed(self, error)

    def send(self, answered: Callable[[Reply], bool], *words: bytes | str) -> int:
        """
        Send one command.

        Args:
            answered: Called with each reply, until it returns True: that was the last.
        Returns: The size of the command in bytes.
        """
        command = hiredis.pack_command(words)
        self._expected.append(answered)
        self.transport.write(command)
        return len(command)

    def call(self, *words: bytes | str) -> Deferred[Reply]:
        """
        Send one command.

        Returns: Fires with the reply. Fails with txredisapi's ResponseError where Redis refuses,
            and with BrokerUnavailable where the connection is lost first.
        """
        result: Deferred[Reply] = Deferred()

        def answered(reply: Reply) -> bool:
            if not result.called:
                if isinstance(reply, Exception):
                    result.errback(reply)
                else:
                    result.callback(reply)
            return True

        self.send(answered, *words)
        return result

    def pause(self) -> None:
        """Hand over nothing, also of what was read already, until `resume`."""
        self.held = True
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Go on. Harmless when nothing is held."""
        if self.held:
            self.held = False
            self.transport.resumeProducing()
            self.dataReceived(b"")

    @property
    def waiting(self) -> int:
        """Commands that have no reply yet."""
        return len(self._expected)

    def connectionLost(self, why: Failure) -> None:
        """Fail what is under way."""
        super().connectionLost(why)
        self.owner.disconnected(self, why)
        lost = BrokerUnavailable("the connection to Redis was lost")
        while self._expected:
            self._expected.popleft()(lost)

    def _read(self, data: bytes) -> None:
        reader = self._reader
        reader.feed(data)
        self._unparsed += len(data)
        batch: list[Publication] = []
        # A reply to MGET can look like a pushed message.
        pushes = self.owner.messages is not None
        while not self.held:
            reply = self._kept.pop() if self._kept else reader.gets()
            if reply is False:
                break
            self._unparsed = 0
            self.answered = True
            if pushes and type(reply) is list and len(reply) == 3 and reply[0] == b"message":
                batch.append(Publication(reply[1], reply[2]))
            elif batch:
                # What was published before the answer is delivered before it, and may hold it up.
                self._kept.append(reply)
                self._hand_over(batch)
                batch = []
            elif not self._expected:
                raise _Rubbish(f"a reply that nobody asked for: {_shorten(reply)}")
            elif self._expected[0](reply):
                self._expected.popleft()
        if batch:
            self._hand_over(batch)
        if self._unparsed > self._max_reply:
            raise _Rubbish(f"a reply of more than {self._max_reply} bytes")

    def _hand_over(self, batch: list[Publication]) -> None:
        assert self.owner.messages is not None
        self.owner.messages(batch)


class _Rubbish(Exception):
    """What came from Redis is not Redis' protocol."""


def _shorten(reply: Reply) -> str:
    text = repr(reply)
    return text if len(text) <= 80 else text[:77] + "..."


class _QuietClientService(ClientService):
    """What it would say at every attempt, `RedisConnection.failed` says once."""

    _log = Logger(observer=LogPublisher())


class _RedisFactory(txredisapi.SubscriberFactory):  # type: ignore[misc]
    """txredisapi's factory, with our protocol and our pace."""

    noisy = False

    def __init__(self, clock: IReactorTime, owner: RedisConnection, max_reply: int) -> None:
        super().__init__()
        self._clock = clock
        self._owner = owner
        self._max_reply = max_reply
        self.deferred.addErrback(lambda _: None)

    def startConnecting(self, endpoint: IStreamClientEndpoint) -> None:
        """As txredisapi's, but with the given clock, and without a log line for each attempt."""
        slot = txredisapi._PoolSlot(self, endpoint)
        slot.service = _QuietClientService(
            endpoint,
            txredisapi._SlotFactory(self, slot),
            retryPolicy=slot._retryDelay,
            clock=self._clock,
            prepareConnection=slot._prepareConnection,
        )
        self.slots.append(slot)
        slot.start()

    def buildProtocol(self, addr: object) -> RedisProtocol:
        """Without txredisapi's pool: there is one connection, and its owner keeps it."""
        protocol = RedisProtocol(self._max_reply)
        protocol.factory = self
        protocol.owner = self._owner
        return protocol

    def retryDelay(self, attempt: int) -> float:
        """Seconds until the next attempt: soon, then later, never the same for two gateways."""
        return min(MAX_DELAY, 0.05 * 2.0 ** min(attempt, 10)) * random.uniform(0.5, 1.0)


@implementer(IStreamClientEndpoint)
class _ReportingEndpoint:
    """Tells why a connection could not be made; ClientService keeps that to itself."""

    def __init__(self, endpoint: IStreamClientEndpoint, failed: Callable[[str], None]) -> None:
        self._endpoint = endpoint
        self._failed = failed

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        return self._endpoint.connect(factory).addErrback(self._report)

    def _report(self, failure: Failure) -> Failure:
        self._failed(failure.getErrorMessage())
        return failure


class RedisConnection:
    """
    A connection to Redis that comes back.

    Args:
        ping_interval: Seconds between two PINGs.
        max_reply: Bytes; a longer reply means that something is wrong.
        established: Called with the protocol whenever Redis let us in.
        lost: Called when an established connection is gone.
        failed: Called with the reason whenever a connection could not be made or kept.
        messages: Called with pushed messages. None: this connection does not subscribe.

    Attributes:
        protocol: The connection that Redis let in. None: there is none.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        target: Target,
        *,
        ping_interval: float,
        max_reply: int,
        established: Callable[[RedisProtocol], None],
        lost: Callable[[], None],
        failed: Callable[[str], None],
        messages: Callable[[Sequence[Publication]], None] | None = None,
    ) -> None:
        self._clock = clock
        self._target = target
        self._established = established
        self._lost = lost
        self.messages = messages
        self._factory = _RedisFactory(clock, self, max_reply)
        self._pings = PeriodicTask(clock, ping_interval, self._keep_alive)
        self._patience = max(2, round(SILENCE / ping_interval))
        self._current: RedisProtocol | None = None
        self._silent = 0.0
        self._stopping = False
        self._attempts = 0
        self._failed = failed
        self.protocol: RedisProtocol | None = None

    def start(self, reactor: Any) -> None:
        """Connect, and go on until `stop`."""
        endpoint = _ReportingEndpoint(self._target.endpoint(reactor), self._not_connected)
        self._factory.startConnecting(endpoint)
        self._pings.start()

    def stop(self) -> Deferred[None]:
        """Close the connection. Fires when it is closed."""
        self._stopping = True
        self._pings.stop()
        if not self._factory.slots:
            return succeed(None)
        # What is written goes out first; a server that is frozen does not take it.
        patience = self._clock.callLater(_STOP_PATIENCE, self._abort)

        def stopped(_: object) -> None:
            if patience.active():
                patience.cancel()

        return self._factory.disconnect().addCallback(stopped)  # type: ignore[no-any-return]

    def greet(self, protocol: RedisProtocol) -> None:
        """A connection stands: send AUTH, SELECT and PING in one go, and look at the answers."""
        self._current = protocol
        self._silent = 0
        if self._target.path is None:
            protocol.transport.setTcpNoDelay(True)
        target = self._target
        commands: list[tuple[str, tuple[str, ...]]] = []
        if target.password is not None:
            user = () if target.username is None else (target.username,)
            commands.append(("AUTH", (*user, target.password)))
        if target.database:
            commands.append(("SELECT", (str(target.database),)))
        commands.append(("PING", ()))
        for name, words in commands:
            protocol.send(self._greeting(protocol, name), name, *words)

    def _greeting(self, protocol: RedisProtocol, name: str) -> Callable[[Reply], bool]:
        def answered(reply: Reply) -> bool:
            if protocol is not self._current:
                return True
            if isinstance(reply, Exception) and not _harmless(name, reply):
                self.failed(f"{name} was refused: {reply}")
                protocol.transport.loseConnection()
                self._current = None
            elif name == "PING":
                self._attempts = 0
                self.protocol = protocol
                protocol.greeted()
                self._established(protocol)
            return True

        return answered

    def disconnected(self, protocol: RedisProtocol, why: Failure) -> None:
        """A connection is gone, wanted or not."""
        if self._current is protocol:
            self._current = None
            if self.protocol is not protocol:
                self.failed(_reason(why))
        if self.protocol is protocol:
            self.protocol = None
            self._lost()

    def protocol_failed(self, protocol: RedisProtocol, error: Exception) -> None:
        """What arrived makes no sense, or could not be dealt with: start afresh."""
        if isinstance(error, (_Rubbish, MemoryError)):
            self.failed(f"not understood: {error}")
        else:
            self._log.failure("reading from {redis} failed", redis=self._target.name)
        protocol.transport.abortConnection()

    def failed(self, reason: str) -> None:
        """Tell *reason*, unless the link is being stopped."""
        if not self._stopping:
            self._failed(reason)

    def _not_connected(self, reason: str) -> None:
        # A server that is being started needs a moment; that is not worth a word.
        self._attempts += 1
        if self._attempts > _UNTOLD_ATTEMPTS:
            self.failed(reason)

    def _abort(self) -> None:
        if self._current is not None:
            self._current.transport.abortConnection()

    def _keep_alive(self, count: int) -> None:
        protocol = self._current
        if protocol is None:
            return
        if protocol.answered or protocol.held:
            self._silent = 0
        elif protocol.waiting:
            # Bytes without a whole reply are half a sign of life: a large message on a slow line,
            # or a length that never comes to an end.
            self._silent += 0.5 if protocol.heard else 1
            if self._silent >= self._patience:
                self._current = None
                self.failed(f"no answer for {SILENCE:g} seconds")
                protocol.transport.abortConnection()
                return
        protocol.heard = protocol.answered = False
        if self.protocol is protocol and not protocol.waiting:
            protocol.send(lambda reply: True, "PING")


def _reason(why: Failure) -> str:
    """Why a login failed, in words; OpenSSL keeps its words in a list of triples."""
    error = why.value
    if isinstance(error, SSL.Error) and error.args and isinstance(error.args[0], list):
        return "TLS: " + "; ".join(str(part[-1]) for part in error.args[0])
    if isinstance(error, VerificationError):
        return "TLS: the certificate is not for this host name"
    return "the connection was closed during the login"


def _harmless(name: str, error: Exception) -> bool:
    """Whether a refused greeting still means that Redis is there and lets us in."""
    return name == "PING" and str(error).startswith(("LOADING", "NOPERM", "MASTERDOWN", "BUSY"))
