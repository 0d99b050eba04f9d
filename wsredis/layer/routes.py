"""How the messages to a group travel: where, and in which form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wsredis.layer.carrier import Command
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
    def shown(self) -> str:
        """The name for the log: without secrets."""

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
        """List the commands that send a message to all of the group but the worker channels."""

    def parcel(self, payload: bytes) -> Parcel:
        """
        Read a publication.

        Raises:
            BadPayload: It cannot be read.
        """


class _OwnRoute:
    """The way to a group of the layer's own."""

    __slots__ = ("_codec", "channel", "group", "host", "queues", "shown")

    def __init__(self, group: str, host: int, names: Names, codec: Codec) -> None:
        self.group = self.shown = group
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


class Routes:
    """
    Finds the way to a group.

    Args:
        names: Those on each host.
    """

    def __init__(self, names: Sequence[Names], codec: Codec) -> None:
        self._names = names
        self._codec = codec
        self._known: dict[str, Route] = {}

    def find(self, group: str) -> Route:
        """Return the way to *group*, whose name is valid."""
        route = self._known.get(group)
        if route is None:
            if len(self._known) >= _MAX_ROUTES:
                self._known.clear()
            route = self._known[group] = self._make(group)
        return route

    def _make(self, group: str) -> Route:
        host = host_of(group, len(self._names))
        return _OwnRoute(group, host, self._names[host], self._codec)
