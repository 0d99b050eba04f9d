"""Tests for `wsredis.gateway.signal`."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.signal import Signal


class SignalTests(SynchronousTestCase):
    """One event, many who wait."""

    def setUp(self) -> None:
        """Two wait."""
        self.signal: Signal[int] = Signal()
        self.first, self.second = self.signal.wait(), self.signal.wait()

    def test_fire(self) -> None:
        """All who wait get the value, once."""
        self.signal.fire(1)
        self.signal.fire(2)
        self.assertEqual(1, self.successResultOf(self.first))
        self.assertEqual(1, self.successResultOf(self.second))
        self.assertEqual(0, len(self.signal))

    def test_fail(self) -> None:
        """All who wait get the error."""
        self.signal.fail(ValueError())
        self.failureResultOf(self.first, ValueError)
        self.failureResultOf(self.second, ValueError)

    def test_cancel(self) -> None:
        """One who waits no more takes nothing from the other."""
        self.first.cancel()
        self.failureResultOf(self.first, CancelledError)
        self.assertEqual(1, len(self.signal))
        self.signal.fire(3)
        self.assertEqual(3, self.successResultOf(self.second))

    def test_cancel_while_firing(self) -> None:
        """The first who is woken may send the second away."""
        self.first.addCallback(lambda _: self.second.cancel())
        self.signal.fire(1)
        self.successResultOf(self.first)
        self.failureResultOf(self.second, CancelledError)

    def test_wait_while_firing(self) -> None:
        """One who waits again when woken waits for the next time."""
        again = []
        self.first.addCallback(lambda _: again.append(self.signal.wait()))
        self.signal.fire(1)
        self.assertNoResult(again[0])
        self.signal.fire(2)
        self.assertEqual(2, self.successResultOf(again[0]))
        self.successResultOf(self.second)
