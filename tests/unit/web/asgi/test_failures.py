"""Tests for `wsredis.web.asgi.failures`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.web.asgi.events import ClientDisconnected
from wsredis.web.asgi.failures import is_leaving


def chained(count: int, *, explicit: bool) -> BaseException:
    """An error raised in place of another one, so many times."""
    try:
        if not count:
            raise ClientDisconnected
        raise chained(count - 1, explicit=explicit)
    except Exception as error:
        if not count:
            return error
        try:
            if explicit:
                raise ValueError from error
            raise ValueError
        except ValueError as other:
            return other


class LeavingTests(SynchronousTestCase):
    """Errors about a client that has gone are told from all others."""

    def test_chains(self) -> None:
        """Frameworks raise others in place of it, on purpose or not, also in groups."""
        for explicit in (True, False):
            for count in range(4):
                self.assertTrue(is_leaving(chained(count, explicit=explicit)), count)
        self.assertFalse(is_leaving(chained(50, explicit=True)))
        inner = ExceptionGroup("", [chained(1, explicit=True)])
        self.assertTrue(is_leaving(ExceptionGroup("", [ClientDisconnected(), inner])))

    def test_others(self) -> None:
        """Any other error counts, also beside it."""
        both = ExceptionGroup("", [ClientDisconnected(), OSError()])
        for error in (OSError(), ValueError(), both):
            self.assertFalse(is_leaving(error))
