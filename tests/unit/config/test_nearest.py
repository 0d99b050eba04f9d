"""Tests of `wsredis.config.nearest`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.nearest import did_you_mean, nearest


class NearestTests(SynchronousTestCase):
    """`nearest` and `did_you_mean`."""

    def test_slip(self) -> None:
        """A word with a slip is found, as it is written where it is known."""
        known = ["heartbeat", "heartbeats-x", "WSREDIS_PORT", "max-queue"]
        for word, meant in (
            ("hartbeat", "heartbeat"),
            ("heart-beat", "heartbeat"),
            ("WSREDIS_PROT", "WSREDIS_PORT"),
            ("max_queue", "max-queue"),
            ("MAX-QUEUES", "max-queue"),
        ):
            self.assertEqual(meant, nearest(word, known))
            self.assertEqual(f"; did you mean {meant}?", did_you_mean(word, known))

    def test_unlike(self) -> None:
        """A word that is like none, or too long to be compared, has no nearest one."""
        for word in ("", "colour", "heartbeat" * 8):
            self.assertEqual("", nearest(word, ["heartbeat"]))
            self.assertEqual("", did_you_mean(word, ["heartbeat"]))
        self.assertEqual("", nearest("heartbeat", []))
