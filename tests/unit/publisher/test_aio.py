"""Tests for `wsredis.publisher.aio`."""

from __future__ import annotations

import asyncio
from typing import Any

import redis
import redis.asyncio

from tests.support.fake_client import FakeAsyncClient
from tests.unit.publisher.case import PublishCase
from wsredis.publisher import AsyncRedisPublisher


class AsyncTests(PublishCase):
    """The twin for asyncio."""

    def test_publish(self) -> None:
        """The commands are the same; a given client is not closed."""
        client = FakeAsyncClient()

        async def run() -> list[object]:
            given: Any = client
            async with AsyncRedisPublisher(
                connection=given, facility="f", broadcast=True
            ) as publisher:
                return [
                    await publisher.publish_message("x", 5),
                    await publisher.pipeline_publish_message("y", 0),
                    await publisher.fetch_message(None, "f"),
                    await publisher.fetch_message(None, "f", "user"),
                    await AsyncRedisPublisher(connection=given).publish_message("z"),
                ]

        self.assertEqual([0, 0, b"x", None, 0], asyncio.run(run()))
        expected = [
            [("SETEX", b"broadcast:f", "5", b"x"), ("PUBLISH", b"broadcast:f", b"x")],
            [("MULTI",), ("PUBLISH", b"broadcast:f", b"y")],
            [("MGET", b"broadcast:f")],
        ]
        self.assertEqual(expected, client.server.trips)
        self.assertFalse(client.server.closed)

    def test_closed(self) -> None:
        """A client of its own is closed by `aclose`, and at the end of ``async with``."""

        async def run() -> list[bool]:
            closed = []
            for leave in (AsyncRedisPublisher.aclose, AsyncRedisPublisher.__aexit__):
                publisher = AsyncRedisPublisher(connection="unix:///nowhere/redis.sock")
                client = publisher._connection = FakeAsyncClient()
                closed.append(client.server.closed)
                await leave(publisher)
                closed.append(client.server.closed)
            return closed

        self.assertEqual([False, True, False, True], asyncio.run(run()))

    def test_own(self) -> None:
        """A publisher that was given no client makes its own, and closes it, twice if need be."""

        async def run() -> None:
            for given in (None, "unix:///nowhere/redis.sock"):
                publisher = AsyncRedisPublisher(connection=given, users=["john"])
                self.assertIsInstance(publisher._connection, redis.asyncio.Redis)
                await publisher.aclose()
                await publisher.aclose()
            with self.assertRaises(redis.ConnectionError):
                await publisher.publish_message("x")
            await publisher.aclose()

        asyncio.run(run())
