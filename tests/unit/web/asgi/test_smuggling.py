"""
Requests of any form, well-formed and not, against a slow and strict reader of RFC 9112.

Whatever the bytes and however they come: the application sees the requests that the reader sees, in
their order and with their bodies, and none after the first one that has a second meaning.
"""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.web.asgi.http_case import HttpCase

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(
    rb"(" + _TOKEN + rb") (?:http://([a-z]+(?::[0-9]+)?))?(/[\x21\x22\x24-\x7e]*) HTTP/1\.1\r\n"
)
_HEADER = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e]*?)[ \t]*\r\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t -~]*)?\r\n")

Seen = list[tuple[bytes, bytes, bytes, bytes]]


def slowly(data: bytes) -> Seen:
    """Return the parts of each request before the first one that is bad or not whole."""
    found: Seen = []
    while (request := _request(data.removeprefix(b"\r\n") if found else data)) is not None:
        seen, is_last, data = request
        found.append(seen)
        if is_last:
            break
    return found


def _request(data: bytes) -> tuple[tuple[bytes, bytes, bytes, bytes], bool, bytes] | None:
    line = _LINE.match(data)
    if line is None:
        return None
    data = data[line.end() :]
    headers: dict[bytes, list[bytes]] = {}
    while (header := _HEADER.match(data)) is not None:
        headers.setdefault(header[1].lower(), []).append(header[2])
        data = data[header.end() :]
    if not data.startswith(b"\r\n") or len(headers.get(b"host", [])) != 1:
        return None
    data = data[2:]
    lengths = headers.get(b"content-length", [])
    codings = headers.get(b"transfer-encoding", [])
    options = b",".join(headers.get(b"connection", [])).lower().split(b",")
    is_last = b"close" in [each.strip() for each in options]
    parts = (line[1].upper(), line[3], line[2] or headers[b"host"][0])
    if codings:
        if lengths or [each.lower() for each in codings] != [b"chunked"]:
            return None
        chunked = _chunks(data)
        return None if chunked is None else ((*parts, chunked[0]), is_last, chunked[1])
    size = 0
    if lengths:
        if len(lengths) > 1 or not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
            return None
        size = int(lengths[0])
    if len(data) < size:
        return None
    return (*parts, data[:size]), is_last, data[size:]


def _chunks(data: bytes) -> tuple[bytes, bytes] | None:
    body = b""
    while True:
        head = _CHUNK.match(data)
        if head is None:
            return None
        data, size = data[head.end() :], int(head[1], 16)
        if not size:
            break
        if data[size : size + 2] != b"\r\n":
            return None
        body, data = body + data[:size], data[size + 2 :]
    while (trailer := re.match(_TOKEN + rb":[\t\x20-\x7e\x80-\xff]*\r\n", data)) is not None:
        data = data[trailer.end() :]
    return (body, data[2:]) if data.startswith(b"\r\n") else None


_BODIES = st.sampled_from(
    [
        b"",
        b"hello",
        b"0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"2;a=b\r\nhe\r\n0\r\nT: x\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n",
        b"5\nhello\n0\n\n",
        b"005\r\nhello\r\n0\r\n",
    ]
)

_HEADERS = st.lists(
    st.sampled_from(
        [
            b"Content-Length: 5\r\n",
            b"Content-Length: 0\r\n",
            b"content-length:5\r\n",
            b"Content-Length: +5\r\n",
            b"Content-Length: 5, 5\r\n",
            b"Content_Length: 5\r\n",
            b"Content-Length : 5\r\n",
            b"Content-Length: 5\n",
            b"\r\nContent-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Transfer-Encoding:chunked\r\n",
            b"transfer-encoding: CHUNKED\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding:\x0bchunked\r\n",
            b"Transfer-Encoding:\r\n chunked\r\n",
            b"Transfer_Encoding: chunked\r\n",
            b"Transfer-Encoding : chunked\r\n",
            b"X: y\rTransfer-Encoding: chunked\r\n",
            b"X: y\nTransfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"Connection: keep-alive\r\n",
            b"Host: y\r\n",
            b"X: y\r\n",
            b" folded\r\n",
        ]
    ),
    max_size=3,
)

