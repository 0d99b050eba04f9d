"""The base class of tests of one connection to Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.connection import RedisConnection
from wsredis.brokers.redis.protocol import RedisProtocol
from wsredis.config.redis_url import RedisTarget
from wsredis.gateway.publication import Publication
from wsredis.testing.redis import FakeRedis

__all__ = ["MAX_REPLY", "PING", "LinkCase", "Owner"]

#: Seconds between two PINGs.
PING = 3.0

#: Largest reply in bytes.
MAX_REPLY = 1000


class Owner:
    """The owner of a link, which keeps its calls in order."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.batches: list[list[tuple[bytes, bytes]]] = []
        self.reasons: list[str] = []
        self.on_messages: Callable[[], None] = lambda: None

    def established(self, protocol: RedisProtocol) -> None:
        self.events.append("up")

    def lost(self) -> None:
        self.events.append("down")

    def failed(self, reason: str) -> None:
        self.reasons.append(reason)

    def messages(self, batch: Sequence[Publication]) -> None:
        self.batches.append([(each.channel, each.payload) for each in batch])
        self.events.append(self.batches[-1])
        self.on_messages()


class LinkCase(SynchronousTestCase):
    """A link, and the Redis in memory that it leads to."""

    def setUp(self) -> None:
        """Nothing is connected yet."""
        self.clock = MemoryReactorClock()
        self.server = FakeRedis(self.clock)
        self.owner = Owner()

    def make(self, **more: Any) -> RedisConnection:
        """A link that is not started."""
        arguments: dict[str, Any] = {
            "endpoint": self.server.endpoint(),
            "target": RedisTarget(name="redis://fake:6379"),
            "ping_interval": PING,
            "max_reply": MAX_REPLY,
            "established": self.owner.established,
            "lost": self.owner.lost,
            "failed": self.owner.failed,
        }
        return RedisConnection(self.clock, **{**arguments, **more})

    def start(self, **settings: Any) -> RedisConnection:
        """Start a link that subscribes, and let it log in."""
        target = RedisTarget(name="redis://fake:6379", **settings)
        self.link = self.make(target=target, deliver=self.owner.messages)
        self.link.start()
        self.server.pump()
        return self.link

    def protocol(self) -> RedisProtocol:
        """The connection that is up."""
        assert self.link.protocol is not None
        return self.link.protocol

    def wait(self, seconds: float) -> None:
        """Let time pass, and bytes move, in small steps."""
        for _ in range(round(seconds / 0.25)):
            self.clock.advance(0.25)
            self.server.pump()
