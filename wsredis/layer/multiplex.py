"""The layer's own connections to one Redis: one for commands and one for publications."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from wsredis.config.redis_url import error_text
from wsredis.layer.carrier import Command, Done, Sink
from wsredis.layer.dial import Dial, dial
from wsredis.layer.errors import LayerOutcomeUnknown, LayerUnavailable
from wsredis.layer.home import Home
from wsredis.layer.hosts import Host
from wsredis.layer.link import Link, Wire, pack

__all__ = ["Multiplex"]

_log = logging.getLogger("wsredis.layer")

#: Calls without an answer, above which no more are taken.
_MAX_PENDING = 20000

#: Channels in one SUBSCRIBE.
_CHUNK = 500

#: Seconds of silence after which the connection for publications is asked whether it is there.
_SILENCE = 10.0

Confirmed = Callable[[Exception | None], None]


class Multiplex:
    """
    A `Carrier` with connections of its own, each made when it is first needed.

    Args:
        home: Finds the loop that reads.
        dial: Connects.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        host: Host,
        sink: Sink,
        home: Home,
        dial: Dial = dial,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._commands = _Commands(host, home, dial, "commands", clock)
        self._publications = _Publications(host, home, dial, "publications", clock)
        self._publications.sink = sink

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """See `Carrier`."""
        self._commands.call(commands, done)

    def subscribe(self, channel: bytes, done: Confirmed) -> None:
        """See `Carrier`."""
        self._publications.subscribe(channel, done)

    def unsubscribe(self, channel: bytes) -> None:
        """See `Carrier`."""
        self._publications.unsubscribe(channel)

    def close(self) -> None:
        """See `Carrier`."""
        self._publications.forget()
        for link in (self._publications, self._commands):
            link.close()

    def abandon(self) -> None:
        """Drop the connections in a process that was forked: they are the parent's."""
        for link in (self._publications, self._commands):
            link.abandon()


class _Call:
    """Commands that were sent together."""

    __slots__ = ("count", "done", "replies", "sent_at")

    def __init__(self, count: int, done: Done, sent_at: float) -> None:
        self.count = count
        self.done = done
        self.replies: list[Any] = []
        self.sent_at = sent_at


