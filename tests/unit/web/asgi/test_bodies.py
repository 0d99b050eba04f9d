"""Tests of the readers of bodies, also against a slow reader of the grammar of RFC 9112."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from wsredis.web.asgi.bodies import BadBody, ChunkedBody, SizedBody, check_length

_LIMIT = 1000


def read(data: bytes, limit: int = _LIMIT, *, cuts: list[int] | None = None) -> tuple[bytes, bytes]:
    """Read a body in chunks that comes in parts; return it, and what is after it."""
    body, found, rest = ChunkedBody(limit), b"", b""
    cuts = sorted({each % (len(data) + 1) for each in cuts or []})
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        rest += data[start:end]
        again = True
        while again and not body.is_done:
            piece, rest, again = body.read(rest)
            found += piece
    if not body.is_done:
        raise EOFError
    return found, rest


#: The grammar of a body in chunks, without the forms that are allowed and refused here: blanks
#: around the size, and extensions with quoted line ends.
_CHUNK = re.compile(rb"([0-9A-Fa-f]+)(?:[ \t]*;[\t -~]*)?\r\n")
_END = re.compile(rb"(?:[!#-'*+\-.^-z|~0-9A-Z]+:[\t -~\x80-\xff]*\r\n)*\r\n")


def slowly(data: bytes) -> tuple[bytes, bytes]:
    """Read it as the grammar says. Raises: ValueError: It is malformed, or not whole."""
    found = b""
    while True:
        head = _CHUNK.match(data)
        if head is None:
            raise ValueError
        data = data[head.end() :]
        size = int(head[1], 16)
        if size == 0:
            break
        if len(data) < size + 2 or data[size : size + 2] != b"\r\n":
            raise ValueError
        found += data[:size]
        data = data[size + 2 :]
    end = _END.match(data)
    if end is None:
        raise ValueError
    return found, data[end.end() :]


_PART = st.one_of(
    st.sampled_from(
        [b"\r\n", b"0\r\n", b"0\r\n\r\n", b"\n", b"\r", b";a=b", b"A: b\r\n", b" ", b"-"]
    ),
    st.integers(0, 300).map(lambda n: b"%x\r\n" % n + bytes(n) + b"\r\n"),
    st.binary(max_size=5),
)


class ChunkTests(SynchronousTestCase):
    """`ChunkedBody`."""

    def test_good(self) -> None:
        """Chunks, extensions and trailers of any form that the grammar has; the rest stays."""
        for data, body in (
            (b"0\r\n\r\n", b""),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"00005\r\nhello\r\n000\r\n\r\n", b"hello"),
            (b'2;a=b;c="d"\r\nhe\r\n3 ; x\r\nllo\r\n0;y\r\n\r\n', b"hello"),
            (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\nX: y\r\nZ:\r\n\r\n", b"0123456789" * 2),
            (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        ):
            for cut in range(len(data)):
                self.assertEqual((body, b"next"), read(data + b"next", cuts=[cut]), data)
            self.assertEqual((body, b"next"), read(data + b"next", cuts=[*range(len(data))]))

    def test_bad(self) -> None:
        """Whatever only some readers accept is refused, as soon as it is seen."""
        for data in (
            b"\r\n",
            b"5\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhelloX\r\n0\r\n\r\n",
            b"5\r\nhello\r0\r\n\r\n",
            b"5 \r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"+5\r\nhello\r\n",
            b"-5\r\nhello\r\n",
            b"0x5\r\nhello\r\n",
            b"5_0\r\n",
            b"\xef\xbc\x95\r\nhello\r\n",
            b"5;a\nb\r\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"g\r\n",
            b"0000000000000000000005\r\nhello\r\n",
            b"5;" + b"x" * 300 + b"\r\n",
            b"5;" + b"x" * 300,
            b"0\r\nX\r\n\r\n",
            b"0\r\nX : y\r\n\r\n",
            b"0\r\n X: y\r\n\r\n",
            b"0\r\nX: y\nZ: 1\r\n\r\n",
            b"0\r\nX: \x00\r\n\r\n",
            b"0\r\n" + b"X: y\r\n" * 2000,
            b"0\r\nX: " + b"y" * 9000,
            b"0\r\n\n",
        ):
            error = self.assertRaises(BadBody, read, data)
            self.assertEqual(400, error.status)
            self.assertRaises(BadBody, read, data, cuts=[*range(len(data))])

    def test_too_large(self) -> None:
        """A chunk that would be too much is refused before its bytes come."""
        self.assertEqual(413, self.assertRaises(BadBody, read, b"3e9\r\n").status)
        self.assertEqual(b"x" * 1000, read(b"3e8\r\n" + b"x" * 1000 + b"\r\n0\r\n\r\n")[0])
        data = b"3e8\r\n" + b"x" * 1000 + b"\r\n1\r\n"
        self.assertEqual(413, self.assertRaises(BadBody, read, data).status)

    def test_incomplete(self) -> None:
        """A body that is not whole goes on."""
        data = b"5;a\r\nhello\r\n0\r\nX: y\r\n\r\n"
        for end in range(len(data)):
            self.assertRaises(EOFError, read, data[:end])

    def test_in_turns(self) -> None:
        """Many tiny chunks are read a few at a time."""
        data, body, pieces = b"1\r\nx\r\n" * 600 + b"0\r\n\r\n", ChunkedBody(_LIMIT), []
        again = True
        while again:
            piece, data, again = body.read(data)
            pieces.append(len(piece))
        self.assertTrue(body.is_done)
        self.assertEqual(600, sum(pieces))
        self.assertLess(max(pieces), 300)

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(st.lists(_PART, max_size=8), st.lists(st.integers(0, 4000), max_size=6))
    def test_differential(self, parts: list[bytes], cuts: list[int]) -> None:
        """It reads what the grammar says or refuses, however the bytes come."""
        data = b"".join(parts)
        try:
            expected: tuple[bytes, bytes] | None = slowly(data)
        except ValueError:
            expected = None
        for each in ([], cuts, [*range(min(len(data), 600))]):
            try:
                found: tuple[bytes, bytes] | None = read(data, 10**6, cuts=each)
            except (BadBody, EOFError):
                found = None
            self.assertEqual(expected, found, data)


class SizedTests(SynchronousTestCase):
    """`SizedBody`."""

    def test_size(self) -> None:
        """It takes as many bytes as it has, in any parts."""
        body = SizedBody(5)
        self.assertEqual((b"he", b"", False), body.read(b"he"))
        self.assertEqual((False, 3), (body.is_done, body.left))
        self.assertEqual((b"llo", b"GET", False), body.read(b"lloGET"))
        self.assertTrue(body.is_done)


class LengthTests(SynchronousTestCase):
    """`check_length`."""

    def test_good(self) -> None:
        """There is none, a length, or chunks."""
        for headers, length in (
            ({}, 0),
            ({"content-length": "0"}, 0),
            ({"content-length": "0012"}, 12),
            ({"content-length": "1000"}, 1000),
            ({"transfer-encoding": "Chunked"}, None),
        ):
            self.assertEqual(length, check_length(headers, "HTTP/1.1", _LIMIT))
        self.assertEqual(5, check_length({"content-length": "5"}, "HTTP/1.0", _LIMIT))

    def test_bad(self) -> None:
        """Both, two of them, other codings, and numbers that are read in two ways are refused."""
        both = {"content-length": "5", "transfer-encoding": "chunked"}
        for headers in (
            both,
            *(
                {"transfer-encoding": each}
                for each in (
                    "",
                    "identity",
                    "gzip, chunked",
                    "chunked, chunked",
                    "xchunked",
                    "\x0bchunked",
                )
            ),
            *(
                {"content-length": each}
                for each in ("", "5, 5", "5,6", "+5", "-0", "5 ", "0x5", "5_0", "\u0665", "1" * 20)
            ),
        ):
            error = self.assertRaises(BadBody, check_length, headers, "HTTP/1.1", _LIMIT)
            self.assertEqual(400, error.status)
        self.assertRaises(BadBody, check_length, {"transfer-encoding": "chunked"}, "HTTP/1.0", 9)

    def test_too_large(self) -> None:
        """One byte too many is a 413."""
        error = self.assertRaises(BadBody, check_length, {"content-length": "1001"}, "", _LIMIT)
        self.assertEqual(413, error.status)
