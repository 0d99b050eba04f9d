"""Clients of plain sockets and workers of Django Channels: what clients say, as events for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from wsredis.channels import Access, Audience
from wsredis.config import ForwardConfig
from wsredis.config.forward import channel_for
from wsredis.gateway.broker import PublishWaiter, WorkerQueue
from wsredis.gateway.identity import Identity
from wsredis.group_names import gateway_group
from wsredis.worker_queues import bell_name, queue_key

__all__ = ["Encode", "Forward", "Forwarder", "Speaker", "reply_group"]

#: Encodes an event for a worker, as the layer does that the worker reads with.
Encode = Callable[[Mapping[str, object]], bytes]


class Forwarder:
    """
    Knows the worker channels of facilities, and makes the events.

    Args:
        encode: Makes the bytes that a worker reads.
        database: The number of the database of Redis.

    Attributes:
        encode: As it was given.
    """

    def __init__(self, config: ForwardConfig, encode: Encode, database: int = 0) -> None:
        self._config = config
        self._database = database
        self.encode = encode

    def hears(self, facility: str) -> bool:
        """Tell whether there is a worker channel for what clients of *facility* say."""
        return channel_for(self._config.channels, facility) is not None

    def queue(self, facility: str) -> WorkerQueue | None:
        """Find the list for what clients of *facility* say. None if there is none."""
        config = self._config
        channel = channel_for(config.channels, facility)
        if channel is None:
            return None
        return WorkerQueue(
            queue_key(config.prefix, channel),
            bell_name(config.prefix, self._database, channel),
            config.capacity,
            config.expiry,
        )


class Speaker(PublishWaiter, Protocol):
    """The methods of a connection whose messages are forwarded."""

    def push_on(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        """See `wsredis.gateway.connection.Connection.push_on`."""

    def forwarded(self, count: int) -> None:
        """Count messages that a worker will hear."""

    def not_forwarded(self, error: Exception, channel: str) -> None:
        """Act on a message that no worker will hear: close, and log."""


class Forward:
    """
    Hands over what one client says, and hears of the outcome.

    Args:
        access: What the client may do; `Access.forward` is set.
        queue: The list for it.
    """

    __slots__ = ("_connection", "_event", "_forwarder", "_queue")

    def __init__(
        self,
        connection: Speaker,
        forwarder: Forwarder,
        queue: WorkerQueue,
        identity: Identity,
        access: Access,
    ) -> None:
        self._connection = connection
        self._forwarder = forwarder
        self._queue = queue
        #: Every event of this client, apart from what it says.
        self._event: dict[str, Any] = {
            "type": "gateway.receive",
            "facility": access.facility,
            "user": identity.user,
            "groups": list(identity.groups),
            "session": identity.session,
            "reply": reply_group(identity, access),
        }

    def hand_over(self, payload: bytes) -> None:
        """Append a message of the client to the list. It may be closed before this returns."""
        try:
            said: dict[str, Any] = {"text": payload.decode()}
        except UnicodeDecodeError:
            said = {"bytes": payload}
        event = self._forwarder.encode({**self._event, **said})
        self._connection.push_on(self._queue, event, self)

    # -- wsredis.gateway.broker.PublishWaiter

    @property
    def origin(self) -> str:
        """See `wsredis.gateway.broker.PublishWaiter.origin`."""
        return self._connection.origin

    def published(self, count: int, size: int) -> None:
        """See `wsredis.gateway.broker.PublishWaiter.published`."""
        self._connection.forwarded(count)
        self._connection.published(count, size)

    def not_published(self, error: Exception, size: int) -> None:
        """See `wsredis.gateway.broker.PublishWaiter.not_published`."""
        self._connection.not_forwarded(error, self._queue.key.decode())
        # Only now: no further message of the client is read before.
        self._connection.published(1, size)


def reply_group(identity: Identity, access: Access) -> str | None:
    """
    Name the group that reaches one client and as few others as can be.

    Returns:
        The name of the group of its session, or of its user, on its facility: of one that it hears,
        if there is one. A client that sends a message by POST hears nothing by that, and may hear
        the answer elsewhere. None if it has no such name, or if that would be too long for
        Channels.
    """
    owners = ((Audience.SESSION, identity.session), (Audience.USER, identity.user))
    for audience, owner in sorted(owners, key=lambda each: each[0] not in access.subscribe):
        if owner:
            try:
                return gateway_group(audience.value, owner, access.facility)
            except ValueError:
                continue
    return None
