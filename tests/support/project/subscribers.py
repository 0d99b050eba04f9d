"""Subscriber classes of the project, heirs of those of django-websocket-redis."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from ws4redis.redis_store import SELF, RedisMessage, RedisStore  # type: ignore[import-untyped]
from ws4redis.subscriber import RedisSubscriber  # type: ignore[import-untyped]


class Rooms(RedisSubscriber):  # type: ignore[misc]
    """Refuses a room, knows one more audience, and changes messages in both directions."""

    subscription_channels = [*RedisSubscriber.subscription_channels, "subscribe-server"]

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Refuse a room, and add a channel."""
        if request.path_info.endswith("/secret"):
            raise PermissionDenied("unknown room")
        super().set_pubsub_channels(request, channels)
        if "subscribe-server" in channels:
            self._subscription.subscribe("server:news")

    def send_persisted_messages(self, websocket: Any) -> None:
        """Greet first."""
        websocket.send("welcome")
        super().send_persisted_messages(websocket)

    def publish_message(self, message: Any, expire: int | None = None) -> None:
        """Publish it in brackets."""
        assert isinstance(message, RedisMessage), message
        super().publish_message(RedisMessage(b"<" + message + b">"), expire)

    def release(self) -> None:
        """Count the clients that have gone."""
        super().release()
        self._connection.incr("released")


class Store(RedisStore):  # type: ignore[misc]
    """Subscribes by itself, without the subscriber of the original."""

    subscription_channels = ["subscribe-user"]
    publish_channels = ["publish-user"]

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Subscribe to, and publish on, the channel of the user."""
        facility = request.path_info.replace(settings.WEBSOCKET_URL, "", 1)
        names = self._get_message_channels(request=request, facility=facility, users=[SELF])
        self._subscription = self._connection.pubsub()
        self._subscription.subscribe(names)
        self._publishers.update(names)


class Reads(RedisSubscriber):  # type: ignore[misc]
    """Reads messages by itself."""

    def parse_response(self) -> Any:
        """Read one."""
        return super().parse_response()
