"""The channel layer, as Django Channels uses it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Any
from uuid import uuid4
from weakref import WeakSet, finalize

from channels.layers import BaseChannelLayer

from wsredis.errors import ConfigError
from wsredis.layer.gaps import calling_consumer, check_on_gap, hears_gaps
from wsredis.layer.gateway_channels import GatewayChannels
from wsredis.layer.hosts import read_hosts
from wsredis.layer.messages import Codec, Message
from wsredis.layer.names import client_of
from wsredis.layer.station import Settings, Station

__all__ = ["ChannelLayer"]

#: Settings of channels_redis that have no meaning here.
_WITHOUT_MEANING = frozenset({"on_disconnect", "on_reconnect", "random_prefix_length"})


class ChannelLayer(BaseChannelLayer):
    """
    A channel layer on Redis, in the place of those of channels_redis.

    It has two connections for each host and process, whatever the number of its event loops and
    threads. Messages to a group are one publication. A membership in a group is a subscription,
    which ends with its process. A message to a worker channel goes to exactly one worker.

    While Redis is away, `send`, `group_send` and `group_add` raise at once, and `receive` waits.
    When Redis is back, consumers that have a method ``layer_gap`` get an event ``layer.gap``:
    messages may have been lost.

    Args:
        hosts: A list: URLs, pairs of host name and port, or dictionaries with arguments of
            redis-py, also of Sentinels. If empty, it is localhost. Of several hosts, the name of a
            group, a process or a worker channel decides which one is used.
        prefix: The first part of all names in Redis.
        expiry: Seconds after which a message that nobody has received is dropped.
        group_expiry: Seconds after which a channel leaves a group, unless it is added again.
        capacity: Number of messages that may wait for one channel.
        channel_capacity: Other capacities, by patterns of names, as ``{"http.*": 200}``.
        symmetric_encryption_keys: A list of secrets. The first encrypts, and all decrypt. If empty,
            nothing is encrypted.
        serializer_format: "msgpack" or "json".
        on_gap: If it is "close", WebSocket consumers without a method ``layer_gap`` close with 1012
            after a gap. If it is "tell", they are not told.
        gateway_groups: Whether groups that begin with ``ws.broadcast.``, ``ws.user.``,
            ``ws.group.`` or ``ws.session.`` are channels of the gateway; on the first of several
            hosts.
        gateway_prefix, gateway_stored_prefix: The prefixes of the gateway. If None, they are those
            of the gateway in this process, or else those of publishers.
        others: Settings of channels_redis that have no meaning here are ignored: on_disconnect,
            on_reconnect and random_prefix_length.

    Raises:
        ConfigError: A setting is not known, or cannot be used. The text names it.
    """

    extensions = ["groups", "flush"]

    def __init__(
        self,
        hosts: Sequence[Any] | None = None,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: Mapping[Any, int] | None = None,
        symmetric_encryption_keys: Sequence[str | bytes] | None = None,
        serializer_format: str = "msgpack",
        on_gap: str = "tell",
        gateway_groups: bool = True,
        gateway_prefix: str | None = None,
        gateway_stored_prefix: str | None = None,
        **others: object,
    ) -> None:
        _refuse_unknown(others)
        if not isinstance(prefix, str) or not prefix:
            raise ConfigError("prefix: a string is needed")
        for name, value in (
            ("expiry", expiry),
            ("group_expiry", group_expiry),
            ("capacity", capacity),
        ):
            _check_number(name, value)
        if not isinstance(channel_capacity, (Mapping, type(None))):
            raise ConfigError("channel_capacity: a dictionary is needed")
        for pattern, value in (channel_capacity or {}).items():
            if not isinstance(pattern, (str, re.Pattern)):
                raise ConfigError(f"channel_capacity: {pattern!r} is not a pattern of names")
            _check_number(f"channel_capacity: {pattern!r}", value)
        super().__init__(expiry=expiry, capacity=capacity)
        self.channel_capacity = self.compile_capacities(channel_capacity or {})
        self.prefix = prefix
        self.group_expiry = group_expiry
        self._on_gap = check_on_gap(on_gap)
        self._codec = Codec(
            serializer_format, symmetric_encryption_keys or (), max_age=int(expiry) + 10
        )
        gateway = GatewayChannels(gateway_prefix, gateway_stored_prefix)
        self._settings = Settings(
            hosts=read_hosts(hosts),
            codec=self._codec,
            # Not a method: the layer is not to be kept alive by its connections.
            capacity=partial(_capacity, list(self.channel_capacity), capacity),
            prefix=prefix,
            expiry=expiry,
            group_expiry=group_expiry,
            gateway=gateway if gateway_groups else None,
        )
        self._made: list[Station] = []
        finalize(self, _close, self._made)
        _layers.add(self)

    def __repr__(self) -> str:
        names = ", ".join(host.target.name for host in self._settings.hosts)
        return f"<ChannelLayer on {names}>"

    @property
    def client_prefix(self) -> str:
        """The part of the names of channels that tells the process."""
        return self._station.client

    @property
    def _station(self) -> Station:
        made = self._made
        if not made:
            with _making:
                if not made:
                    made.append(Station(self._settings))
        return made[0]

    # -- The interface of layers

    async def send(self, channel: str, message: Message) -> None:
        """
        Send a message to a channel.

        Raises:
            ChannelFull: Too many messages wait for it. For a channel of another process that is not
                known; such a message is dropped there.
            OSError: Redis is away; see `wsredis.layer.LayerUnavailable`.
        """
        self.require_valid_channel_name(channel)
        client = client_of(channel)
        if client is not None or isinstance(message, dict):
            # The layer on pub/sub of channels_redis takes any value for a worker channel.
            _check_message(message)
        if client is None:
            station = self._station
            await station.queues.send(station.home, channel, self._codec.encode(message))
        else:
            await self._station.send(client, channel, message)

    async def receive(self, channel: str) -> Message:
        """
        Wait for the next message to a channel.

        If several wait for the same one, each message goes to one of them.
        """
        station = self._station
        # Almost always a consumer comes back with its name, which was checked when it was made.
        mailbox = station.mailboxes.get(channel)
        if mailbox is not None and station.is_joined:
            return (await mailbox.receive(station.home)).take()
        self.require_valid_channel_name(channel)
        client = client_of(channel)
        if client is None:
            return await station.queues.receive(station.home, channel)
        if client != station.client:
            raise AssertionError(f"Wrong client prefix: {channel} belongs to another process")
        await station.join()
        return await station.receive(channel)

    async def new_channel(self, prefix: str = "specific") -> str:
        """Return the name of a new channel of this process."""
        station = self._station
        consumer = calling_consumer(self)
        channel = f"{prefix}.{station.client}!{uuid4().hex}"
        self.require_valid_channel_name(channel)
        await station.join()
        station.open(channel, consumer, consumer is not None and hears_gaps(consumer, self._on_gap))
        return channel

    async def group_add(self, group: str, channel: str) -> None:
        """
        Put a channel into a group.

        Raises:
            OSError: Redis is away. The channel is not in the group.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._station.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Take a channel out of a group, if it is in."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._station.group_discard(group, channel)

    async def group_send(self, group: str, message: Message) -> None:
        """
        Send a message to all channels of a group.

        A channel for which too many messages wait does not get it.

        Raises:
            OSError: Redis is away.
            ValueError: It is a channel of the gateway, whose clients cannot get such a message.
        """
        _check_message(message)
        self.require_valid_group_name(group)
        await self._station.group_send(group, message)

    async def flush(self) -> None:
        """Forget all messages and groups, in all processes."""
        await self._station.flush()

    # -- Besides

    def tell_gaps(self, channel: str, told: bool = True) -> None:
        """
        Let a channel of this process get ``layer.gap`` events, or not.

        Consumers of Channels that have a method ``layer_gap`` get them anyway.
        """
        self._station.open(channel, None, told)

    async def close_pools(self) -> None:
        """Do nothing. Programs for channels_redis call it at the end of an event loop."""

    async def close(self) -> None:
        """End the connections. The next use makes new ones; what comes until then is lost."""
        for station in self._made:
            station.close()

    def serialize(self, message: Any) -> bytes:
        """Encode a message."""
        return self._codec.encode(message)

    def deserialize(self, payload: bytes) -> Any:
        """Decode a message."""
        return self._codec.decode(payload)

    def _forked(self) -> None:
        for station in self._made:
            station.abandon()
        self._made.clear()


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ConfigError(f"{name}: {value!r} is not a number above 0")


