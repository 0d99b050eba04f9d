"""Tests for `wsredis.django.subscriber_checks`."""

from __future__ import annotations

from typing import Any

from tests.unit.django.case import AppCase
from wsredis.django import Subscriber


class Lists:
    """A class with nothing but lists."""

    subscription_channels = ("subscribe-server", "subscribe-broadcast")
    publish_channels = ()


class Guard(Subscriber):
    """A class of the time of Django 1.9."""

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Let users in."""
        if request.user.is_authenticated():
            super().set_pubsub_channels(request, channels)

    def release(self) -> None:
        """Release."""

    def parse_response(self) -> None:
        """Read nothing."""


class SubscriberTests(AppCase):
    """`check_subscriber`."""

    def found(self, **settings: object) -> list[tuple[str, str]]:
        """Numbers and texts of the messages for a project with these settings, with hints."""
        from django.test import override_settings

        from wsredis.django.subscriber_checks import check_subscriber

        with override_settings(**settings):
            return [(str(each.id), f"{each.msg}. {each.hint}") for each in check_subscriber()]

    def test_plain(self) -> None:
        """A class that overrides nothing is not worth a word, and a wrong one is another's."""
        for value in ("ws4redis.subscriber.RedisSubscriber", Subscriber, "no.such.Class"):
            self.assertEqual([], self.found(WS4REDIS_SUBSCRIBER=value))
        self.assertEqual([], self.found())

    def test_flags(self) -> None:
        """Flags of its own that stand for nothing are named."""
        ((number, text),) = self.found(WS4REDIS_SUBSCRIBER=Lists)
        self.assertEqual("wsredis.W011", number)
        self.assertIn("subscribe-server stand for no channel", text)
        self.assertNotIn("subscribe-broadcast", text)

    def test_arguments(self) -> None:
        """A method that cannot be called as the gateway does is named, with what it takes."""

        class Wrong(Subscriber):
            def set_pubsub_channels(self, request: Any) -> None:  # type: ignore[override]
                raise NotImplementedError

            @staticmethod
            def publish_message(message: bytes) -> None:  # type: ignore[override]
                raise NotImplementedError

        numbers, texts = zip(*self.found(WS4REDIS_SUBSCRIBER=Wrong), strict=True)
        self.assertEqual(("wsredis.W052", "wsredis.I001"), numbers)
        self.assertIn(
            "WS4REDIS_SUBSCRIBER: set_pubsub_channels is called with (self, request, channels), "
            "and takes (self, request: 'Any')",
            texts[0],
        )

    def test_methods(self) -> None:
        """All that it overrides is named: what is called, what cannot be, and what is outdated."""
        found = self.found(WS4REDIS_SUBSCRIBER=f"{__name__}.Guard")
        numbers, texts = zip(*found, strict=True)
        self.assertEqual(("wsredis.W010", "wsredis.W051", "wsredis.I001"), numbers)
        self.assertIn("parse_response, which the gateway cannot call", texts[0])
        self.assertIn("is_authenticated()", texts[1])
        self.assertIn("calls its set_pubsub_channels, release in a thread", texts[2])
