"""
The broker without Redis: for tests, and as an executable description of the port.

Several gateways of one process may share a `MemoryServer` as they would share a Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from wsredis.errors import BrokerUnavailable, PermissionDenied, QueueFull
from wsredis.gateway.broker import (
    LOG_BATCH,
    BrokerListener,
    LogEntry,
    PublishWaiter,
    WorkerQueue,
)
from wsredis.gateway.gap import GapTimer
from wsredis.gateway.publication import Publication
from wsredis.worker_queues import BELL

__all__ = ["MemoryBroker", "MemoryServer"]


class MemoryServer:
    """
    The part of Redis that a gateway uses: it publishes, and keeps values for a time.

    Args:
        clock: Decides when stored values expire.

    Attributes:
        clock: As it was given.
        forbidden: Channels that it refuses to subscribe to and to publish on.
        storing: Whether it stores values; a full or read-only Redis does not.
        logs: Entries by log: position, time in seconds of the clock, and payload.
        queues: The messages that wait for workers by the key of their list, each with its end.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._values: dict[bytes, tuple[float, bytes]] = {}
        self._brokers: list[MemoryBroker] = []
        self.forbidden: set[bytes] = set()
        self.storing = True
        self.logs: dict[bytes, list[tuple[bytes, float, bytes]]] = {}
        self.queues: dict[bytes, list[tuple[float, bytes]]] = {}

    def publish(self, channel: bytes, payload: bytes) -> int:
        """
        Publish to all brokers that are attached, as PUBLISH does.

        Returns:
            The number of brokers that are subscribed to *channel*.
        """
        heard = sum(broker.is_subscribed(channel) for broker in self._brokers)
        for broker in list(self._brokers):
            broker.arrived(channel, payload)
        return heard

    def store(self, channel: bytes, expire: int, payload: bytes) -> None:
        """Store a value for *expire* seconds, as SETEX does."""
        if self.storing:
            self._values[channel] = (self.clock.seconds() + expire, payload)

    def value(self, channel: bytes) -> bytes | None:
        """Return the stored value. If None, there is none, or it has expired."""
        due, payload = self._values.get(channel, (0.0, b""))
        return payload if due > self.clock.seconds() else None

    def append(self, key: bytes, payload: bytes) -> None:
        """Append an entry to a log, as XADD does."""
        log = self.logs.setdefault(key, [])
        log.append((b"%d" % len(log), self.clock.seconds(), payload))

    def read_log(self, key: bytes, after: bytes) -> list[LogEntry]:
        """Read the entries of a log after a position."""
        now = self.clock.seconds()
        start = int(after) + 1 if after else 0
        found = self.logs.get(key, [])[start : start + LOG_BATCH]
        return [LogEntry(position, now - time, payload) for position, time, payload in found]

    def push(self, queue: WorkerQueue, payload: bytes) -> bool:
        """
        Append to a list for workers, and ring.

        Returns:
            Whether there was room.
        """
        now = self.clock.seconds()
        waiting = self.queues.setdefault(queue.key, [])
        waiting[:] = [each for each in waiting if each[0] > now]
        if len(waiting) >= queue.capacity:
            return False
        waiting.append((now + queue.expiry, payload))
        if len(waiting) == 1:
            self.publish(queue.bell, BELL)
        return True

    def attach(self, broker: MemoryBroker) -> None:
        """Let *broker* hear publications."""
        self._brokers.append(broker)

    def detach(self, broker: MemoryBroker) -> None:
        """Let *broker* hear no more publications. Harmless when it is not attached."""
        if broker in self._brokers:
            self._brokers.remove(broker)


