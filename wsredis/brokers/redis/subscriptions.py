"""
The wanted channels, and the SUBSCRIBE and UNSUBSCRIBE commands that make Redis agree with them.

One connection carries the subscriptions of all clients. After a loss every wanted channel is
subscribed again on the next connection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsredis.brokers.redis.protocol import (
    InvalidReply,
    NoReply,
    NotServing,
    RedisProtocol,
    Reply,
    ReplyHandler,
    check_pong,
    unexpected,
)
from wsredis.brokers.redis.refusals import is_for_now
from wsredis.channels import loggable_channel
from wsredis.config.redis_url import error_text
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.signal import Signal
from wsredis.gateway.timers import TimeoutQueue

__all__ = ["LINGER", "Subscriptions"]

#: Names in one SUBSCRIBE when many channels are subscribed at once.
_BATCH = 500

#: Seconds that a channel stays subscribed after the last client left: a page that is reloaded
#: costs Redis nothing.
LINGER = 2.0


class _Wanted:
    """
    The state of one wanted channel.

    Attributes:
        command: The number of the last SUBSCRIBE that was sent for this channel. If 0, none was
            sent on this connection.
        confirmed: Whether Redis has answered that command.
        confirmation: Fired when Redis answers it.
        relied_on: Whether a client relies on the channel without waiting for that answer: the
            channel was confirmed before, or was wanted while there was no connection.
    """

    __slots__ = ("command", "confirmation", "confirmed", "relied_on")

    def __init__(self) -> None:
        self.command = 0
        self.confirmed = False
        self.confirmation: Signal[None] = Signal()
        self.relied_on = False


class Subscriptions:
    """
    The set of wanted channels, on one connection at a time.

    Args:
        forbidden: Called with a channel that Redis refuses, if a client relies on it without
            waiting for the answer. The channel is not wanted any more.
        quiet: A channel of which `forbidden` is told always, and the log never.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        forbidden: Callable[[bytes], None],
        quiet: bytes | None = None,
    ) -> None:
        self._forbidden = forbidden
        self._quiet = quiet
        self._wanted: dict[bytes, _Wanted] = {}
        self._protocol: RedisProtocol | None = None
        #: The channels that this connection has at Redis, after all answers that have come.
        self._held: set[bytes] = set()
        self._commands = 0
        self._leaving: TimeoutQueue[bytes] = TimeoutQueue(clock, LINGER, self._unsubscribe)
        self._throttle = LogThrottle(clock, at_once=10)

    def start(self) -> None:
        """Start the timer that unsubscribes dropped channels."""
        self._leaving.start()

    def stop(self) -> None:
        """Stop the timer, and log what was counted."""
        self._leaving.stop()
        self._throttle.reset()

    def names(self) -> list[bytes]:
        """
        Return all wanted channels, also those that are about to be unsubscribed.

        The quiet one is left out: no client wants it, and nothing is stored for it.
        """
        return [name for name in self._wanted if name != self._quiet]

    def want(self, names: Sequence[bytes]) -> Deferred[None]:
        """
        Subscribe to *names*. They stay wanted until `drop`, also if this fails.

        Returns:
            Fires when all of them are confirmed. Cancelling it changes nothing.

        Raises:
            BrokerUnavailable: See `wsredis.gateway.broker.Broker.subscribe`.
            PermissionDenied: See there, too.
        """
        new = []
        unconfirmed = []
        for name in names:
            wanted = self._wanted.get(name)
            if wanted is None:
                wanted = self._wanted[name] = _Wanted()
            else:
                self._leaving.discard(name)
            if not wanted.command:
                new.append(name)
            if not wanted.confirmed:
                unconfirmed.append(wanted)
        if self._protocol is None:
            for wanted in unconfirmed:
                wanted.relied_on = True
            return fail(BrokerUnavailable("Redis is away"))
        if new:
            self._subscribe(new)
        if not unconfirmed:
            return succeed(None)
        return _wait_for_all([wanted.confirmation for wanted in unconfirmed])

    def drop(self, names: Iterable[bytes]) -> None:
        """Stop wanting *names*: they are unsubscribed after `LINGER`, if not wanted again."""
        for name in names:
            if name in self._wanted:
                self._leaving.add(name)

    def connected(self, protocol: RedisProtocol) -> Deferred[None]:
        """
        Subscribe to all wanted channels on a new connection.

        Returns:
            Fires when Redis has confirmed or refused each of them, or the connection is lost.
        """
        self._protocol = protocol
        self._held.clear()
        names = list(self._wanted)
        done: Deferred[None] = Deferred()
        for start in range(0, len(names), _BATCH):
            self._subscribe(names[start : start + _BATCH])
        self._wait_until_settled(protocol, done)
        return done

    def disconnected(self) -> None:
        """Take note that the connection is gone: nothing is confirmed any more."""
        self._protocol = None
        waiting = []
        for wanted in self._wanted.values():
            wanted.command = 0
            wanted.confirmed = False
            wanted.relied_on = True
            if wanted.confirmation:
                waiting.append(wanted.confirmation)
        for confirmation in waiting:
            confirmation.fail(BrokerUnavailable("the connection to Redis was lost"))

    def audit(self, name: bytes, take: Callable[[int | Exception, int], None]) -> None:
        """
        Subscribe to *name* once more, only to compare the number of subscriptions.

        Args:
            take: Called with the number that Redis has for this connection, or with its error; and
                with the number that it should have after all that was sent before. Not called if
                the connection is lost, or if there is none.
        """
        if self._protocol is None:
            return

        def handler(reply: Reply) -> bool:
            if isinstance(reply, NoReply):
                return True
            if not isinstance(reply, Exception):
                _check_reply("subscribe", name, reply)
                self._held.add(name)
                reply = reply[2]
            take(reply, len(self._held))
            return True

        self._protocol.send(handler, "SUBSCRIBE", name)

    def _wait_until_settled(self, protocol: RedisProtocol, done: Deferred[None]) -> None:
        """
        Fire *done* when no SUBSCRIBE is unanswered.

        Replies come in the order of commands, so the reply to a PING comes after all others; but a
        refusal may have sent more of them meanwhile.
        """

        def handler(reply: Reply) -> bool:
            check_pong(reply)
            pending = any(
                wanted.command and not wanted.confirmed and protocol is self._protocol
                for wanted in self._wanted.values()
            )
            if pending and not isinstance(reply, NoReply):
                self._wait_until_settled(protocol, done)
            else:
                done.callback(None)
            return True

        protocol.send(handler, "PING")

    def _subscribe(self, names: list[bytes]) -> None:
        assert self._protocol is not None
        self._commands += 1
        for name in names:
            self._wanted[name].command = self._commands
        self._protocol.send(self._handler("subscribe", names), "SUBSCRIBE", *names)

    def _unsubscribe(self, name: bytes) -> None:
        self._wanted.pop(name)
        if self._protocol is not None:
            self._protocol.send(self._handler("unsubscribe", [name]), "UNSUBSCRIBE", name)

    def _handler(self, verb: str, names: list[bytes]) -> ReplyHandler:
        """Make the handler of one command: one reply for each name, or one error for all."""
        command = self._commands if verb == "subscribe" else 0
        expected = iter(names)
        remaining = len(names)

        def handler(reply: Reply) -> bool:
            nonlocal remaining
            if isinstance(reply, NoReply):
                return True
            if isinstance(reply, Exception):
                if is_for_now(reply):
                    raise NotServing(f"{verb.upper()} was refused: {error_text(reply)}")
                if command:
                    self._refused(names, command, reply)
                return True
            name = next(expected)
            _check_reply(verb, name, reply)
            if command:
                self._held.add(name)
                self._confirmed(name, command)
            else:
                self._held.discard(name)
            remaining -= 1
            return remaining == 0

        return handler

    def _confirmed(self, name: bytes, command: int) -> None:
        wanted = self._wanted.get(name)
        if wanted is not None and wanted.command == command:
            wanted.confirmed = wanted.relied_on = True
            wanted.confirmation.fire(None)

    def _refused(self, names: list[bytes], command: int, error: Exception) -> None:
        names = [
            name for name in names if name in self._wanted and self._wanted[name].command == command
        ]
        if len(names) > 1:
            # Redis refuses the whole command for one forbidden name: ask for each alone.
            for name in names:
                self._subscribe([name])
            return
        for name in names:
            wanted = self._wanted.pop(name)
            self._leaving.discard(name)
            if name == self._quiet:
                wanted.confirmation.fail(PermissionDenied("Redis forbids this channel"))
                self._forbidden(name)
                continue
            self._throttle.log(
                self._log,
                LogLevel.warn,
                "refused",
                "Redis refuses to subscribe to {channel!r}: {error}",
                event="subscribe-refused",
                channel=loggable_channel(name),
                error=error_text(error),
            )
            # Without a waiter, the one that there was has given up.
            report = wanted.relied_on or not wanted.confirmation
            wanted.confirmation.fail(PermissionDenied("Redis forbids this channel"))
            if report:
                self._forbidden(name)


