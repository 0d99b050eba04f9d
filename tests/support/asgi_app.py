"""An ASGI application for tests with real processes."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["application", "fails"]


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Says what it is asked, and what it is told."""
    if scope["type"] == "lifespan":
        await _live(scope, receive, send)
    elif scope["type"] == "http":
        await _answer(scope, send)
    else:
        await _echo(receive, send)


async def fails(scope: Any, receive: Any, send: Any) -> None:
    """Never starts."""
    assert scope["type"] == "lifespan"
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})


def _say(text: str) -> None:
    print(f"{text} in {os.getpid()}", file=sys.stderr, flush=True)


async def _live(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    scope["state"]["process"] = os.getpid()
    _say("application started")
    await send({"type": "lifespan.startup.complete"})
    await receive()
    _say("application stopped")
    await send({"type": "lifespan.shutdown.complete"})


async def _answer(scope: Any, send: Any) -> None:
    told = {name: scope[name] for name in ("client", "scheme", "path", "root_path", "state")}
    told["here"] = os.getpid()
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": body})


async def _echo(receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            _say(f"client left with {event['code']}")
            return
        if "text" in event:
            await send({"type": "websocket.send", "text": event["text"]})
        else:
            await send({"type": "websocket.send", "bytes": event["bytes"]})
