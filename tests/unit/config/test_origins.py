"""Tests for `wsredis.config.origins`."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.origins import (
    HOST_HEADER,
    ORIGIN,
    check_allowed_host,
    check_allowed_origin,
    default_port,
)


class AllowedOriginTests(SynchronousTestCase):
    """`check_allowed_origin`."""

    def test_brought_into_form(self) -> None:
        """An entry becomes scheme, host and port in lower case."""
        for text, expected in {
            "*": "*",
            " * ": "*",
            "*.Example.com": "*.example.com",
            "https://example.com": "https://example.com:443",
            "https://example.com/": "https://example.com:443",
            " HTTP://Example.COM ": "http://example.com:80",
            "http://example.com:8080": "http://example.com:8080",
            "http://localhost": "http://localhost:80",
            "http://127.0.0.1:9": "http://127.0.0.1:9",
            "http://[::1]:8080": "http://[::1]:8080",
            "https://a_b.example.com": "https://a_b.example.com:443",
            "chrome-extension://abcdef": "chrome-extension://abcdef",
            "https://*.Example.com": "https://*.example.com:443",
            "http://*.example.com:81/": "http://*.example.com:81",
            "file://": "file://",
            " FILE:// ": "file://",
            "app://": "app://",
            "capacitor://localhost": "capacitor://localhost",
        }.items():
            self.assertEqual(expected, check_allowed_origin(text), text)

    def test_same_twice(self) -> None:
        """A normalized origin stays as it is."""
        for text in ("*", "*.a.example", "https://*.a.example", "http://[::1]", "app://abc"):
            once = check_allowed_origin(text)
            self.assertEqual(once, check_allowed_origin(once))

    def test_refused(self) -> None:
        """A string that is not an origin is refused in one line that shows it."""
        for text in (
            "",
            "example.com",
            "null",
            "file",
            "file:",
            "file://:80",
            "http://",
            "ws://",
            "https://",
            "https://*",
            "https://*.",
            "https://*.*.com",
            "https://a.*.com",
            "*example.com",
            "*.",
            "**",
            "*.*.com",
            "https://example.com/path",
            "https://example.com?x",
            "https://user@example.com",
            "https://example.com:port",
            "https://example.com:",
            "https://example.com https://example.org",
            "https://exa mple.com",
            "https://.example.com",
            "https://example.com.",
            "https://example.com\nX: y",
            "://example.com",
            "1http://example.com",
        ):
            error = self.assertRaises(ValueError, check_allowed_origin, text)
            self.assertIn(repr(text), str(error))
            self.assertNotIn("\n", str(error))


class AllowedHostTests(SynchronousTestCase):
    """`check_allowed_host`."""

    def test_brought_into_form(self) -> None:
        """An entry is a name, names below one, both, an address, or any name; in lower case."""
        for text, expected in {
            "Example.com": "example.com",
            " localhost ": "localhost",
            "*.example.com": "*.example.com",
            ".example.com": ".example.com",
            "*": "*",
            "192.0.2.1": "192.0.2.1",
            "[2001:DB8::1]": "[2001:db8::1]",
        }.items():
            self.assertEqual(expected, check_allowed_host(text))

    def test_refused(self) -> None:
        """A string that is not a host is refused in one line that shows it."""
        for text in ("", ".", "*.", "a:80", "https://a", "a b", "a.*.b", "*a.b", "::1", "a/", "a."):
            error = self.assertRaises(ValueError, check_allowed_host, text)
            self.assertIn(repr(text), str(error))


class MeantTests(SynchronousTestCase):
    """The messages name what was probably meant."""

    def meant(self, check: Callable[[str], str], text: str) -> str:
        """The end of the message about *text*."""
        error = self.assertRaises(ValueError, check, text)
        return str(error).partition("; did you mean ")[2]

    def test_origin(self) -> None:
        """The origin of a URL, and of a host with a port, which may be the one of a page."""
        for text, meant in (
            ("localhost:3000", "http://localhost:3000?"),
            ("https://a.example/app?x", "https://a.example?"),
            ("example.com", "http://example.com?"),
            ("null:", ""),
            ("", ""),
            ("a b", ""),
        ):
            self.assertEqual(meant, self.meant(check_allowed_origin, text), text)

    def test_host(self) -> None:
        """The host of a URL, and of a host with a port."""
        for text, meant in (
            ("https://a.example:8080/x", "a.example?"),
            ("localhost:80", "localhost?"),
            ("*.", ""),
            ("", ""),
        ):
            self.assertEqual(meant, self.meant(check_allowed_host, text), text)


class GrammarTests(SynchronousTestCase):
    """The expressions for the headers."""

    def test_default_port(self) -> None:
        """The ports that an origin leaves out; none for an unknown scheme."""
        found = [default_port(scheme) for scheme in ("http", "https", "ws", "wss", "file")]
        self.assertEqual(["80", "443", "80", "443", ""], found)

    def test_origin(self) -> None:
        """An origin has scheme, host and port, of which the last two may be missing."""
        for text, expected in {
            "https://example.com": ("https", "example.com", None),
            "http://example.com:81": ("http", "example.com", "81"),
            "file://": ("file", None, None),
        }.items():
            match = ORIGIN.fullmatch(text)
            assert match is not None
            self.assertEqual(expected, match.groups())
        for text in ("null", "", "https://a, https://b", "https://a/b", "https://a b"):
            self.assertIsNone(ORIGIN.fullmatch(text), text)

    def test_host(self) -> None:
        """A Host header has a host and perhaps a port."""
        for text, expected in {
            "example.com": ("example.com", None),
            "example.com:8080": ("example.com", "8080"),
            "[::1]:80": ("[::1]", "80"),
        }.items():
            match = HOST_HEADER.fullmatch(text)
            assert match is not None
            self.assertEqual(expected, match.groups())
        for text in ("", ":80", "a b", "user@example.com", "example.com:x", "example.com/"):
            self.assertIsNone(HOST_HEADER.fullmatch(text), text)
