"""Tests for `wsredis.config.forward`: worker channels by facility."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import ForwardConfig, GatewayConfig, load
from wsredis.config.forward import channel_for
from wsredis.errors import ConfigError


class ForwardTests(SynchronousTestCase):
    """`forward`, `channel_for` and `layer_prefix`."""

    def refused(self, **settings: Any) -> str:
        """The message about a value that is not allowed."""
        error = self.assertRaises(ConfigError, ForwardConfig, **settings)
        return str(error)

    def test_none(self) -> None:
        """Without an entry nothing is forwarded."""
        self.assertEqual((), GatewayConfig().forward.channels)
        self.assertIsNone(channel_for((), "any"))

    def test_first_that_fits(self) -> None:
        """The first pattern that fits decides; a facility may have equals signs."""
        entries = ForwardConfig(channels=("orders/*=orders", "a=b=c-1_.2", "o*=rest")).channels
        for facility, expected in (
            ("orders/1", "orders"),
            ("orders", "rest"),
            ("a=b", "c-1_.2"),
            ("Orders/1", None),
            ("", None),
        ):
            self.assertEqual(expected, channel_for(entries, facility), facility)

    def test_refused(self) -> None:
        """An entry that can forward nothing is refused, and the message names the option."""
        for entry, text in (
            ("orders", "'orders' is not of the form PATTERN=CHANNEL"),
            ("=orders", "'=orders' is not of the form PATTERN=CHANNEL"),
            ("*=", "'' is not the name of a worker channel"),
            ("*=or ders", "'or ders' is not the name of a worker channel"),
            ("*=" + "x" * 100, "is not the name of a worker channel: at most 99 letters"),
            ("*=specific.abc!def", "'specific.abc!def' is a channel of one process"),
        ):
            found = self.refused(channels=(entry,))
            self.assertTrue(found.startswith("forward: "), found)
            self.assertIn(text, found)

    def test_others(self) -> None:
        """The other settings are checked, too."""
        self.assertIn("forward-capacity: ", self.refused(capacity=0))
        self.assertIn("forward-expiry: ", self.refused(expiry=0.5))
        for prefix in ("", "a b", "a\n"):
            self.assertIn("forward-prefix: ", self.refused(prefix=prefix))

    def test_sources(self) -> None:
        """Options and variables have several."""
        found = load({"forward": ["a=b", "c=d"]}, {"WSREDIS_FORWARD_CAPACITY": "5"}).forward
        self.assertEqual((("a=b", "c=d"), 5, 60.0), (found.channels, found.capacity, found.expiry))
        found = load({}, {"WSREDIS_FORWARD": "a=b c=d", "WSREDIS_FORWARD_PREFIX": "x"}).forward
        self.assertEqual((("a=b", "c=d"), "x"), (found.channels, found.prefix))
