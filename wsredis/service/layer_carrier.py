"""
The channel layer of an application in this process, on the gateway's own connections to Redis.

Layers outside a gateway have connections of their own; see `wsredis.layer.carrier`.

It is one module because the code that any thread may call, and the code that then runs in the
thread of the reactor, have to be read together.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from threading import Lock, get_ident
from typing import Any, Protocol
from weakref import WeakSet

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.config import DEFAULT_URL, GatewayConfig
from wsredis.config.redis_url import RedisTarget, parse_url
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.gap import Gap
from wsredis.gateway.hub import Hub
from wsredis.gateway.publication import Publication
from wsredis.layer.carrier import Carrier, Command, Done, Sink, register
from wsredis.layer.errors import LayerOutcomeUnknown, LayerUnavailable
from wsredis.layer.gateway_channels import use_prefixes

__all__ = ["CommandSender", "GatewayCarrier", "LayerCarriers", "make_carriers"]

Confirmed = Callable[[Exception | None], None]

#: Calls of other threads that may wait for the reactor, and calls that may wait for Redis.
_MAX_WAITING = 20000

#: The URL of a Redis that a gateway has started; see `wsredis.service.embedded`.
_PRIVATE = re.compile("unix://.*/wsredis-[0-9a-f]{16}/redis.sock")


class CommandSender(Protocol):
    """The method of `wsredis.brokers.redis.broker.RedisBroker` that a layer needs."""

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """Send commands together, in their order; see there."""


def make_carriers(
    config: GatewayConfig, reactor: IReactorFromThreads, hub: Hub
) -> LayerCarriers | None:
    """Make the carriers of a gateway. None if its broker is not Redis."""
    broker: Any = hub.broker
    if not hasattr(broker, "call"):
        return None
    url = config.redis.url or DEFAULT_URL
    return LayerCarriers(
        reactor,
        hub,
        broker,
        parse_url(url),
        (config.prefix, config.stored_prefix),
        is_private=_PRIVATE.fullmatch(url) is not None,
    )


class LayerCarriers:
    """
    Gives a carrier to each layer of this process that has the Redis of the gateway.

    Args:
        broker: Sends commands.
        target: The Redis of the gateway.
        prefixes: That of its channels, and that of the keys of stored messages.
        is_private: Tells whether it is one that the gateway has started. A layer without a setting
            means that one.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorFromThreads,
        hub: Hub,
        broker: CommandSender,
        target: RedisTarget,
        prefixes: tuple[str, str] = ("", ""),
        *,
        is_private: bool = False,
    ) -> None:
        self._turns = Turns(reactor)
        self._hub = hub
        self._broker = broker
        self._target = target
        self._prefixes = prefixes
        self._is_private = is_private
        self._process = os.getpid()
        #: The names of other servers that layers have, which come from the settings of projects.
        self._others: set[str] = set()
        #: Those of layers that have ended, and that nobody else has any more, are gone.
        self._carriers: WeakSet[GatewayCarrier] = WeakSet()
        #: Layers come in any thread.
        self._lock = Lock()
        self._undo: list[Callable[[], None]] = []
        hub.gaps.watch(self._gap)

    def start(self) -> None:
        """Begin. Called in the thread of the reactor."""
        self._turns.start()
        self._process = os.getpid()
        self._undo = [register(self._make), use_prefixes(*self._prefixes)]

    def stop(self) -> None:
        """End: whoever uses a layer from now on hears that Redis is away. Harmless before."""
        while self._undo:
            self._undo.pop()()
        self._turns.stop()
        for carrier in self._all():
            carrier.end()

    def _make(self, target: RedisTarget, sink: Sink) -> Carrier | None:
        # A process that was forked has the objects of the gateway, and nobody runs its reactor.
        if os.getpid() != self._process:
            return None
        if not self._is_ours(target):
            self._turns.run(partial(self._tell_of_another, target.name), lambda error: None)
            return None
        carrier = GatewayCarrier(self._turns, self._hub, self._broker, sink)
        with self._lock:
            self._carriers.add(carrier)
        return carrier

    def _is_ours(self, target: RedisTarget) -> bool:
        if self._is_private and target.place == parse_url(DEFAULT_URL).place:
            return True
        return target.place == self._target.place

    def _tell_of_another(self, name: str) -> None:
        """Log once that a layer has another Redis: to a new user, its groups would seem deaf."""
        if name not in self._others:
            self._others.add(name)
            self._log.info(
                "a channel layer uses {redis}, and the gateway {own}: plain sockets and the groups "
                "of this layer do not meet",
                event="layer-elsewhere",
                redis=name,
                own=self._target.name,
            )

    def _gap(self, gap: Gap) -> None:
        for carrier in self._all():
            carrier.gap(gap.seconds)

    def _all(self) -> list[GatewayCarrier]:
        with self._lock:
            return list(self._carriers)


