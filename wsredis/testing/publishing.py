"""Clients of redis-py in memory, for programs that publish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from wsredis.brokers.memory import MemoryServer

__all__ = ["AsyncRedisClient", "RedisClient"]


class RedisClient:
    """
    The part of ``redis.Redis`` that a `wsredis.publisher.RedisPublisher` needs.

    Give it to a publisher as its ``connection``: clients of a `wsredis.testing.MemoryGateway` on
    the same server hear the messages.

    Args:
        server: ``redis`` of a gateway in memory.

    Attributes:
        error: An exception that every command raises, as if Redis were away. If None, commands
            succeed.
    """

    def __init__(self, server: MemoryServer) -> None:
        self.error: Exception | None = None
        self._server = server

    def pipeline(self, transaction: bool = True) -> _Pipeline:
        """Collect commands that are executed together."""
        return _Pipeline(self)

    def execute_command(self, name: str, channel: bytes, *rest: Any, **options: Any) -> object:
        """
        Execute SETEX, PUBLISH or MGET.

        Args:
            options: Ignored: values are bytes whatever they say.

        Returns:
            True, the number of gateways that listen to the channel, or the stored messages.

        Raises:
            KeyError: Another command, which no publisher sends.
        """
        self._check()
        commands: dict[str, Callable[..., object]] = {
            "SETEX": self._setex,
            "PUBLISH": self._publish,
            "MGET": self._mget,
        }
        return commands[name](channel, *rest)

    def _setex(self, channel: bytes, expire: str, payload: bytes) -> bool:
        self._server.store(channel, int(expire), bytes(payload))
        return True

    def _publish(self, channel: bytes, payload: bytes) -> int:
        return self._server.publish(channel, bytes(payload))

    def _mget(self, *channels: bytes) -> list[bytes | None]:
        return [self._server.value(each) for each in channels]

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


class _Pipeline:
    def __init__(self, client: RedisClient) -> None:
        self._client = client
        self._commands: list[tuple[Any, ...]] = []

    def execute_command(self, *command: Any) -> None:
        self._commands.append(command)

    def execute(self, raise_on_error: bool = True) -> list[object]:
        commands, self._commands = self._commands, []
        return [self._client.execute_command(*command) for command in commands]

    def __enter__(self) -> _Pipeline:
        return self

    def __exit__(self, *_: object) -> None:
        self._commands = []


class AsyncRedisClient:
    """
    The same for a `wsredis.publisher.AsyncRedisPublisher`, which needs ``redis.asyncio.Redis``.

    Attributes:
        client: Executes the commands; its ``error`` counts here too.
    """

    def __init__(self, server: MemoryServer) -> None:
        self.client = RedisClient(server)

    def pipeline(self, transaction: bool = True) -> _AsyncPipeline:
        """Collect commands that are executed together."""
        return _AsyncPipeline(self.client.pipeline(transaction))

    async def execute_command(self, *command: Any, **options: Any) -> object:
        """See `RedisClient.execute_command`."""
        return self.client.execute_command(*command, **options)

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


class _AsyncPipeline:
    def __init__(self, pipeline: _Pipeline) -> None:
        self.execute_command: Callable[..., None] = pipeline.execute_command
        self._pipeline = pipeline

    async def execute(self, raise_on_error: bool = True) -> list[object]:
        return self._pipeline.execute(raise_on_error)

    async def __aenter__(self) -> _AsyncPipeline:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._pipeline.__exit__()
