"""
An ASGI application with a channel layer, for ``twistd wsredis --asgi``.

It hears a channel of the gateway, a group and a worker channel, and answers on the channel
``broadcast:out`` of the gateway. Redis is that of the variable ``TEST_REDIS``, if there is one.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async

from wsredis.layer import ChannelLayer, gateway_group

OUT = gateway_group("broadcast", "out")

_url = os.environ.get("TEST_REDIS")

layer = ChannelLayer(hosts=_url and [_url])


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Hear and answer from the start to the stop."""
    if scope["type"] != "lifespan":
        raise NotImplementedError
    await receive()
    # Redis may not be connected yet.
    await say("started")
    channel = await layer.new_channel()
    layer.tell_gaps(channel)
    for group in (gateway_group("broadcast", "in"), "ordinary"):
        await layer.group_add(group, channel)
    tasks = [asyncio.create_task(hear(each)) for each in (channel, "jobs")]
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await say("stopped")
    for task in tasks:
        task.cancel()
    await send({"type": "lifespan.shutdown.complete"})


async def hear(channel: str) -> None:
    """Answer each message to a channel."""
    while True:
        event = await layer.receive(channel)
        if event["type"] == "layer.gap":
            await say("gap")
        elif event["text"] == "sync":
            await sync_to_async(async_to_sync(say))("from a thread")
        else:
            await say(f"{event['type']} {event['text']}")


async def say(text: str) -> None:
    """Reach the sockets, also those that come later."""
    message = {"type": "websocket.send", "text": text, "expire": 60}
    await layer.group_send(OUT, message)
