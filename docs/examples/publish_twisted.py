"""Publish from a program that uses Twisted: python publish_twisted.py"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import react

from wsredis.publisher import TwistedRedisPublisher


async def main(reactor: Any) -> None:
    publisher = TwistedRedisPublisher(facility="news", broadcast=True, reactor=reactor)
    try:
        receivers = await publisher.publish_message("Hello")
        print(f"{receivers} subscriber(s) received it")
        print(await publisher.fetch_message(None, "news"))
    finally:
        await publisher.close()


react(main)
