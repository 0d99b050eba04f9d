"""Tests for `wsredis.config.subscriber`."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.subscriber import read_subscriber
from wsredis.django import Subscriber


class Lists:
    """A class with nothing but lists, as a project may have it."""

    subscription_channels = ("subscribe-user", "subscribe-server")
    publish_channels: ClassVar[list[str]] = ["publish-user"]


class Store:
    """A class without a base."""

    subscription_channels = publish_channels = ("subscribe-broadcast",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def set_pubsub_channels(self, request: Any, channels: list[str]) -> None:
        """Choose nothing."""


class ReadTests(SynchronousTestCase):
    """`read_subscriber`."""

    def overridden(self, **attributes: object) -> tuple[str, ...]:
        """Return what a class with these attributes overrides."""
        return read_subscriber(type("Own", (Subscriber,), attributes)).overridden

    def test_lists(self) -> None:
        """The flags are those of both lists, and a class with no more than them does nothing."""
        found = read_subscriber(Lists)
        self.assertEqual(("subscribe-user", "subscribe-server"), found.subscribe_flags)
        self.assertEqual(("publish-user",), found.publish_flags)
        self.assertEqual(((), ()), (found.overridden, found.uncalled))
        self.assertEqual(f"{__name__}.Lists", found.name)
        self.assertEqual((), read_subscriber(Subscriber).overridden)
        self.assertEqual((), self.overridden(subscription_channels=["subscribe-server"]))

    def test_overridden(self) -> None:
        """All that takes the place of something of the base counts, and helpers do not."""

        def method(self: object) -> None:
            raise AssertionError

        self.assertEqual((), self.overridden(helper=method, limit=5, __doc__="Words."))
        for name in (
            *("set_pubsub_channels", "publish_message", "send_persisted_messages", "release"),
            *("_get_message_channels", "get_prefix", "_expire", "__init__", "__getattribute__"),
            *("_connection", "_publishers", "_subscription"),
            *("parse_response", "get_file_descriptor"),
        ):
            self.assertEqual((name,), self.overridden(**{name: method}))

    def test_inherited(self) -> None:
        """A class of the project between it and the base counts as well, and a mixin too."""

        class Mixin:
            def release(self) -> None:
                """Release."""

        class First(Subscriber):
            def publish_message(self, message: bytes, expire: int | None = None) -> None:
                """Publish nothing."""

        class Second(Mixin, First):
            pass

        found = read_subscriber(Second)
        self.assertEqual(("publish_message", "release"), found.overridden)
        methods = ("set_pubsub_channels", "publish_message", "release")
        self.assertEqual([False, True, True], [*map(found.overrides, methods)])

    def test_uncalled(self) -> None:
        """Methods that wait for Redis by themselves are named, and the old name of another."""

        class Old(Subscriber):
            def send_persited_messages(self, websocket: Any) -> None:
                """Send nothing."""

            def parse_response(self) -> None:
                """Read nothing."""

        class Both(Subscriber):
            def send_persisted_messages(self, websocket: Any) -> None:
                """Send nothing."""

            send_persited_messages = send_persisted_messages

        self.assertEqual(
            ("parse_response", "send_persited_messages"), read_subscriber(Old).uncalled
        )
        self.assertEqual(("send_persisted_messages",), read_subscriber(Both).overridden)
        self.assertEqual((), read_subscriber(Both).uncalled)

    def test_no_base(self) -> None:
        """A class without a base is used if it can be, and is refused if it cannot."""
        found = read_subscriber(Store)
        self.assertEqual(("__init__", "set_pubsub_channels"), found.overridden)

        class InC(dict[str, int]):
            """A class whose signature nobody knows."""

            subscription_channels = publish_channels = ()
            set_pubsub_channels = dict.update

        self.assertIn("set_pubsub_channels", read_subscriber(InC).overridden)

        class NotMade(Store):
            def __init__(self) -> None:
                """Take no connection."""

        class Helps(Lists):
            def check(self) -> None:
                """Check nothing."""

        for cls, words in (
            (NotMade, "cannot be made with a connection"),
            (Helps, "no set_pubsub_channels"),
        ):
            error = self.assertRaises(ValueError, read_subscriber, cls)
            self.assertIn(words, str(error))
            self.assertIn("wsredis.django.Subscriber", str(error))

    def test_not_a_class(self) -> None:
        """A function, and a class whose lists are missing or are strings, are refused."""
        for value in (len, 5, None, Lists(), type("A", (), {"publish_channels": ["a"]})):
            self.assertRaises(ValueError, read_subscriber, value)
        for wrong in ("subscribe-user", [5], None):
            cls = type("A", (Lists,), {"subscription_channels": wrong})
            self.assertRaises(ValueError, read_subscriber, cls)
