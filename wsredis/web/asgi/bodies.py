"""
The bodies of requests, of which exactly one reading is allowed.

A body has a length or is sent in chunks, never both, and a chunk has one form: whoever reads it in
another way sees another request after it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

__all__ = ["BadBody", "ChunkedBody", "SizedBody", "check_length"]

_LENGTH = re.compile(r"[0-9]{1,18}")
#: The line before a chunk. An extension, which nobody understands, may follow its size.
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")

#: Bytes of the line before a chunk, and of all trailers.
_MAX_LINE = 256
_MAX_TRAILERS = 8192

#: Chunks that are read at a time: tiny ones cost more than the turn of one client.
_AT_ONCE = 256


class BadBody(Exception):
    """
    The body of a request cannot be read.

    Attributes:
        status: The HTTP status of the answer.
        reason: One sentence for the client and for the log.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class SizedBody:
    """
    A body whose length is known.

    Attributes:
        is_done: Tells whether all of it was read.
        left: Bytes that are missing.
    """

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    @property
    def is_done(self) -> bool:
        return not self.left

    def read(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """
        Take bytes of the connection.

        Returns:
            The bytes of the body, the bytes after them, and whether these should be read again in a
            later turn: they are known to have more.
        """
        found = data[: self.left]
        self.left -= len(found)
        return found, data[len(found) :], False


class ChunkedBody:
    """
    A body in chunks.

    Args:
        limit: Bytes that it may have.

    Attributes:
        is_done: Tells whether all of it was read, its trailers included.
    """

    __slots__ = ("_in_chunk", "_left", "_limit", "_size", "_trailers", "is_done")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        #: Bytes that are missing of the chunk, its line end included.
        self._left = 0
        self._in_chunk = False
        #: Bytes of trailers, when the last chunk has come.
        self._trailers = -1
        self.is_done = False

    def read(self, data: bytes) -> tuple[bytes, bytes, bool]:
        """
        Take bytes of the connection; see `SizedBody.read`.

        Raises:
            BadBody: They are malformed, or the body is too large.
        """
        pieces: list[bytes] = []
        at = 0
        for _ in range(_AT_ONCE):
            if self._in_chunk:
                at = self._read_chunk(data, at, pieces)
                if self._in_chunk:
                    break
            end = data.find(b"\r\n", at, at + _MAX_TRAILERS)
            if end < 0:
                self._check_part(data[at:])
                break
            line, at = data[at:end], end + 2
            if self._trailers >= 0:
                self._take_trailer(line)
                if self.is_done:
                    break
            else:
                self._begin(line)
        else:
            return b"".join(pieces), data[at:], True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces), data[at:], False

    def _begin(self, line: bytes) -> None:
        """Read the line before a chunk."""
        found = None if len(line) > _MAX_LINE else _SIZE.fullmatch(line)
        if found is None:
            raise BadBody(400, "a chunk of the body is malformed")
        size = int(found[1], 16)
        self._size += size
        if self._size > self._limit:
            raise BadBody(413, f"the body of the request is larger than {self._limit} bytes")
        if size:
            self._left = size + 2
            self._in_chunk = True
        else:
            self._trailers = 0

    def _read_chunk(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        """Read what there is of a chunk, and return where it ends."""
        left = self._left
        piece = data[at : at + left]
        self._left = left = left - len(piece)
        # The end of its line is not a part of it.
        missing = 2 - left
        ending = b"" if missing <= 0 else piece[-missing:] if missing <= len(piece) else piece
        content = piece[: len(piece) - len(ending)]
        if content:
            pieces.append(content)
        if ending and ending != b"\r\n"[2 - left - len(ending) : 2 - left]:
            raise BadBody(400, "a chunk of the body is malformed")
        self._in_chunk = left > 0
        return at + len(piece)

    def _check_part(self, part: bytes) -> None:
        """Refuse the begin of a line that cannot become a good one."""
        limit = _MAX_LINE if self._trailers < 0 else _MAX_TRAILERS - self._trailers
        if len(part) > limit or b"\n" in part or b"\r" in part[:-1]:
            raise BadBody(400, "a chunk of the body is malformed")

    def _take_trailer(self, line: bytes) -> None:
        """Check a line after the last chunk. Nobody uses trailers, so they are forgotten."""
        if not line:
            self.is_done = True
            return
        self._trailers += len(line) + 2
        if self._trailers > _MAX_TRAILERS or _TRAILER.fullmatch(line) is None:
            raise BadBody(400, "a trailer of the request is malformed")


def check_length(headers: Mapping[str, str], version: str, limit: int) -> int | None:
    """
    Find out the length of a request's body.

    Args:
        headers: See `wsredis.transports.websocket.head.Head.headers`.
        version: That of the request.
        limit: Bytes that the body may have.

    Returns:
        0 if there is none, None if it comes in chunks.

    Raises:
        BadBody: It cannot be read: see RFC 9112, 6.1 and 6.3.
    """
    coding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if coding is not None:
        # One that came twice is joined, and is not this word any more.
        if length is not None or version != "HTTP/1.1" or coding.lower() != "chunked":
            raise BadBody(400, "the length of the body is not clear")
        return None
    if length is None:
        return 0
    if _LENGTH.fullmatch(length) is None:
        raise BadBody(400, "the length of the body is not clear")
    size = int(length)
    if size > limit:
        raise BadBody(413, f"the body of the request is larger than {limit} bytes")
    return size
