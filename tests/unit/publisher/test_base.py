"""Tests for `wsredis.publisher.base`."""

from __future__ import annotations

from tests.unit.publisher.case import SettingsCase
from wsredis.publisher import RedisMessage


class MessageTests(SettingsCase):
    """The kinds of values that are messages."""

    def test_kinds(self) -> None:
        """A string becomes UTF-8, bytes stay, and a message as redis-py reads it is unpacked."""
        for value, expected in (
            ("Grüße", "Grüße".encode()),
            (b"\x00\xff", b"\x00\xff"),
            (bytearray(b"x"), b"x"),
            ([b"message", b"channel", b"x"], b"x"),
        ):
            message = RedisMessage(value)
            self.assertIsInstance(message, RedisMessage)
            self.assertEqual(expected, message)

    def test_none(self) -> None:
        """The heartbeat, and a value that is not a message, give None."""
        self.use_django(WS4REDIS_HEARTBEAT="--beat--")
        for value in ("--beat--", b"--beat--", 5, None, [], [b"subscribe", b"c", 1], [b"message"]):
            self.assertIsNone(RedisMessage(value))
        self.assertEqual(b"--beat-- x", RedisMessage("--beat-- x"))
