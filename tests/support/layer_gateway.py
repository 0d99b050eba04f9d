"""
A gateway with a program of asyncio in its process, which uses a channel layer.

Run as ``python -m tests.support.layer_gateway URL reactor|thread``.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from asgiref.sync import async_to_sync, sync_to_async
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogBeginner, textFileLogObserver

from wsredis import AsgiConfig, GatewayConfig, GatewayService, RedisConfig
from wsredis.layer import ChannelLayer, gateway_group
from wsredis.web.asgi.link import make_link

OUT = gateway_group("broadcast", "out")


class Program:
    """Answers what it hears: on a channel of the gateway, in a group, and as a worker."""

    def __init__(self, url: str) -> None:
        self.layer = ChannelLayer(hosts=[url])

    async def run(self) -> None:
        """Hear everything."""
        channel = await self.layer.new_channel()
        self.layer.tell_gaps(channel)
        for group in (gateway_group("broadcast", "in"), "ordinary"):
            while True:
                try:
                    await self.layer.group_add(group, channel)
                    break
                except OSError:
                    await asyncio.sleep(0.01)
        worker = asyncio.create_task(self.hear("jobs"))
        sys.stdout.write("the program hears\n")
        sys.stdout.flush()
        await asyncio.gather(self.hear(channel), worker)

    async def hear(self, channel: str) -> None:
        """Answer each message to a channel."""
        while True:
            event = await self.layer.receive(channel)
            await self.answer(event)

    async def answer(self, event: dict[str, Any]) -> None:
        """Say something on the channel ``out``."""
        if event["type"] == "layer.gap":
            await self.say("gap")
        elif event["text"] == "sync":
            await sync_to_async(async_to_sync(self.say))("from a thread")
        else:
            await self.say(f"{event['type']} {event['text']}")

    async def say(self, text: str) -> None:
        """Reach the sockets."""
        await self.layer.group_send(OUT, {"type": "websocket.send", "text": text})


def main(url: str, loop: str) -> None:
    """Run until a signal comes."""
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stdout)])
    config = GatewayConfig(
        port=("tcp:0:interface=127.0.0.1",), redis=RedisConfig(url=url), drain=0, drain_spread=0
    )
    service = GatewayService(config)
    link = make_link(reactor, AsgiConfig(loop=loop, shutdown=0.1), service.metrics)
    program = Program(url)

    def start() -> None:
        service.startService()
        link.start()
        link.spawn("the program", program.run(), lambda error: None)

    async def stop() -> None:
        await link.finish(0.1)
        link.stop()
        await service.stopService()

    loop_of_twisted: Any = reactor
    loop_of_twisted.callWhenRunning(start)
    loop_of_twisted.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(stop())
    )
    loop_of_twisted.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
