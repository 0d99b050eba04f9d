"""Tests of the rights that are missing for a proof."""

from __future__ import annotations

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.unproven import Unproven
from wsredis.gateway.health import Health
from wsredis.gateway.metrics import Metrics


class UnprovenTests(SynchronousTestCase):
    """A right that is missing is told, and stops nothing."""

    def setUp(self) -> None:
        """Nothing is missing."""
        self.health = Health()
        self.metrics = Metrics()
        self.unproven = Unproven(self.health, self.metrics)

    def test_missing(self) -> None:
        """It is logged once, counted, and does not make the gateway unready."""
        with capturedLogs() as captured:
            self.unproven.note("role", "give +role")
            self.unproven.note("role", "give +role")
            self.unproven.note("proof", "give +publish")
        self.assertEqual(["give +role", "give +publish"], [each["text"] for each in captured])
        self.assertEqual(2, self.metrics.unproven)
        self.assertTrue(self.health.is_ready)
        self.assertNotIn("+role", self.health.problems["unproven"].text)

    def test_given(self) -> None:
        """It is gone when the last right is there; the next time it is logged again."""
        self.unproven.note("role", "give +role")
        self.unproven.note("proof", "give +publish")
        self.unproven.clear("role")
        self.unproven.clear("role")
        self.assertEqual(1, self.metrics.unproven)
        self.assertIn("unproven", self.health.problems)
        self.unproven.clear("proof")
        self.assertEqual((0, {}), (self.metrics.unproven, dict(self.health.problems)))
        with capturedLogs() as captured:
            self.unproven.note("role", "give +role")
        self.assertEqual(1, len(captured))
