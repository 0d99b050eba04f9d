"""
The subscriber side: what is wanted is the truth, and Redis is brought to agree with it.

One connection carries the subscriptions of all clients. After a loss every wanted channel is
subscribed again before the link counts as up; what arrives meanwhile is held, so that the stored
messages of the outage can go first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from wsredis.brokers.redis.connection import RedisProtocol, Reply
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.timers import TimeoutQueue

__all__ = ["Subscriptions"]

#: Names in one SUBSCRIBE when many are wanted at once.
_BATCH = 500

#: Seconds that a channel stays subscribed after the last client left: a page that is reloaded
#: costs Redis nothing.
LINGER = 2.0


class _Wanted:
    """
    Attributes:
        turn: The last SUBSCRIBE sent for this name, by number. 0: none on this connection.
        confirmed: Redis answered that one.
        waiters: Whom to tell when it does.
    """

    __slots__ = ("confirmed", "turn", "waiters")

    def __init__(self) -> None:
        self.turn = 0
        self.confirmed = False
        self.waiters: list[Deferred[None]] = []


class Subscriptions:
    """
    The set of wanted channels, and its reconciliation with one connection at a time.

    Args:
        forbidden: Called with a channel that Redis refuses.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, forbidden: Callable[[bytes], None]) -> None:
        self._forbidden = forbidden
        self._wanted: dict[bytes, _Wanted] = {}
        self._protocol: RedisProtocol | None = None
        self._turn = 0
        self._leaving: TimeoutQueue[bytes] = TimeoutQueue(clock, LINGER, self._leave)

    def start(self) -> None:
        """Begin to let go of channels that nobody wants."""
        self._leaving.start()

    def stop(self) -> None:
        """End the timer."""
        self._leaving.stop()

    def names(self) -> list[bytes]:
        """All wanted channels."""
        return list(self._wanted)

    def want(self, names: Sequence[bytes]) -> Deferred[None]:
        """
        Subscribe to *names*.

        Returns: Fires when all are confirmed.
        Raises: As `wsredis.gateway.broker.Broker.subscribe`.
        """
        new = []
        unconfirmed = []
        for name in names:
            wanted = self._wanted.get(name)
            if wanted is None:
                wanted = self._wanted[name] = _Wanted()
            else:
                self._leaving.discard(name)
            if not wanted.turn:
                new.append(name)
            if not wanted.confirmed:
                unconfirmed.append(wanted)
        if self._protocol is None:
            return fail(BrokerUnavailable("Redis is away"))
        if new:
            self._subscribe(new)
        if not unconfirmed:
            return succeed(None)
        return self._all(unconfirmed)

    def drop(self, names: Iterable[bytes]) -> None:
        """Want *names* no more; Redis hears of it a little later."""
        for name in names:
            if name in self._wanted:
                self._leaving.add(name)

    def connected(self, protocol: RedisProtocol) -> Deferred[None]:
        """Subscribe to all that is wanted. Fires when each was confirmed or refused."""
        self._protocol = protocol
        names = list(self._wanted)
        done: Deferred[None] = Deferred()
        for start in range(0, len(names), _BATCH):
            self._subscribe(names[start : start + _BATCH])
        # Answers come in order: this one comes after all of those, also those sent again.
        self._settle(protocol, done)
        return done

    def disconnected(self) -> None:
        """The connection is gone: nothing is confirmed any more."""
        self._protocol = None
        waiters = []
        for wanted in self._wanted.values():
            wanted.turn = 0
            wanted.confirmed = False
            waiters += wanted.waiters
            wanted.waiters = []
        for waiter in waiters:
            waiter.errback(BrokerUnavailable("the connection to Redis was lost"))

    def _settle(self, protocol: RedisProtocol, done: Deferred[None]) -> None:
        def answered(reply: Reply) -> bool:
            pending = any(
                wanted.turn and not wanted.confirmed and protocol is self._protocol
                for wanted in self._wanted.values()
            )
            if pending and not isinstance(reply, BrokerUnavailable):
                self._settle(protocol, done)
            else:
                done.callback(None)
            return True

        protocol.send(answered, "PING")

    def _subscribe(self, names: list[bytes]) -> None:
        assert self._protocol is not None
        self._turn += 1
        for name in names:
            self._wanted[name].turn = self._turn
        self._protocol.send(self._expect("subscribe", names, self._turn), "SUBSCRIBE", *names)

    def _leave(self, name: bytes) -> None:
        self._wanted.pop(name)
        if self._protocol is not None:
            self._protocol.send(self._expect("unsubscribe", [name], 0), "UNSUBSCRIBE", name)

    def _expect(self, verb: str, names: list[bytes], turn: int) -> Callable[[Reply], bool]:
        """Take the replies to one command: one for each name, or one error for all."""
        expected = iter(names)
        left = len(names)

        def answered(reply: Reply) -> bool:
            nonlocal left
            if isinstance(reply, BrokerUnavailable):
                return True
            if isinstance(reply, Exception):
                if verb == "subscribe":
                    self._refused(names, turn, reply)
                return True
            name = next(expected)
            if reply[0] != verb.encode() or reply[1] != name:
                raise ValueError(f"{verb} {name!r} was answered with {reply!r}")
            if verb == "subscribe":
                self._confirmed(name, turn)
            left -= 1
            return left == 0

        return answered

    def _confirmed(self, name: bytes, turn: int) -> None:
        wanted = self._wanted.get(name)
        if wanted is None or wanted.turn != turn:
            return
        wanted.confirmed = True
        waiters, wanted.waiters = wanted.waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def _refused(self, names: list[bytes], turn: int, error: Exception) -> None:
        # Redis refuses the whole command for one forbidden name: ask for each alone.
        names = [name for name in names if name in self._wanted and self._wanted[name].turn == turn]
        if len(names) > 1:
            for name in names:
                self._subscribe([name])
            return
        for name in names:
            wanted = self._wanted.pop(name)
            self._leaving.discard(name)
            self._log.warn(
                "Redis refuses to subscribe to {channel!r}: {error}", channel=name, error=str(error)
            )
            for waiter in wanted.waiters:
                waiter.errback(PermissionDenied("Redis forbids this channel"))
            self._forbidden(name)

    @staticmethod
    def _all(unconfirmed: list[_Wanted]) -> Deferred[None]:
        """One Deferred for several names; cancelling it leaves nobody waiting."""
        done: Deferred[None] = Deferred()
        left = len(unconfirmed)

        def one(_: None) -> None:
            nonlocal left
            left -= 1
            if not left and not done.called:
                done.callback(None)

        def failed(failure: object) -> None:
            if not done.called:
                done.errback(failure)  # type: ignore[arg-type]

        for wanted in unconfirmed:
            waiter: Deferred[None] = Deferred()
            waiter.addCallbacks(one, failed)
            wanted.waiters.append(waiter)
        return done
