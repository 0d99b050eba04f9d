"""Tests for `wsredis.auth.sources.django.subscriber_start`."""

from __future__ import annotations

from twisted.logger import capturedLogs

from tests.unit.auth.sources.django.test_subscriber import SubscriberCase
from wsredis.django import Subscriber
from wsredis.errors import ConfigError


class StartTests(SubscriberCase):
    """What a class must be, at the start."""

    def test_uncalled(self) -> None:
        """A class with methods that cannot be called is refused, or named at each start."""

        class Own(Subscriber):
            def parse_response(self) -> None:
                """Read nothing."""

            def get_file_descriptor(self) -> int:
                return 1

        error = self.assertRaises(ConfigError, self.start, Own)
        self.assertRegex(
            str(error),
            r"^django: WS4REDIS_SUBSCRIBER: \S+\.Own overrides parse_response and "
            r"get_file_descriptor, which the gateway cannot call; with "
            r"--ignore-subscriber-methods it starts without them$",
        )
        with capturedLogs() as events:
            self.start(Own, ignore_subscriber_methods=True)
        levels = [(event["log_level"].name, event["event"]) for event in events]
        self.assertEqual(
            [("warn", "subscriber-methods-ignored"), ("info", "subscriber-methods")], levels
        )

    def test_no_redis(self) -> None:
        """A program that gives it no client of redis-py is told so."""

        class Own(Subscriber):
            def release(self) -> None:
                """Release."""

        self.vary(WS4REDIS_SUBSCRIBER=Own)
        self.assertIn("it needs a Redis", str(self.assertRaises(ConfigError, self.make)))

    def test_plain(self) -> None:
        """A class that overrides nothing costs nothing: strangers need no thread."""
        self.start(type("Own", (Subscriber,), {}))
        self.assertIsNone(self.authenticator.identify(self.handshake()))
        self.assertIsNone(self.identity(cookie=self.log_in("john"))[0].enrol)
