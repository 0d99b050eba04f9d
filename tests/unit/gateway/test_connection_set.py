"""Tests for `wsredis.gateway.connection_set`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.connection_set import ConnectionSet


class ConnectionSetTests(SynchronousTestCase):
    """Connections that are open, and the wait for the last one."""

    def test_members(self) -> None:
        """It is a set; iterating bears that members leave."""
        some: ConnectionSet[int] = ConnectionSet()
        some.add(1)
        some.add(2)
        some.add(2)
        self.assertEqual(2, len(some))
        self.assertIn(1, some)
        self.assertNotIn(3, some)
        for each in some:
            some.discard(each)
            self.assertNotIn(each, some)
        some.discard(1)
        self.assertEqual(0, len(some))

    def test_when_empty(self) -> None:
        """It fires when the last one leaves, at once if there is none."""
        some: ConnectionSet[int] = ConnectionSet()
        self.successResultOf(some.when_empty())
        some.add(1)
        some.add(2)
        first, second = some.when_empty(), some.when_empty()
        some.discard(1)
        self.assertNoResult(first)
        some.discard(3)
        self.assertNoResult(first)
        some.discard(2)
        self.successResultOf(first)
        self.successResultOf(second)

    def test_cancel(self) -> None:
        """A waiter that is cancelled changes nothing for others."""
        some: ConnectionSet[int] = ConnectionSet()
        some.add(1)
        first, second = some.when_empty(), some.when_empty()
        first.addErrback(lambda _: None)
        first.cancel()
        some.discard(1)
        self.successResultOf(second)
