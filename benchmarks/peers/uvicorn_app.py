"""
The peer of uvicorn: a bare ASGI application, redis.asyncio with hiredis, uvloop.

    uvicorn uvicorn_app:app

The variable REDIS_PORT has the port of Redis. One Redis connection subscribes for all clients.
"""

from __future__ import annotations

import asyncio
import os

from redis.asyncio import Redis

redis = Redis(host="127.0.0.1", port=int(os.environ["REDIS_PORT"]))
pubsub = redis.pubsub()
clients: dict[bytes, set] = {}
tasks: list[asyncio.Task[None]] = []


async def deliver() -> None:
    """Hand the messages of Redis to the clients, for ever."""
    async for message in pubsub.listen():
        if message["type"] == "message":
            event = {"type": "websocket.send", "text": message["data"].decode()}
            for send in tuple(clients.get(message["channel"], ())):
                # A client that has just left is no reason to stop.
                await asyncio.gather(send(event), return_exceptions=True)


async def lifespan(receive, send) -> None:
    """Subscribe at the start of the server."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            # A subscription that never ends keeps listen() going while there is no client.
            await pubsub.subscribe(b"nobody")
            tasks.append(asyncio.create_task(deliver()))
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


async def app(scope, receive, send) -> None:
    """The application: /sub/NAME or /pub/NAME."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    _, kind, name = scope["path"].encode().split(b"/")
    await receive()
    await send({"type": "websocket.accept"})
    if kind == b"sub":
        if name not in clients:
            clients[name] = set()
            await pubsub.subscribe(name)
        clients[name].add(send)
    while (message := await receive())["type"] != "websocket.disconnect":
        if kind == b"pub":
            await redis.publish(name, message.get("text") or message["bytes"])
    if kind == b"sub":
        clients[name].discard(send)
        if not clients[name]:
            del clients[name]
            await pubsub.unsubscribe(name)
