"""Tests for `wsredis.config.slow_policy`: the policies for slow clients."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import GatewayConfig, load
from wsredis.config.slow_policy import SlowPolicy, policy_for
from wsredis.errors import ConfigError

DISCONNECT, CONFLATE, DROP_OLDEST = SlowPolicy


class SlowPolicyTests(SynchronousTestCase):
    """`slow_policy` and `policy_for`."""

    def refused(self, value: Any) -> str:
        """The message about an entry that is not allowed."""
        error = self.assertRaises(ConfigError, GatewayConfig, slow_policy=(value,))
        return str(error)

    def test_none(self) -> None:
        """Without an entry all slow clients are closed."""
        self.assertIs(DISCONNECT, policy_for((), "any"))
        self.assertEqual((), GatewayConfig().slow_policy)

    def test_first_that_fits(self) -> None:
        """The first pattern that fits decides; a facility may contain equals signs and blanks."""
        entries = GatewayConfig(
            slow_policy=("price.*=conflate", "*.log=drop-oldest", "a = b=conflate", "*=disconnect")
        ).slow_policy
        for facility, expected in (
            ("price.gold", CONFLATE),
            ("price.log", CONFLATE),
            ("x.log", DROP_OLDEST),
            ("a = b", CONFLATE),
            ("Price.gold", DISCONNECT),
            ("", DISCONNECT),
        ):
            self.assertIs(expected, policy_for(entries, facility), facility)

    def test_any(self) -> None:
        """A policy alone, or with a star, is for every facility."""
        self.assertEqual(("*=conflate",), GatewayConfig(slow_policy=("conflate",)).slow_policy)
        self.assertIs(DROP_OLDEST, policy_for(("*=drop-oldest",), "any"))

    def test_variable(self) -> None:
        """A variable has several, with blanks between them."""
        config = load({}, {"WSREDIS_SLOW_POLICY": "a.*=conflate *=drop-oldest"})
        self.assertEqual(("a.*=conflate", "*=drop-oldest"), config.slow_policy)

    def test_not_allowed(self) -> None:
        """The message says what is wrong."""
        for value, expected in (
            ("=conflate", "'=conflate' is neither one of disconnect, conflate, drop-oldest nor"),
            ("", "'' is neither one of disconnect, conflate, drop-oldest nor"),
            (5, "5 is not a string"),
            ("a=", "'a=': '' is not one of disconnect, conflate, drop-oldest"),
            ("a=Conflate", "'a=Conflate': 'Conflate' is not one of disconnect, conflate, drop-"),
            ("a=conflate=b", "'a=conflate=b': 'b' is not one of disconnect, conflate, drop-"),
        ):
            text = self.refused(value)
            self.assertTrue(text.startswith(f"slow-policy: {expected}"), text)
