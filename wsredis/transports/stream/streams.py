"""All clients without WebSockets of one gateway: what they share, and where they begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from wsredis.auth import Admission, SessionMonitor
from wsredis.config import GatewayConfig
from wsredis.config.networks import Networks
from wsredis.gateway.connection_set import ConnectionSet
from wsredis.gateway.gap import Gap
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Handshake
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.queued_bytes import QueuedBytes
from wsredis.gateway.timers import TimeoutQueue
from wsredis.transports.stream.channel import Caller, StreamChannel
from wsredis.transports.stream.client import Exchange, StreamClient
from wsredis.transports.stream.encoding import EventEncodings, PollEncodings, is_recorded
from wsredis.transports.stream.event_client import EventClient
from wsredis.transports.stream.poll_client import PollClient
from wsredis.transports.stream.publish_client import PublishClient
from wsredis.transports.stream.request import Kind, is_for_streams, kind_of
from wsredis.transports.stream.ring import Ring
from wsredis.transports.websocket.handshake import Handshaker
from wsredis.transports.websocket.head import Head
from wsredis.transports.websocket.registry import Registry
from wsredis.transports.websocket.scheduler import Scheduler
from wsredis.transports.websocket.unfinished import UnfinishedInput

__all__ = ["Streams"]

#: Seconds that a client has to read an answer and to send another request.
_IDLE = 75.0

_T = TypeVar("_T")


class Streams:
    """
    The second transport of a gateway.

    Args:
        admission: Knows which pages are foreign.
        registry, handshaker, sessions, scheduler, inputs, queued, losses: Those of the WebSockets.

    Attributes:
        ring: The publications for clients that come back.
        channels: The connections with requests.
    """

    def __init__(
        self,
        clock: IReactorTime,
        config: GatewayConfig,
        hub: Hub,
        admission: Admission,
        *,
        registry: Registry,
        handshaker: Handshaker,
        sessions: SessionMonitor,
        scheduler: Scheduler,
        inputs: UnfinishedInput,
        queued: QueuedBytes,
        losses: LogThrottle,
    ) -> None:
        self._clock = clock
        self._admission = admission
        self._registry = registry
        self._prefixes = config.url_prefixes
        limits = config.limits
        self.ring = Ring(clock, hub, limits.stream_buffer, is_recorded, limits.max_queue)
        hub.recorder = self.ring
        hub.gaps.watch(self._tell_of_gap)
        shared: dict[str, Any] = {
            "config": config,
            "registry": registry,
            "metrics": hub.metrics,
            "queued": queued,
            "losses": losses,
            "trusted": Networks(config.trusted_proxy),
            "handshaker": handshaker,
            "sessions": sessions,
            "scheduler": scheduler,
            "inputs": inputs,
            "ring": self.ring,
        }
        self._channel = _sharing(StreamChannel, {**shared, "owner": self})
        self._clients: dict[Kind, type[StreamClient]] = {
            Kind.EVENTS: _sharing(EventClient, {**shared, "encodings": EventEncodings(self.ring)}),
            Kind.POLL: _sharing(
                PollClient,
                {**shared, "clock": clock, "hub": hub, "encodings": PollEncodings()},
            ),
            Kind.PUBLISH: _sharing(PublishClient, shared),
        }
        self.channels: ConnectionSet[StreamChannel] = ConnectionSet()
        self._resting: TimeoutQueue[StreamChannel] = TimeoutQueue(
            clock, _IDLE, StreamChannel.time_out
        )

    def serves(self, found: Head) -> bool:
        """Tell whether a request is one of a client without WebSockets."""
        return is_for_streams(found, self._prefixes)

    def channel_for(self, found: Head, caller: Caller) -> StreamChannel:
        """Return the channel of a request that is served here."""
        kind = kind_of(found.method, found.target, found.headers)
        assert kind is not None
        return self._channel(found, kind, caller)

    def start(self) -> None:
        """Begin to look after connections."""
        self.ring.start()
        self._resting.start()

    def drain(self) -> Deferred[None]:
        """
        Close connections that wait for another request.

        Returns:
            Fires when no connection is left. The registry closes streams.
        """
        for channel in self.channels:
            channel.drain()
        return self.channels.when_empty()

    def stop(self) -> None:
        """Reset all connections that are left, and forget the publications."""
        self._resting.stop()
        for channel in self.channels:
            channel.transport.abortConnection()
        self.ring.stop()

    # -- wsredis.transports.stream.channel.ChannelOwner

    def is_foreign(self, handshake: Handshake) -> bool:
        """See `wsredis.transports.stream.channel.ChannelOwner.is_foreign`."""
        return self._admission.is_foreign(handshake)

    def client_for(self, kind: Kind, exchange: Exchange) -> StreamClient:
        """See `wsredis.transports.stream.channel.ChannelOwner.client_for`."""
        return self._clients[kind](exchange)

    def later(self, function: Callable[[], None]) -> IDelayedCall:
        """See `wsredis.transports.stream.channel.ChannelOwner.later`."""
        return self._clock.callLater(0, function)

    def began(self, channel: StreamChannel) -> None:
        """See `wsredis.transports.stream.channel.ChannelOwner.began`."""
        self.channels.add(channel)

    def rests(self, channel: StreamChannel) -> None:
        """See `wsredis.transports.stream.channel.ChannelOwner.rests`."""
        self._resting.add(channel)

    def ended(self, channel: StreamChannel) -> None:
        """See `wsredis.transports.stream.channel.ChannelOwner.ended`."""
        self._resting.discard(channel)
        self.channels.discard(channel)

    def _tell_of_gap(self, gap: Gap) -> None:
        """Let cursors of the time before be worth nothing, and tell streams that are open."""
        self.ring.lose()
        members: Sequence[Any] = [*self._registry.connections]
        for member in members:
            if isinstance(member, StreamClient):
                member.tell_of_gap()


def _sharing(base: type[_T], shared: dict[str, Any]) -> type[_T]:
    """Make a subclass with attributes that all its instances have in common."""
    return type(base.__name__, (base,), shared)
