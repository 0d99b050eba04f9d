"""
The head of an HTTP request: bytes in, outcome out.

Nothing here knows a socket. The rules are stricter than those of Autobahn and of twisted.web, which
both read the same bytes later: nothing may pass that one of them would read in another way.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

__all__ = ["Head", "Kind", "loggable_target", "parse"]

#: Characters of a request target that go into one line of the log.
_LOGGED = 200

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/[0-9]\.[0-9])")
# RFC 9112: no folded lines, no blank before the colon, no bare CR or LF. 0x85 is refused as well,
# because Autobahn takes it for the end of a line.
_HEADERS = re.compile(
    rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\x84\x86-\xff]*)*\r\n\r\n"
)
_UPGRADE = re.compile(rb"\r\nupgrade:([^\r]*,)?[\t ]*websocket[\t ]*[,\r]", re.IGNORECASE)


class Kind(Enum):
    """The kinds of request heads."""

    INCOMPLETE = 1
    TOO_LARGE = 2
    MALFORMED = 3
    HTTP = 4
    HANDSHAKE = 5


class Head(NamedTuple):
    """
    The outcome of reading a head.

    Attributes:
        kind: HTTP and HANDSHAKE go on; TOO_LARGE and MALFORMED are answered with an error.
        status: The HTTP status of that error. 0 if there is none.
        reason: One sentence for the client and for the log.
    """

    kind: Kind
    status: int = 0
    reason: str = ""


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
        other headers are not checked here.
    """
    end = data.find(b"\r\n\r\n", max(0, searched - 3)) + 4
    is_complete = end != 3
    if (end if is_complete else len(data)) > limit:
        return Head(Kind.TOO_LARGE, 431, f"the head of the request is larger than {limit} bytes")
    if not is_complete:
        return _INCOMPLETE if data[:1].isalpha() else _malformed("this is not HTTP")
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
