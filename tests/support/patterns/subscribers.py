"""
Subscriber classes as projects write them, for ``WS4REDIS_SUBSCRIBER``.

Where a class writes anything down, it does so in Redis or as a note: a test reads it there.
"""

from __future__ import annotations

import json
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from ws4redis.publisher import RedisPublisher  # type: ignore[import-untyped]
from ws4redis.redis_store import SELF, RedisMessage, RedisStore  # type: ignore[import-untyped]
from ws4redis.subscriber import RedisSubscriber  # type: ignore[import-untyped]

from tests.support.patterns.notes import note


def _facility(request: Any) -> str:
    return str(request.path_info.replace(settings.WEBSOCKET_URL, "", 1))


class Listener(RedisSubscriber):
    """Allows no client to publish."""

    publish_channels: list[str] = []


class Customized(RedisSubscriber):
    """A class that is ready to be filled, with a method that nobody calls."""

    def helper(self) -> str:
        """Do nothing that concerns sockets."""
        return "nothing"


class Injected(RedisSubscriber):
    """Looks at what Redis sends, which is not possible in the gateway."""

    def parse_response(self) -> Any:
        """Return what came, as it came."""
        return super().parse_response()


class Keeper(RedisSubscriber):
    """Keeps messages of clients, and publishes them with more in them."""

    def publish_message(self, message: bytes, expire: int | None = None) -> None:
        """Write a note, and publish the message with its author."""
        words = json.loads(message.decode("utf-8"))
        note(f"{words['author']}: {words['text']}")
        words["seen"] = True
        super().publish_message(RedisMessage(json.dumps(words)), expire)


class Commands(RedisSubscriber):
    """Takes messages of clients as commands, which are never published as they came."""

    request: Any = None

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Keep the request for later."""
        self.request = request
        super().set_pubsub_channels(request, channels)

    def publish_message(self, message: bytes, expire: int | None = None) -> None:
        """Answer the user; a message that is not JSON is left out."""
        if not isinstance(message, RedisMessage):
            raise ValueError("not a RedisMessage")
        try:
            command = json.loads(message)["command"]
        except ValueError:
            return
        name = self.request.user.get_username()
        answer = RedisPublisher(facility="answers", users=[name])
        answer.publish_message(RedisMessage(f"{command} for {name}"))


class Audience(RedisSubscriber):
    """Tells a signal whom a message concerns, by the channels to which the socket listens."""

    def publish_message(self, message: bytes, expire: int | None = None) -> None:
        """Note the names in the channels, whatever happens, and publish."""
        try:
            names = [str(key).split(":")[2] for key in self._subscription.channels]
            note(f"{','.join(names)} {json.loads(message)['text']}")
        except Exception:
            pass
        super().publish_message(message, expire)


class Rooms(RedisSubscriber):
    """Refuses unknown rooms, after it has subscribed, and reads a number out of the facility."""

    room = None

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Subscribe, and refuse rooms that are not in the database."""
        from django.contrib.auth.models import Group

        super().set_pubsub_channels(request, channels)
        kind, _, name = _facility(request).partition("/")
        if kind == "number":
            self.room = int(name)
        elif not Group.objects.filter(name=name).exists():
            raise PermissionDenied("Unknown room")


