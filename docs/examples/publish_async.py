"""Publish from a program that uses asyncio: python publish_async.py"""

from __future__ import annotations

import asyncio

from wsredis.publisher import AsyncRedisPublisher


async def main() -> None:
    async with AsyncRedisPublisher(facility="news", broadcast=True) as publisher:
        receivers = await publisher.publish_message("Hello")
        print(f"{receivers} subscriber(s) received it")
        print(await publisher.fetch_message(None, "news"))


asyncio.run(main())
