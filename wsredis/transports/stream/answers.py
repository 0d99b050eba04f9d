"""The heads of answers to clients without WebSockets, and what they let pages read (CORS)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from http import HTTPStatus

__all__ = ["Sharing", "answer", "preflight", "stream_head"]

#: Seconds for which a browser remembers the answer to its question.
_MAX_AGE = 600

#: Whatever else stands there would end the header.
_VISIBLE = re.compile(r"[!-~]+")

#: Headers of ours that a script may read.
_EXPOSED = "Wsredis-Cursor, Retry-After"


class Sharing:
    """
    The pages that may read an answer.

    Args:
        origin: The Origin header of the request. Empty if there is none.
        is_foreign: Tells whether the page is foreign. It may read what any stranger may have:
            its cookies meant nothing, and so it does not matter that its browser has sent them, as
            it does with a WebSocket.
    """

    __slots__ = ("is_foreign", "lines")

    def __init__(self, origin: str, is_foreign: bool) -> None:
        self.is_foreign = is_foreign
        self.lines: Sequence[str] = ("Vary: Origin",)
        if not origin or not _VISIBLE.fullmatch(origin):
            return
        allowed = (
            f"Access-Control-Allow-Origin: {origin}",
            "Access-Control-Allow-Credentials: true",
        )
        self.lines = (*allowed, f"Access-Control-Expose-Headers: {_EXPOSED}", *self.lines)


def answer(status: int, lines: Sequence[str], body: bytes, *, keeps: bool) -> bytes:
    """
    Return an answer as bytes.

    Args:
        lines: Headers, beside those for the length and the connection.
        keeps: Tells whether another request may follow.
    """
    head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *lines]
    if status != 204:
        head.append(f"Content-Length: {len(body)}")
    head += ["Cache-Control: no-store", f"Connection: {'keep-alive' if keeps else 'close'}"]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def preflight(sharing: Sharing, *, keeps: bool) -> bytes:
    """Return the answer to a browser that asks whether a page may send a request."""
    if sharing.is_foreign:
        return answer(403, sharing.lines, b"this page may not do that", keeps=keeps)
    lines = [
        *sharing.lines,
        "Access-Control-Allow-Methods: GET, POST",
        "Access-Control-Allow-Headers: Authorization, Content-Type, Last-Event-ID",
        f"Access-Control-Max-Age: {_MAX_AGE}",
    ]
    return answer(204, lines, b"", keeps=keeps)


def stream_head(lines: Sequence[str], *, is_chunked: bool) -> bytes:
    """
    Return the head of a stream of events.

    Args:
        lines: Further headers.
        is_chunked: See `wsredis.transports.stream.encoding.EventEncoding`.
    """
    head = [
        "HTTP/1.1 200 OK",
        "Content-Type: text/event-stream; charset=utf-8",
        "Cache-Control: no-cache, no-transform",
        # nginx collects what is not marked so.
        "X-Accel-Buffering: no",
        "X-Content-Type-Options: nosniff",
        *lines,
        *(("Transfer-Encoding: chunked",) if is_chunked else ()),
        "Connection: close",
    ]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n"
