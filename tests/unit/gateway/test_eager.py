"""Tests for `wsredis.gateway.eager`."""

from __future__ import annotations

import gc
import sys
from contextvars import ContextVar
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.eager import run_eagerly


class RunEagerlyTests(SynchronousTestCase):
    """A coroutine is a Deferred only if it waits."""

    def setUp(self) -> None:
        """Nothing was seen."""
        self.seen: list[object] = []

    async def adds(self, *waits: Deferred[int]) -> int:
        """Wait for all, and add up; an error counts 100."""
        total = 0
        for each in waits:
            try:
                total += await each
            except ValueError:
                total += 100
        return total

    def test_value(self) -> None:
        """Without a wait, the value comes back."""
        self.assertEqual(0, run_eagerly(self.adds()))

    def test_error(self) -> None:
        """An error before any wait is raised."""

        async def fails() -> None:
            raise KeyError

        self.assertRaises(KeyError, run_eagerly, fails())

    def pending(self, *waits: Deferred[int]) -> Deferred[int]:
        """Run a coroutine that waits."""
        result = run_eagerly(self.adds(*waits))
        assert isinstance(result, Deferred)
        return result

    def test_waits(self) -> None:
        """Each wait takes its turn, whether it is over already or not."""
        late: Deferred[int] = Deferred()
        result = self.pending(succeed(1), late, succeed(3))
        self.assertNoResult(result)
        late.callback(2)
        self.assertEqual(6, self.successResultOf(result))

    def test_errors_of_waits(self) -> None:
        """Errors come to where it waits, and out of it unless it catches them."""
        waits: list[Deferred[Any]] = [Deferred() for _ in range(3)]
        result = self.pending(*waits)
        waits[0].errback(ValueError())
        waits[1].callback(1)
        waits[2].errback(KeyError())
        self.failureResultOf(result, KeyError)
        only: Deferred[int] = Deferred()
        result = self.pending(only)
        only.errback(ValueError())
        self.assertEqual(100, self.successResultOf(result))

    def test_cancel(self) -> None:
        """Cancelling cancels what is waited for, the first wait as well as a later one."""
        for before in ((), (succeed(1),)):
            cancelled: list[object] = []
            result = self.pending(*before, Deferred(cancelled.append))
            result.cancel()
            self.assertEqual(1, len(cancelled))
            self.failureResultOf(result, CancelledError)

    def test_dropped(self) -> None:
        """One that is dropped while it waits goes without a word."""
        noise: list[object] = []
        self.patch(sys, "unraisablehook", noise.append)
        self.pending(Deferred())
        gc.collect()
        self.assertEqual([], noise)

    def test_context(self) -> None:
        """A context variable is the coroutine's own, before and after a wait."""
        variable: ContextVar[int] = ContextVar("variable", default=0)

        async def sets(*waits: Deferred[int]) -> int:
            variable.set(1)
            for each in waits:
                await each
            return variable.get()

        late: Deferred[int] = Deferred()
        self.assertEqual(1, run_eagerly(sets()))
        result = run_eagerly(sets(late))
        assert isinstance(result, Deferred)
        late.callback(1)
        self.assertEqual(1, self.successResultOf(result))
        self.assertEqual(0, variable.get())
