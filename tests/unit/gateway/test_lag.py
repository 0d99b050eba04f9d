"""Tests of `wsredis.gateway.lag`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.lag import LagMeter
from wsredis.gateway.metrics import Metrics


class LagMeterTests(SynchronousTestCase):
    """The time for which the event loop did something else."""

    def setUp(self) -> None:
        """Start one."""
        self.clock = Clock()
        self.metrics = Metrics()
        self.meter = LagMeter(self.clock, self.metrics)
        self.meter.start()

    def lags(self) -> tuple[float, float]:
        """The last one, and the largest."""
        return round(self.metrics.loop_lag, 3), round(self.metrics.loop_lag_max, 3)

    def test_idle(self) -> None:
        """A loop that is not busy is not late."""
        self.clock.pump([0.25] * 40)
        self.assertEqual((0.0, 0.0), self.lags())

    def test_late(self) -> None:
        """A timer that came late shows by how much; the next ones keep to their times."""
        self.clock.advance(1.25)
        self.assertEqual((0.25, 0.25), self.lags())
        self.clock.advance(0.75)
        self.assertEqual((0.0, 0.25), self.lags())
        # Due at 3.
        self.clock.advance(4.5)
        self.assertEqual((3.5, 3.5), self.lags())
        self.clock.advance(0.5)
        self.assertEqual((0.0, 3.5), self.lags())

    def test_largest(self) -> None:
        """The largest is that of the last minute."""
        self.clock.advance(1.5)
        self.clock.advance(0.5)
        self.clock.pump([1.0] * 58)
        self.assertEqual((0.0, 0.5), self.lags())
        self.clock.advance(1.0)
        self.assertEqual((0.0, 0.0), self.lags())

    def test_silence(self) -> None:
        """Seconds without a measurement show that timers do not run; a stop is no silence."""
        self.clock.pump([1.0] * 3)
        self.assertEqual(0.0, self.meter.silence)
        self.clock.rightNow += 20
        self.assertEqual(20.0, self.meter.silence)
        self.meter.stop()
        self.assertEqual(0.0, self.meter.silence)
        self.assertEqual([], self.clock.getDelayedCalls())
