"""
The head of an HTTP request: bytes in, outcome out.

Nothing here knows a socket. The rules are stricter than those of Autobahn and of twisted.web, which
both read the same bytes later: nothing may pass that one of them would read in another way.

A handshake as browsers send it is read as a whole, in one pass. Any other is only sorted out here,
and left to Autobahn, which reads it again and judges it.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

__all__ = ["Head", "Kind", "SimpleHandshake", "fields", "loggable_target", "parse"]

#: Characters of a request target that go into one line of the log.
_LOGGED = 200

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/[0-9]\.[0-9])")
# RFC 9112: no folded lines, no blank before the colon, no bare CR or LF. 0x85 is refused as well,
# because Autobahn takes it for the end of a line.
_HEADERS = re.compile(
    rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\x84\x86-\xff]*)*\r\n\r\n"
)
# What a simple handshake is made of. Each pattern takes a part of what Autobahn takes, and nothing
# that Autobahn would read differently. It allows every origin here: `wsredis.auth` has the rules.
_SIMPLE_LINE = re.compile(r"GET (/(?!/)[!\"$-~]*) HTTP/1\.1\r")
_SIMPLE_HEADER = re.compile(r"\r\n([!#$%&'*+\-.^_`|~0-9A-Za-z]+):([^\r]*)")
_SIMPLE_HOST = re.compile(r"[0-9A-Za-z.\-_]+(?::[0-9]{1,5})?")
_SIMPLE_ORIGIN = re.compile(r"https?://[0-9A-Za-z.\-_]+(?::[0-9]{1,4})?")
_SIMPLE_CONNECTION = ("upgrade", "keep-alive, upgrade")
_KEY = re.compile(r"[0-9A-Za-z+/]{22}==")
_PRINTABLE = bytes([0x09, *range(0x20, 0x7F)])

_UPGRADE = re.compile(rb"\r\nupgrade:([^\r]*,)?[\t ]*websocket[\t ]*[,\r]", re.IGNORECASE)


class Kind(Enum):
    """The kinds of request heads."""

    INCOMPLETE = 1
    TOO_LARGE = 2
    MALFORMED = 3
    HTTP = 4
    HANDSHAKE = 5


class SimpleHandshake(NamedTuple):
    """
    A well-formed handshake that Autobahn does not have to check.

    Attributes:
        target: The request target, percent-encoded, with the query.
        headers: Values by names in lower case. Each came once.
        protocols: The subprotocols that are offered, each once.
        key: The ``Sec-WebSocket-Key``.
        size: The length of the head in bytes.
    """

    target: str
    headers: dict[str, str]
    protocols: list[str]
    key: str
    size: int


class Head(NamedTuple):
    """
    The outcome of reading a head.

    Attributes:
        kind: HTTP and HANDSHAKE go on; TOO_LARGE and MALFORMED are answered with an error.
        status: The HTTP status of that error. 0 if there is none.
        reason: One sentence for the client and for the log.
        simple: The handshake, if it is a simple one. If None, a HANDSHAKE is not checked yet.
    """

    kind: Kind
    status: int = 0
    reason: str = ""
    simple: SimpleHandshake | None = None


_INCOMPLETE = Head(Kind.INCOMPLETE)
_HTTP = Head(Kind.HTTP)
_HANDSHAKE = Head(Kind.HANDSHAKE)


def _malformed(reason: str) -> Head:
    return Head(Kind.MALFORMED, 400, reason)


def parse(data: bytes, limit: int, searched: int = 0) -> Head:
    """
    Read the head at the start of *data*.

    Args:
        data: All bytes of the connection so far. Bytes after the head are not looked at.
        limit: The largest head in bytes, its empty line included.
        searched: Bytes of *data* that an earlier call has seen, and found incomplete.

    Returns:
        The outcome. A HANDSHAKE asks for an upgrade to a WebSocket, by GET and HTTP/1.1; its
        other headers are checked only if it is a simple one.
    """
    end = data.find(b"\r\n\r\n", max(0, searched - 3)) + 4
    is_complete = end != 3
    if (end if is_complete else len(data)) > limit:
        return Head(Kind.TOO_LARGE, 431, f"the head of the request is larger than {limit} bytes")
    if not is_complete:
        return _INCOMPLETE if data[:1].isalpha() else _malformed("this is not HTTP")
    simple = _simple_handshake(data[:end])
    if simple is not None:
        return Head(_HANDSHAKE.kind, simple=simple)
    line_end = data.index(b"\r\n")
    line = _REQUEST_LINE.fullmatch(data, 0, line_end)
    if line is None or _HEADERS.fullmatch(data, line_end, end) is None:
        return _malformed("the head of the request is malformed")
    # From here on every "\r\n" of the head is the start of a header.
    if _UPGRADE.search(data, line_end, end) is None:
        return _HTTP
    if line[1] != b"GET":
        return _malformed("HTTP method must be a GET")
    if line[3] != b"HTTP/1.1":
        return _malformed("HTTP server protocol must be 1.1")
    return _HANDSHAKE


def _simple_handshake(head: bytes) -> SimpleHandshake | None:
    """
    Read a whole head, if it is a simple handshake.

    Returns:
        None if it is anything else, be it unusual, malformed or no handshake at all.
    """
    text = head.decode("latin-1")
    line = _SIMPLE_LINE.match(text)
    if line is None:
        return None
    pairs = _SIMPLE_HEADER.findall(text)
    # Each pair took one line end, and the head ends with two. If this is all there is beside
    # printable ASCII, then no byte is outside of a pair, and no CR or LF inside of one.
    if head.translate(None, _PRINTABLE) != b"\r\n" * (len(pairs) + 2):
        return None
    headers = {name.lower(): value.strip() for name, value in pairs}
    if len(headers) != len(pairs):
        return None
    get = headers.get
    key = get("sec-websocket-key", "")
    if (
        get("upgrade", "").lower() != "websocket"
        or get("connection", "").lower() not in _SIMPLE_CONNECTION
        or get("sec-websocket-version") != "13"
        or _KEY.fullmatch(key) is None
        or _SIMPLE_HOST.fullmatch(get("host", "")) is None
    ):
        return None
    origin = get("origin")
    if origin is not None and _SIMPLE_ORIGIN.fullmatch(origin) is None:
        return None
    protocols: list[str] = []
    offered = get("sec-websocket-protocol")
    if offered is not None:
        protocols = [each.strip() for each in offered.split(",")]
        if len({*protocols}) != len(protocols):
            return None
    return SimpleHandshake(line[1], headers, protocols, key, len(head))


def fields(data: bytes) -> dict[str, str]:
    """
    Return the headers at the start of *data*, which is a whole head that `parse` found well-formed.

    Returns:
        Values by names in lower case. A header that came several times is joined by ", ".
    """
    found: dict[str, str] = {}
    for line in data[: data.index(b"\r\n\r\n")].decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def loggable_target(data: bytes) -> str:
    """
    Return the part of a request that may be logged.

    Args:
        data: A request target, or the start of a request, whole or not.

    Returns:
        The start of the first line, without the query: queries and headers carry secrets, and logs
        are read by many.
    """
    return re.split(rb"[?\r\n]", data, maxsplit=1)[0][:_LOGGED].decode("latin-1")
