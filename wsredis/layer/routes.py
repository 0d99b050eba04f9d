"""How the messages to a group travel: where, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wsredis.layer.carrier import Command
from wsredis.layer.gateway_channels import GatewayChannels
from wsredis.layer.messages import Codec, Message, Parcel
from wsredis.layer.names import Names, host_of

__all__ = ["Route", "Routes"]

#: Groups that are remembered. When there are more, all are forgotten.
_MAX_ROUTES = 10000


class Route(Protocol):
    """The way to one group."""

    @property
    def group(self) -> str:
        """The name of the group."""

    @property
    def host(self) -> int:
        """The number of the Redis."""

    @property
    def channel(self) -> bytes:
        """The name of the publications."""

    @property
    def queues(self) -> bytes | None:
        """The key with the worker channels in the group. If None, it can have none."""

    def commands(self, message: Message) -> Sequence[Command]:
        """
        List the commands that send a message to all of the group but the worker channels.

        Raises:
            ValueError: It cannot be sent to this group.
        """

    def parcel(self, payload: bytes) -> Parcel:
        """
        Read a publication.

        Raises:
            BadPayload: It cannot be read.
        """


class _OwnRoute:
    """The way to a group of the layer's own."""

    __slots__ = ("_codec", "channel", "group", "host", "queues")

    def __init__(self, group: str, host: int, names: Names, codec: Codec) -> None:
        self.group = group
        self.host = host
        self.channel = names.group(group)
        self.queues: bytes | None = names.group_queues(group)
        self._codec = codec

    def commands(self, message: Message) -> Sequence[Command]:
        """See `Route`."""
        return [(b"PUBLISH", self.channel, self._codec.encode(message))]

    def parcel(self, payload: bytes) -> Parcel:
        """See `Route`."""
        return self._codec.parcel(payload)


class _GatewayRoute:
    """The way to a group that is a channel of the gateway."""

    __slots__ = ("_gateway", "channel", "group", "host", "queues")

    def __init__(self, group: str, channel: bytes, gateway: GatewayChannels) -> None:
        self.group = group
        #: Only the first Redis of several is that of the gateway.
        self.host = 0
        self.channel = channel
        self.queues: bytes | None = None
        self._gateway = gateway

    def commands(self, message: Message) -> Sequence[Command]:
        """See `Route`."""
        return self._gateway.publication(self.channel, message)

    def parcel(self, payload: bytes) -> Parcel:
        """See `Route`."""
        event = self._gateway.event(self.channel, payload)
        return Parcel(event, len(payload), event.copy)


class Routes:
    """
    Finds the way to a group.

    Args:
        names: Those on each host.
        gateway: Knows the groups that are channels of the gateway. If None, there are none.
    """

    def __init__(
        self, names: Sequence[Names], codec: Codec, gateway: GatewayChannels | None = None
    ) -> None:
        self._names = names
        self._codec = codec
        self._gateway = gateway
        self._known: dict[str, Route] = {}

    def find(self, group: str) -> Route:
        """
        Return the way to *group*, whose name is valid.

        Raises:
            ValueError: Its name begins like that of a channel of the gateway, and is none.
        """
        route = self._known.get(group)
        if route is None:
            if len(self._known) >= _MAX_ROUTES:
                self._known.clear()
            route = self._known[group] = self._make(group)
        return route

    def _make(self, group: str) -> Route:
        gateway = self._gateway
        channel = None if gateway is None else gateway.channel(group)
        if gateway is not None and channel is not None:
            return _GatewayRoute(group, channel, gateway)
        host = host_of(group, len(self._names))
        return _OwnRoute(group, host, self._names[host], self._codec)
