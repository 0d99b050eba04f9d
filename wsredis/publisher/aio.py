"""Publish from a program on asyncio, through redis.asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsredis.publisher.base import BasePublisher, count_receivers
from wsredis.publisher.redis_py import async_client

if TYPE_CHECKING:
    from typing import Self

    import redis.asyncio

__all__ = ["AsyncRedisPublisher"]


class AsyncRedisPublisher(BasePublisher):
    """
    Does the same as `RedisPublisher` with coroutines, through redis.asyncio.

    Clients of redis.asyncio belong to one event loop. A publisher that was not given one has its
    own, which has to be closed with `aclose`, or by ``async with``. A program that makes many
    publishers should make one client and give it to each.

    Django allows no access to its database in a coroutine: give names rather than `SELF`.

    Args:
        connection: A client of redis.asyncio, or a URL. If None, see `RedisPublisher`.

    Raises:
        ValueError: An argument cannot be used.
        ConfigError: A setting cannot be used, or redis-py is missing.
    """

    def __init__(self, *, connection: redis.asyncio.Redis | str | None = None, **names: Any):
        super().__init__(**names)
        self._is_own = connection is None or isinstance(connection, str)
        if connection is None or isinstance(connection, str):
            connection = async_client(connection)
        self._connection: Any = connection

    async def publish_message(self, message: str | bytes, expire: int | None = None) -> int:
        """See `RedisPublisher.publish_message`."""
        return await self.pipeline_publish_message(message, expire, transaction=False)

    async def pipeline_publish_message(
        self, message: str | bytes, expire: int | None = None, transaction: bool = True
    ) -> int:
        """See `RedisPublisher.pipeline_publish_message`."""
        commands = self._commands(message, expire)
        if not commands:
            return 0
        async with self._connection.pipeline(transaction=transaction) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return count_receivers(commands, await pipeline.execute(raise_on_error=False))

    async def fetch_message(
        self, request: Any, facility: str, audience: str = "any"
    ) -> bytes | None:
        """See `RedisPublisher.fetch_message`."""
        names = self._candidates(request, facility, audience)
        if not names:
            return None
        values = await self._connection.execute_command("MGET", *names, NEVER_DECODE=[])
        return next(filter(None, values), None)

    async def aclose(self) -> None:
        """Close the connections, unless the client was given. Harmless when it is closed."""
        if self._is_own:
            await self._connection.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
