"""Tests of the checks of events."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.web.asgi import events
from wsredis.web.asgi.events import (
    ClientDisconnected,
    HeaderKind,
    Start,
    body_of,
    check_links,
    check_start,
    header_lines,
    status_line,
    type_of,
)


class TypeTests(SynchronousTestCase):
    """`type_of` and `body_of`."""

    def test_type(self) -> None:
        """An event is a mapping with a type, and nothing else is."""
        self.assertEqual("x", type_of({"type": "x", "more": 1}))

        class Event(dict[str, Any]):
            """A mapping of the application's own."""

        self.assertEqual("x", type_of(Event(type="x")))
        for bad in ({}, {"type": None}, {"type": b"x"}, [], None, "type"):
            self.assertRaises(TypeError, type_of, bad)

    def test_body(self) -> None:
        """A body is bytes; one that could change later is copied, and a missing one is empty."""
        changing = bytearray(b"abc")
        body = body_of({"body": changing})
        changing[0] = 0
        self.assertEqual(b"abc", body)
        self.assertEqual(b"abc", body_of({"body": memoryview(b"abc")}))
        self.assertEqual(b"", body_of({}))
        for bad in ("abc", None, 3, [b"a"]):
            self.assertRaises(TypeError, body_of, {"body": bad})

    def test_error(self) -> None:
        """The error for a client that has gone is one of the operating system."""
        self.assertTrue(issubclass(ClientDisconnected, OSError))


class StartTests(SynchronousTestCase):
    """`check_start`."""

    def start(self, *headers: Any, **more: Any) -> Start:
        """Check the begin of an answer with these headers."""
        return check_start(
            {"type": "http.response.start", "status": 200, "headers": headers, **more}
        )

    def test_headers(self) -> None:
        """Headers become lines, in their order, with their duplicates, whatever pairs are."""
        found = self.start((b"a", b"1"), [b"B", b" 2"], (b"a", b""), (bytearray(b"c"), b"3"))
        self.assertEqual(
            Start(200, [b"a: 1\r\n", b"B:  2\r\n", b"a: \r\n", b"c: 3\r\n"], None, *[False] * 3),
            found,
        )
        self.assertEqual(found, self.start((b"a", b"1"), [b"B", b" 2"], (b"a", b""), (b"c", b"3")))

    def test_nothing(self) -> None:
        """Headers may be missing; unknown keys are no mistake."""
        self.assertEqual(
            Start(404, [], None, False, False, False), check_start({"status": 404, "x": 1})
        )

    def test_of_the_server(self) -> None:
        """How the body is coded is up to the server; length, connection and date are understood."""
        found = self.start(
            (b"Transfer-Encoding", b"chunked"),
            (b"Content-Length", b"12"),
            (b"Connection", b"x, Close"),
            (b"DATE", b"now"),
            trailers=True,
        )
        self.assertEqual(Start(200, [b"DATE: now\r\n"], 12, True, True, True), found)
        self.assertFalse(self.start((b"connection", b"keep-alive")).is_last)

    def test_status(self) -> None:
        """A status is 200 to 999; an enumeration of ints is as good."""
        from http import HTTPStatus

        self.assertEqual(404, check_start({"status": HTTPStatus.NOT_FOUND}).status)
        for bad in (None, "200", 200.0):
            self.assertRaises(TypeError, check_start, {"status": bad})
        self.assertRaises(TypeError, check_start, {})
        for number in (0, 101, 199, 1000, -5):
            self.assertRaises(ValueError, check_start, {"status": number})

    def test_wrong_types(self) -> None:
        """A str where bytes belong raises, and so does what is no pair."""
        for bad in (("a", b"1"), (b"a", "1"), (b"a", None), (b"a",), b"ab", 5):
            self.assertRaises((TypeError, ValueError), self.start, bad)
        for headers in ("ab", b"ab", None, 5):
            self.assertRaises(TypeError, check_start, {"status": 200, "headers": headers})

    def test_smuggled(self) -> None:
        """A name that is no token, and a value with a control character, raise."""
        for name in (b"", b"a b", b"a:", b"a\r\n", b"\xc3", b"a\x00", b":a", b"a\t"):
            self.assertRaises(ValueError, self.start, (name, b"1"))
        for value in (b"a\r\nb: c", b"\n", b"\r", b"\x00", b"a\x0bb", b"\x7f", b"\x1e"):
            self.assertRaises(ValueError, self.start, (b"a", value))
        self.start((b"a", b"\t\xe4\xff"))

    def test_length(self) -> None:
        """A length is one number."""
        for value in (b"", b"-1", b"+1", b"1 2", b"0x1", b"1_0", b"1" * 19, b"a"):
            self.assertRaises(ValueError, self.start, (b"content-length", value))
        self.assertRaises(
            ValueError, self.start, (b"content-length", b"1"), (b"Content-Length", b"1")
        )
        self.assertEqual(7, self.start((b"content-length", b" 7 ")).length)

    def test_bounded(self) -> None:
        """Headers that were checked are remembered up to a number and a size."""
        for number in range(2000):
            self.start((b"x-a", b"%d" % number))
        self.start((b"x-a", b"x" * 300))
        self.assertLessEqual(len(events._checked), events._MAX_CHECKED)
        self.assertNotIn((b"x-a", b"x" * 300), events._checked)


class LineTests(SynchronousTestCase):
    """The other lines."""

    def test_lines(self) -> None:
        """Each header has a line and a kind; a single string is none."""
        self.assertEqual(
            [(b"a: 1\r\n", HeaderKind.PLAIN), (b"Date: x\r\n", HeaderKind.DATE)],
            header_lines([(b"a", b"1"), (b"Date", b"x")]),
        )
        self.assertRaises(TypeError, header_lines, "ab")

    def test_links(self) -> None:
        """Hints are the values of Link headers."""
        self.assertEqual([b"Link: </a>\r\n"], check_links({"links": [b"</a>"]}))
        self.assertEqual([], check_links({}))
        self.assertRaises(TypeError, check_links, {"links": b"</a>"})
        self.assertRaises(TypeError, check_links, {"links": ["</a>"]})
        self.assertRaises(ValueError, check_links, {"links": [b"</a>\r\nx: y"]})

    def test_status_line(self) -> None:
        """An unknown status has no phrase."""
        self.assertEqual(b"HTTP/1.1 404 Not Found\r\n", status_line(404))
        self.assertEqual(b"HTTP/1.1 599 \r\n", status_line(599))
        self.assertRaises(ValueError, status_line, 100)
