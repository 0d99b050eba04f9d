"""A gateway in memory with clients of plain HTTP, which is checked at the end of each test."""

from __future__ import annotations

import json
from typing import Any

from tests.support.event_stream import Event, Reader, dechunked, message_of
from tests.support.memory_gateway import MemoryGatewayCase, Socket
from wsredis.config import GatewayConfig
from wsredis.testing import MemoryGateway
from wsredis.transports.stream.streams import Streams

__all__ = ["EventSource", "StreamCase", "request"]

LISTEN = "/ws/a?subscribe-broadcast"
SPEAK = "/ws/a?publish-broadcast"


def request(
    method: str, path: str, *headers: str, body: bytes = b"", version: str = "HTTP/1.1"
) -> bytes:
    """Write a request. A body has its length with it."""
    lines = [f"{method} {path} {version}", "Host: localhost", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class EventSource:
    """
    A client of events, as a browser is one.

    Attributes:
        head: The head of the answer.
        ended: Whether the body has ended.
    """

    def __init__(self, socket: Socket, path: str, *headers: str, version: str) -> None:
        self.socket = socket
        self.reader = Reader()
        self.ended = False
        self._rest = b""
        socket.send(request("GET", path, "Accept: text/event-stream", *headers, version=version))
        head, _, socket.received = socket.take().partition(b"\r\n\r\n")
        self.head = head.decode("latin-1")
        self._is_chunked = "Transfer-Encoding: chunked" in self.head

    @property
    def status(self) -> int:
        """The status of the answer. 0 if there is none yet."""
        return int(self.head.split(" ")[1]) if self.head else 0

    @property
    def cursor(self) -> str:
        """What the browser would send now, if it connected again."""
        return self.reader.last_id

    def events(self) -> list[Event]:
        """The events since the last call."""
        data = self.socket.take()
        if self._is_chunked:
            data, self._rest, self.ended = dechunked(self._rest + data)
        return self.reader.feed(data)

    def messages(self) -> list[str | bytes]:
        """The messages since the last call, without the events of the gateway."""
        ours = ("open", "cursor", "gap", "close")
        return [message_of(event) for event in self.events() if event.type not in ours]

    def types(self) -> list[str]:
        """The types of the events since the last call."""
        return [event.type for event in self.events()]

    def closed(self) -> dict[str, Any]:
        """The data of the event with which the gateway has closed."""
        (event,) = (event for event in self.events() if event.type == "close")
        found: dict[str, Any] = json.loads(event.data)
        return found

    def goodbye(self) -> tuple[int, bool]:
        """The code of that event, and whether to come back."""
        found = self.closed()
        return found["code"], found["retry"]


class _Remembering(MemoryGateway):
    """A gateway that knows all its clients."""

    def __init__(self, config: GatewayConfig, **more: Any) -> None:
        self.sockets: list[Socket] = []
        super().__init__(config, **more)

    def connect(self, host: str = "192.0.2.1") -> Socket:
        socket = super().connect(host)
        self.sockets.append(socket)
        return socket


class StreamCase(MemoryGatewayCase):
    """One gateway for each test."""

    def setUp(self) -> None:
        """Start it."""
        self.start(self.config)

    def tearDown(self) -> None:
        """Let all clients leave, and check that nothing is left of them."""
        self.leave()

    def start(self, config: GatewayConfig, **more: Any) -> None:
        """Go on with another gateway."""
        self.leave()
        self.use(_Remembering(config, **more))

    def leave(self) -> None:
        """Let all clients leave, and check that nothing is left of them."""
        gateway = getattr(self, "gateway", None)
        if gateway is not None:
            for socket in gateway.sockets:
                socket.leave()
            self.clock.advance(0)
            self.nothing_left()

    @property
    def streams(self) -> Streams:
        """The transport."""
        assert self.factory.streams is not None
        return self.factory.streams

    def source(self, path: str = LISTEN, *headers: str, version: str = "HTTP/1.1") -> EventSource:
        """Open a stream."""
        return EventSource(self.connect(), path, *headers, version=version)

    def ask(self, data: bytes) -> tuple[int, str, bytes]:
        """Send a request on a connection of its own. Returns: Status, head and body."""
        status, answer = self.answer(data)
        head, _, body = answer.partition(b"\r\n\r\n")
        return status, head.decode("latin-1"), body

    def post(self, body: bytes, path: str = SPEAK, *headers: str) -> tuple[int, str, bytes]:
        """Publish. Returns: Status, head and body."""
        return self.ask(request("POST", path, *headers, body=body))

    def nothing_left(self) -> None:
        """Check that nothing of any client is left."""
        self.assertEqual(0, self.metrics.event_streams)
        super().nothing_left()
        self.assertEqual([], [*self.streams.channels])
        self.assertEqual(0, self.streams.ring.size)
