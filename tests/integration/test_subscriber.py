"""``WS4REDIS_SUBSCRIBER`` with methods: the real program, Redis, threads and base classes."""

from __future__ import annotations

import os
from pathlib import Path
from signal import SIGTERM
from typing import Any

from tests.integration.test_django import DjangoCase
from tests.support.children import Gateway, RedisServer, clean_environment, until
from tests.support.django_project import SETTINGS, Project
from tests.support.ws4redis import missing_package

_EXAMPLES = Path(__file__).parents[2] / "docs/examples"

_CLASSES = "tests.support.project.subscribers"


class SubscriberCase(DjangoCase):
    """A test case with a project whose settings name its Redis."""

    def start_with(self, cls: str, *options: str, **settings: Any) -> None:
        """Start a gateway for a project with this subscriber class."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        connection = {"unix_socket_path": self.redis.path, **settings}
        self.project = Project(WS4REDIS_SUBSCRIBER=cls, WS4REDIS_CONNECTION=connection)
        self.addCleanup(self.project.remove)
        environ = clean_environment(self.project.environ)
        environ["PYTHONPATH"] += f"{os.pathsep}{_EXAMPLES}"
        words = ("--django", SETTINGS, "--drain-spread", "0", "--drain", "0")
        self.gateway = Gateway(*words, *options, environ=environ)
        self.addCleanup(self.gateway.stop)

    def value(self, key: str) -> object:
        """Return what is stored in Redis."""
        return self.redis.command("GET", key)


class OriginalTests(SubscriberCase):
    """Heirs of the classes of django-websocket-redis, as it is published."""

    skip = DjangoCase.skip or missing_package()

    def test_subscriber(self) -> None:
        """All methods are honoured, and clients without a user do not share a channel."""
        self.start_with(f"{_CLASSES}.Rooms")
        self.assertEqual((403, b"unknown room"), self.refused("/ws/secret?subscribe-broadcast", ""))
        self.redis.command("SET", "broadcast:f", "stored")
        (john,) = self.project.log_in("john")
        query = "Subscribe-SERVER&subscribe-broadcast&subscribe-user&publish-user&echo"
        client = self.open(f"/ws/f?{query}", john)
        self.assertEqual(b"welcome", client.message())
        self.assertEqual(b"stored", client.message())
        self.check_heard(client, "server:news", "broadcast:f", "user:john:f")
        for number in range(5):
            client.send_text(str(number))
        got = [client.message() for _ in range(5)]
        self.assertEqual([b"<%d>" % number for number in range(5)], got)
        # The original publishes a message first, and stores it then.
        until(lambda: self.value("user:john:f") == b"<4>")
        strangers = [self.open(f"/ws/f?{query}&subscribe-session") for _ in range(2)]
        for stranger in strangers:
            self.assertEqual([b"welcome", b"stored"], [stranger.message(), stranger.message()])
        strangers[0].send_text("for nobody")
        self.check_heard(strangers[1], "broadcast:f")
        self.assertEqual({b"broadcast:f", b"server:news", b"user:john:f"}, self.channels())
        strangers[0].socket.close()
        # The client that was refused counts as well.
        until(lambda: self.value("released") == b"2")

    def channels(self) -> set[bytes]:
        """Return the channels of clients that the gateway has subscribed to."""
        found: Any = self.redis.command("PUBSUB", "CHANNELS")
        return {name for name in found if b"wsredis" not in name}

    def test_store(self) -> None:
        """A class that subscribes by itself has no more than it subscribes to."""
        self.start_with(f"{_CLASSES}.Store", decode_responses=True)
        john, _ = self.project.log_in("john", "mary")
        client = self.open("/ws/f?subscribe-broadcast&echo", john)
        self.check_heard(client, "user:john:f")
        client.send_text("mine")
        self.assertEqual(b"mine", client.message())
        self.assertEqual({b"user:john:f"}, self.channels())

    def test_cannot_be_called(self) -> None:
        """The gateway starts without the methods only if it is told to, and names them then."""
        self.start_with(f"{_CLASSES}.Reads", "--ignore-subscriber-methods")
        self.gateway.child.wait_for(r"WS4REDIS_SUBSCRIBER: \S+\.Reads overrides parse_response")
        self.check_heard(self.open("/ws/f?subscribe-broadcast"), "broadcast:f")
        environ = clean_environment(self.project.environ)
        error = self.assertRaises(AssertionError, Gateway, "--django", SETTINGS, environ=environ)
        self.assertIn("WS4REDIS_SUBSCRIBER", str(error))


class ExampleTests(SubscriberCase):
    """The class of the guide, an heir of `wsredis.django.Subscriber`."""

    def test_example(self) -> None:
        """Rooms for staff, an audience of its own, a counter, and messages that are refused."""
        self.start_with("chat_subscriber.ChatSubscriber", "--drain", "60")
        (john,) = self.project.log_in("john")
        denied = self.refused("/ws/staff-room?subscribe-broadcast", john)
        self.assertEqual((403, b"for staff only"), denied)
        query = "subscribe-server&subscribe-broadcast&publish-broadcast"
        first, second = (self.open(f"/ws/f?{query}", john) for _ in range(2))
        for client in (first, second):
            self.assertEqual(b"welcome", client.message())
        self.assertEqual(b"2", self.value("present:f"))
        first.send_text("  hello ")
        self.assertEqual(b"hello", second.message())
        self.check_heard(second, "server:news")
        second.send_text("/quit")
        self.assertEqual(1008, second.closing())
        until(lambda: self.value("present:f") == b"1")
        self.gateway.child.signal(SIGTERM)
        self.assertEqual(1001, first.closing())
        first.socket.close()
        self.gateway.child.wait()
        self.assertEqual(b"0", self.value("present:f"), "the stop waits for it")
        self.assertNotIn("release() failed", self.gateway.log)

    def test_redis_away(self) -> None:
        """Without Redis a client is asked to come again, and those that are in stay."""
        self.start_with("chat_subscriber.ChatSubscriber")
        client = self.open("/ws/f?subscribe-broadcast")
        self.assertEqual(b"welcome", client.message())
        self.redis.kill()
        self.assertEqual(503, self.refused("/ws/f?subscribe-broadcast")[0])
        self.redis.start()
        until(lambda: self.redis.channels())
        self.check_heard(client, "broadcast:f")
