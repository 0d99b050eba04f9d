"""Tests for `wsredis.gateway.identity`: what every source of identities shares."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.grants import granted, read_channels
from wsredis.channels import Access, Audience
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

BROADCAST, GROUP, USER, SESSION = Audience


class HandshakeTests(SynchronousTestCase):
    """`Handshake`."""

    def make(self, cookie: str | None) -> Handshake:
        """A handshake with a header of cookies."""
        headers = {} if cookie is None else {"cookie": cookie}
        return Handshake(Access("x"), "/ws/x", headers, "peer", "token=secret")

    def test_cookies(self) -> None:
        """Cookies are taken as they stand; the first of a name counts."""
        for header, expected in (
            (None, {}),
            ("", {}),
            ("a=1", {"a": "1"}),
            ("a=1; b=2;c = 3 ", {"a": "1", "b": "2", "c": "3"}),
            ("a=1; a=2", {"a": "1"}),
            ("a; =x; b=c=d", {"": "x", "b": "c=d"}),
            ('a="quoted"', {"a": '"quoted"'}),
        ):
            self.assertEqual(expected, self.make(header).cookies(), header)

    def test_secrets(self) -> None:
        """Neither query nor headers show when a handshake is printed."""
        text = repr(self.make("sessionid=secret"))
        self.assertNotIn("secret", text)
        self.assertIn("/ws/x", text)

    def test_session(self) -> None:
        """Nor does the key of a session, which is as good as a password, with an identity."""
        self.assertNotIn("secret", repr(Identity("john", session="secret")))


class RefusedTests(SynchronousTestCase):
    """`HandshakeRejected`."""

    def test_status(self) -> None:
        """Only a status of HTTP that is an error refuses."""
        self.assertEqual((403, ""), (HandshakeRejected("no").status, HandshakeRejected("no").hint))
        for status in (200, 399, 600):
            self.assertRaises(ValueError, HandshakeRejected, "no", status)


class GrantedTests(SynchronousTestCase):
    """`granted` and `read_channels`."""

    access = Access("chat.room", frozenset({BROADCAST, USER}), frozenset({USER}))

    def test_covered(self) -> None:
        """Rights of all patterns that fit are added up."""
        channels = {
            "chat.*": ["subscribe-broadcast"],
            "*.room": ["subscribe-user", "publish"],
            "other": [],
        }
        self.assertIs(self.access, granted(self.access, read_channels(channels)))
        self.assertEqual(Access("x"), granted(Access("x"), {}))

    def test_not_covered(self) -> None:
        """What goes beyond is refused, and named."""
        for channels, words in (
            ({}, "subscribe-broadcast"),
            ({"chat": ["subscribe", "publish"]}, "subscribe-broadcast"),
            ({"chat.*": ["subscribe-broadcast", "publish"]}, "subscribe-user"),
            ({"chat.*": ["subscribe"]}, "publish-user"),
        ):
            error = self.assertRaises(
                HandshakeRejected, granted, self.access, read_channels(channels)
            )
            self.assertEqual((403, f"you may not {words} here"), (error.status, error.reason))

    def test_no_limit(self) -> None:
        """What is no mapping to lists of flags is an error, whatever its pattern is."""
        for value in (None, [], "x", {"x": "publish"}, {"x": None}, {"x": [1]}, {"x": ["read"]}):
            self.assertRaises(ValueError, read_channels, value)
