"""Tests for `wsredis.worker_queues`: lists of messages for workers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.worker_queues import BELL, DIGITS, PUSH, bell_name, queue_key


class QueueTests(SynchronousTestCase):
    """Names and the script. The contract of brokers runs the script on a real Redis."""

    def test_names(self) -> None:
        """The list and its bell are below the prefix; the bell tells databases apart."""
        self.assertEqual(b"asgi:queue:orders", queue_key("asgi", "orders"))
        self.assertEqual(b"asgi:queue:orders", bell_name("asgi", 0, "orders"))
        self.assertEqual(b"asgi@3:queue:orders", bell_name("asgi", 3, "orders"))

    def test_script(self) -> None:
        """The script rings with the bell, which is not empty, and writes as many digits."""
        self.assertIn(f"PUBLISH', ARGV[3], '{BELL.decode()}'", PUSH)
        self.assertTrue(BELL)
        self.assertIn(f"'%0{DIGITS}.0f'", PUSH)
