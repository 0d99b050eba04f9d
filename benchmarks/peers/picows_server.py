"""
The peer of picows: its core API, redis.asyncio with hiredis, uvloop.

    python picows_server.py PORT REDIS_PORT

One Redis connection subscribes for all clients. The callback for a frame is not async, so the
messages of a client go through a queue of its own, which keeps them in order.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from picows import (
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    ws_create_server,
)
from redis.asyncio import Redis


class Gateway:
    """The subscribers of each channel."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.pubsub = redis.pubsub()
        self.clients: dict[bytes, set[WSTransport]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def listener(self, request: WSUpgradeRequest) -> WSListener:
        """Choose by the path: /sub/NAME or /pub/NAME."""
        _, kind, name = request.path.split(b"/")
        return Publisher(self, name) if kind == b"pub" else Subscriber(self, name)

    def run(self, coroutine) -> asyncio.Task[None]:
        """Start a task, and hold on to it."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def deliver(self) -> None:
        """Hand the messages of Redis to the clients, for ever."""
        # A subscription that never ends keeps listen() going while there is no client.
        await self.pubsub.subscribe(b"nobody")
        async for message in self.pubsub.listen():
            if message["type"] == "message":
                for transport in self.clients.get(message["channel"], ()):
                    transport.send(WSMsgType.TEXT, message["data"])


class Subscriber(WSListener):
    """A client that listens."""

    def __init__(self, gateway: Gateway, name: bytes) -> None:
        self.gateway = gateway
        self.name = name

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Join the channel, and subscribe in Redis when this is its first client."""
        clients = self.gateway.clients.get(self.name)
        if clients is None:
            clients = self.gateway.clients[self.name] = set()
            self.gateway.run(self.gateway.pubsub.subscribe(self.name))
        clients.add(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Only a close frame is of interest."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """Leave the channel."""
        clients = self.gateway.clients[self.name]
        clients.discard(transport)
        if not clients:
            del self.gateway.clients[self.name]
            self.gateway.run(self.gateway.pubsub.unsubscribe(self.name))


class Publisher(WSListener):
    """A client that publishes."""

    def __init__(self, gateway: Gateway, name: bytes) -> None:
        self.gateway = gateway
        self.name = name
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Start to publish."""
        self.task = self.gateway.run(self.publish())

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Queue a message, or answer a close frame."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            self.queue.put_nowait(frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """End with the client."""
        self.task.cancel()

    async def publish(self) -> None:
        """Publish one message after the other."""
        while True:
            await self.gateway.redis.publish(self.name, await self.queue.get())


async def main(port: int, redis_port: int) -> None:
    """Serve for ever."""
    gateway = Gateway(Redis(host="127.0.0.1", port=redis_port))
    await ws_create_server(gateway.listener, "127.0.0.1", port, backlog=4096)
    await gateway.deliver()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
