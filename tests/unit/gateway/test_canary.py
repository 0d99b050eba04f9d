"""Tests of the listener by which a broker proves that publications arrive."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import FakeListener
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.gateway.canary import Canary
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication


class CanaryTests(SynchronousTestCase):
    """An ordinary listener of the hub."""

    def setUp(self) -> None:
        """A hub with the canary."""
        clock = Clock()
        self.server = MemoryServer(clock)
        self.metrics = Metrics()
        broker = MemoryBroker(self.server)
        self.hub = Hub(broker, 100, self.metrics)
        broker.start(self.hub)
        self.heard: list[bytes] = []
        self.forbidden: list[int] = []
        self.canary = Canary(
            b"proof", self.metrics, self.heard.append, lambda: self.forbidden.append(1)
        )

    def test_heard(self) -> None:
        """It tells each message, and none of them counts as a publication."""
        self.successResultOf(self.hub.subscribe(self.canary))
        self.server.publish(b"proof", b"1")
        self.server.publish(b"other", b"x")
        self.server.publish(b"proof", b"2")
        self.assertEqual([b"1", b"2"], self.heard)
        self.assertEqual(0, self.metrics.publications)

    def test_asked(self) -> None:
        """Anything but a number is a question; without somebody who answers it is nothing."""
        self.hub.subscribe(self.canary)
        self.server.publish(b"proof", b"x")
        asked: list[bytes] = []
        self.canary.asked = asked.append
        for payload in (b"{}", b"1", b"-1"):
            self.server.publish(b"proof", payload)
        self.assertEqual(([b"1"], [b"{}", b"-1"]), (self.heard, asked))

    def test_not_counted(self) -> None:
        """Neither does it count as a client that gets something."""
        client = FakeListener(b"a")
        for each in (client, self.canary):
            self.hub.subscribe(each)
        self.server.publish(b"a", b"x")
        before = self.metrics.deliveries, self.metrics.sent_bytes
        self.server.publish(b"proof", b"1")
        self.hub.deliver([Publication(b"proof", b"1"), Publication(b"proof", b"2")])
        self.assertEqual(before, (self.metrics.deliveries, self.metrics.sent_bytes))

    def test_forbidden(self) -> None:
        """It tells that the broker refuses its channel."""
        self.hub.subscribe(self.canary)
        self.hub.forbid(b"proof")
        self.assertEqual([1], self.forbidden)

    def test_restored(self) -> None:
        """A stored message proves nothing."""
        self.hub.subscribe(self.canary)
        self.hub.restore({b"proof": b"1"})
        self.assertEqual([], self.heard)
