"""Tests for `wsredis.gateway.hello`: what a client is told of itself."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.support.connections import (
    ALL,
    BROADCAST,
    GROUP,
    JOHN,
    SESSION,
    USER,
    ConnectionCase,
)
from wsredis.gateway.hello import hello, notice
from wsredis.gateway.identity import Identity

NOBODY = Identity()


class HelloTests(ConnectionCase):
    """The notice that comes first."""

    prefix = "app"

    def test_all(self) -> None:
        """It names the rights, the user and the time between two heartbeats."""
        connection, _ = self.new(ALL, {USER, GROUP})
        connection.granted = connection.granted.with_hints(("unknown flag", "foreign page"))
        self.assertEqual(
            {
                "id": connection.id,
                "heartbeat": 25.0,
                "subscribe": ["broadcast", "group", "user", "session"],
                "publish": ["group", "user"],
                "user": "john",
                "hints": ["unknown flag", "foreign page"],
            },
            hello(connection, 25.0),
        )

    def test_without_a_channel(self) -> None:
        """A right that gives no channel is not among them: that client hears nothing by it."""
        for identity, words in (
            (NOBODY, ["broadcast"]),
            (replace(JOHN, groups=(), session=None), ["broadcast", "user"]),
            (Identity("a:b"), ["broadcast"]),
        ):
            connection, _ = self.new(ALL, identity=identity)
            self.assertEqual(words, hello(connection, None)["subscribe"])

    def test_name(self) -> None:
        """The user is named to those only who ask for more than everybody's messages."""
        for subscribe, publish, name in (
            ({BROADCAST}, {BROADCAST}, None),
            ({BROADCAST, SESSION}, (), "john"),
            ((), {USER}, "john"),
        ):
            connection, _ = self.new(subscribe, publish)
            self.assertEqual(name, hello(connection, None)["user"])

    def test_no_secret(self) -> None:
        """Anyone who has the key of a session can act as its user: a page is not told."""
        connection, _ = self.new(ALL, ALL)
        self.assertNotIn("s3ss10n", str(hello(connection, None)))

    def test_notice(self) -> None:
        """A notice is ASCII, whatever is in it, and never empty."""
        connection, _ = self.new(ALL, identity=Identity("jürgen"))
        data = notice("hello", hello(connection, 1.0))
        self.assertTrue(data.isascii())
        self.assertEqual("jürgen", json.loads(data)["hello"]["user"])
