"""Tests for `wsredis.django.subscriber`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.django_project import configured, missing_django
from tests.support.fake_client import FakeClient
from wsredis.django import Subscriber


class _Encoder:
    def encode(self, value: Any) -> bytes:
        return value.encode() if isinstance(value, str) else bytes(value)


class _Pubsub(list[str]):
    """The channels that were subscribed to."""

    channels = property(lambda self: dict.fromkeys(self))

    def subscribe(self, name: str) -> None:
        """Note it."""
        self.append(name)

    def reset(self) -> None:
        """Forget all."""
        self.clear()


class _Connection(FakeClient):
    connection_pool = SimpleNamespace(get_encoder=_Encoder)

    def pubsub(self) -> Any:
        """Note channels."""
        return _Pubsub()


class _Websocket(list[bytes]):
    send = list.append


class SubscriberTests(SynchronousTestCase):
    """`Subscriber`: its defaults do what the gateway does by itself."""

    skip = missing_django()

    def setUp(self) -> None:
        """Make one, and the request of a client."""
        configured()
        self.connection = _Connection()
        self.subscriber: Any = Subscriber(self.connection)
        user = SimpleNamespace(is_authenticated=True, get_username=lambda: "john")
        session: Any = type("Session", (dict,), {"session_key": "k" * 32})()
        session["ws4redis:memberof"] = ["staff", "a:b"]
        self.request = SimpleNamespace(user=user, session=session, facility="room")

    def vary(self, **settings: object) -> None:
        """Change settings of the project until the end of the test."""
        from django.test import override_settings

        changed = override_settings(**settings)
        changed.enable()
        self.addCleanup(changed.disable)

    def choose(self, *flags: str) -> tuple[list[str], list[str]]:
        """Return what is subscribed to, and what is published on."""
        self.subscriber.set_pubsub_channels(self.request, list(flags))
        return list(self.subscriber._subscription), sorted(self.subscriber._publishers)

    def test_channels(self) -> None:
        """The flags stand for the channels that they stand for without a class."""
        self.assertEqual(([], []), self.choose())
        subscribed, published = self.choose(
            *Subscriber.subscription_channels, "publish-group", "publish-broadcast"
        )
        own = ["group:staff:room", "user:john:room", f"session:{'k' * 32}:room"]
        self.assertEqual(["broadcast:room", *own], subscribed)
        self.assertEqual(["broadcast:room", "group:staff:room"], published)
        self.vary(WS4REDIS_PREFIX="site")
        self.assertEqual((["site:user:john:room"], []), self.choose("subscribe-user"))
        self.assertEqual("site:", self.subscriber.get_prefix())

    def test_nobody(self) -> None:
        """A client without user and session has the channel of all only."""
        self.request.user = SimpleNamespace(is_authenticated=False)
        self.request.session = SimpleNamespace(session_key=None)
        flags = (*Subscriber.subscription_channels, *Subscriber.publish_channels)
        self.assertEqual((["broadcast:room"], ["broadcast:room"]), self.choose(*flags))

    def test_no_gateway(self) -> None:
        """In a test of the project the facility is what follows the URL of its WebSockets."""
        del self.request.facility
        self.request.path_info = "/ws/a/b"
        self.assertEqual((["broadcast:a/b"], []), self.choose("subscribe-broadcast"))
        self.vary(WEBSOCKET_URL="wss://example.org/sockets/")
        self.request.path_info = "/sockets/c"
        self.assertEqual((["broadcast:c"], []), self.choose("subscribe-broadcast"))

    def test_publish(self) -> None:
        """A message is stored and published on all channels, in one round trip."""
        self.vary(WS4REDIS_EXPIRE=7)
        self.choose("publish-broadcast", "publish-user")
        self.subscriber.publish_message(b"x")
        self.subscriber.publish_message(b"y", 0)
        self.subscriber._expire = 9
        self.subscriber.publish_message(b"z")
        stored = [[words[2] for words in trip if words[0] == "SETEX"] for trip in self.trips]
        self.assertEqual([["7", "7"], [], ["9", "9"]], stored)
        self.assertEqual(
            [("PUBLISH", b"broadcast:room", b"y"), ("PUBLISH", b"user:john:room", b"y")],
            self.trips[1],
        )

    @property
    def trips(self) -> list[Any]:
        """All commands, by round trip."""
        return self.connection.trips

    def test_stored(self) -> None:
        """The stored messages of its channels are read in one round trip, and sent."""
        websocket = _Websocket()
        self.choose()
        self.subscriber.send_persisted_messages(websocket)
        self.assertEqual([], self.trips)
        self.choose("subscribe-broadcast", "subscribe-user")
        self.connection.values[b"user:john:room"] = b"hello"
        self.subscriber.send_persisted_messages(websocket)
        self.assertEqual([b"hello"], websocket)
        self.vary(WS4REDIS_STORED_PREFIX="kept")
        self.subscriber.send_persisted_messages(websocket)
        self.assertEqual([("MGET", b"kept:broadcast:room", b"kept:user:john:room")], self.trips[-1])

    def test_release(self) -> None:
        """Nothing is left of the channels. It may be called before they are chosen."""
        self.subscriber.release()
        self.choose("subscribe-broadcast")
        self.subscriber.release()
        self.assertEqual([], list(self.subscriber._subscription))
