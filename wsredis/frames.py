"""Payload to wire: the frames that a server sends, unmasked and whole (RFC 6455, 5.2)."""

from __future__ import annotations

from struct import pack

__all__ = ["PING", "binary", "message", "text"]

_TEXT = 0x81
_BINARY = 0x82


def _frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 65536:
        return pack("!BBH", first, 126, length) + payload
    return pack("!BBQ", first, 127, length) + payload


def text(payload: bytes) -> bytes:
    """One text frame. The caller answers for *payload* being UTF-8."""
    return _frame(_TEXT, payload)


def binary(payload: bytes) -> bytes:
    """One binary frame."""
    return _frame(_BINARY, payload)


def message(payload: bytes) -> bytes:
    """
    A text frame where *payload* is UTF-8, else a binary one.

    Redis carries no opcode, and a browser fails the connection on a text frame that is not UTF-8.
    """
    try:
        payload.decode()
    except UnicodeDecodeError:
        return _frame(_BINARY, payload)
    return _frame(_TEXT, payload)


#: A ping without payload; a pong to it needs no bookkeeping.
PING = _frame(0x89, b"")
