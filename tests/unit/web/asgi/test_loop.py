"""Tests of `wsredis.web.asgi.loop`."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from tests.unit.web.asgi.case import LoopCase
from wsredis.web.asgi.loop import ReactorLoop


class TurnTests(LoopCase):
    """When callbacks run, and for how long."""

    def test_waits_for_the_reactor(self) -> None:
        """A callback runs in the next turn of the reactor, and in its order."""
        self.loop.call_soon(self.said.append, 1)
        self.loop.call(self.said.append, 2)
        self.loop.call_soon(self.said.append, 3)
        self.assertEqual([], self.said)
        self.turn()
        self.assertEqual([1, 2, 3], self.said)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_chain(self) -> None:
        """What a callback adds runs in the same turn, as long as the budget lasts."""
        self.loop.call_soon(self.loop.call_soon, self.loop.call_soon, self.said.append, 1)
        self.turn()
        self.assertEqual([1], self.said)

    def test_budget(self) -> None:
        """The callback that goes beyond the budget is the last one of its turn."""
        for number in range(5):
            self.loop.call_soon(self.busy(number, 0.6))
        self.turn()
        self.assertEqual([0, 1], self.said)
        self.turn()
        self.assertEqual([0, 1, 2, 3], self.said)
        self.turn()
        self.assertEqual([0, 1, 2, 3, 4], self.said)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_told_by_the_gateway(self) -> None:
        """In the thread of the reactor nothing is sent to wake it, in a turn or outside of one."""
        self.patch(self.loop, "_write_to_self", lambda: self.said.append("woken"))
        self.loop.call_soon_threadsafe(self.loop.call_soon_threadsafe, self.said.append, 1)
        self.loop.call_soon(self.said.append, 2)
        self.turn()
        self.assertEqual([2, 1], self.said)

    def test_cancelled(self) -> None:
        """A callback that was cancelled does not run."""
        self.loop.set_exception_handler(lambda _, context: self.said.append(context))
        self.loop.call_soon(self.said.append, 1).cancel()
        self.turn()
        self.assertEqual([], self.said)

    def test_end_of_turn(self) -> None:
        """The end of a turn is told, outside of the loop; what is added then runs in the next."""

        def after() -> None:
            self.said.append(asyncio._get_running_loop())
            if len(self.said) < 4:
                self.loop.call_soon(self.said.append, "again")

        self.loop.after_turn = after
        self.loop.call_soon(lambda: self.said.append(asyncio.get_running_loop()))
        self.turn()
        self.assertEqual([self.loop, None], self.said)
        self.turn()
        self.assertEqual([self.loop, None, "again", None], self.said)

    def test_running(self) -> None:
        """The loop is running for everybody; it is the running loop in its turns only."""
        self.assertTrue(self.loop.is_running())
        self.assertRaises(RuntimeError, asyncio.get_running_loop)
        self.assertRaises(RuntimeError, self.loop.attach)
        self.loop.detach()
        self.assertFalse(self.loop.is_running())

    def test_generators(self) -> None:
        """An asynchronous generator that nobody finishes is closed by the loop that it ran in."""

        async def generator() -> Any:
            try:
                yield 1
            finally:
                await asyncio.sleep(0)
                self.said.append(asyncio.get_running_loop())

        async def task() -> None:
            await anext(generator())

        self.loop.create_task(task())
        for _ in range(3):
            self.turn()
        self.assertEqual([self.loop], self.said)

    def test_exit(self) -> None:
        """An application that calls exit() does not end the gateway, nor the turn."""
        self.loop.call_soon(exit, 3)
        self.loop.call_soon(self.said.append, 1)
        self.turn()
        self.assertEqual([1], self.said)
        self.assertEqual(1, len(self.flushLoggedErrors(SystemExit)))

    def test_failed_call(self) -> None:
        """A call of the gateway that fails is logged, and the next one is made."""
        self.loop.call(lambda: {}["x"])
        self.loop.call(self.said.append, 1)
        self.turn()
        self.assertEqual([1], self.said)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))

    def test_slow(self) -> None:
        """A callback that takes long is reported with its seconds; a fast one is not."""
        self.loop.report = lambda handle, seconds: self.said.append(seconds)
        self.loop.call_soon(self.busy("fast", 4.9))
        self.turn()
        self.loop.call_soon(self.busy("slow", 5.5))
        self.turn()
        self.assertEqual(["fast", "slow", 5.5], self.said)

    def test_detached(self) -> None:
        """After the end nothing runs, and the reactor knows nothing of the loop any more."""
        self.loop.call_later(5, self.said.append, 1)
        self.loop.call_soon(self.said.append, 2)
        self.loop.detach()
        self.loop.detach()
        self.loop.call_soon(self.said.append, 3)
        self.reactor.advance(10)
        self.assertEqual([], self.said)
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertEqual([], self.reactor.getReaders())
        # Nobody advances the clock of the test any more.
        self.assertNotEqual(self.reactor.seconds(), self.loop.time())

    def test_end_in_a_turn(self) -> None:
        """A turn may be the last one."""
        self.loop.after_turn = self.loop.detach
        self.loop.call_soon(self.loop.call_soon, self.said.append, 1)
        self.turn()
        self.loop.call_soon(self.said.append, 2)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_refused(self) -> None:
        """The application stops neither the loop nor has its signals."""
        self.assertRaises(RuntimeError, self.loop.stop)
        self.assertRaises(NotImplementedError, self.loop.add_signal_handler, 15, print)
        self.assertFalse(self.loop.remove_signal_handler(15))

    def test_debug(self) -> None:
        """The debug mode of asyncio works; it refuses calls from a wrong thread."""
        self.loop.set_debug(True)
        self.loop.call_soon(self.said.append, 1)
        self.turn()
        self.assertEqual([1], self.said)
        thread = threading.Thread(target=self.wrong_thread)
        thread.start()
        thread.join()
        self.assertEqual([1, "refused"], self.said)
        self.loop.set_debug(False)

    def wrong_thread(self) -> None:
        """Call it where nobody should."""
        try:
            self.loop.call_soon(print)
        except RuntimeError:
            self.said.append("refused")


class TimerTests(LoopCase):
    """Timers of the loop, on one timer of the reactor."""

    def test_order(self) -> None:
        """Timers run at their times, with one timer of the reactor."""
        for delay in (3.0, 1.0, 2.0):
            self.loop.call_later(delay, self.said.append, delay)
        self.assertEqual(1, len(self.reactor.getDelayedCalls()))
        for expected in ([], [1.0], [1.0, 2.0], [1.0, 2.0, 3.0]):
            self.assertEqual(expected, self.said)
            self.reactor.advance(1)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_earlier(self) -> None:
        """An earlier timer, also one that is added in a turn, is not late."""
        self.loop.call_later(5, self.said.append, "late")
        self.loop.call_soon(self.loop.call_later, 1, self.said.append, "early")
        self.turn()
        self.reactor.advance(1)
        self.assertEqual(["early"], self.said)
        self.reactor.advance(4)
        self.assertEqual(["early", "late"], self.said)

    def test_before_attach(self) -> None:
        """A timer that is older than the attachment is kept."""
        loop = ReactorLoop(self.reactor, 1.0, 5.0, self.reactor.seconds)
        self.addCleanup(loop.close)
        self.addCleanup(loop.detach)
        loop.call_later(1, self.said.append, 1)
        loop.attach()
        self.reactor.advance(1)
        self.assertEqual([1], self.said)

    def test_cancelled(self) -> None:
        """Timers that were cancelled do not run, and do not stay in memory."""
        kept = self.loop.call_later(500, self.said.append, 1)
        for _ in range(300):
            self.loop.call_later(1000, self.said.append, 2).cancel()
        self.loop.call_soon(self.said.copy)
        self.turn()
        self.assertEqual(1, len(self.loop._scheduled))
        self.reactor.advance(500)
        self.assertEqual([1], self.said)
        # asyncio counts a timer that was not removed yet.
        kept.cancel()

    def test_busy(self) -> None:
        """A timer that is due has its turn although callbacks always wait."""

        def again() -> None:
            self.reactor.rightNow += 0.5
            self.loop.call_soon(again)

        self.loop.call_later(2, self.said.append, 1)
        again()
        for _ in range(4):
            self.turn()
        self.assertEqual([1], self.said)


class DescriptorTests(LoopCase):
    """Descriptors and threads, by the poller."""

    def test_read(self) -> None:
        """A socket that can be read wakes the loop, as often as there is something."""
        ours, theirs = self.pair()
        self.loop.add_reader(ours, lambda: self.said.append(ours.recv(1)))
        self.turn()
        self.assertEqual([], self.said)
        theirs.sendall(b"ab")
        self.turn()
        self.turn()
        self.turn()
        self.assertEqual([b"a", b"b"], self.said)
        self.loop.remove_reader(ours)

    def test_hang_up(self) -> None:
        """The end of a pipe is told, which the reactor would not do for descriptors of its own."""
        ours, theirs = self.pair()
        self.loop.add_reader(ours, lambda: self.said.append(ours.recv(1)))
        theirs.close()
        self.turn()
        self.assertEqual([b""], self.said)
        self.loop.remove_reader(ours)

    def test_once(self) -> None:
        """An event whose callback waits for the next turn is not told a second time."""
        pairs = [self.pair() for _ in range(3)]

        def read(ours: Any) -> None:
            self.said.append(ours.recv(9))
            self.reactor.rightNow += 2

        self.loop.set_exception_handler(lambda _, context: self.said.append(context))
        for ours, theirs in pairs:
            self.loop.add_reader(ours, read, ours)
            theirs.sendall(b"x")
        for _ in range(6):
            self.turn()
        self.assertEqual([b"x"] * 3, self.said)
        for ours, _ in pairs:
            self.loop.remove_reader(ours)

    def test_thread(self) -> None:
        """A call from another thread wakes the reactor."""
        thread = threading.Thread(target=self.loop.call_soon_threadsafe, args=(self.said.append, 1))
        thread.start()
        thread.join()
        self.turn()
        self.assertEqual([1], self.said)


class HoldTests(LoopCase):
    """A turn in the middle of one of the reactor."""

    def test_go(self) -> None:
        """What is called meanwhile runs when the reactor has read all, and not later again."""
        self.loop.hold()
        self.loop.call(self.said.append, 1)
        self.loop.call_soon(self.said.append, 2)
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.loop.go()
        self.assertEqual([1, 2], self.said)
        self.turn()
        self.assertEqual([1, 2], self.said)

    def test_nothing(self) -> None:
        """If nothing was called, there is no turn, but what is for the gateway is called."""
        self.loop.after_turn = lambda: self.said.append("after")
        self.loop.hold()
        self.loop.call_later(5, self.said.append, 5)
        self.loop.go()
        self.assertEqual(["after"], self.said)
        self.reactor.advance(5)
        self.turn()
        self.assertIn(5, self.said)

    def test_due(self) -> None:
        """A turn that comes anyway is not taken earlier, so a busy application has no more time."""
        self.loop.call(self.said.append, 1)
        self.loop.hold()
        self.loop.call(self.said.append, 2)
        self.loop.go()
        self.assertEqual([], self.said)
        self.turn()
        self.assertEqual([1, 2], self.said)

    def test_stopped(self) -> None:
        """Both are harmless when the loop does not run any more."""
        self.loop.detach()
        self.loop.hold()
        self.loop.call(self.said.append, 1)
        self.loop.go()
        self.assertEqual([], self.said)
