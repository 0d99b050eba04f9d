"""Tests for `wsredis.publisher.sync`."""

from __future__ import annotations

from typing import Any

import redis

from tests.unit.publisher.case import PublishCase, messages, request_of
from wsredis.publisher import RedisMessage, RedisPublisher


class PublishTests(PublishCase):
    """The commands that are sent."""

    def test_publish(self) -> None:
        """Each channel is stored, then published, in one round trip; receivers are counted."""
        self.assertEqual(3, self.publisher().publish_message("x"))
        expected = [
            ("SETEX", b"broadcast:f", "60", b"x"),
            ("PUBLISH", b"broadcast:f", b"x"),
            ("SETEX", b"user:john:f", "60", b"x"),
            ("PUBLISH", b"user:john:f", b"x"),
        ]
        self.assertEqual([expected], self.client.trips)

    def test_stored_prefix(self) -> None:
        """Stored messages may have names of their own; channels keep theirs."""
        publisher = self.publisher(users=(), stored_prefix="ws")
        publisher.publish_message("x")
        expected = [("SETEX", b"ws:broadcast:f", "60", b"x"), ("PUBLISH", b"broadcast:f", b"x")]
        self.assertEqual([expected], self.client.trips)
        publisher.fetch_message(None, "f")
        self.assertEqual([("MGET", b"ws:broadcast:f")], self.client.trips[-1])

    def test_transaction(self) -> None:
        """A pipeline is a transaction, unless that is not wanted."""
        publisher = self.publisher(users=())
        self.assertEqual(1, publisher.pipeline_publish_message("x"))
        self.assertEqual(1, publisher.pipeline_publish_message("x", transaction=False))
        names = [[args[0] for args in trip] for trip in self.client.trips]
        self.assertEqual([["MULTI", "SETEX", "PUBLISH"], ["SETEX", "PUBLISH"]], names)

    def test_expire(self) -> None:
        """The argument goes before the setting; 0 or less does not store."""
        publisher = self.publisher(users=())
        for expire in (5, 0, -1):
            publisher.publish_message("x", expire)
        self.publisher(users=(), expire=0).publish_message("x", expire=None)
        shown = [[args[2] for args in trip] for trip in self.client.trips]
        self.assertEqual([["5", b"x"], [b"x"], [b"x"], [b"x"]], shown)

    def test_wrong_expire(self) -> None:
        """A value that is not a whole number is refused, and nothing is sent."""
        for wrong in (0.5, 5.0, "5", True):
            with self.assertRaisesRegex(ValueError, "expire: .* is not a whole number of seconds"):
                self.publisher().publish_message("x", wrong)  # type: ignore[arg-type]
            with self.assertRaisesRegex(ValueError, "expire: .* is not a whole number of seconds"):
                self.publisher(expire=wrong)
        self.assertEqual([], self.client.trips)

    def test_nobody(self) -> None:
        """Without a recipient nothing is sent; a wrong message is refused all the same."""
        publisher = RedisPublisher(connection=self.client)
        self.assertEqual(0, publisher.publish_message("x"))
        with self.assertRaises(ValueError):
            publisher.publish_message(None)  # type: ignore[arg-type]
        self.assertEqual([], self.client.trips)

    def test_messages(self) -> None:
        """A string, bytes and a RedisMessage are published alike."""
        publisher = self.publisher(users=(), expire=0)
        for message in ("ü", "ü".encode(), RedisMessage("ü")):
            publisher.publish_message(message)  # type: ignore[arg-type]
        self.assertEqual({"ü".encode()}, {trip[0][2] for trip in self.client.trips})

    def test_wrong_messages(self) -> None:
        """The heartbeat, and a value that is not a message, are refused; nothing is sent."""
        publisher = self.publisher(heartbeat="--beat--")
        for wrong, what in ((None, "NoneType"), (5, "int"), ([b"message", b"c", b"x"], "list")):
            with self.assertRaisesRegex(ValueError, f"str, bytes or RedisMessage, not {what}"):
                publisher.publish_message(wrong)  # type: ignore[arg-type]
        for beat in ("--beat--", b"--beat--"):
            with self.assertRaisesRegex(ValueError, "heartbeat"):
                publisher.publish_message(beat)
        self.assertEqual([], self.client.trips)

    def test_full(self) -> None:
        """Where Redis refuses to store, it has published: a warning tells, once."""
        self.client.refuse["SETEX"] = redis.ResponseError("OOM")
        with self.assertLogs("wsredis.publisher", "WARNING") as logs:
            self.assertEqual(3, self.publisher().publish_message("x"))
        shown = ["Redis refuses to store messages, they are published only: OOM"]
        self.assertEqual(shown, messages(logs))

    def test_refused(self) -> None:
        """Where Redis refuses to publish, its words are raised."""
        self.client.refuse["PUBLISH"] = redis.ResponseError("NOPERM")
        with self.assertRaisesRegex(redis.ResponseError, "NOPERM"):
            self.publisher().publish_message("x")

    def test_lost(self) -> None:
        """A connection that breaks is raised, nothing is repeated."""
        self.client.refuse["SETEX"] = redis.ConnectionError("lost")
        with self.assertRaisesRegex(redis.ConnectionError, "lost"):
            self.publisher().publish_message("x")
        self.assertEqual(1, len(self.client.trips))


class FetchTests(PublishCase):
    """The messages that are stored."""

    def setUp(self) -> None:
        """A message for each audience."""
        super().setUp()
        names = ("session:k", "user:john", "group:chess", "group:go", "broadcast")
        self.client.values = {f"{name}:f".encode(): name.encode() for name in names}
        self.request = request_of("john", memberof=["chess", "go"], key="k")

    def fetch(self, request: Any, audience: str = "any") -> bytes | None:
        """The message of facility f."""
        return RedisPublisher(connection=self.client).fetch_message(request, "f", audience)

    def test_order(self) -> None:
        """Session, user, groups, broadcast: the first that is not empty, in one round trip."""
        found = []
        while (value := self.fetch(self.request)) is not None:
            found.append(value)
            self.client.values[value + b":f"] = b""
        expected = [b"session:k", b"user:john", b"group:chess", b"group:go", b"broadcast"]
        self.assertEqual(expected, found)
        self.assertEqual({1}, {len(trip) for trip in self.client.trips})

    def test_audience(self) -> None:
        """One audience alone can be asked for; an unknown one has nothing."""
        for audience, expected in (
            ("session", b"session:k"),
            ("user", b"user:john"),
            ("group", b"group:chess"),
            ("broadcast", b"broadcast"),
            ("everybody", None),
        ):
            self.assertEqual(expected, self.fetch(self.request, audience))

    def test_anonymous(self) -> None:
        """An anonymous visitor gets the broadcast message, and so does no visitor at all."""
        for request in (None, request_of()):
            self.assertEqual(b"broadcast", self.fetch(request))
            for audience in ("session", "user", "group"):
                self.assertIsNone(self.fetch(request, audience))
