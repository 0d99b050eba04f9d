"""Handshakes and frames as a client writes and reads them (RFC 6455), valid or not."""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

__all__ = [
    "BINARY",
    "CLOSE",
    "KEY",
    "PING",
    "PONG",
    "TEXT",
    "Frame",
    "frame",
    "frames",
    "handshake",
]

#: The opcodes (RFC 6455, 5.2).
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

#: The ``Sec-WebSocket-Key`` of a handshake: that of the example in RFC 6455, 1.3.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


class Frame(NamedTuple):
    """
    One frame of the server.

    Attributes:
        opcode: `TEXT`, `BINARY`, `CLOSE`, `PING` or `PONG`.
        payload: The bytes after the header; compressed if *rsv* is 4.
        fin: Tells whether the frame is the last one of its message.
        rsv: The three reserved bits. 4 marks a compressed message (RFC 7692).
    """

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    @property
    def close_code(self) -> int | None:
        """The code of a close frame. None if it has none."""
        return struct.unpack("!H", self.payload[:2])[0] if len(self.payload) >= 2 else None


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: int | None = None,
    mask: bytes | None = None,
) -> bytes:
    """
    Build one frame of a client. Nothing is checked: a test may need an invalid one.

    Args:
        masked: Clients mask their frames; the gateway fails a connection with a frame that is not.
        length: The length that the header claims. If None, the true one.
        mask: The four bytes of the mask. If None, they are random.
    """
    size = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += struct.pack("!BH", bit | 126, size)
    else:
        head += struct.pack("!BQ", bit | 127, size)
    if not masked:
        return head + payload
    mask = os.urandom(4) if mask is None else mask
    keys = (mask * (len(payload) // 4 + 1))[: len(payload)]
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(keys, "big")).to_bytes(
        len(payload), "big"
    )
    return head + mask + body


def frames(data: bytes) -> list[Frame]:
    """
    Read the frames of a server.

    Raises:
        ValueError: *data* is not a row of whole frames without masks.
    """
    found = []
    while data:
        size, start = data[1] & 0x7F if len(data) > 1 else 0, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size:
            raise ValueError("the last frame is not complete")
        if data[1] & 0x80:
            raise ValueError("a server does not mask its frames")
        payload = data[start : start + size]
        found.append(Frame(data[0] & 0x0F, payload, bool(data[0] & 0x80), data[0] >> 4 & 7))
        data = data[start + size :]
    return found


def handshake(path: str, *headers: str, host: str = "localhost", key: str = KEY) -> bytes:
    """
    Build the request that opens a WebSocket.

    Args:
        path: With the query, percent-encoded.
        headers: More of them, each as ``Name: value``.
        host: The value of the Host header.
        key: The value of the Sec-WebSocket-Key header.
    """
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
