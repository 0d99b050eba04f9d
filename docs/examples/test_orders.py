"""Tests of a Twisted program that publishes, without Redis: python -m twisted.trial test_orders"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import PublishOutcomeUnknown
from wsredis.publisher import TwistedRedisPublisher
from wsredis.testing import FakeRedis


class Orders:
    def __init__(self, publisher: TwistedRedisPublisher) -> None:
        self._publisher = publisher

    def take(self, number: int) -> Deferred[int]:
        return self._publisher.publish_message(f"order {number}")


class OrdersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.redis = FakeRedis(MemoryReactorClock())
        publisher = TwistedRedisPublisher(
            facility="orders",
            groups=["staff"],
            connection=self.redis.endpoint(),
            reactor=self.redis.clock,
        )
        self.orders = Orders(publisher)
        self.redis.pump()

    def test_message(self) -> None:
        result = self.orders.take(7)
        self.redis.pump()
        self.assertEqual(0, self.successResultOf(result))
        self.assertEqual(b"order 7", self.redis.value(b"group:staff:orders"))

    def test_lost_connection(self) -> None:
        result = self.orders.take(7)
        self.redis.kill()
        self.failureResultOf(result, PublishOutcomeUnknown)
