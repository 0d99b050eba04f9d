"""Tests for `wsredis.brokers.redis.backlog`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.backlog import Backlog
from wsredis.config import Limits
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.metrics import Metrics


class BacklogTests(SynchronousTestCase):
    """`Backlog`."""

    def setUp(self) -> None:
        """Nothing waits."""
        self.metrics = Metrics()
        limits = Limits(max_commands=10, max_command_bytes=1000)
        self.backlog = Backlog(limits, self.metrics)

    def test_full(self) -> None:
        """It is full by the number or by the bytes, until they are answered."""
        for commands, size in ((10, 0), (0, 1000)):
            self.backlog.add(commands, size)
            self.assertTrue(self.backlog.is_full)
            self.assertRaises(BrokerUnavailable, self.backlog.check)
            self.backlog.answered(commands, size)
            self.backlog.check()
        self.assertEqual(2, self.metrics.limits["max-commands"])
        self.backlog.add(9, 999)
        self.assertFalse(self.backlog.is_full)

    def test_crowded(self) -> None:
        """More than half of either makes it crowded."""
        for commands, size in ((6, 0), (0, 501)):
            self.backlog.add(commands, size)
            self.assertTrue(self.backlog.is_crowded)
            self.backlog.answered(commands, size)
            self.assertFalse(self.backlog.is_crowded)

    def test_share(self) -> None:
        """A publisher has a part of the other half, by bytes and by number; it is given back."""
        first = self.backlog.take_share("a", 2, 10)
        self.assertEqual(("a", 200), first)
        self.assertRaises(BrokerUnavailable, self.backlog.take_share, "a", 1, 400)
        self.assertEqual(("b", 150), self.backlog.take_share("b", 1, 150))
        self.backlog.release(first)
        self.assertEqual(150, self.backlog.shared.held)
        self.assertEqual(1, self.metrics.limits["max-commands"])

    def test_no_limit(self) -> None:
        """One that no limit is for takes none."""
        self.assertIsNone(self.backlog.take_share("", 100, 100000))
        self.backlog.release(None)
        self.assertEqual(0, self.backlog.shared.held)
