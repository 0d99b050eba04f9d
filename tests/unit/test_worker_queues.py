"""Tests for `wsredis.worker_queues`: lists of messages for workers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.worker_queues import BELL, PUSH, queue_key


class QueueTests(SynchronousTestCase):
    """Names and the script. The contract of brokers runs the script on a real Redis."""

    def test_key(self) -> None:
        """The list and its bell have one name, below the prefix of the layer."""
        self.assertEqual(b"asgi:queue:orders", queue_key("asgi", "orders"))

    def test_bell(self) -> None:
        """The script rings with the bell. It is not empty: the hub leaves empty messages out."""
        self.assertIn(b"PUBLISH', KEYS[1], '%b'" % BELL, PUSH)
        self.assertTrue(BELL)
