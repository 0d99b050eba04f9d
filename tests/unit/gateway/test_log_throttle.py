"""Tests for `wsredis.gateway.log_throttle`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.log_throttle import LogThrottle


class LogThrottleTests(SynchronousTestCase):
    """A line is allowed once in its interval."""

    def setUp(self) -> None:
        """A throttle of one minute."""
        self.clock = Clock()
        self.throttle = LogThrottle(self.clock)

    def test_once(self) -> None:
        """The same key is allowed again after the interval, and not before."""
        self.assertTrue(self.throttle.take("a"))
        self.assertFalse(self.throttle.take("a"))
        self.clock.advance(59.9)
        self.assertFalse(self.throttle.take("a"))
        self.clock.advance(0.1)
        self.assertTrue(self.throttle.take("a"))
        self.assertFalse(self.throttle.take("a"))

    def test_keys(self) -> None:
        """One key does not hold up another."""
        self.assertTrue(self.throttle.take("a"))
        self.assertTrue(self.throttle.take(("a", 1)))

    def test_reset(self) -> None:
        """After a reset each line is new."""
        self.throttle.take("a")
        self.throttle.reset()
        self.assertTrue(self.throttle.take("a"))

    def test_bounded(self) -> None:
        """However many keys come, 64 are remembered at most."""
        for number in range(64):
            self.throttle.take(number)
        self.assertFalse(self.throttle.take(0))
        self.assertTrue(self.throttle.take("one more"))
        self.assertTrue(self.throttle.take(0))