_METHODS = st.sampled_from([b"GET", b"PUT", b"GET ", b"P\x00"]) | st.just(b"POST")
_TARGETS = st.sampled_from([b"/b?c", b"/", b"/a b", b"x", b"http://h:1/a"]) | st.just(b"/a")


def _written(line: tuple[bytes, bytes, bytes], before: list[bytes], after: list[bytes]) -> bytes:
    method, target, body = line
    lines = b"%bHost: x\r\n%b" % (b"".join(before), b"".join(after))
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, lines, body)


_LINES = st.tuples(_METHODS, _TARGETS, _BODIES)
_REQUESTS = st.lists(st.builds(_written, _LINES, _HEADERS, _HEADERS), min_size=1, max_size=3)
#: Requests whose headers are the same, which are not read again.
_ALIKE = st.builds(
    lambda lines, before, after: [_written(line, before, after) for line in lines],
    st.lists(_LINES, min_size=2, max_size=4),
    _HEADERS.map(lambda headers: headers[:1]),
    _HEADERS.map(lambda headers: headers[:1]),
)


class SmugglingTests(HttpCase):
    """An application behind a client that may send anything."""

    def seen(self, data: bytes, cuts: list[int]) -> Seen:
        """Send bytes in parts; return the requests whose bodies the application has seen whole."""
        seen: Seen = []

        async def application(scope: Any, receive: Any, send: Any) -> None:
            body, more = b"", True
            while more:
                event = await receive()
                if event["type"] != "http.request":
                    return
                body, more = body + event["body"], event["more_body"]
            query = scope["query_string"]
            seen.append(
                (
                    scope["method"].encode(),
                    scope["raw_path"] + (b"?" + query if query else b""),
                    dict(scope["headers"])[b"host"],
                    body,
                )
            )
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body"})

        self.application = application
        client = self.connect()
        cuts = sorted({each % (len(data) + 1) for each in cuts})
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            if start < end:
                client.send(data[start:end])
                self.turn()
        client.leave()
        self.turn()
        return seen

    @settings(max_examples=300, deadline=None, derandomize=True, database=None)
    @given(_REQUESTS | _ALIKE, st.lists(st.integers(0, 999), max_size=8))
    def test_same(self, requests: list[bytes], cuts: list[int]) -> None:
        """It sees what the strict reader sees, however the bytes come."""
        data = b"".join(requests)
        expected = slowly(data)
        self.assertEqual(expected, self.seen(data, []), data)
        self.assertEqual(expected, self.seen(data, cuts), data)

    def test_known(self) -> None:
        """The attacks of the books come to nothing; the last request of each line is harmless."""
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        for headers, body in (
            (b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", b"0\r\n\r\n" + smuggled),
            (b"Transfer-Encoding: chunked\r\nContent-Length: 49\r\n", b"0\r\n\r\n" + smuggled),
            (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n", b"0\r\n\r\n" + smuggled),
            (b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 0\r\n", smuggled),
            (b"Content-Length: 0\r\nContent-Length: 37\r\n", smuggled),
            (b"Transfer-Encoding: chunked\r\n", b"5\r\nhelloX\r\n0\r\n\r\n" + smuggled),
            (b"Transfer-Encoding: chunked\r\n", b"5;\nhello\r\n0\r\n\r\n" + smuggled),
            (b"Transfer-Encoding: chunked\r\n", b"5\r\nhello0\r\n\r\n" + smuggled),
            (b"X:\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", b"0\r\n\r\n" + smuggled),
        ):
            data = b"POST /a HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + body
            self.assertEqual([], self.seen(data, []), data)
