"""
The format of answers to polls: JSON.

A text message is a string. One that is not UTF-8 is an object with its Base64. Each message that is
encoded ends with a comma, so that several in a row need no further work.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Mapping

__all__ = ["binary", "body", "message", "text"]


def message(payload: bytes) -> bytes:
    """Return *payload* as a text message if it is UTF-8, else as a binary one."""
    try:
        return text(payload)
    except UnicodeDecodeError:
        return binary(payload)


def text(payload: bytes) -> bytes:
    """Return a text message. The caller has to know that *payload* is UTF-8."""
    return json.dumps(payload.decode(), ensure_ascii=False).encode() + b","


def binary(payload: bytes) -> bytes:
    """Return a binary message."""
    return b'{"base64":"%b"},' % b2a_base64(payload, newline=False)


def body(
    cursor: str, pieces: bytes, *, is_gap: bool, hello: Mapping[str, object] | None = None
) -> bytes:
    """
    Return the body of an answer.

    Args:
        pieces: Messages in a row. Empty if there are none.
        is_gap: Tells whether messages may have been lost before these.
        hello: See `wsredis.gateway.hello.hello`. None if the client was told before.
    """
    told = b"" if hello is None else b'"hello":%b,' % json.dumps(hello).encode()
    fields = (cursor.encode(), b"true" if is_gap else b"false", told, pieces[:-1])
    return b'{"cursor":"%b","gap":%b,%b"messages":[%b]}' % fields
