"""
A FastAPI application beside the sockets of the gateway.

    pip install fastapi "wsredis[publisher]"
    wsredis serve --redis redis://localhost:6379 --asgi orders:app

It takes an order, works on it after the answer, and tells all pages that listen at
ws://localhost:8080/ws/orders?subscribe-broadcast, which is the gateway's own WebSocket.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import BackgroundTasks, FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse, StreamingResponse

from wsredis.publisher import AsyncRedisPublisher


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Connect to Redis at the start, and not once for each order."""
    async with AsyncRedisPublisher(facility="orders", broadcast=True) as publisher:
        app.state.publisher = publisher
        yield


app = FastAPI(lifespan=lifespan)


async def work(order: str) -> None:
    """Work on an order, and tell everybody who listens."""
    await asyncio.sleep(0.01)
    text = json.dumps({"order": order, "state": "done"})
    await app.state.publisher.publish_message(text)


@app.post("/orders/{order}", status_code=202)
async def take(order: str, tasks: BackgroundTasks) -> dict[str, str]:
    """Take an order. The work begins after this answer."""
    tasks.add_task(work, order)
    return {"order": order, "state": "taken"}


@app.get("/slow")
def slow(seconds: float = 0.0) -> dict[str, float]:
    """A route that is no coroutine runs in a thread, and holds nobody."""
    time.sleep(min(seconds, 5.0))
    return {"slept": seconds}


@app.get("/count")
async def count(to: int = 3) -> StreamingResponse:
    """Send lines one by one."""

    async def lines() -> AsyncIterator[str]:
        for number in range(to):
            yield f"{number}\n"
            await asyncio.sleep(0)

    return StreamingResponse(lines(), media_type="text/plain")


@app.get("/source")
async def source() -> FileResponse:
    """Send a file, which the gateway reads in blocks."""
    return FileResponse(Path(__file__), media_type="text/x-python")


@app.websocket("/echo")
async def echo(socket: WebSocket) -> None:
    """A WebSocket of the application itself."""
    await socket.accept()
    try:
        while True:
            await socket.send_text(await socket.receive_text())
    except WebSocketDisconnect:
        pass
