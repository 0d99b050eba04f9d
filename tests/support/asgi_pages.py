"""An ASGI application whose pages show what a server does."""

from __future__ import annotations

import asyncio
import json
from typing import Any

__all__ = ["application"]

#: The number of calls that have ended, by the way in which they did.
ends: dict[str, int] = {"returned": 0, "left": 0, "cancelled": 0}


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the page of the path."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    name, _, argument = scope["path"][1:].partition("/")
    try:
        await _PAGES[name](scope, receive, send, argument)
    except OSError:
        ends["left"] += 1
        raise
    except asyncio.CancelledError:
        ends["cancelled"] += 1
        raise
    ends["returned"] += 1


async def _start(send: Any, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [*headers]})


async def _text(send: Any, text: str) -> None:
    await _start(send, (b"content-type", b"text/plain"))
    await send({"type": "http.response.body", "body": text.encode()})


async def _scope(scope: Any, receive: Any, send: Any, argument: str) -> None:
    await _text(send, json.dumps(scope[argument], default=bytes.decode))


async def _ends(scope: Any, receive: Any, send: Any, argument: str) -> None:
    await _text(send, json.dumps(ends))


async def _count(scope: Any, receive: Any, send: Any, argument: str) -> None:
    """Answer with the number of bytes of the body."""
    size, more = 0, True
    while more:
        event = await receive()
        size, more = size + len(event["body"]), event["more_body"]
    await _text(send, str(size))


async def _wait(scope: Any, receive: Any, send: Any, argument: str) -> None:
    """Take nothing of the body, and do not answer."""
    await asyncio.Event().wait()


async def _flood(scope: Any, receive: Any, send: Any, argument: str) -> None:
    """Send so many megabytes."""
    await _start(send)
    for _ in range(int(argument) * 16):
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
    await send({"type": "http.response.body"})


async def _file(scope: Any, receive: Any, send: Any, argument: str) -> None:
    """Send this file."""
    await _start(send)
    await send({"type": "http.response.pathsend", "path": __file__})


async def _later(scope: Any, receive: Any, send: Any, argument: str) -> None:
    """Answer after so many seconds."""
    await asyncio.sleep(float(argument))
    await _text(send, "at last")


async def _fail(scope: Any, receive: Any, send: Any, argument: str) -> None:
    """Raise."""
    raise ZeroDivisionError("on purpose")


_PAGES = {
    "scope": _scope,
    "ends": _ends,
    "count": _count,
    "wait": _wait,
    "flood": _flood,
    "file": _file,
    "later": _later,
    "fail": _fail,
}
