"""Tests of waiting for Redis."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.patience import Patience
from wsredis.errors import BrokerUnavailable


class PatienceTests(SynchronousTestCase):
    """Clients wait for a limited time."""

    def setUp(self) -> None:
        """Redis went away."""
        self.clock = Clock()
        self.patience = Patience(self.clock)
        self.patience.begin(2)

    def test_back(self) -> None:
        """All who wait go on when Redis is back, and no timer is left."""
        waiting = [self.patience.wait() for _ in range(2)]
        self.patience.end()
        for each in waiting:
            self.successResultOf(each)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_over(self) -> None:
        """After the time all fail, those who come later at once."""
        waiting = self.patience.wait()
        self.clock.advance(1.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.failureResultOf(waiting, BrokerUnavailable)
        self.failureResultOf(self.patience.wait(), BrokerUnavailable)

    def test_again(self) -> None:
        """The time begins anew with each loss."""
        self.patience.begin(2)
        self.assertEqual(1, len(self.clock.getDelayedCalls()))
        self.clock.advance(3)
        self.patience.begin(2)
        self.assertNoResult(self.patience.wait().addErrback(lambda failure: None))

    def test_cancelled(self) -> None:
        """One who gives up changes nothing for the others."""
        one, two = self.patience.wait(), self.patience.wait()
        one.addErrback(lambda failure: None)
        one.cancel()
        self.patience.end()
        self.successResultOf(two)

    def test_stopped(self) -> None:
        """At the end nobody waits, and no timer is left."""
        waiting = self.patience.wait()
        self.patience.give_up()
        self.failureResultOf(waiting, BrokerUnavailable)
        self.assertEqual([], self.clock.getDelayedCalls())
