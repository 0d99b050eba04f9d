"""
A reader of Server-Sent Events, written from the HTML standard (9.2.5, 9.2.6) and nothing of ours.

It reads the way a browser does: bytes as they come, and whatever they are.
"""

from __future__ import annotations

import json
from base64 import b64decode
from typing import NamedTuple

__all__ = ["Event", "Reader", "dechunked", "message_of"]


class Event(NamedTuple):
    """
    One event that a browser dispatches.

    Attributes:
        type: Its name: "message" if it has none.
        data: Its data.
        last_id: The last event ID at that moment.
    """

    type: str
    data: str
    last_id: str


class Reader:
    """
    One stream.

    Attributes:
        last_id: What the browser sends as Last-Event-ID when it connects again.
        retry: The milliseconds after which it does. None if the stream has not said.
        comments: The number of comments so far.
    """

    def __init__(self) -> None:
        self.last_id = ""
        self.retry: int | None = None
        self.comments = 0
        self._bytes = b""
        self._is_first = True
        self._data = self._type = ""
        self._id = ""

    def feed(self, data: bytes) -> list[Event]:
        """Read bytes. Returns: The events that are complete now."""
        self._bytes += data
        found: list[Event] = []
        while True:
            ends = [at for at in map(self._bytes.find, (b"\n", b"\r")) if at >= 0]
            if not ends:
                return found
            end = min(ends)
            length = 1
            if self._bytes[end : end + 1] == b"\r":
                if end + 1 == len(self._bytes):
                    # A line feed may follow.
                    return found
                length = 1 + (self._bytes[end + 1 : end + 2] == b"\n")
            raw, self._bytes = self._bytes[:end], self._bytes[end + length :]
            line = raw.decode("utf-8", "replace")
            if self._is_first:
                line = line.removeprefix("\ufeff")
                self._is_first = False
            self._line(line, found)

    def _line(self, line: str, found: list[Event]) -> None:
        if not line:
            self._dispatch(found)
        elif line[0] == ":":
            self.comments += 1
        else:
            field, _, value = line.partition(":")
            self._field(field, value.removeprefix(" "))

    def _field(self, field: str, value: str) -> None:
        if field == "event":
            self._type = value
        elif field == "data":
            self._data += value + "\n"
        elif field == "id" and "\0" not in value:
            self._id = value
        elif field == "retry" and value.isascii() and value.isdigit():
            self.retry = int(value)

    def _dispatch(self, found: list[Event]) -> None:
        self.last_id = self._id
        if self._data:
            data = self._data.removesuffix("\n")
            found.append(Event(self._type or "message", data, self.last_id))
        self._data = self._type = ""


def message_of(event: Event) -> str | bytes:
    """Return the message that an event brings, as the documentation tells to read it."""
    if event.type == "binary":
        return b64decode(event.data, validate=True)
    if event.type == "json":
        text = json.loads(event.data)
        assert isinstance(text, str)
        return text
    assert event.type == "message", event
    return event.data


def dechunked(data: bytes) -> tuple[bytes, bytes, bool]:
    """
    Read a chunked body (RFC 9112, 7.1).

    Returns:
        What is in the whole chunks, the bytes that are left, and whether the body has ended.
    """
    body = b""
    while b"\r\n" in data:
        line, _, rest = data.partition(b"\r\n")
        assert line and not line.strip(b"0123456789abcdefABCDEF"), line
        size = int(line, 16)
        if len(rest) < size + 2:
            break
        assert rest[size : size + 2] == b"\r\n", rest
        body, data = body + rest[:size], rest[size + 2 :]
        if not size:
            return body, data, True
    return body, data, False
