"""Tests of `wsredis.web.asgi.link`; what both links promise is in `test_calls`."""

from __future__ import annotations

import asyncio
import threading

from twisted.logger import capturedLogs

from tests.unit.web.asgi.case import BridgeCase, TurnsLinkCase
from wsredis.web.asgi import link as module


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