class Presence(RedisSubscriber):
    """Tells all sockets of a facility who comes and goes."""

    def __init__(self, connection: Any) -> None:
        self.name: str | None = None
        super().__init__(connection)

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Subscribe, and tell it."""
        super().set_pubsub_channels(request, channels)
        self.name = request.user.get_username()
        self.facility = _facility(request)
        self._connection.sadd(f"{self.get_prefix()}present", self.name)
        self._tell()

    def release(self) -> None:
        """Tell that the socket is gone, if it was there."""
        if self.name is not None:
            self._connection.srem(f"{self.get_prefix()}present", self.name)
            self._tell()
        super().release()

    def _tell(self) -> None:
        names = self._connection.smembers(f"{self.get_prefix()}present")
        words = " ".join(sorted(name.decode() for name in names))
        channel = f"{self.get_prefix()}broadcast:{self.facility}"
        self._connection.publish(channel, f"present: {words}")


class LabStore(RedisStore):
    """Knows one audience more: the server itself."""

    def _get_message_channels(
        self, facility: str = "{facility}", server: bool = False, **more: Any
    ) -> list[str]:
        channels: list[str] = super()._get_message_channels(facility=facility, **more)
        if server:
            channels.append(f"{self.get_prefix()}server:{facility}")
        return channels


class LabPublisher(RedisPublisher, LabStore):
    """Publishes for the server too."""


class LabSubscriber(RedisSubscriber, LabStore):
    """Sets all channels by itself, with the audience of `LabStore`."""

    subscription_channels = [*RedisSubscriber.subscription_channels, "subscribe-server"]
    publish_channels = [*RedisSubscriber.publish_channels, "publish-server"]

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Subscribe to every channel, and set those to publish on."""
        facility = _facility(request)
        self._publishers = set(self._channels(request, facility, channels, "publish"))
        self._subscription = self._connection.pubsub()
        for key in self._channels(request, facility, channels, "subscribe"):
            self._subscription.subscribe(key)

    def _channels(self, request: Any, facility: str, channels: list[str], verb: str) -> list[str]:
        def own(audience: str) -> list[Any]:
            return [SELF] if f"{verb}-{audience}" in channels else []

        return self._get_message_channels(
            request=request,
            facility=facility,
            users=own("user"),
            groups=own("group"),
            sessions=own("session"),
            broadcast=f"{verb}-broadcast" in channels,
            server=f"{verb}-server" in channels,
        )


def server_only(request: Any, channels: list[str]) -> set[str]:
    """Let users hear the broadcast and publish to the server, whatever they ask for."""
    if not request.user.is_authenticated:
        raise PermissionDenied("Please log in")
    return {"subscribe-broadcast", "publish-server"}


class History(RedisSubscriber):
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


class Forgetful(RedisSubscriber):
    """Sends nothing to a socket that opens."""

    def send_persisted_messages(self, websocket: Any) -> None:
        """Send nothing."""


class OldSpelling(RedisSubscriber):
    """Overrides the name that a method had before version 0.5, which nothing calls any more."""

    def send_persited_messages(self, websocket: Any) -> None:
        """Send something of its own."""
        websocket.send("never sent")


class Tenant(RedisSubscriber):
    """Has a prefix for each tenant."""

    @staticmethod
    def get_prefix() -> str:
        """The prefix of the tenant of this process."""
        return "tenant-7:"


class Patterns(RedisSubscriber):
    """Subscribes to patterns, which the gateway cannot do."""

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Subscribe to all that ends in the facility."""
        super().set_pubsub_channels(request, channels)
        self._subscription.psubscribe(f"*{_facility(request)}")


class Elsewhere(RedisSubscriber):
    """Gives its base another connection, as a fake for development does."""

    def __init__(self, connection: Any) -> None:
        import redis

        super().__init__(redis.StrictRedis(**settings.WS4REDIS_CONNECTION))


class Copy(RedisStore):
    """The class of the original as a copy, without inheriting from it, with a wrong signature."""

    subscription_channels = ["subscribe-broadcast", "subscribe-count"]
    publish_channels = ["publish-broadcast"]

    def __init__(self, connection: Any) -> None:
        self._subscription: Any = None
        super().__init__(connection)

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Subscribe to the broadcast, and to the count of it."""
        key = f"{self.get_prefix()}broadcast:{_facility(request)}"
        self._subscription = self._connection.pubsub()
        if "subscribe-broadcast" in channels:
            self._subscription.subscribe(key)
        if "subscribe-count" in channels:
            self._subscription.subscribe(f"{key}:count")
        if "publish-broadcast" in channels:
            self._publishers = {key}

    def send_persisted_messages(self, websocket: Any) -> None:
        """Send what is kept."""
        for channel in self._subscription.channels:
            message = self._connection.get(channel)
            if message:
                websocket.send(message)

    def release(self, request: Any) -> None:
        """Never called with a request."""


class WholeCopy(Copy):
    """A copy that has the methods of the original's loop too."""

    def parse_response(self) -> Any:
        """Wait for Redis."""
        return self._subscription.parse_response()

    def get_file_descriptor(self) -> Any:
        """The socket of the connection to Redis."""
        return self._subscription.connection and self._subscription.connection._sock.fileno()
