"""The same patterns as in `tests.support.patterns.subscribers`, without the original package."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import PermissionDenied

from tests.support.patterns.notes import note
from wsredis.django import Subscriber


class Keeper(Subscriber):
    """Keeps messages of clients, and publishes them with more in them."""

    def publish_message(self, message: bytes, expire: int | None = None) -> None:
        """Write a note, and publish the message with its author."""
        words = json.loads(message)
        note(f"{words['author']}: {words['text']}")
        words["seen"] = True
        super().publish_message(json.dumps(words).encode(), expire)


class Rooms(Subscriber):
    """Refuses unknown rooms, after it has subscribed, and reads a number out of the facility."""

    room = None

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Subscribe, and refuse rooms that are not in the database."""
        from django.contrib.auth.models import Group

        super().set_pubsub_channels(request, channels)
        kind, _, name = request.facility.partition("/")
        if kind == "number":
            self.room = int(name)
        elif not Group.objects.filter(name=name).exists():
            raise PermissionDenied("Unknown room")


class LabSubscriber(Subscriber):
    """Knows one audience more: the server itself."""

    subscription_channels = [*Subscriber.subscription_channels, "subscribe-server"]
    publish_channels = [*Subscriber.publish_channels, "publish-server"]

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Add the channel of the server to those of the base."""
        super().set_pubsub_channels(request, channels)
        server = f"{self.get_prefix()}server:{request.facility}"
        if "subscribe-server" in channels:
            self._subscription.subscribe(server)
        if "publish-server" in channels:
            self._publishers.add(server)


class History(Subscriber):
    """Keeps a list of messages, and sends all of it to a socket that opens."""

    def send_persisted_messages(self, websocket: Any) -> None:
        """Send the list of each channel."""
        for channel in self._subscription.channels:
            for message in self._connection.lrange(b"history:" + channel, 0, -1):
                websocket.send(message)

    def publish_message(self, message: bytes, expire: int | None = None) -> None:
        """Append to the list, and publish."""
        for channel in self._publishers:
            self._connection.rpush(f"history:{channel}", message)
        super().publish_message(message, expire)
