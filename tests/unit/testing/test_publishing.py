"""Tests for `wsredis.testing.publishing`: our publishers take it for redis-py."""

from __future__ import annotations

import asyncio

from twisted.trial.unittest import SynchronousTestCase

from wsredis.publisher import AsyncRedisPublisher, RedisPublisher
from wsredis.testing import AsyncRedisClient, MemoryGateway, RedisClient

PATH = "/ws/f?subscribe-broadcast"


class RedisClientTests(SynchronousTestCase):
    """`RedisClient` in the place of ``redis.Redis``."""

    def setUp(self) -> None:
        """Start a gateway, and make a publisher to everybody."""
        self.gateway = MemoryGateway()
        self.redis = RedisClient(self.gateway.redis)
        self.publisher = RedisPublisher(
            connection=self.redis,  # type: ignore[arg-type]
            facility="f",
            broadcast=True,
            prefix="",
            expire=60,
        )

    def test_publish(self) -> None:
        """Clients hear the message; the number is that of gateways, not of clients."""
        self.assertEqual(0, self.publisher.publish_message("nobody", expire=0))
        clients = [self.gateway.client(PATH) for _ in range(3)]
        self.assertEqual(1, self.publisher.publish_message("text"))
        self.assertEqual([["text"]] * 3, [client.messages() for client in clients])

    def test_pipeline(self) -> None:
        """A transaction does the same."""
        client = self.gateway.client(PATH)
        self.assertEqual(1, self.publisher.pipeline_publish_message(b"\xff"))
        self.assertEqual([b"\xff"], client.messages())

    def test_stored(self) -> None:
        """Until it expires, the message is there for later clients, and can be fetched."""
        self.assertIsNone(self.publisher.fetch_message(None, "f"))
        self.publisher.publish_message("text")
        self.assertEqual(b"text", self.publisher.fetch_message(None, "f"))
        self.assertEqual(["text"], self.gateway.client(PATH).messages())
        self.gateway.wait(61)
        self.assertIsNone(self.publisher.fetch_message(None, "f"))

    def test_error(self) -> None:
        """A Redis that is away raises what the test chose, from everything."""
        self.redis.error = ConnectionError("Redis is away")
        self.assertRaises(ConnectionError, self.publisher.publish_message, "text")
        self.assertRaises(ConnectionError, self.publisher.fetch_message, None, "f")
        self.redis.error = None
        self.assertEqual(0, self.publisher.publish_message("text"))

    def test_other_commands(self) -> None:
        """Commands that no publisher sends are unknown."""
        self.assertRaises(KeyError, self.redis.execute_command, "FLUSHALL", b"")


class AsyncRedisClientTests(SynchronousTestCase):
    """`AsyncRedisClient` in the place of ``redis.asyncio.Redis``."""

    def test_publish(self) -> None:
        """A coroutine publishes and fetches; clients hear it."""
        gateway = MemoryGateway()
        client = gateway.client(PATH)

        async def publish() -> tuple[int, bytes | None]:
            async with AsyncRedisPublisher(
                connection=AsyncRedisClient(gateway.redis),  # type: ignore[arg-type]
                facility="f",
                broadcast=True,
                prefix="",
            ) as publisher:
                heard = await publisher.publish_message("text", expire=60)
                return heard, await publisher.fetch_message(None, "f")

        self.assertEqual((1, b"text"), asyncio.run(publish()))
        self.assertEqual(["text"], client.messages())
