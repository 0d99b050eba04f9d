"""For programs that publish: a publisher for threads, one for asyncio and one for Twisted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsredis.publisher.aio import AsyncRedisPublisher
from wsredis.publisher.base import BasePublisher, RedisMessage
from wsredis.publisher.recipients import SELF
from wsredis.publisher.sync import RedisPublisher

if TYPE_CHECKING:
    from wsredis.publisher.twisted import TwistedRedisPublisher
else:  # to a type checker, a name that is not above does not exist

    def __getattr__(name: str) -> Any:
        # Loaded late, since txredisapi installs the reactor of Twisted.
        if name != "TwistedRedisPublisher":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from wsredis.publisher.twisted import TwistedRedisPublisher

        return TwistedRedisPublisher


__all__ = [
    "SELF",
    "AsyncRedisPublisher",
    "BasePublisher",
    "RedisMessage",
    "RedisPublisher",
    "TwistedRedisPublisher",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
