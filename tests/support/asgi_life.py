"""
An ASGI application for tests of its life in the gateway, which prints what happens to it.

Variables of the environment decide how it starts (``START``: empty, ``failed`` or ``raises``) and
how it stops (``STOP``: empty or ``hangs``).
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

__all__ = ["application", "ignorant"]


def _say(text: str) -> None:
    print(f"application: {text}", flush=True)


async def _lifespan(scope: Any, receive: Any, send: Any) -> None:
    assert (await receive())["type"] == "lifespan.startup"
    how = os.environ.get("START", "")
    _say("starts")
    await asyncio.sleep(0.1)
    if how == "failed":
        text = "Traceback\n  line\nOSError: no database"
        await send({"type": "lifespan.startup.failed", "message": text})
        return
    if how == "raises":
        raise OSError("no database")
    scope["state"]["loop"] = id(asyncio.get_running_loop())
    scope["state"]["requests"] = []
    await send({"type": "lifespan.startup.complete"})
    assert (await receive())["type"] == "lifespan.shutdown"
    _say("stops")
    if os.environ.get("STOP") == "hangs":
        await asyncio.sleep(3600)
    await send({"type": "lifespan.shutdown.complete"})


async def _hang() -> None:
    _say("hangs")
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        _say("is cancelled")
        raise


async def _ignore() -> None:
    _say("hangs")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            _say("ignores it")


def _block() -> None:
    time.sleep(0.4)


async def _page(scope: Any) -> str:
    path = scope["path"]
    if path == "/hang":
        await _hang()
    elif path == "/ignore":
        await _ignore()
    elif path == "/block":
        _block()
    elif path == "/sleep":
        _say("sleeps")
        await asyncio.sleep(0.5)
    elif path == "/exit":
        os.sys.exit(3)  # type: ignore[attr-defined]
    elif path == "/thread":
        asyncio.get_running_loop().run_in_executor(None, time.sleep, 3600)
    elif path == "/state":
        state = scope["state"]
        # The copy is shallow: the list is that of all requests.
        state["requests"].append(state.get("mine"))
        state["mine"] = 1
        is_same = state["loop"] == id(asyncio.get_running_loop())
        is_main = threading.current_thread() is threading.main_thread()
        return f"{is_same} {is_main} {state['requests']}"
    return "done"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Start, stop, or do what the path says."""
    if scope["type"] == "lifespan":
        await _lifespan(scope, receive, send)
        return
    body = (await _page(scope)).encode()
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def ignorant(scope: Any, receive: Any, send: Any) -> None:
    """Know of HTTP alone, as an application of Django does."""
    if scope["type"] != "http":
        raise ValueError(f"only HTTP, and not {scope['type']}")
    await application(scope, receive, send)
