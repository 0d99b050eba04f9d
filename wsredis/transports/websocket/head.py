"""
The head of an HTTP request: bytes in, outcome out.

Nothing here knows a socket. A head is read once, in one pass, and a handshake is judged by nobody
else. The rules for all heads are stricter than those of twisted.web, which reads plain requests
again: nothing may pass that the two would read in different ways.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple

__all__ = [
    "HandshakeHead",
    "Head",
    "Kind",
    "check_plain",
    "loggable_target",
    "parse",
    "parse_line",
    "path_of",
]

#: Characters of a request target that go into one line of the log.
_LOGGED = 200
#: The same of a line that is not that of a request.
_LOGGED_OF_OTHERS = 8

#: Headers of one request. Browsers and proxies together send about thirty.
_MAX_HEADERS = 100

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(rf"({_TOKEN}) ([\x21-\x7e]+) (HTTP/[0-9]\.[0-9])\r\n")
_HEADER = re.compile(rf"\r\n({_TOKEN}):([^\r]*)")
#: All that a line may have. 0x85 by itself is refused, since some readers take it for the end of a
#: line; in UTF-8 it is also the second half of letters.
_NEXT_LINE = b"\x85"
_IN_LINES = bytes([0x09, *range(0x20, 0x7F), *range(0x80, 0x85), *range(0x86, 0x100)])

_AUTHORITY = r"(?:[0-9A-Za-z._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
_HOST = re.compile(_AUTHORITY)
_ABSOLUTE = re.compile(rf"(?:http|ws)s?://({_AUTHORITY})(/[^?]*)?(\?.*)?", re.IGNORECASE)
_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[!-~]*|null", re.IGNORECASE)
_KEY = re.compile(r"[0-9A-Za-z+/]{22}==")
_VERSIONS = ("HTTP/1.1", "HTTP/1.0")
_CONNECTION = ("upgrade", "keep-alive, upgrade")

#: Headers that are not lists: a second one is a mistake, or an attempt to be read in two ways.
_ONCE = ("host", "origin", "sec-websocket-key", "sec-websocket-version")


class Kind(Enum):
    """The kinds of request heads."""

    INCOMPLETE = 1
    TOO_LARGE = 2
    MALFORMED = 3
    HTTP = 4
    HANDSHAKE = 5


class HandshakeHead(NamedTuple):
    """
    A well-formed handshake.

    Attributes:
        target: Path and query, percent-encoded. A scheme and a host before them are taken off.
        headers: Values by names in lower case. A header that came several times is joined by ", ",
            Cookie by "; ". A host that stood in the target is in place of the Host header.
        protocols: The subprotocols that are offered, each once.
        key: The ``Sec-WebSocket-Key``.
        size: The length of the head in bytes.
    """

    target: str
    headers: Mapping[str, str]
    protocols: list[str]
    key: str
    size: int


class Head(NamedTuple):
    """
    The outcome of reading a head.

    Attributes:
        kind: HTTP and HANDSHAKE go on; TOO_LARGE and MALFORMED are answered with an error.
        status: The HTTP status of that error. 0 if there is none.
        reason: One sentence for the client and for the log. It does not quote the client.
        handshake: The handshake, if it is one.
        headers: As `HandshakeHead.headers`, also of an HTTP request. Empty if the head is neither.
        method, target, version: The three parts of the request line as they came, of an HTTP
            request. Empty for others.
        pairs: Names and values of the headers as they came, in their order, of an HTTP request and
            of a handshake. A value has the blanks around it.
        size: The length of the head in bytes, of the same two.
    """

    kind: Kind
    status: int = 0
    reason: str = ""
    handshake: HandshakeHead | None = None
    headers: Mapping[str, str] = {}
    method: str = ""
    target: str = ""
    version: str = ""
    pairs: Sequence[tuple[str, str]] = ()
    size: int = 0


_INCOMPLETE = Head(Kind.INCOMPLETE)
# A member of an Enum is looked up slowly.
_HANDSHAKE = Kind.HANDSHAKE
_HTTP = Kind.HTTP


#: The first byte of a client that speaks TLS: a record with a part of a handshake.
_TLS_HANDSHAKE = b"\x16"
_TLS = "this is TLS, and this port has none: write ws:// in place of wss://, or use --tls-port"


def _malformed(reason: str, status: int = 400) -> Head:
    return Head(Kind.MALFORMED, status, reason)


def parse(data: bytes, limit: int, searched: int = 0) -> Head:
    """
    Read the head at the start of *data*.

    Args:
        data: All bytes of the connection so far. Bytes after the head are not looked at.
        limit: The largest head in bytes, its empty line included.
        searched: Bytes of *data* that an earlier call has seen, and found incomplete.
    """
    if not data[:1].isalpha():
        # Before all else: the answer must not depend on how much has come.
        return _malformed(_TLS if data[:1] == _TLS_HANDSHAKE else "this is not HTTP")
    end = data.find(b"\r\n\r\n", max(0, searched - 3)) + 4
    is_complete = end != 3
    if (end if is_complete else len(data)) > limit:
        return Head(Kind.TOO_LARGE, 431, f"the head of the request is larger than {limit} bytes")
    if not is_complete:
        return _INCOMPLETE
    head = data[:end]
    count = head.count(b"\r\n") - 2
    if count > _MAX_HEADERS:
        return Head(Kind.TOO_LARGE, 431, f"the request has more than {_MAX_HEADERS} headers")
    text = head.decode("latin-1")
    line = _LINE.match(text)
    pairs = _HEADER.findall(text)
    # Each pair took one line end, and the head ends with two. If this is all there is beside the
    # bytes of lines, then no byte is outside of a pair, and no CR or LF inside of one: no folded
    # line, no blank before a colon, no line without one.
    left = head.translate(None, _IN_LINES)
    if _NEXT_LINE in left and _is_in_letters(head):
        left = left.replace(_NEXT_LINE, b"")
    if line is None or len(pairs) != count or left != b"\r\n" * (count + 2):
        return _malformed("the head of the request is malformed")
    headers = {name.lower(): value.strip(" \t") for name, value in pairs}
    repeated = _join(headers, pairs) if len(headers) != count else ()
    upgrade = headers.get("upgrade")
    if upgrade is None or (upgrade != "websocket" and "websocket" not in _list(upgrade)):
        return Head(_HTTP, 0, "", None, headers, line[1], line[2], line[3], pairs, end)
    if line[1] != "GET":
        return _malformed("HTTP method must be a GET")
    if line[3] != "HTTP/1.1":
        return _malformed("HTTP server protocol must be 1.1")
    for name in _ONCE:
        if name in repeated:
            return _malformed(f"the header {name} came more than once")
    return _handshake(line[2], headers, pairs, end)


def _handshake(
    target: str, headers: dict[str, str], pairs: list[tuple[str, str]], size: int
) -> Head:
    """Judge a request for an upgrade to a WebSocket."""
    if target[0] != "/":
        # A client that believes to speak with a proxy writes the whole URL (RFC 9112, 3.2.2).
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None:
            return _malformed("the target of the request is not a path")
        if "host" in headers:
            headers["host"] = absolute[1]
        target = (absolute[2] or "/") + (absolute[3] or "")
    if "#" in target:
        return _malformed("the target of the request has a fragment")
    get = headers.get
    host = get("host")
    if host is None:
        return _malformed("the header host is missing")
    if _HOST.fullmatch(host) is None:
        return _malformed("the header host is malformed")
    if host[-1:] == ":":
        # The port may be empty (RFC 3986, 3.2.3), which stands for the default.
        headers["host"] = host[:-1]
    connection = get("connection", "").lower()
    if connection not in _CONNECTION and "upgrade" not in _list(connection):
        return _malformed("the header connection does not ask for an upgrade")
    if get("sec-websocket-version") != "13":
        return _malformed("the version of the WebSocket protocol must be 13", 426)
    key = get("sec-websocket-key", "")
    if _KEY.fullmatch(key) is None:
        return _malformed("the header sec-websocket-key is malformed or missing")
    if "transfer-encoding" in headers or get("content-length", "0") != "0":
        # A proxy in front may see the end of the body elsewhere.
        return _malformed("a handshake has no body")
    origin = get("origin")
    if origin is not None and _ORIGIN.fullmatch(origin) is None:
        return _malformed("the header origin is malformed")
    protocols: list[str] = []
    offered = get("sec-websocket-protocol")
    if offered is not None:
        # Elements of a list may be empty, and mean nothing then (RFC 9110, 5.6.1).
        protocols = [name for each in offered.split(",") if (name := each.strip(" \t"))]
        if len({*protocols}) != len(protocols):
            return _malformed("a subprotocol is offered twice")
    handshake = HandshakeHead(target, headers, protocols, key, size)
    return Head(_HANDSHAKE, 0, "", handshake, headers, pairs=pairs, size=size)


def parse_line(data: bytes, headers: bytes, limit: int) -> tuple[str, str, str, int] | None:
    """
    Read the first line of a head whose headers are those of another one.

    Args:
        data: See `parse`.
        headers: All but the first line of a head that `parse` has found to be one of HTTP.
        limit: See `parse`.

    Returns:
        The three parts of the line, and the size of the head: as `parse` would tell them. None if
        the headers are not the same, or the head is not well-formed.
    """
    end = data.find(b"\r\n") + 2
    size = end + len(headers)
    if size > limit or not data.startswith(headers, end):
        return None
    line = _LINE.fullmatch(data[:end].decode("latin-1"))
    return None if line is None else (line[1], line[2], line[3], size)


def check_plain(found: Head) -> Head:
    """
    Judge a request that an application answers.

    Returns:
        The same head, with a path as its target. If the target was a URL, its host is in the place
        of the Host header. Else the refusal.
    """
    target, headers = found.target, found.headers
    if found.version not in _VERSIONS:
        return _malformed("the version of HTTP is not supported", 505)
    if "#" in target:
        return _malformed("the target of the request has a fragment")
    host = headers.get("host")
    if host is None:
        if found.version == "HTTP/1.1":
            return _malformed("the header host is missing")
    elif _HOST.fullmatch(host) is None:
        # Two of them are joined by a comma and a blank, which no host has.
        return _malformed("the header host is malformed")
    if target[0] == "/":
        return found
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return _malformed("the target of the request is not a path")
    pairs = [each for each in found.pairs if each[0].lower() != "host"]
    return found._replace(
        target=(absolute[2] or "/") + (absolute[3] or ""),
        headers={**headers, "host": absolute[1]},
        pairs=[("host", absolute[1]), *pairs],
    )


def path_of(target: str) -> str:
    """Return the path of a request target, which may be a URL. Empty if it has none."""
    if target[0] != "/":
        absolute = _ABSOLUTE.fullmatch(target)
        return "" if absolute is None else absolute[2] or "/"
    return target.partition("?")[0]


def _is_in_letters(head: bytes) -> bool:
    """Tell whether each 0x85 is part of a letter in UTF-8, as in a cookie with a Cyrillic name."""
    try:
        return _NEXT_LINE.decode("latin-1") not in head.decode()
    except UnicodeDecodeError:
        return False


def _join(headers: dict[str, str], pairs: list[tuple[str, str]]) -> set[str]:
    """
    Join the values of each header that came several times.

    Returns:
        The names of these headers.
    """
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.lower(), []).append(value.strip(" \t"))
    repeated = {name for name, several in values.items() if len(several) > 1}
    for name in repeated:
        headers[name] = ("; " if name == "cookie" else ", ").join(values[name])
    return repeated


def _list(value: str) -> list[str]:
    """Return the elements of a list in lower case."""
    return [each.strip(" \t") for each in value.lower().split(",")]


#: The start of a request line, or of a target: a path, a URL or an asterisk.
_REQUEST = re.compile(rb"(?:[A-Za-z]{1,20} +)?(?:[/*]|[A-Za-z][A-Za-z0-9+.-]*://)")


def loggable_target(data: bytes) -> str:
    """
    Return the part of a request that may be logged.

    Args:
        data: A request target, or the start of a request, whole or not.

    Returns:
        The start of the first line, without the query: queries and headers carry secrets, and logs
        are read by many. A line that is not that of a request may be a header, or a part of one:
        only its first few bytes are returned.
    """
    if not _REQUEST.match(data):
        return re.split(rb"[\s=:;,]", data, maxsplit=1)[0][:_LOGGED_OF_OTHERS].decode("latin-1")
    start = re.split(rb"[?#\r\n]|%3[Ff]|%23", data, maxsplit=1)[0]
    # A URL may begin with the name and the password of a user.
    return re.sub(rb"//[^/]*@", b"//", start)[:_LOGGED].decode("latin-1")
