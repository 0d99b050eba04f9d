"""For programs that publish, without Twisted unless it is asked for."""

from __future__ import annotations

from wsredis.publisher.sync import (
    SELF,
    AsyncRedisPublisher,
    BasePublisher,
    RedisMessage,
    RedisPublisher,
)

__all__ = ["SELF", "AsyncRedisPublisher", "BasePublisher", "RedisMessage", "RedisPublisher"]