def _check_reply(verb: str, name: bytes, reply: Reply) -> None:
    """
    Check one reply to SUBSCRIBE or UNSUBSCRIBE that is no error.

    Raises:
        InvalidReply: It is the reply to another command: one was left out, or came twice.
    """
    if not isinstance(reply, list) or len(reply) != 3 or not isinstance(reply[2], int):
        raise unexpected(verb.upper(), reply)
    if reply[:2] != [verb.encode(), name]:
        raise InvalidReply(f"{verb.upper()} was answered for another channel")


def _wait_for_all(signals: Sequence[Signal[None]]) -> Deferred[None]:
    """
    Wait for several signals.

    Returns:
        Fires when all have been fired, and fails with the first error. When it is cancelled, no
        signal has a waiter more than before.
    """

    def cancel(_: Deferred[None]) -> None:
        for waiter in waiters:
            waiter.cancel()

    done: Deferred[None] = Deferred(cancel)
    remaining = len(signals)

    def fired(_: None) -> None:
        nonlocal remaining
        remaining -= 1
        if not remaining and not done.called:
            done.callback(None)

    def failed(failure: Failure) -> None:
        if not done.called:
            done.errback(failure)

    waiters = [signal.wait() for signal in signals]
    for waiter in waiters:
        waiter.addCallbacks(fired, failed)
    return done
