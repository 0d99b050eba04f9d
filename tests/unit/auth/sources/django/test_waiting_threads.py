"""Tests for `wsredis.auth.sources.django.waiting_threads`, with real threads."""

from __future__ import annotations

from threading import Event
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import PATIENCE
from tests.support.threads import ThreadReactor
from wsredis.auth.sources.django.waiting_threads import WaitingThreads
from wsredis.errors import HandshakeRejected


class WaitingTests(SynchronousTestCase):
    """`WaitingThreads`."""

    def setUp(self) -> None:
        """Start one thread, that works when the test says so."""
        self.reactor = ThreadReactor()
        self.threads = WaitingThreads(self.reactor, 1, lambda: None)
        self.addCleanup(self.threads.stop)
        self.event = Event()
        self.addCleanup(self.event.set)
        self.made: list[int] = []

    def call(self, number: int, address: str = "") -> Any:
        """Call a function."""

        def function() -> int:
            assert self.event.wait(PATIENCE)
            self.made.append(number)
            return number

        return self.threads.call(function, address)

    def test_order(self) -> None:
        """Any number may wait, and all are called in their order."""
        calls = [self.call(number) for number in range(1000)]
        self.event.set()
        self.reactor.run_until(lambda: calls[-1].called)
        self.assertEqual([*range(1000)], self.made)
        self.assertEqual([*range(1000)], [*map(self.successResultOf, calls)])

    def test_turns(self) -> None:
        """Addresses take turns: one with many calls does not keep the others waiting."""
        calls = [self.call(number, "192.0.2.1") for number in range(4)]
        calls += [self.call(number, f"192.0.2.{number}") for number in (10, 10, 20)]
        calls[3].cancel()
        self.failureResultOf(calls.pop(3), CancelledError)
        self.event.set()
        self.reactor.run_until(lambda: all(each.called for each in calls))
        self.assertEqual([0, 1, 10, 20, 2, 10], self.made)

    def test_failure(self) -> None:
        """An exception is the result, and the next one is called."""
        failed, second = self.threads.call(lambda: 1 // 0), self.call(2)
        self.event.set()
        self.reactor.run_until(lambda: second.called)
        self.failureResultOf(failed, ZeroDivisionError)
        self.assertEqual(2, self.successResultOf(second))

    def test_cancelled(self) -> None:
        """A result that nobody wants is dropped; one that waited is never made."""
        first, second, third = (self.call(number) for number in range(3))
        for cancelled in (first, second):
            cancelled.cancel()
            self.failureResultOf(cancelled, CancelledError)
        self.event.set()
        self.reactor.run_until(lambda: third.called)
        self.assertEqual([0, 2], self.made)
        self.assertEqual(2, self.successResultOf(third))

    def test_stop(self) -> None:
        """After the stop all that wait fail at once, and so do others."""
        calls = [self.call(number) for number in range(1000)]
        self.threads.stop()
        for each in (*calls, self.call(1000)):
            self.assertEqual(503, self.failureResultOf(each, HandshakeRejected).value.status)
        self.threads.stop()
