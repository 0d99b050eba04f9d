"""A client of redis-py in memory, to publish and to listen."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any

from redis import ResponseError

__all__ = ["FakeAsyncClient", "FakeClient"]

_WORDS = {"SETEX": 4, "PUBLISH": 3, "XADD": 8, "EXPIRE": 3}


class FakeClient:
    """
    The part of `redis.Redis` that is used.

    Attributes:
        trips: The commands of each round trip, the first word of a transaction being MULTI.
        values: The stored values by key.
        listeners: The number of subscribers by channel.
        refuse: Errors by command, in place of an answer.
        heard: The next events for subscribers: a message, None for silence, or an error to raise.
        subscribed: The channels of each subscriber so far.
        pings: The number of pings of subscribers.
        closed: Whether it was closed.
    """

    def __init__(self) -> None:
        self.trips: list[list[tuple[Any, ...]]] = []
        self.values: dict[bytes, bytes] = {}
        self.listeners: dict[bytes, int] = {}
        self.refuse: dict[str, Exception] = {}
        self.heard: deque[object] = deque()
        self.subscribed: list[tuple[bytes, ...]] = []
        self.pings = 0
        self.closed = False

    def pipeline(self, transaction: bool = True) -> _Pipeline:
        """Commands for one round trip."""
        return _Pipeline(self, transaction)

    def execute_command(self, word: str, *names: bytes, **options: Any) -> list[bytes | None]:
        """The values of these keys; Redis wants at least one, and bytes are not decoded."""
        assert (word, options) == ("MGET", {"NEVER_DECODE": []})
        assert names, "wrong number of arguments for 'mget' command"
        self.trips.append([(word, *names)])
        return [self.values.get(name) for name in names]

    def pubsub(self) -> _Subscriber:
        """A subscriber."""
        return _Subscriber(self)

    def answer(self, words: tuple[Any, ...]) -> object:
        """Execute one command."""
        name, channel, *rest = words
        assert len(words) == _WORDS[name], f"wrong number of arguments for {name!r} command"
        if name in self.refuse:
            return self.refuse[name]
        if name == "PUBLISH":
            return self.listeners.get(channel, 0)
        if name in ("XADD", "EXPIRE"):
            return b"1-1" if name == "XADD" else 1
        assert int(rest[0]) > 0, "invalid expire time in 'setex' command"
        self.values[channel] = rest[1]
        return True

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


class _Pipeline:
    def __init__(self, client: FakeClient, transaction: bool) -> None:
        self._client = client
        self._transaction = transaction
        self._commands: list[tuple[Any, ...]] = []

    def execute_command(self, *words: Any) -> _Pipeline:
        self._commands.append(words)
        return self

    def execute(self, raise_on_error: bool = True) -> list[object]:
        replies = [self._client.answer(words) for words in self._commands]
        start: list[tuple[Any, ...]] = [("MULTI",)] if self._transaction else []
        self._client.trips.append(start + self._commands)
        for reply in replies:
            # A transaction is refused as a whole.
            strict = raise_on_error or self._transaction or not isinstance(reply, ResponseError)
            if strict and isinstance(reply, Exception):
                raise reply
        return replies

    def __enter__(self) -> _Pipeline:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._commands = []


class _Subscriber:
    def __init__(self, client: FakeClient) -> None:
        self._client = client

    def subscribe(self, *channels: bytes) -> None:
        self._client.subscribed.append(channels)

    def ping(self) -> None:
        self._client.pings += 1

    def get_message(self, timeout: float) -> object:
        got = self._client.heard.popleft()
        if isinstance(got, BaseException):
            raise got
        return got

    def __enter__(self) -> _Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class FakeAsyncClient:
    """
    The part of `redis.asyncio.Redis` that is used.

    Attributes:
        server: The client with the values, listeners and errors.
    """

    def __init__(self) -> None:
        self.server = FakeClient()

    def pipeline(self, transaction: bool = True) -> _AsyncPipeline:
        """Commands for one round trip."""
        return _AsyncPipeline(self.server.pipeline(transaction))

    async def execute_command(self, *words: Any, **options: Any) -> list[bytes | None]:
        """The values of keys."""
        return self.server.execute_command(*words, **options)

    async def aclose(self) -> None:
        """Close it."""
        self.server.closed = True


class _AsyncPipeline:
    def __init__(self, pipeline: _Pipeline) -> None:
        self._pipeline = pipeline

    def execute_command(self, *words: Any) -> None:
        self._pipeline.execute_command(*words)

    async def execute(self, raise_on_error: bool = True) -> list[object]:
        return self._pipeline.execute(raise_on_error)

    async def __aenter__(self) -> _AsyncPipeline:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass
