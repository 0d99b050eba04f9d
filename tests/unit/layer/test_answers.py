"""Tests for `wsredis.layer.answers`."""

from __future__ import annotations

import asyncio
import threading

from twisted.trial.unittest import SynchronousTestCase

from tests.support.layer import run
from wsredis.layer.answers import Answer, ask, settle
from wsredis.layer.home import Home


class AskTests(SynchronousTestCase):
    """Starting something and waiting for its end."""

    def test_at_once(self) -> None:
        """A result that is there at once is returned, and an exception raised."""
        for home in (None, Home()):
            self.assertEqual(5, run(ask(home, lambda done: done(5))))
            with self.assertRaises(OSError):
                run(ask(home, lambda done: done(OSError("away"))))

    def test_later(self) -> None:
        """A result may come later, in the same loop or from another thread."""

        def later(done: Answer) -> None:
            asyncio.get_running_loop().call_soon(done, 5)

        def elsewhere(done: Answer) -> None:
            threading.Thread(target=done, args=(6,)).start()

        for home in (None, Home()):
            self.assertEqual(5, run(ask(home, later)))
            self.assertEqual(6, run(ask(home, elsewhere)))

    def test_once(self) -> None:
        """Only the first result counts."""

        def twice(done: Answer) -> None:
            done(5)
            done(6)

        self.assertEqual(5, run(ask(None, twice)))

    def test_came_meanwhile(self) -> None:
        """A result that comes between the look and the wait is not missed."""

        async def expect() -> int:
            answer = Answer()
            answer(5)
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            answer.expect(future)
            return await future

        self.assertEqual(5, run(expect()))


class SettleTests(SynchronousTestCase):
    """Setting the result of a future."""

    def test_cancelled(self) -> None:
        """A future that was cancelled, or whose loop is closed, is left alone."""

        async def cancelled() -> asyncio.Future[int]:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            future.cancel()
            settle(future, 5)
            return future

        future = run(cancelled())
        self.assertTrue(future.cancelled())
        settle(future, 5)