def _refuse_unknown(others: Mapping[str, object]) -> None:
    unknown = sorted(others.keys() - _WITHOUT_MEANING)
    if unknown:
        raise ConfigError(f"the CONFIG of the channel layer has unknown keys: {', '.join(unknown)}")


def _check_message(message: object) -> None:
    # The kind of error that other layers raise.
    if not isinstance(message, dict):
        raise AssertionError("message is not a dict")
    if "__asgi_channel__" in message:
        raise AssertionError("the key __asgi_channel__ is reserved")


def _capacity(patterns: Iterable[tuple[Any, int]], default: int, channel: str) -> int:
    return next((value for pattern, value in patterns if pattern.match(channel)), default)


def _close(made: list[Station]) -> None:
    """End the connections of a layer that is not used any more, or at the end of the program."""
    for station in made:
        loop = None if station.home is None else station.home.loop
        if loop is not None and loop.is_running():
            # The garbage collection may have interrupted anything, also the station.
            loop.call_soon_threadsafe(station.close)
        else:
            station.close()


#: All layers of the process, and what one is made with in it.
_layers: WeakSet[ChannelLayer] = WeakSet()
_making = Lock()


def _after_fork() -> None:
    global _making
    _making = Lock()
    for layer in list(_layers):
        layer._forked()


os.register_at_fork(after_in_child=_after_fork)
