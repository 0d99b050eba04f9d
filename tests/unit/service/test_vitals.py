"""Tests of `wsredis.service.vitals`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import Limits
from wsredis.gateway.health import Health, Problem
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.shares import SharedBound
from wsredis.service.vitals import Vitals


class VitalsTests(SynchronousTestCase):
    """What nobody reports is found."""

    def setUp(self) -> None:
        """Start, with forty places."""
        self.clock = Clock()
        self.health = Health(self.clock.seconds)
        self.metrics = Metrics()
        self.places = SharedBound(40)
        self.broker = MemoryBroker(MemoryServer(self.clock))
        self.vitals = self.make(self.broker)
        self.vitals.start()

    def make(self, broker: MemoryBroker | None) -> Vitals:
        """Make one."""
        return Vitals(
            self.clock,
            self.health,
            self.metrics,
            Limits(max_connections=40),
            self.places,
            broker,
            now=self.clock.seconds,
        )

    def test_full(self) -> None:
        """Without a place it is full, until a twentieth is free; the beginning is known."""
        self.broker.connect()
        self.places.add("", 39)
        self.assertEqual({}, dict(self.vitals.look()))
        self.places.add("", 1)
        self.clock.advance(1)
        self.clock.advance(5)
        self.assertEqual(1.0, self.vitals.look()["full"].since)
        self.assertFalse(self.health.is_ready)
        self.places.release("", 1)
        self.assertIn("full", self.vitals.look())
        self.places.release("", 1)
        self.assertNotIn("full", self.vitals.look())

    def test_few_places(self) -> None:
        """One place that is free is enough where there are few."""
        vitals = Vitals(
            self.clock, self.health, self.metrics, Limits(max_connections=1), self.places, None
        )
        self.places.add("", 1)
        self.assertIn("full", vitals.look())
        self.places.release("", 1)
        self.assertNotIn("full", vitals.look())

    def test_broker(self) -> None:
        """A broker that does not report is asked; one that does is not spoken for."""
        self.assertIn("redis", self.vitals.look())
        self.broker.connect()
        self.assertNotIn("redis", self.vitals.look())
        self.health.report("redis", "its own words")
        self.assertEqual("its own words", self.make(None).look()["redis"].text)

    def test_lag(self) -> None:
        """The lag of the event loop is measured."""
        self.clock.advance(1.5)
        self.assertEqual(0.5, self.metrics.loop_lag)

    def test_timers(self) -> None:
        """Only a restart helps if timers do not run."""
        self.clock.rightNow += 9
        self.assertEqual({}, dict(self.vitals.fatal()))
        self.clock.rightNow += 2
        expected = {"timers": Problem("timers do not run any more", 0.0, True)}
        self.assertEqual(expected, dict(self.vitals.fatal()))
        self.clock.advance(0)
        self.assertEqual({}, dict(self.vitals.fatal()))

    def test_stop(self) -> None:
        """Nothing runs after a stop."""
        self.vitals.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual({}, dict(self.vitals.fatal()))
