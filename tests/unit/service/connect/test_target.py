"""Tests for `wsredis.service.connect.target`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError
from wsredis.service.connect.target import Target, read_target


class TargetTests(SynchronousTestCase):
    """`read_target`."""

    def test_forms(self) -> None:
        """A URL is understood as people write it: whole, of a page, without scheme, a path."""
        for text, url, host, port, is_secure in (
            ("ws://h:81/ws/x?a&b", "ws://h:81/ws/x?a&b", "h", 81, False),
            ("WSS://h/x", "wss://h/x", "h", 443, True),
            ("http://h", "ws://h/", "h", 80, False),
            ("https://h:8443/", "wss://h:8443/", "h", 8443, True),
            ("localhost:8080/ws/x", "ws://localhost:8080/ws/x", "localhost", 8080, False),
            ("/ws/x?a", "ws://localhost:8080/ws/x?a", "localhost", 8080, False),
            ("ws://[::1]:81/", "ws://[::1]:81/", "::1", 81, False),
            ("ws://h/x#part", "ws://h/x", "h", 80, False),
        ):
            self.assertEqual(Target(url, host, port, is_secure), read_target(text), text)

    def test_refused(self) -> None:
        """Everything else is refused with a line that says why, and shows no password."""
        for text, part in (
            ("ftp://h/", "the scheme is ftp://"),
            ("ws://", "names no host"),
            ("", "names no host"),
            ("ws://h:x/", "the port is not a number"),
            ("ws://h:70000/", "the port is not a number"),
            ("ws://[::1/", "Invalid IPv6"),
            ("ws://bob:secret@h/", "Authorization: Basic"),
            ("ws://h/a b", "%20"),
            ("ws://h/\x1b", "%20"),
        ):
            error = self.assertRaises(ConfigError, read_target, text)
            self.assertIn(part, str(error))
            self.assertNotIn("secret", str(error))
            self.assertNotIn("\x1b", str(error))
