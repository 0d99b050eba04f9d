"""
For tests of programs that embed the gateway or publish through it: no Redis, no network.
"""

from __future__ import annotations

from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.testing.client import Client, HandshakeFailed, Socket
from wsredis.testing.gateway import MemoryGateway
from wsredis.testing.publishing import AsyncRedisClient, RedisClient
from wsredis.testing.redis import FakeRedis

__all__ = [
    "AsyncRedisClient",
    "Client",
    "FakeRedis",
    "HandshakeFailed",
    "MemoryBroker",
    "MemoryGateway",
    "MemoryServer",
    "RedisClient",
    "Socket",
]
