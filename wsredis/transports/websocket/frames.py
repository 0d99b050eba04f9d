"""The frames of whole messages, as a server sends them (RFC 6455)."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from struct import Struct

__all__ = [
    "HEARTBEAT",
    "PING",
    "binary",
    "close",
    "close_reason",
    "deflated",
    "message",
    "messages",
    "text",
]

_TEXT = 0x81
_BINARY = 0x82
_CLOSE = 0x88

#: Bytes of the reason in a close frame (RFC 6455, 5.5).
_MAX_REASON = 123

#: RSV1: the message is compressed (RFC 7692, 6).
_COMPRESSED = 0x40

#: Bytes by which deflate's reach is shorter than its window.
_LOOKAHEAD = 262

#: From this many bytes on, speed counts more than size: 1 MiB takes 5 ms in place of 27, and the
#: process does nothing else meanwhile.
_LARGE = 16385


#: The heads of short text frames, by length: most messages are short, and a list is fast.
_SHORT = [bytes((_TEXT, length)) for length in range(126)]

_HEAD_16 = Struct("!BBH").pack
_HEAD_64 = Struct("!BBQ").pack


def _frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return (_SHORT[length] if first == _TEXT else bytes((first, length))) + payload
    if length < 65536:
        return _HEAD_16(first, 126, length) + payload
    return _HEAD_64(first, 127, length) + payload


def text(payload: bytes) -> bytes:
    """Return one text frame. The caller has to know that *payload* is UTF-8."""
    # Most are short.
    return _SHORT[len(payload)] + payload if len(payload) < 126 else _frame(_TEXT, payload)


def binary(payload: bytes) -> bytes:
    """Return one binary frame."""
    return _frame(_BINARY, payload)


def message(payload: bytes) -> bytes:
    """
    Return a text frame if *payload* is UTF-8, else a binary one.

    Redis carries no opcode, and a browser fails the connection on a text frame that is not UTF-8.
    """
    # Most payloads are ASCII, and finding that out costs a third.
    if not payload.isascii():
        try:
            payload.decode()
        except UnicodeDecodeError:
            return _frame(_BINARY, payload)
    elif len(payload) < 126:
        return _SHORT[len(payload)] + payload
    return _frame(_TEXT, payload)


def messages(payloads: Sequence[bytes]) -> bytes:
    """Return `message` of each of *payloads*, in one piece."""
    sizes = [*map(len, payloads)]
    if max(sizes, default=0) >= len(_SHORT) or not all(map(bytes.isascii, payloads)):
        return b"".join(map(message, payloads))
    # Nothing is done in Python for each: this is the path of a thousand short messages in one read.
    pieces = [b""] * (2 * len(sizes))
    pieces[::2] = map(_SHORT.__getitem__, sizes)
    pieces[1::2] = payloads
    return b"".join(pieces)


#: A ping without payload; a pong to it needs no bookkeeping.
PING = _frame(0x89, b"")

#: The sign of life of the subprotocol ``wsredis``.
HEARTBEAT = binary(b"")


def close(code: int, reason: str) -> bytes:
    """Return a close frame. A reason that is too long is cut."""
    return _frame(_CLOSE, code.to_bytes(2, "big") + close_reason(reason))


def close_reason(reason: str) -> bytes:
    """
    Return *reason* as it may stand in a close frame.

    It is cut at a character: a client fails the connection on a reason that is not UTF-8.
    """
    return reason.encode("utf-8", "replace")[:_MAX_REASON].decode("utf-8", "ignore").encode()


def deflated(frame: bytes, window: int, threshold: int) -> bytes:
    """
    Return the same message, compressed by itself.

    It uses no context and leaves none behind, so that all clients that negotiated the same window
    can read the same frame (RFC 7692, 7.2.1).

    Args:
        frame: One whole data frame that is not compressed.
        window: The number of bytes that the client can look back, as a power of two from 9 to 15.
            0 if the client knows no compression.
        threshold: Bytes; a smaller payload is not compressed.

    Returns:
        *frame* itself if compressing it is not allowed, or does not make it smaller.
    """
    start = {126: 4, 127: 10}.get(frame[1], 2)
    size = len(frame) - start
    if not window or not size or size < threshold:
        return frame
    # A window no wider than the payload gives the same, and costs a quarter for 1 KiB.
    window = min(window, max(9, (size + _LOOKAHEAD - 1).bit_length()))
    level = 1 if size >= _LARGE else 6
    deflater = zlib.compressobj(level, zlib.DEFLATED, -window, min(8, window - 6))
    parts = deflater.compress(memoryview(frame)[start:]), deflater.flush(zlib.Z_SYNC_FLUSH)
    made = _frame(frame[0] | _COMPRESSED, b"".join(parts)[:-4])
    return made if len(made) < len(frame) else frame