class Turns:
    """Calls functions in the thread of the reactor, from any thread, in their order."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._thread = 0
        self._waiting: deque[tuple[Callable[[], None], Callable[[Exception], None]]] = deque()
        self._is_woken = False
        self._is_stopped = True

    def start(self) -> None:
        """Begin. This is the thread of the reactor."""
        self._thread = get_ident()
        self._is_stopped = False

    def stop(self) -> None:
        """End: nothing is called any more. What waits is refused."""
        self._is_stopped = True
        self._run()

    def run(self, function: Callable[[], None], refuse: Callable[[Exception], None]) -> None:
        """
        Call *function*, now if this is the thread of the reactor.

        Args:
            refuse: Called instead if the gateway does not run any more, or does not keep up.
        """
        if self._is_stopped:
            refuse(LayerUnavailable("the gateway has stopped"))
        elif get_ident() == self._thread:
            function()
        elif len(self._waiting) >= _MAX_WAITING:
            refuse(LayerUnavailable("the gateway does not keep up"))
        else:
            self._waiting.append((function, refuse))
            if not self._is_woken:
                # Two threads may both wake it: the second finds nothing.
                self._is_woken = True
                self._reactor.callFromThread(self._run)
            if self._is_stopped:
                # It may have been stopped between the two looks.
                self._run()

    def _run(self) -> None:
        self._is_woken = False
        # Those that come from now on wake the reactor again: it has other things to do.
        for _ in range(len(self._waiting)):
            try:
                function, refuse = self._waiting.popleft()
            except IndexError:
                # Two threads empty it at the end.
                return
            if self._is_stopped:
                refuse(LayerUnavailable("the gateway has stopped"))
                continue
            try:
                function()
            except Exception as error:
                # Somebody waits in another thread.
                refuse(error)


class GatewayCarrier:
    """
    `wsredis.layer.carrier.Carrier` for one layer: a listener of the hub that is no client.

    Attributes:
        direct, encoding: None, since nothing is written to it.
        channels: See `wsredis.gateway.hub.Listener`; with the number of those who want each.
    """

    direct: Any = None
    encoding: Any = None

    _log = Logger()

    def __init__(self, turns: Turns, hub: Hub, broker: CommandSender, sink: Sink) -> None:
        self._turns = turns
        self._hub = hub
        self._broker = broker
        self._sink = sink
        #: Calls that wait for Redis.
        self._waiting = 0
        # A list would be searched for each channel that is left.
        self.channels: Any = {}

    # -- wsredis.layer.carrier.Carrier, in any thread

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """See `wsredis.layer.carrier.Carrier.call`."""
        self._turns.run(partial(self._call, commands, partial(_translated, done)), done)

    def subscribe(self, channel: bytes, done: Confirmed) -> None:
        """See `wsredis.layer.carrier.Carrier.subscribe`."""
        self._turns.run(partial(self._subscribe, channel, done), done)

    def unsubscribe(self, channel: bytes) -> None:
        """See `wsredis.layer.carrier.Carrier.unsubscribe`."""
        self._turns.run(partial(self._unsubscribe, channel), lambda error: None)

    def close(self) -> None:
        """See `wsredis.layer.carrier.Carrier.close`."""
        self._turns.run(self.end, lambda error: None)

    # -- In the thread of the reactor

    def end(self) -> None:
        """Hear nothing any more."""
        self._hub.unsubscribe(self)
        self.channels.clear()

    def gap(self, seconds: float) -> None:
        """Tell the layer of a gap, if it heard something."""
        if self.channels:
            self._sink.gap(seconds)

    def _call(self, commands: Sequence[Command], done: Done) -> None:
        """Send commands, when Redis is there if that may be in a moment, as at the start."""
        broker = self._hub.broker
        if broker.up:
            self._broker.call(commands, done)
        elif self._waiting >= _MAX_WAITING:
            done(BrokerUnavailable("too many calls wait for Redis"))
        else:
            self._waiting += 1
            # If it is not back, the call tells why.
            broker.when_up().addBoth(self._call_after_all, commands, done)

    def _call_after_all(self, _: object, commands: Sequence[Command], done: Done) -> None:
        self._waiting -= 1
        self._broker.call(commands, done)

    def _subscribe(self, channel: bytes, done: Confirmed) -> None:
        self.channels[channel] = self.channels.get(channel, 0) + 1

        def again(failure: Failure) -> Deferred[None]:
            failure.trap(BrokerUnavailable)
            broker = self._hub.broker
            return broker.when_up().addCallback(lambda _: self._confirm(channel))

        def failed(failure: Failure) -> None:
            kind = failure.trap(BrokerUnavailable, PermissionDenied)
            reason = str(failure.value)
            done(LayerUnavailable(reason if kind is BrokerUnavailable else f"forbidden: {reason}"))

        # If it is heard already, the broker may still wait for Redis.
        subscribed = self._hub.extend(self, [channel]).addErrback(again)
        subscribed.addCallbacks(lambda _: done(None), failed)

    def _confirm(self, channel: bytes) -> Deferred[None] | None:
        """Ask whether a channel is heard, if that is still wanted."""
        return self._hub.broker.subscribe([channel]) if channel in self.channels else None

    def _unsubscribe(self, channel: bytes) -> None:
        count = self.channels.get(channel, 0)
        if count > 1:
            self.channels[channel] = count - 1
        elif count:
            del self.channels[channel]
            self._hub.retract(self, [channel])

    # -- wsredis.gateway.hub.Listener

    def deliver(self, items: Sequence[Publication]) -> None:
        """See `wsredis.gateway.hub.Listener.deliver`."""
        # A layer is no connection.
        self._hub.metrics.deliveries -= len(items)
        for item in items:
            try:
                self._sink.heard(item.channel, item.payload)
            except Exception:
                # It must not cost the layer the messages that follow.
                self._log.failure(
                    "a channel layer failed over a message", event="layer-delivery-failed"
                )

    def restore(self, item: Publication) -> None:
        """See `wsredis.gateway.hub.Listener.restore`. A layer hears of the gap, and of no more."""

    def forbid(self) -> None:
        """See `wsredis.gateway.hub.Listener.forbid`. The broker has logged it."""


def _translated(done: Done, result: Sequence[Any] | Exception) -> None:
    if isinstance(result, BrokerUnavailable):
        result = LayerUnavailable(str(result))
    elif isinstance(result, Exception):
        result = LayerOutcomeUnknown(str(result))
    done(result)
