"""
The base of subscriber classes: ``WS4REDIS_SUBSCRIBER`` of a project without django-websocket-redis.

It can be imported before the apps are loaded, and needs neither a gateway nor Twisted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

from wsredis.channels import FLAGS, stored_key
from wsredis.config.ws4redis import project_value
from wsredis.publisher.base import BasePublisher
from wsredis.publisher.recipients import SELF
from wsredis.publisher.settings import configured_stored_prefix
from wsredis.publisher.sync import RedisPublisher

__all__ = ["Subscriber"]


class Subscriber:
    """
    The subscriber of one client. Override the methods that you want to change.

    The methods have the names and the arguments of ``ws4redis.subscriber.RedisSubscriber``. The
    gateway calls them in threads, those of one client one after the other; they may use the
    database and the cache.

    Args:
        connection: A client of redis-py. All subscribers share its connections. Its ``pubsub()``
            only notes the channels: the gateway subscribes to them.

    Attributes:
        subscription_channels, publish_channels: The flags that a client may ask for. A class may
            have others than the eight of django-websocket-redis.
    """

    subscription_channels: ClassVar[list[str]] = sorted(
        flag for flag in FLAGS if flag.startswith("subscribe-")
    )
    publish_channels: ClassVar[list[str]] = sorted(
        flag for flag in FLAGS if flag.startswith("publish-")
    )

    #: Seconds that messages of clients are stored. If None, ``WS4REDIS_EXPIRE``.
    _expire: int | None = None

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._subscription: Any = None
        self._publishers: set[str] = set()

    @staticmethod
    def get_prefix() -> str:
        """Return the text with which all names begin: the prefix and a colon, or nothing."""
        return BasePublisher().get_prefix()

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """
        Choose the channels of the client. Called once, before its handshake is answered.

        Args:
            request: The request of Django, with ``user``, ``session``, and the ``facility``.
            channels: The flags that the client asked for and was granted, in the order of its URL.

        Raises:
            PermissionDenied: The client is refused with 403 and the text.
        """
        self._publishers = set(self._channels_of(request, channels, "publish"))
        self._subscription = self._connection.pubsub()
        for name in self._channels_of(request, channels, "subscribe"):
            self._subscription.subscribe(name)

    def send_persisted_messages(self, websocket: Any) -> None:
        """Send the stored messages of its channels to the client, when it has been subscribed."""
        encoder = self._connection.connection_pool.get_encoder()
        prefix = configured_stored_prefix()
        keys = [stored_key(prefix, encoder.encode(name)) for name in self._subscription.channels]
        if keys:
            # A client that decodes replies gives bytes all the same: a message may be any bytes.
            found = self._connection.execute_command("MGET", *keys, NEVER_DECODE=[])
            for message in filter(None, found):
                websocket.send(message)

    def publish_message(self, message: bytes, expire: int | None = None) -> None:
        """
        Publish a message of the client on the channels that were chosen.

        Args:
            message: Not empty, and not the heartbeat.
            expire: Seconds that it is stored. 0 or less does not store it. If None, it is
                ``WS4REDIS_EXPIRE``.
        """
        publisher = RedisPublisher(connection=self._connection)
        publisher.channels = tuple(name.encode() for name in sorted(self._publishers))
        publisher.publish_message(message, self._expire if expire is None else expire)

    def release(self) -> None:
        """Free what the client needed. Called once, when it is gone."""
        if self._subscription is not None:
            self._subscription.reset()

    def _channels_of(self, request: Any, channels: Sequence[str], verb: str) -> list[str]:
        return self._get_message_channels(
            request=request,
            facility=_facility(request),
            broadcast=f"{verb}-broadcast" in channels,
            groups=[SELF] if f"{verb}-group" in channels else [],
            users=[SELF] if f"{verb}-user" in channels else [],
            sessions=[SELF] if f"{verb}-session" in channels else [],
        )

    def _get_message_channels(
        self,
        request: Any = None,
        facility: str = "{facility}",
        broadcast: bool = False,
        groups: object = (),
        users: object = (),
        sessions: object = (),
    ) -> list[str]:
        """
        Name channels.

        Args:
            request: A request of Django. Only `wsredis.publisher.SELF` needs it.
            facility: The topic.
            broadcast: Whether to name the channel of all clients.
            groups, users, sessions: Names, or `wsredis.publisher.SELF`.
        """
        publisher = BasePublisher(
            request=request,
            facility=facility,
            broadcast=broadcast,
            groups=groups,
            users=users,
            sessions=sessions,
        )
        return [name.decode() for name in publisher.channels]


def _facility(request: Any) -> str:
    """Return the facility: the gateway has noted it, and a test may have not."""
    noted = getattr(request, "facility", None)
    if noted is not None:
        return str(noted)
    from django.conf import settings

    url = project_value(settings, "WEBSOCKET_URL", "/ws/")
    return str(request.path_info).removeprefix(urlsplit(url).path)
