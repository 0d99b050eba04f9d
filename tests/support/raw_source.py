"""Clients without WebSockets on blocking sockets, against a gateway in a process of its own."""

from __future__ import annotations

import json
from typing import Any

from tests.support.event_stream import Event, Reader, dechunked, message_of
from tests.support.raw import RawClient

__all__ = ["RawSource", "request"]

#: The events of the gateway itself.
_OURS = ("open", "cursor", "gap", "close")


def request(
    method: str, path: str, *headers: str, body: bytes = b"", host: str = "localhost"
) -> bytes:
    """Write a request of HTTP/1.1, with a Content-Length if it has a body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class RawSource:
    """
    A stream of events, read as a browser reads it.

    Args:
        client: A new connection.
        path: Path and query.
        cursor: The Last-Event-ID. If empty, none is sent.

    Attributes:
        head: The head of the answer.
        reader: Counts comments.
        cursor: The last event ID of the last event that was taken.
        ended: Whether the body has ended.
    """

    def __init__(self, client: RawClient, path: str, *headers: str, cursor: str = "") -> None:
        self.client = client
        self.reader = Reader()
        self.ended = False
        self.cursor = cursor
        self._rest = b""
        self._waiting: list[Event] = []
        more = (f"Last-Event-ID: {cursor}",) if cursor else ()
        client.send(request("GET", path, "Accept: text/event-stream", *headers, *more))
        self.head = client.head()
        self._rest = bytes(client._buffer)
        client._buffer.clear()

    def event(self) -> Event:
        """
        Wait for the next event.

        Raises:
            EOFError: The stream has ended.
        """
        while not self._waiting:
            body, self._rest, ended = dechunked(self._rest)
            self.ended = self.ended or ended
            self._waiting = self.reader.feed(body)
            if self._waiting:
                break
            data = b"" if self.ended else self.client.socket.recv(65536)
            if not data:
                raise EOFError("the stream has ended")
            self._rest += data
        event = self._waiting.pop(0)
        self.cursor = event.last_id
        return event

    def until(self, type: str) -> tuple[dict[str, Any], list[str | bytes]]:
        """Wait for an event of the gateway. Returns: Its data, and the messages before it."""
        messages: list[str | bytes] = []
        while True:
            event = self.event()
            if event.type == type:
                return json.loads(event.data), messages
            if event.type not in _OURS:
                messages.append(message_of(event))

    def message(self) -> str | bytes:
        """Wait for the next message."""
        while True:
            event = self.event()
            if event.type not in _OURS:
                return message_of(event)
