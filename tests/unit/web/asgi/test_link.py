"""Tests of `wsredis.web.asgi.link`; what both links promise is in `test_calls`."""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import Any

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.threads import ThreadReactor
from tests.unit.web.asgi.case import BridgeCase, TurnsLinkCase
from wsredis.config import AsgiConfig
from wsredis.gateway.metrics import Metrics
from wsredis.web.asgi import link as module
from wsredis.web.asgi.loop import ROOT


class TurnsTests(TurnsLinkCase):
    """Applications in the reactor's thread."""

    def test_end_of_turn(self) -> None:
        """What is for the gateway is called at the end of the turn."""

        async def call() -> None:
            self.link.to_gateway(self.said.append, 1)
            await asyncio.sleep(0)
            self.said.append(0)

        self.spawn(call())
        self.turn()
        self.assertEqual([0, 1], self.said)

    def test_outside(self) -> None:
        """What is for the gateway is called soon, also if it does not come in a turn."""
        self.link.to_gateway(self.said.append, 1)
        self.assertEqual([], self.said)
        self.turn()
        self.assertEqual([1], self.said)

    def test_at_once(self) -> None:
        """What need not wait for its turn is called at once."""
        self.link.at_once(self.busy(1, 0))()
        self.assertEqual([1], self.said)

    def test_all_cancelled(self) -> None:
        """An application that cancels all tasks cancels its own only."""

        async def cancel() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        before = self.root()
        self.spawn(cancel())
        self.settle()
        self.spawn(asyncio.sleep(0))
        self.settle()
        self.assertEqual([None, None], self.ends)
        self.assertEqual(1, len(before))
        self.assertEqual(before, self.root())

    def root(self) -> set[Any]:
        """The tasks for which the loop runs, as others would find them."""
        return {
            task
            for task in asyncio.all_tasks(self.link.loop)
            if any(callback is ROOT for callback, _ in task._callbacks or ())  # type: ignore[attr-defined]
        }


class BridgeTests(BridgeCase):
    """Applications in a thread of their own."""

    def test_thread(self) -> None:
        """An application that blocks keeps nobody else waiting."""
        entered, leave = threading.Event(), threading.Event()

        async def call() -> None:
            entered.set()
            leave.wait(10)

        self.spawn(call())
        self.assertTrue(entered.wait(10))
        self.assertEqual([], self.ends)
        leave.set()
        self.settle()
        self.assertEqual([None], self.ends)

    def test_at_once(self) -> None:
        """Nothing of the application is called in another thread."""
        threads: list[object] = []
        self.link.at_once(lambda: threads.append(threading.current_thread()))()
        self.settle()
        self.assertEqual(1, len(threads))
        self.assertIsNot(threading.main_thread(), threads[0])

    def test_exit(self) -> None:
        """An application that calls exit(), or stops the loop, ends its own call only."""

        async def leave() -> None:
            exit(3)

        async def stop() -> None:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(0)
            asyncio.get_running_loop().stop()

        self.spawn(leave())
        self.settle()
        self.assertEqual([SystemExit], [type(each) for each in self.ends])
        self.spawn(stop())
        self.settle()
        self.spawn(asyncio.sleep(0))
        self.settle()
        self.assertEqual([None, None], self.ends[1:])
        self.assertEqual(1, len(self.flushLoggedErrors(SystemExit)))

    def test_too_late(self) -> None:
        """What the application has sent last is not handled after the end."""
        sent = threading.Event()
        self.link.to_application(self.link.to_gateway, self.fail)
        self.link.to_application(sent.set)
        self.assertTrue(sent.wait(10))
        self.link.stop()
        self.reactor.take()

    def test_stop(self) -> None:
        """A thread that blocks does not hold up the stop."""
        entered, leave = threading.Event(), threading.Event()
        self.addCleanup(leave.set)

        async def call() -> None:
            entered.set()
            leave.wait(10)

        self.spawn(call())
        self.assertTrue(entered.wait(10))
        self.patch(module, "LAST_CHANCE", 0.001)
        with capturedLogs() as logs:
            self.link.stop()
        self.assertEqual(["asgi-blocked"], [each["event"] for each in logs])


class IntervalTests(TurnsLinkCase):
    """Threads of an application."""

    def test_interval(self) -> None:
        """Python switches more often between threads as long as the application runs."""
        self.assertAlmostEqual(0.0001, sys.getswitchinterval())
        self.link.stop()
        self.assertAlmostEqual(self.before, sys.getswitchinterval())

    def make(self) -> module.Link:
        """As ever."""
        self.before = sys.getswitchinterval()
        return super().make()


class ChoiceTests(SynchronousTestCase):
    """The link that the settings ask for."""

    def test_choice(self) -> None:
        """It is that of the reactor's thread, unless there is to be another one."""
        for name, kind in (("reactor", module.Turns), ("thread", module.Bridge)):
            made = module.make_link(ThreadReactor(), AsgiConfig(loop=name), Metrics())
            self.assertIsInstance(made, kind)
