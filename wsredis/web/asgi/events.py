"""
The checks of what an application sends: an event that is wrong raises, out of ``send``.

Types that are wrong raise TypeError, values ValueError, and an event that may not come now
RuntimeError. Keys that are unknown are nobody's mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import IntEnum
from http import HTTPStatus
from typing import Any, NamedTuple

__all__ = [
    "ClientDisconnected",
    "HeaderKind",
    "Start",
    "body_of",
    "check_links",
    "check_start",
    "header_lines",
    "read_start",
    "status_line",
    "type_of",
]


class ClientDisconnected(OSError):
    """The client of this call has gone. An application need not handle it: nobody logs it."""


class HeaderKind(IntEnum):
    """What a header of an answer means for the server."""

    PLAIN = 0
    LENGTH = 1
    CODING = 2
    CONNECTION = 3
    DATE = 4


class Start(NamedTuple):
    """
    The begin of an answer.

    Attributes:
        status: 200 to 999.
        lines: The headers as lines with their ends, without those that the server decides on.
        length: The length that the application has given. If None, it has given none.
        is_last: Tells whether the application wants to have the connection closed.
        has_date: Tells whether there is a Date.
        has_trailers: Tells whether trailers follow the body.
    """

    status: int
    lines: list[bytes]
    length: int | None
    is_last: bool
    has_date: bool
    has_trailers: bool


_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
#: All controls but the tabulator: who reads them in another way sees other headers.
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_DIGITS = re.compile(rb"[0-9]{1,18}")

_KINDS = {
    b"content-length": HeaderKind.LENGTH,
    b"transfer-encoding": HeaderKind.CODING,
    b"connection": HeaderKind.CONNECTION,
    b"date": HeaderKind.DATE,
}

#: Headers that were checked: applications send the same ones again and again.
_checked: dict[tuple[Any, Any], tuple[bytes, HeaderKind, int]] = {}
_MAX_CHECKED = 512
#: Bytes of the longest one that is remembered.
_LONGEST = 256

_lines: dict[int, bytes] = {}

# A member of an Enum is looked up slowly, and these are needed for each header.
_PLAIN, _LENGTH, _CODING = HeaderKind.PLAIN, HeaderKind.LENGTH, HeaderKind.CODING
_CONNECTION, _DATE = HeaderKind.CONNECTION, HeaderKind.DATE


def type_of(event: Any) -> str:
    """Return the type of an event."""
    if type(event) is dict and type(kind := event.get("type")) is str:
        return kind
    if not isinstance(event, Mapping):
        raise TypeError(f"an event is a dict, not {type(event).__name__}")
    kind = event.get("type")
    if not isinstance(kind, str):
        raise TypeError("an event has a type, which is a str")
    return kind


def body_of(event: Mapping[str, Any]) -> bytes:
    """Return the body of ``http.response.body``, which may be left out."""
    body = event.get("body", b"")
    if type(body) is bytes:
        return body
    if not isinstance(body, (bytes, bytearray, memoryview)):
        raise TypeError(f"body is bytes, not {type(body).__name__}")
    # What could change later is copied.
    return bytes(body)


def check_start(event: Mapping[str, Any]) -> Start:
    """Check ``http.response.start``."""
    return Start(*read_start(event))


def read_start(
    event: Mapping[str, Any],
) -> tuple[int, list[bytes], int | None, bool, bool, bool]:
    """Check ``http.response.start``; return what a `Start` has, for less."""
    status = event.get("status")
    if type(status) is not int:
        if not isinstance(status, int):
            raise TypeError("status is an int" if "status" in event else "status is missing")
        status = int(status)
    if status not in _lines:
        status_line(status)
    lines: list[bytes] = []
    length: int | None = None
    is_last = has_date = False
    headers = event.get("headers", ())
    if isinstance(headers, (str, bytes)):
        raise TypeError("headers are pairs of bytes")
    for name, value in headers:
        try:
            line, kind, number = _checked[name, value]
        except (KeyError, TypeError):
            # The second one is that of a bytearray, which is not remembered.
            line, kind, number = _check(name, value)
        if kind is _PLAIN:
            lines.append(line)
        elif kind is _LENGTH:
            if length is not None:
                raise ValueError("content-length came more than once")
            length = number
        elif kind is _CONNECTION:
            options = line[line.index(b":") + 1 :].lower().split(b",")
            if any(each.strip() == b"close" for each in options):
                is_last = True
        elif kind is _DATE:
            has_date = True
            lines.append(line)
        # How the body is coded is up to the server.
    return status, lines, length, is_last, has_date, bool(event.get("trailers"))


def header_lines(headers: Iterable[Any]) -> list[tuple[bytes, HeaderKind]]:
    """
    Check headers.

    Args:
        headers: Pairs of a name and a value, both bytes.

    Returns:
        A line with its end for each, and what it means.
    """
    if isinstance(headers, (str, bytes)):
        raise TypeError("headers are pairs of bytes")
    found = []
    for pair in headers:
        name, value = pair
        try:
            found.append(_checked[name, value][:2])
        except (KeyError, TypeError):
            # The second one is that of a bytearray, which is not remembered.
            found.append(_check(name, value)[:2])
    return found


def _check(name: Any, value: Any) -> tuple[bytes, HeaderKind, int]:
    """Check a header; return its line, what it means, and the number if it is a length."""
    for each in (name, value):
        if not isinstance(each, (bytes, bytearray, memoryview)):
            raise TypeError(f"names and values of headers are bytes, not {type(each).__name__}")
    given, name, value = (name, value), bytes(name), bytes(value)
    if _NAME.fullmatch(name) is None:
        raise ValueError("the name of a header is malformed")
    if _BAD_VALUE.search(value) is not None:
        raise ValueError("the value of a header has control characters")
    kind, number = _KINDS.get(name.lower(), _PLAIN), 0
    if kind is _LENGTH:
        if _DIGITS.fullmatch(value.strip(b" \t")) is None:
            raise ValueError("content-length is not a number")
        number = int(value)
    found = (b"%b: %b\r\n" % (name, value), kind, number)
    if len(found[0]) <= _LONGEST and type(given[0]) is bytes and type(given[1]) is bytes:
        if len(_checked) >= _MAX_CHECKED:
            _checked.clear()
        _checked[given] = found
    return found


def check_links(event: Mapping[str, Any]) -> list[bytes]:
    """Check ``http.response.early_hint``; return the lines of its headers."""
    links = event.get("links", ())
    if isinstance(links, (str, bytes)):
        raise TypeError("links are a list of bytes")
    return [line for line, _ in header_lines((b"Link", each) for each in links)]


def status_line(status: int) -> bytes:
    """
    Return the first line of an answer, with its end.

    Raises:
        ValueError: It is not the status of an answer.
    """
    line = _lines.get(status)
    if line is None:
        if not 200 <= status <= 999:
            raise ValueError(f"status is 200 to 999, not {status}")
        try:
            phrase = HTTPStatus(status).phrase
        except ValueError:
            phrase = ""
        # At most 800 of them.
        line = _lines[status] = f"HTTP/1.1 {status} {phrase}\r\n".encode()
    return line
