"""A WebSocket client on a blocking socket, which sends any bytes, right or wrong."""

from __future__ import annotations

import socket
from types import TracebackType

from tests.support.children import PATIENCE
from wsredis.testing.wire import (
    BINARY,
    CLOSE,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    frame,
    handshake,
)

__all__ = [
    "BINARY",
    "CLOSE",
    "KEY",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "RawClient",
    "frame",
    "handshake",
    "response",
]


class RawClient:
    """
    One connection; use it in a ``with`` statement.

    Args:
        address: A port on localhost, or the path of a UNIX socket.
        source: The local address of a connection to a port. If empty, any.
        receive_buffer: Bytes that the kernel keeps of what was not read. If 0, as it likes.
    """

    def __init__(
        self,
        address: int | str,
        timeout: float = PATIENCE,
        *,
        source: str = "",
        receive_buffer: int = 0,
    ) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(timeout)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        if source:
            self.socket.bind((source, 0))
        try:
            self.socket.connect(address if isinstance(address, str) else ("127.0.0.1", address))
        except OSError:
            self.socket.close()
            raise
        # A bytearray: to take bytes from its front moves none of the others.
        self._buffer = bytearray()

    @classmethod
    def opened(cls, address: int | str, path: str, *headers: str) -> RawClient:
        """
        Connect and shake hands.

        Raises:
            AssertionError: The answer is not 101.
        """
        client = cls(address)
        client.send(handshake(path, *headers))
        head = client.head()
        assert head.startswith("HTTP/1.1 101 "), head
        return client

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def send_text(self, text: str) -> None:
        """Send one text message."""
        self.send(frame(TEXT, text.encode()))

    def head(self) -> str:
        """Read the head of an HTTP answer."""
        while b"\r\n\r\n" not in self._buffer:
            if not self._more():
                break
        head, end, _ = self._buffer.partition(b"\r\n\r\n")
        del self._buffer[: len(head) + len(end)]
        return head.decode("latin-1")

    def rest(self) -> bytes:
        """Read until the other side closes or resets. Returns: All bytes that came."""
        while self._more():
            pass
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def take(self, size: int) -> bytes:
        """
        Read that many bytes.

        Raises:
            EOFError: The other side closed or reset the connection.
            TimeoutError: Fewer came in time. The next call goes on where this one ended.
        """
        self._wait_for(size)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def receive(self) -> Frame:
        """
        Read one frame, pings included.

        Raises:
            EOFError: The other side closed or reset the connection.
            TimeoutError: No whole frame came in time. The next call goes on where this one ended.
        """
        self._wait_for(2)
        first, size = self._buffer[:2]
        assert not size & 0x80, "a server does not mask"
        start = 2
        if size >= 126:
            start = 4 if size == 126 else 10
            self._wait_for(start)
            size = int.from_bytes(self._buffer[2:start], "big")
        payload = self.take(start + size)[start:]
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 7)

    def message(self) -> bytes:
        """Read one text or binary message, and skip pings."""
        while True:
            got = self.receive()
            if got.opcode in (TEXT, BINARY):
                return got.payload
            assert got.opcode == PING, got

    def closing(self) -> int | None:
        """Read up to the close frame. Returns: Its code."""
        while True:
            got = self.receive()
            if got.opcode == CLOSE:
                return got.close_code

    def _wait_for(self, size: int) -> None:
        while len(self._buffer) < size:
            if not self._more():
                raise EOFError("the connection was closed")

    def _more(self) -> bool:
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)


def response(address: int | str, request: bytes) -> tuple[int, str, bytes]:
    """Send a request and read the whole answer. Returns: Status (0: none), head, body."""
    with RawClient(address) as client:
        try:
            client.send(request)
        except ConnectionError:
            pass
        head = client.head()
        body = client.rest()
    status = int(head.split(" ", 2)[1]) if head.startswith("HTTP/1.1 ") else 0
    return status, head, body
