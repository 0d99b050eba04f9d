"""Tests of `wsredis.auth.grants`."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.grants import check_access, read_channels
from wsredis.channels import Access, Audience
from wsredis.errors import HandshakeRejected


class GrantedTests(SynchronousTestCase):
    """`check_access` and `read_channels`."""

    access = Access(
        "chat.room", frozenset({Audience.BROADCAST, Audience.USER}), frozenset({Audience.USER})
    )

    def test_covered(self) -> None:
        """The flags of all matching patterns are added up."""
        channels = {
            "chat.*": ["subscribe-broadcast"],
            "*.room": ["subscribe-user", "publish"],
            "other": [],
        }
        self.assertIs(self.access, check_access(self.access, read_channels(channels)))
        self.assertEqual(Access("x"), check_access(Access("x"), {}))

    def test_not_covered(self) -> None:
        """A flag beyond the limit is rejected, and named."""
        for channels, words in (
            ({}, "subscribe-broadcast"),
            ({"chat": ["subscribe", "publish"]}, "subscribe-broadcast"),
            ({"chat.*": ["subscribe-broadcast", "publish"]}, "subscribe-user"),
            ({"chat.*": ["subscribe"]}, "publish-user"),
        ):
            error = self.assertRaises(
                HandshakeRejected, check_access, self.access, read_channels(channels)
            )
            self.assertEqual((403, f"you may not {words} here"), (error.status, error.reason))

    def test_no_limit(self) -> None:
        """A value that is not a mapping to lists of flags is an error, whatever its pattern is."""
        for value in (None, [], "x", {"x": "publish"}, {"x": None}, {"x": [1]}, {"x": ["read"]}):
            self.assertRaises(ValueError, read_channels, value)

    def test_forward(self) -> None:
        """A worker hears a client with a limit only if the limit says so; others are let in."""
        asked = replace(self.access, forward=True)
        flags = ["subscribe", "publish"]
        for channels, expected in (
            ({"chat.*": [*flags, "forward"]}, asked),
            ({"chat.*": flags, "*.room": ["forward"]}, asked),
            ({"chat.*": flags, "news": ["forward"]}, self.access),
            ({"chat.*": flags}, self.access),
        ):
            self.assertEqual(expected, check_access(asked, read_channels(channels)))
        self.assertIs(self.access, check_access(self.access, read_channels({"*": flags})))
