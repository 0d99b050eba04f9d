"""Tests of the meaning of error replies."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.refusals import is_for_now, lacks_right


class RefusalTests(SynchronousTestCase):
    """An error is about a right, about the moment, or about the command."""

    def test_for_now(self) -> None:
        """Errors that pass by themselves, or with another connection."""
        for text in ("BUSY Redis is busy", "LOADING Redis is loading", "NOAUTH Authentication"):
            self.assertTrue(is_for_now(Exception(text)), text)
        for text in ("NOPERM no", "ERR unknown command", "BUSYGROUP exists", "OOM", ""):
            self.assertFalse(is_for_now(Exception(text)), text)

    def test_right(self) -> None:
        """A user without the right, and a proxy without the command."""
        for text in ("NOPERM this user has no permissions", "ERR unknown command 'ROLE'"):
            self.assertTrue(lacks_right(Exception(text)), text)
        for text in ("BUSY Redis is busy", "ERR no", ""):
            self.assertFalse(lacks_right(Exception(text)), text)
