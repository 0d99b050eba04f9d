"""A WSGI application with one answer for each way in which applications answer well or wrongly."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["ANSWERS", "OddPages", "application"]

_Answer = Callable[["OddPages", dict[str, Any], Any], Any]


class _Pieces:
    """
    An iterable that counts whether it was closed.

    Args:
        fails: Its ``close()`` raises an exception.
    """

    def __init__(self, pages: OddPages, pieces: Any, *, fails: bool = False) -> None:
        self._pages = pages
        self._pieces = pieces
        self._fails = fails
        pages.opened += 1

    def __iter__(self) -> Iterator[Any]:
        return iter(self._pieces)

    def close(self) -> None:
        """Count."""
        self._pages.closed += 1
        if self._fails:
            raise ZeroDivisionError


class OddPages:
    """
    The answers, and what they count.

    Attributes:
        opened, closed: The number of iterables that were returned, and of those that were closed.
    """

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0

    def answer(self, name: str, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer in the way of this name."""
        return ANSWERS[name](self, environ, start_response)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        """Answer in the way that the path names, or with the counts."""
        name = environ["PATH_INFO"].removeprefix("/")
        if name in ANSWERS:
            return self.answer(name, environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps(self.counts()).encode()]

    def counts(self) -> dict[str, int]:
        """Return what there is in this process: it must not grow."""
        return {
            "threads": threading.active_count(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "open": self.opened - self.closed,
        }


def _plain(status: str, headers: list[tuple[str, str]], *pieces: Any, fails: bool = False) -> Any:
    def answer(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
        start_response(status, headers)
        return _Pieces(pages, pieces, fails=fails)

    return answer


def _raises(error: BaseException) -> _Answer:
    def answer(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
        raise error

    return answer


def _returns(value: Any) -> _Answer:
    def answer(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        return value

    return answer


def _never_starts(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
    return _Pieces(pages, [])


def _reads(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
    size = len(environ["wsgi.input"].read())
    start_response("200 OK", [])
    return _Pieces(pages, [b"%d" % size])


def _writes(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])(b"written")
    return _Pieces(pages, [b"returned"])


def _breaks(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    start_response("200 OK", [])
    return _Pieces(pages, pieces())


def _replaces(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [("X-A", "1")])
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response("500 Internal Server Error", [], sys.exc_info())
    return _Pieces(pages, [b"replaced"])


def _replaces_late(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])(b"half")
    return _replaces(pages, environ, start_response)


def _file(pages: OddPages, environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])
    return environ["wsgi.file_wrapper"](io.BytesIO(bytes(100_000)))


#: The answers by their names.
ANSWERS: dict[str, _Answer] = {
    "hello": _plain("200 OK", [("Content-Length", "5")], b"he", b"", b"llo"),
    "large": _plain("200 OK", [], *[bytes(65536)] * 4),
    "nothing": _plain("200 OK", []),
    "no-content": _plain("204 No Content", [("Content-Length", "1")], b"x"),
    "not-modified": _plain("304 Not Modified", [], b"x"),
    "long": _plain("200 OK", [("Content-Length", "1")], b"x", b"y", b"z"),
    "short": _plain("200 OK", [("Content-Length", "9")], b"x"),
    "switching": _plain("101 Switching Protocols", [], b"x"),
    "no-reason": _plain("200", [], b"x"),
    "bad-status": _plain("fine", [], b"x"),
    "bad-header": _plain("200 OK", [("X-A", "1\r\nX: 1")], b"x"),
    "euro-header": _plain("200 OK", [("X-A", "\u20ac")], b"x"),
    "closing": _plain("200 OK", [("Connection", "close")], b"x"),
    "chunked": _plain("200 OK", [("Transfer-Encoding", "chunked")], b"x"),
    "text": _plain("200 OK", [], "text"),
    "close-fails": _plain("200 OK", [], b"x", fails=True),
    "bytes": _returns(b"text"),
    "none": _returns(None),
    "raises": _raises(ZeroDivisionError()),
    "exits": _raises(SystemExit(3)),
    "never-starts": _never_starts,
    "reads": _reads,
    "writes": _writes,
    "breaks": _breaks,
    "replaces": _replaces,
    "replaces-late": _replaces_late,
    "file": _file,
}

application = OddPages()
