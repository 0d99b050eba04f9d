"""Tests of `wsredis.web.asgi.calls`, with both links."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.logger import capturedLogs

from tests.unit.web.asgi.case import BridgeCase, TurnsLinkCase


class SharedTests:
    """What both links promise."""

    def test_end(self: Any) -> None:
        """The end of a call is told, with the exception that came out."""

        async def good() -> None:
            await asyncio.sleep(0)
            self.said.append(asyncio.get_running_loop())

        async def bad() -> None:
            await asyncio.sleep(0)
            raise KeyError("x")

        self.spawn(good())
        self.settle()
        self.spawn(bad())
        self.settle()
        self.assertEqual([self.link.loop], self.said)
        self.assertEqual([None, "KeyError('x')"], [self.ends[0], repr(self.ends[1])])

    def test_order(self: Any) -> None:
        """Functions are called in their order, in the thread of the other side."""
        got: list[Any] = []

        async def call() -> None:
            for number in range(3):
                self.link.to_gateway(got.append, number)
            await asyncio.sleep(0)
            self.link.to_gateway(got.append, self.said)

        for number in range(3):
            self.link.to_application(self.said.append, number)
        self.spawn(call())
        self.settle()
        self.assertEqual([0, 1, 2, [0, 1, 2]], got)

    def test_failed_function(self: Any) -> None:
        """A function that fails is logged, and the others are called."""

        async def call() -> None:
            self.link.to_gateway({}.pop, 1)
            self.link.to_gateway(self.said.append, 1)

        self.link.to_application({}.pop, 1)
        self.spawn(call())
        self.settle()
        self.assertEqual([1], self.said)
        self.assertEqual(2, len(self.flushLoggedErrors(KeyError)))

    def test_cancel(self: Any) -> None:
        """A call that is cancelled ends with CancelledError; so does one that has not begun."""

        async def call() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                self.said.append("cleaned")

        running = self.spawn(call())
        self.settle()
        running.cancel()
        self.settle()
        self.assertEqual(["cleaned"], self.said)
        self.spawn(call()).cancel()
        self.settle()
        self.assertEqual([asyncio.CancelledError] * 2, [type(each) for each in self.ends])
        running.cancel()
        self.settle()

    def test_leave(self: Any) -> None:
        """A call whose client has left has its time to end, and is then cancelled."""
        running, other = self.spawn(asyncio.sleep(3600)), self.spawn(asyncio.sleep(3600))
        self.settle()
        running.leave()
        self.reactor.pump([1.0] * 9)
        self.settle()
        self.assertEqual([], self.ends)
        self.reactor.pump([1.0] * 2)
        self.settle()
        self.assertEqual([asyncio.CancelledError], [type(each) for each in self.ends])
        other.leave()
        other.cancel()
        self.settle()
        other.leave()
        with capturedLogs() as logs:
            self.reactor.pump([1.0] * 12)
        self.assertEqual([], logs)

    def test_many_leave(self: Any) -> None:
        """Clients that leave their calls, one after the other, do not fill the log."""
        with capturedLogs() as logs:
            for _ in range(30):
                self.spawn(asyncio.sleep(3600)).leave()
            self.settle()
            self.reactor.pump([1.0] * 12)
            self.settle()
            self.assertEqual(10, len(logs))
            self.assertEqual(30, len(self.ends))
            self.reactor.pump([1.0] * 60)
        self.assertEqual(["asgi-cancelled"] * 11, [each["event"] for each in logs])

    def test_idle(self: Any) -> None:
        """The link is idle when no call is left, and all ends were told."""
        self.successResultOf(self.link.idle())
        running = self.spawn(asyncio.sleep(3600))
        self.spawn(asyncio.sleep(0))
        idle = self.link.idle()
        idle.addCallback(lambda _: self.said.append(len(self.ends)))
        self.settle()
        self.assertNoResult(idle)
        running.cancel()
        self.settle()
        self.successResultOf(idle)
        self.assertEqual([2], self.said)

    def test_finish(self: Any) -> None:
        """A stop waits for calls, and cancels those that do not end in time."""

        async def call() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                await asyncio.sleep(0)

        self.successResultOf(self.link.finish(3))
        self.spawn(call())
        finished = self.link.finish(3)
        self.settle()
        self.reactor.advance(2.9)
        self.settle()
        self.assertNoResult(finished)
        self.reactor.advance(0.2)
        self.settle()
        self.successResultOf(finished)
        self.assertEqual([asyncio.CancelledError], [type(each) for each in self.ends])

    def test_stubborn(self: Any) -> None:
        """A call that ignores its cancellation does not hold up the stop."""
        stop = asyncio.Event()

        async def call() -> None:
            while not stop.is_set():
                try:
                    await stop.wait()
                except asyncio.CancelledError:
                    pass

        self.spawn(call())
        finished = self.link.finish(0)
        self.settle()
        self.reactor.advance(0.1)
        self.settle()
        self.assertNoResult(finished)
        self.reactor.advance(1.1)
        self.successResultOf(finished)
        self.assertEqual([], self.ends)
        self.link.to_application(stop.set)
        self.settle()

    def test_unhandled(self: Any) -> None:
        """A task that fails and that nobody waits for is logged; the others go on."""

        async def fail() -> None:
            raise KeyError("x")

        async def call() -> None:
            for _ in range(12):
                await asyncio.wait([asyncio.create_task(fail())])
            asyncio.get_running_loop().call_exception_handler({"message": "strange"})

        with capturedLogs() as logs:
            self.spawn(call())
            self.settle()
            self.reactor.run_until(lambda: len(logs) == 11)
        self.assertEqual({"asgi-loop-failed"}, {each["event"] for each in logs})
        self.assertEqual("strange", logs[-1]["text"])
        self.assertEqual(10, len(self.flushLoggedErrors(KeyError)))
        with capturedLogs() as logs:
            self.link.stop()
        self.assertIn("1 more of this kind", str(logs[0]["more"]))

    def test_farewell(self: Any) -> None:
        """At the end, tasks that the application has left are cancelled, and nothing is told."""

        async def background() -> None:
            try:
                await asyncio.sleep(3600)
            finally:
                for _ in range(9):
                    await asyncio.sleep(0)
                self.said.append("background")

        async def call() -> None:
            self.kept = asyncio.create_task(background())

        self.spawn(call())
        self.settle()
        self.spawn(asyncio.sleep(3600))
        self.link.stop()
        self.assertEqual(["background"], self.said)
        self.assertEqual([None], self.ends)
        self.link.to_application(self.fail)
        self.link.to_gateway(self.fail)
        self.link.stop()

    def test_not_counted(self: Any) -> None:
        """Nobody waits for a call that is not counted, which is ended at last."""
        self.link.spawn("lifespan", asyncio.sleep(3600), self.end, is_counted=False)
        self.settle()
        self.successResultOf(self.link.idle())
        self.successResultOf(self.link.finish(1))


class TurnsTests(SharedTests, TurnsLinkCase):
    """Calls in the reactor's thread."""


class BridgeTests(SharedTests, BridgeCase):
    """Calls in a thread of their own."""
