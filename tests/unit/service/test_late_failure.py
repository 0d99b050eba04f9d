"""Tests for `wsredis.service.late_failure`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.late_failure import LateFailure


class _Reactor:
    """Runs, and is stopped."""

    def __init__(self) -> None:
        self.stops = 0

    def stop(self) -> None:
        self.stops += 1

    def seconds(self) -> float:
        return 0.0

    def callWhenRunning(self, function: Callable[[], Any]) -> None:
        function()


class LateFailureTests(SynchronousTestCase):
    """The end of a program whose application cannot start."""

    def test_end(self) -> None:
        """It stops in order, says one line, and ends with status 1 when all else has ended."""
        ends: list[Callable[[], None]] = []
        statuses: list[int] = []
        stderr = io.StringIO()
        self.patch(sys, "__stderr__", stderr)
        reactor = _Reactor()
        failure = LateFailure(reactor, ends.append, statuses.append)
        with capturedLogs() as logs:
            failure("asgi: no database")
            failure("asgi: no database")
        self.assertEqual(1, reactor.stops)
        self.assertEqual("wsredis: asgi: no database\n", stderr.getvalue())
        self.assertEqual(["start-failed"], [each["event"] for each in logs])
        self.assertEqual([], statuses)
        for each in ends:
            each()
        self.assertEqual([1], statuses)

    def test_daemon(self) -> None:
        """A daemon has no standard error: the log has the line."""
        self.patch(sys, "__stderr__", None)
        statuses: list[int] = []
        with capturedLogs() as logs:
            LateFailure(_Reactor(), lambda function: function(), statuses.append)("asgi: x")
        self.assertEqual([1], statuses)
        self.assertEqual("asgi: x", logs[0]["reason"])
