"""The connection of a layer for publications."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from wsredis.config.redis_url import error_text
from wsredis.layer.carrier import Sink
from wsredis.layer.errors import LayerUnavailable
from wsredis.layer.link import Link, guarded
from wsredis.layer.wire import Wire, pack

__all__ = ["Confirmed", "Publications"]

_log = logging.getLogger("wsredis.layer")

#: Channels in one SUBSCRIBE.
_CHUNK = 500

#: Seconds of silence after which Redis is asked whether it is there.
_SILENCE = 10.0

#: Takes None when a channel is heard, or the reason why it is not.
Confirmed = Callable[[Exception | None], None]


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


class Publications(Link):
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
            guarded(done, None)
        if order.is_last and not order.subscriptions:
            self._back()

    def _refused(self, wire: Wire, reply: Exception) -> None:
        """Take an error, which is one for all channels of the oldest command."""
        error = LayerUnavailable(f"{self.host.target.name}: {error_text(reply)}")
        if not wire.pending:
            return
        waiting: list[Confirmed] = []
        with self.lock:
            order = wire.pending.popleft()
            if len(order.subscriptions) > 1:
                # One of them is enough for Redis to refuse all.
                for subscription in order.subscriptions:
                    self._send(wire, order.verb, [subscription])
                wire.pending[-1].is_last = order.is_last
                return
            for subscription in order.subscriptions:
                subscription.is_sent = False
                waiting += subscription.waiting
                subscription.waiting = []
        _log.warning("a channel is not heard: %s", error)
        for done in waiting:
            guarded(done, error)
        if order.is_last:
            self._back()

    def _back(self) -> None:
        """Tell of a loss, now that all channels are heard again."""
        lost_at, self._lost_at = self._lost_at, None
        if lost_at is not None:
            _log.warning("hearing %s again", self.host.target.name)
            guarded(self.sink.gap, self.clock() - lost_at)

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
            guarded(done, error)

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
