"""
The broker without Redis: for tests, and as the executable meaning of the port.

Several gateways of one process may share a `MemoryServer` as they would share a Redis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.broker import BrokerListener
from wsredis.gateway.publication import Publication

__all__ = ["MemoryBroker", "MemoryServer"]


class MemoryServer:
    """
    What Redis does for a gateway: it publishes and it keeps values for a time.

    Attributes:
        forbidden: Channels that it refuses to subscribe to and to publish on.
        storing: Whether it stores values; a full or read-only Redis does not.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._values: dict[bytes, tuple[float, bytes]] = {}
        self._brokers: list[MemoryBroker] = []
        self.forbidden: set[bytes] = set()
        self.storing = True

    def publish(self, channel: bytes, payload: bytes) -> None:
        """As PUBLISH."""
        for broker in list(self._brokers):
            broker.arrived(channel, payload)

    def store(self, channel: bytes, expire: int, payload: bytes) -> None:
        """As SETEX. *expire* in seconds."""
        if self.storing:
            self._values[channel] = (self._clock.seconds() + expire, payload)

    def value(self, channel: bytes) -> bytes | None:
        """As GET."""
        due, payload = self._values.get(channel, (0.0, b""))
        return payload if due > self._clock.seconds() else None

    def attach(self, broker: MemoryBroker) -> None:
        """Let *broker* hear publications."""
        self._brokers.append(broker)

    def detach(self, broker: MemoryBroker) -> None:
        """Let *broker* hear nothing any more."""
        if broker in self._brokers:
            self._brokers.remove(broker)


class MemoryBroker:
    """`wsredis.gateway.broker.Broker` on a `MemoryServer`."""

    def __init__(self, server: MemoryServer, expire: int = 3600) -> None:
        self._server = server
        self._expire = expire
        self._listener: BrokerListener | None = None
        self._wanted: set[bytes] = set()
        self._was_up = False
        self._up = False
        #: What waits for `resume`, in order. None: nothing is held.
        self._held: list[Callable[[], None]] | None = None

    @property
    def up(self) -> bool:
        """See `wsredis.gateway.broker.Broker.up`."""
        return self._up

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
        """The link is (again) there."""
        self._server.attach(self)
        self._up = True
        if self._was_up and self._listener is not None:
            for channel in sorted(self._wanted & self._server.forbidden):
                self._wanted.discard(channel)
                self._listener.forbid(channel)
            self._listener.restore(self._read(list(self._wanted)))
        self._was_up = True

    def disconnect(self) -> None:
        """The link is lost."""
        self._server.detach(self)
        self._up = False

    def arrived(self, channel: bytes, payload: bytes) -> None:
        """The server published something."""
        if self._held is not None:
            self._held.append(lambda: self.arrived(channel, payload))
        elif channel in self._wanted and self._listener is not None:
            self._listener.deliver([Publication(channel, payload)])

    def subscribe(self, channels: Sequence[bytes]) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.subscribe`."""
        if not self._server.forbidden.isdisjoint(channels):
            return fail(PermissionDenied("this channel is forbidden"))
        self._wanted.update(channels)
        return succeed(None) if self._up else fail(BrokerUnavailable("there is no link"))

    def pause(self) -> None:
        """See `wsredis.gateway.broker.Broker.pause`."""
        if self._held is None:
            self._held = []

    def resume(self) -> None:
        """See `wsredis.gateway.broker.Broker.resume`."""
        held, self._held = self._held or [], None
        for position, step in enumerate(held):
            step()
            if self._held is not None:
                # Held again: the rest waits in front of what came meanwhile.
                self._held[:0] = held[position + 1 :]
                return

    def unsubscribe(self, channels: Sequence[bytes]) -> None:
        """See `wsredis.gateway.broker.Broker.unsubscribe`."""
        self._wanted.difference_update(channels)

    def publish(self, channels: Sequence[bytes], payload: bytes) -> Deferred[None]:
        """See `wsredis.gateway.broker.Broker.publish`."""
        if not self._up:
            return fail(BrokerUnavailable("there is no link"))
        if not self._server.forbidden.isdisjoint(channels):
            return fail(PermissionDenied("this channel is forbidden"))
        for channel in channels:
            if self._expire:
                self._server.store(channel, self._expire, payload)
            self._server.publish(channel, payload)
        return succeed(None)

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """See `wsredis.gateway.broker.Broker.fetch`."""
        if not self._up:
            return fail(BrokerUnavailable("there is no link"))
        values = self._read(channels)
        if self._held is None:
            return succeed(values)
        done: Deferred[dict[bytes, bytes]] = Deferred()

        def hand_over() -> None:
            if not done.called:
                done.callback(values)

        self._held.append(hand_over)
        return done

    def _read(self, channels: Sequence[bytes]) -> dict[bytes, bytes]:
        values = {channel: self._server.value(channel) for channel in channels}
        return {channel: value for channel, value in values.items() if value}
