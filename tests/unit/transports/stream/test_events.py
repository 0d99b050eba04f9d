"""Tests for `wsredis.transports.stream.events`."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from tests.support.event_stream import Event, Reader, dechunked, message_of
from wsredis.transports.stream import events


class FormatTests(SynchronousTestCase):
    """The bytes of events. Messages of all kinds are in the tests of properties."""

    def test_plain(self) -> None:
        """A line of text is one line of data."""
        self.assertEqual(b"data: hello\n\n", events.message(b"hello"))

    def test_lines(self) -> None:
        """Each line of a text is a line of data, also an empty one at the end."""
        self.assertEqual(b"data: a\ndata: \ndata: b\ndata: \n\n", events.message(b"a\n\nb\n"))

    def test_return(self) -> None:
        """Text with a CR is the JSON of a string, and has no line end then."""
        made = events.message("ä\r\nb".encode())
        self.assertEqual('event: json\ndata: "ä\\r\\nb"\n\n'.encode(), made)

    def test_binary(self) -> None:
        """What is not UTF-8 is Base64; so is all of a dialect that is binary."""
        self.assertEqual(b"event: binary\ndata: /w==\n\n", events.message(b"\xff"))
        self.assertEqual(b"event: binary\ndata: YQ==\n\n", events.binary(b"a"))

    def test_mark(self) -> None:
        """A mark stands in the same event, for each kind of message."""
        mark = events.mark("0123abcd-7")
        for payload in (b"a", "ä".encode(), b"a\nb", b"a\rb", b"\xff"):
            (event,) = Reader().feed(events.message(payload, mark))
            self.assertEqual("0123abcd-7", event.last_id)

    def test_named(self) -> None:
        """An event of the gateway has a name, and an object as its data."""
        (event,) = Reader().feed(events.named("close", {"code": 4403, "reason": "a\r\nb"}))
        self.assertEqual("close", event.type)
        self.assertEqual({"code": 4403, "reason": "a\r\nb"}, json.loads(event.data))

    def test_comment(self) -> None:
        """A comment is no event, and does not end one."""
        reader = Reader()
        self.assertEqual([], reader.feed(events.COMMENT))
        self.assertEqual(1, reader.comments)


class ReaderTests(SynchronousTestCase):
    """The reader reads the examples of the standard as the standard says."""

    def read(self, text: str) -> list[Event]:
        """Read a stream."""
        self.reader = Reader()
        return self.reader.feed(text.encode())

    def test_examples(self) -> None:
        """The examples of 9.2.6."""
        self.assertEqual(
            [Event("message", "YHOO\n+2\n10", "")], self.read("data: YHOO\ndata: +2\ndata: 10\n\n")
        )
        found = self.read(
            ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third\n\n"
        )
        self.assertEqual(
            [
                Event("message", "first event", "1"),
                Event("message", "second event", ""),
                Event("message", " third", ""),
            ],
            found,
        )
        self.assertEqual(
            [Event("message", "", ""), Event("message", "\n", "")],
            self.read("data\n\ndata\ndata\n\ndata:"),
        )
        self.assertEqual(
            [Event("message", "test", "")] * 2, self.read("data:test\n\ndata: test\n\n")
        )

    def test_unfinished(self) -> None:
        """An event without its empty line is none; a block with an ID alone sets the ID."""
        self.assertEqual([], self.read("id: 9\n\ndata: x\n"))
        self.assertEqual("9", self.reader.last_id)

    def test_line_ends(self) -> None:
        """CR, LF and both together end a line; a BOM at the begin is nothing."""
        found = self.read("\ufeffdata: a\r\ndata: b\rdata: c\n\r\nretry: 5\nretry: x\nid: a\0b\n")
        self.assertEqual([Event("message", "a\nb\nc", "")], found)
        self.assertEqual((5, ""), (self.reader.retry, self.reader.last_id))

    def test_messages(self) -> None:
        """Three kinds of events bring messages."""
        self.assertEqual("x", message_of(Event("message", "x", "")))
        self.assertEqual("\r", message_of(Event("json", '"\\r"', "")))
        self.assertEqual(b"\xff", message_of(Event("binary", "/w==", "")))

    def test_chunks(self) -> None:
        """Chunks that are not whole wait."""
        self.assertEqual((b"ab", b"5\r\nab", False), dechunked(b"2\r\nab\r\n5\r\nab"))
        self.assertEqual((b"ab", b"next", True), dechunked(b"2\r\nab\r\n0\r\n\r\nnext"))
