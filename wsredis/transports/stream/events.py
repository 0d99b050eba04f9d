"""
The format of Server-Sent Events, as the HTML standard defines it.

A message is the data of an event without a name. The format has text only, and takes every CR for
the end of a line. So text with a CR is the JSON of a string in an event ``json``, and a message
that is not UTF-8 is Base64 in an event ``binary``.
"""

from __future__ import annotations

import json
from binascii import b2a_base64
from collections.abc import Mapping

__all__ = ["COMMENT", "LAST_CHUNK", "binary", "chunk", "mark", "message", "named", "text"]

#: A line that every reader ignores: a sign of life.
COMMENT = b":\n\n"

#: The end of a chunked body (RFC 9112, 7.1).
LAST_CHUNK = b"0\r\n\r\n"


def message(payload: bytes, mark: bytes = b"") -> bytes:
    """
    Return *payload* as an event: text if it is UTF-8, else binary.

    Args:
        mark: What `mark` returns for the cursor behind the message. If empty, the event has none.
    """
    if payload.isascii():
        if b"\n" not in payload and b"\r" not in payload:
            # Nearly all are such.
            return b"%bdata: %b\n\n" % (mark, payload)
    else:
        try:
            payload.decode()
        except UnicodeDecodeError:
            return binary(payload, mark)
    return text(payload, mark)


def text(payload: bytes, mark: bytes = b"") -> bytes:
    """Return a text message as an event. The caller has to know that *payload* is UTF-8."""
    if b"\r" in payload:
        data = json.dumps(payload.decode(), ensure_ascii=False).encode()
        return b"%bevent: json\ndata: %b\n\n" % (mark, data)
    return b"%bdata: %b\n\n" % (mark, payload.replace(b"\n", b"\ndata: "))


def binary(payload: bytes, mark: bytes = b"") -> bytes:
    """Return a binary message as an event."""
    return b"%bevent: binary\ndata: %b\n\n" % (mark, b2a_base64(payload, newline=False))


def named(name: str, fields: Mapping[str, object], mark: bytes = b"") -> bytes:
    """Return an event of the gateway itself: its data is a JSON object."""
    data = json.dumps(fields, separators=(",", ":")).encode()
    return b"%bevent: %b\ndata: %b\n\n" % (mark, name.encode(), data)


def mark(cursor: str) -> bytes:
    """
    Return the line that tells a reader its cursor.

    By itself, with an empty line after it, it changes the cursor and is no event.
    """
    return b"id: %b\n" % cursor.encode()


def chunk(data: bytes) -> bytes:
    """Return *data*, which is not empty, as a chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
