"""
The peer of python websockets: its asyncio server, redis.asyncio with hiredis.

    python websockets_server.py PORT REDIS_PORT

It uses `broadcast()` and uvloop, as its documentation advises for speed. One Redis connection
subscribes for all clients.
"""

from __future__ import annotations

import sys

import uvloop
from redis.asyncio import Redis
from websockets.asyncio.server import ServerConnection, broadcast, serve
from websockets.exceptions import ConnectionClosed


async def main(port: int, redis_port: int) -> None:
    """Serve for ever."""
    redis = Redis(host="127.0.0.1", port=redis_port)
    pubsub = redis.pubsub()
    clients: dict[bytes, set[ServerConnection]] = {}

    async def handler(connection: ServerConnection) -> None:
        _, kind, name = connection.request.path.encode().split(b"/")
        if kind == b"pub":
            try:
                async for message in connection:
                    await redis.publish(name, message)
            except ConnectionClosed:
                pass
            return
        if name not in clients:
            clients[name] = set()
            await pubsub.subscribe(name)
        clients[name].add(connection)
        try:
            await connection.wait_closed()
        finally:
            clients[name].discard(connection)
            if not clients[name]:
                del clients[name]
                await pubsub.unsubscribe(name)

    # A subscription that never ends keeps listen() going while there is no client.
    await pubsub.subscribe(b"nobody")
    async with serve(handler, "127.0.0.1", port, backlog=4096):
        async for message in pubsub.listen():
            if message["type"] == "message":
                broadcast(clients.get(message["channel"], ()), message["data"], text=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