class MemoryBroker:
    """
    `wsredis.gateway.broker.Broker` on a `MemoryServer`.

    Args:
        expire: Seconds that the last message of a channel is stored. 0 stores none.
    """

    def __init__(self, server: MemoryServer, expire: int = 3600) -> None:
        self._server = server
        self._expire = expire
        self._listener: BrokerListener | None = None
        self._wanted: set[bytes] = set()
        self._gap = GapTimer(server.clock)
        self._up = False
        self._paused = False
        #: The calls that wait for `resume`, in order.
        self._postponed: list[Callable[[], None]] = []
        #: The fetches among them.
        self._fetches: list[Deferred[dict[bytes, bytes]]] = []

    @property
    def canary(self) -> None:
        """See `wsredis.gateway.broker.Broker.canary`. Nothing can come between."""
        return None

    @property
    def up(self) -> bool:
        """See `wsredis.gateway.broker.Broker.up`."""
        return self._up

    def when_up(self) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.when_up`. It never waits."""
        return succeed(None) if self._up else fail(BrokerUnavailable("there is no link"))

    def start(self, listener: BrokerListener) -> None:
        """See `wsredis.gateway.broker.Broker.start`."""
        self._listener = listener
        self.connect()

    def stop(self) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.stop`."""
        self.disconnect()
        self._listener = None
        return succeed(None)

    def connect(self) -> None:
        """Make the link, as when Redis is there, or there again."""
        self._server.attach(self)
        self._up = True
        self._when_not_paused(self._catch_up)

    def disconnect(self) -> None:
        """Lose the link. Publications that a pause held back are lost with it."""
        self._server.detach(self)
        if self._up:
            self._gap.begin()
        self._up = False
        self._postponed.clear()
        fetches, self._fetches = self._fetches, []
        for fetch in fetches:
            if not fetch.called:
                fetch.errback(BrokerUnavailable("the link was lost"))

    def is_subscribed(self, channel: bytes) -> bool:
        """Tell whether the gateway has subscribed to *channel*."""
        return channel in self._wanted

    def arrived(self, channel: bytes, payload: bytes) -> None:
        """Take a publication of the server. Called by `MemoryServer`."""
        self._when_not_paused(lambda: self._deliver(channel, payload))

    def subscribe(self, channels: Sequence[bytes]) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.subscribe`."""
        new = [channel for channel in channels if channel not in self._wanted]
        self._wanted.update(channels)
        if not self._up:
            return fail(BrokerUnavailable("there is no link"))
        forbidden = self._server.forbidden.intersection(channels)
        if not forbidden:
            return succeed(None)
        self._wanted.difference_update(forbidden.intersection(new))
        self._forbid(channels)
        return fail(PermissionDenied("this channel is forbidden"))

    def unsubscribe(self, channels: Sequence[bytes]) -> None:
        """See `wsredis.gateway.broker.Broker.unsubscribe`."""
        self._wanted.difference_update(channels)

    def pause(self) -> None:
        """See `wsredis.gateway.broker.Broker.pause`."""
        self._paused = True

    def resume(self) -> None:
        """See `wsredis.gateway.broker.Broker.resume`."""
        self._paused = False
        while self._postponed and not self._paused:
            self._postponed.pop(0)()

    def publish_all(
        self, channels: Sequence[bytes], payloads: Sequence[bytes], waiter: PublishWaiter
    ) -> None:
        """See `wsredis.gateway.broker.Broker.publish_all`."""
        for payload in payloads:
            self.publish(channels, payload, waiter)

    def publish(self, channels: Sequence[bytes], payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.publish`."""
        if not self._up:
            waiter.not_published(BrokerUnavailable("there is no link"), len(payload))
            return
        for channel in channels:
            if self._expire:
                self._server.store(channel, self._expire, payload)
            if channel not in self._server.forbidden:
                self._server.publish(channel, payload)
        if self._server.forbidden.isdisjoint(channels):
            waiter.published(1, len(payload))
        else:
            waiter.not_published(PermissionDenied("this channel is forbidden"), len(payload))

    def push(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.broker.Broker.push`."""
        if not self._up:
            waiter.not_published(BrokerUnavailable("there is no link"), len(payload))
        elif queue.bell in self._server.forbidden:
            waiter.not_published(PermissionDenied("this queue is forbidden"), len(payload))
        elif self._server.push(queue, payload):
            waiter.published(1, len(payload))
        else:
            waiter.not_published(QueueFull("the workers do not keep up"), len(payload))

    def announce(self, channel: bytes, payload: bytes) -> None:
        """See `wsredis.gateway.broker.Broker.announce`."""
        if self._up and channel not in self._server.forbidden:
            self._server.publish(channel, payload)

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `wsredis.gateway.broker.Broker.fetch`."""
        if not self._up:
            return fail(BrokerUnavailable("there is no link"))
        values = self._read(channels)
        done: Deferred[dict[bytes, bytes]] = Deferred()
        self._fetches.append(done)
        self._when_not_paused(lambda: self._hand_over(done, values))
        return done

    def read_log(self, key: bytes, after: bytes) -> Deferred[list[LogEntry]]:
        """See `wsredis.gateway.broker.Broker.read_log`."""
        if not self._up:
            return fail(BrokerUnavailable("there is no link"))
        if key in self._server.forbidden:
            return fail(PermissionDenied("this log is forbidden"))
        return succeed(self._server.read_log(key, after))

    def _when_not_paused(self, step: Callable[[], None]) -> None:
        # Calls that come while `resume` hands over older ones wait for their turn.
        if self._paused or self._postponed:
            self._postponed.append(step)
        else:
            step()

    def _deliver(self, channel: bytes, payload: bytes) -> None:
        if channel in self._wanted and self._listener is not None:
            self._listener.deliver([Publication(channel, payload)])

    def _hand_over(self, done: Deferred[dict[bytes, bytes]], values: dict[bytes, bytes]) -> None:
        self._fetches.remove(done)
        if not done.called:
            done.callback(values)

    def _catch_up(self) -> None:
        self._forbid(list(self._wanted))
        gap = self._gap.end(len(self._wanted), is_restored=True)
        # The first connection has missed nothing.
        if gap is None or self._listener is None:
            return
        stored = self._read(list(self._wanted))
        if stored:
            self._listener.restore(stored)
        self._listener.gap(gap)

    def _forbid(self, channels: Sequence[bytes]) -> None:
        for channel in sorted(self._server.forbidden & self._wanted.intersection(channels)):
            self._wanted.discard(channel)
            if self._listener is not None:
                self._listener.forbid(channel)

    def _read(self, channels: Sequence[bytes]) -> dict[bytes, bytes]:
        values = {channel: self._server.value(channel) for channel in channels}
        return {channel: value for channel, value in values.items() if value}