class _Commands(Link):
    """The connection for commands. Answers come in the order of the commands."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # For the connection that is being made.
        self._waiting: list[tuple[bytes, _Call]] = []
        # The loop that writes at the end of its turn.
        self._flushes: asyncio.AbstractEventLoop | None = None

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """See `Carrier.call`."""
        data = pack(commands)
        call = _Call(len(commands), done, self.clock())
        error: LayerUnavailable | None = None
        with self.lock:
            wire = self.wire
            if wire is None:
                error = self.away()
                if error is None and len(self._waiting) >= _MAX_PENDING:
                    error = LayerUnavailable("too many calls wait for Redis")
                if error is None:
                    self._waiting.append((data, call))
            elif len(wire.pending) >= _MAX_PENDING or self.full(wire):
                error = LayerUnavailable("Redis does not keep up")
            else:
                self._send(wire, data, call)
        if error is not None:
            done(error)

    def _send(self, wire: Wire, data: bytes, call: _Call) -> None:
        wire.pending.append(call)
        if len(wire.pending) > 1:
            loop = asyncio._get_running_loop()
            if loop is not None and loop is self.home.loop:
                # Redis is busy: calls of the same turn of the loop need one write.
                wire.hold(data)
                if self._flushes is not loop:
                    self._flushes = loop
                    loop.call_soon(self._flush)
                return
        self.transmit(wire, data)

    def _flush(self) -> None:
        with self.lock:
            self._flushes = None
            wire = self.wire
            if wire is not None and not wire.flush():
                self.home.wants_to_write(self)

    def is_wanted(self) -> bool:
        """See `Link`."""
        return False

    def connected(self, wire: Wire) -> None:
        """See `Link`."""
        wire.pending = deque()
        waiting, self._waiting = self._waiting, []
        for data, call in waiting:
            call.sent_at = self.clock()
            wire.pending.append(call)
            self.transmit(wire, data)

    def replies(self, wire: Wire, replies: list[Any]) -> None:
        """See `Link`."""
        pending = wire.pending
        for reply in replies:
            call = pending[0]
            call.replies.append(reply)
            if isinstance(reply, Exception) and str(reply).startswith("READONLY"):
                # Another server has become the master.
                wire.hang_up()
            if len(call.replies) == call.count:
                pending.popleft()
                _guarded(call.done, call.replies)

    def lost(self, wire: Wire, error: Exception) -> None:
        """See `Link`."""
        for call in wire.pending:
            _guarded(call.done, LayerOutcomeUnknown(f"{self.host.target.name}: {error}"))

    def failed(self, error: LayerUnavailable) -> None:
        """See `Link`."""
        with self.lock:
            waiting, self._waiting = self._waiting, []
        for _, call in waiting:
            _guarded(call.done, error)

    def overdue(self, wire: Wire) -> bool:
        """See `Link`."""
        pending = wire.pending
        return bool(pending) and self.clock() - pending[0].sent_at > self.host.timeout


class _Subscription:
    """
    One channel.

    Attributes:
        count: Number of those who hear it.
        is_sent: Whether SUBSCRIBE is on its way.
        is_heard: Whether Redis has confirmed it.
        waiting: Those to tell then.
    """

    __slots__ = ("channel", "count", "is_heard", "is_sent", "waiting")

    def __init__(self, channel: bytes) -> None:
        self.channel = channel
        self.count = 0
        self.is_sent = False
        self.is_heard = False
        self.waiting: list[Confirmed] = []


class _Order:
    """
    One SUBSCRIBE or UNSUBSCRIBE. It is answered once for each channel.

    Attributes:
        subscriptions: Those that are not answered yet.
        is_last: Whether it is the last one that repairs a lost connection.
    """

    __slots__ = ("is_last", "subscriptions", "verb")

    def __init__(self, verb: bytes, subscriptions: deque[_Subscription]) -> None:
        self.verb = verb
        self.subscriptions = subscriptions
        self.is_last = False


class _Publications(Link):
    """The connection for publications."""

    #: Hears them.
    sink: Sink

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._subscriptions: dict[bytes, _Subscription] = {}
        self._lost_at: float | None = None
        self._asked_at: float | None = None

    def subscribe(self, channel: bytes, done: Confirmed) -> None:
        """See `Carrier.subscribe`."""
        error: LayerUnavailable | None = None
        with self.lock:
            subscription = self._subscriptions.get(channel)
            if subscription is None:
                subscription = self._subscriptions[channel] = _Subscription(channel)
            subscription.count += 1
            if not subscription.is_heard:
                wire = self.wire
                if wire is None:
                    error = self.away()
                elif not subscription.is_sent:
                    self._send(wire, b"SUBSCRIBE", [subscription])
                if error is None:
                    subscription.waiting.append(done)
                    return
        done(error)

    def unsubscribe(self, channel: bytes) -> None:
        """See `Carrier.unsubscribe`."""
        with self.lock:
            subscription = self._subscriptions.get(channel)
            if subscription is None:
                return
            subscription.count -= 1
            if subscription.count == 0:
                del self._subscriptions[channel]
                if self.wire is not None and subscription.is_sent:
                    self._send(self.wire, b"UNSUBSCRIBE", [subscription])

    def forget(self) -> None:
        """Hear nothing any more."""
        with self.lock:
            self._subscriptions.clear()
            self._lost_at = None

    def _send(self, wire: Wire, verb: bytes, subscriptions: list[_Subscription]) -> None:
        for subscription in subscriptions:
            subscription.is_sent = True
        wire.pending.append(_Order(verb, deque(subscriptions)))
        self.transmit(wire, pack([(verb, *[each.channel for each in subscriptions])]))

    def is_wanted(self) -> bool:
        """See `Link`."""
        return bool(self._subscriptions)

    def connected(self, wire: Wire) -> None:
        """See `Link`."""
        wire.pending = deque()
        self._asked_at = None
        every = list(self._subscriptions.values())
        for start in range(0, len(every), _CHUNK):
            self._send(wire, b"SUBSCRIBE", every[start : start + _CHUNK])
        if every:
            wire.pending[-1].is_last = True
        else:
            self._lost_at = None

    def replies(self, wire: Wire, replies: list[Any]) -> None:
        """See `Link`."""
        heard = self.sink.heard
        for reply in replies:
            if type(reply) is list:
                if reply[0] == b"message":
                    try:
                        heard(reply[1], reply[2])
                    except Exception:
                        _log.exception("a message was not delivered")
                elif reply[0] != b"pong":
                    self._answered(wire)
            elif isinstance(reply, Exception):
                self._refused(wire, reply)
        self._asked_at = None

    def _answered(self, wire: Wire) -> None:
        """Take the answer for one channel of the oldest command."""
        waiting: list[Confirmed] = []
        with self.lock:
            order = wire.pending[0]
            subscription = order.subscriptions.popleft()
            if not order.subscriptions:
                wire.pending.popleft()
            if order.verb == b"SUBSCRIBE":
                subscription.is_heard = True
                waiting, subscription.waiting = subscription.waiting, []
        for done in waiting:
            _guarded(done, None)
        if order.is_last and not order.subscriptions:
            self._back()

    def _refused(self, wire: Wire, reply: Exception) -> None:
        """Take an error, which is one for all channels of the oldest command."""
        error = LayerUnavailable(f"{self.host.target.name}: {error_text(reply)}")
        _log.warning("%s", error)
        if not wire.pending:
            return
        waiting: list[Confirmed] = []
        with self.lock:
            order = wire.pending.popleft()
            for subscription in order.subscriptions:
                subscription.is_sent = False
                waiting += subscription.waiting
                subscription.waiting = []
        for done in waiting:
            _guarded(done, error)
        if order.is_last:
            self._back()

    def _back(self) -> None:
        """Tell of a loss, now that all channels are heard again."""
        lost_at, self._lost_at = self._lost_at, None
        if lost_at is not None:
            _log.warning("hearing %s again", self.host.target.name)
            _guarded(self.sink.gap, self.clock() - lost_at)

    def lost(self, wire: Wire, error: Exception) -> None:
        """See `Link`."""
        with self.lock:
            for subscription in self._subscriptions.values():
                if subscription.is_heard and self._lost_at is None:
                    self._lost_at = self.clock()
                subscription.is_heard = subscription.is_sent = False

    def failed(self, error: LayerUnavailable) -> None:
        """See `Link`."""
        waiting: list[Confirmed] = []
        with self.lock:
            if self._subscriptions and self._lost_at is None:
                # Those who stay will have missed something.
                self._lost_at = self.clock()
            for subscription in self._subscriptions.values():
                waiting += subscription.waiting
                subscription.waiting = []
        for done in waiting:
            _guarded(done, error)

    def overdue(self, wire: Wire) -> bool:
        """See `Link`."""
        now = self.clock()
        if self._asked_at is not None:
            return now - self._asked_at > self.host.timeout
        if now - wire.heard_at > _SILENCE:
            with self.lock:
                self._asked_at = now
                self.transmit(wire, pack([(b"PING",)]))
        return False


def _guarded(function: Callable[[Any], None], result: Any) -> None:
    """Call somebody who must not hinder the others."""
    try:
        function(result)
    except Exception:
        _log.exception("a reply of Redis was not taken")
