"""Tests of `wsredis.web.asgi.slow`."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.web.asgi.case import LoopCase
from wsredis.gateway.metrics import Metrics
from wsredis.web.asgi.slow import SlowSteps, name_of


class NameTests(SynchronousTestCase):
    """The names of steps."""

    def test_function(self) -> None:
        """A callback has the name of its function."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        for callback in (self.test_function, partial(partial(self.test_function))):
            handle = loop.call_soon(callback)
            self.assertEqual("NameTests.test_function", name_of(handle))
        self.assertEqual("print", name_of(loop.call_soon(print)))
        self.assertEqual("NoneType", name_of(object()))

    def test_task(self) -> None:
        """A step of a task has the name of its call; if it has none, that of its coroutine."""
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)

        async def task() -> None:
            pass

        tasks = [loop.create_task(task(), name="GET /x"), loop.create_task(task())]
        names = [name_of(handle) for handle in loop._ready]  # type: ignore[attr-defined]
        self.assertEqual(["GET /x", "NameTests.test_task.<locals>.task"], names)
        loop.run_until_complete(asyncio.wait(tasks))


class SlowStepsTests(LoopCase):
    """Steps that take longer than five seconds."""

    def setUp(self) -> None:
        """Watch the loop, without the thread."""
        super().setUp()
        self.metrics = Metrics()
        self.steps = SlowSteps(self.reactor, self.metrics, 5.0)
        self.patch(SlowSteps, "_watch", lambda _: None)
        self.steps.start(self.loop)
        self.addCleanup(self.steps.stop)

    def slow(self, seconds: float, looks: bool = True) -> None:
        """A step during which somebody looks."""
        self.reactor.rightNow += seconds
        if looks:
            thread = threading.Thread(target=self.steps.look)
            thread.start()
            thread.join()

    def test_place(self) -> None:
        """A line names the place in the code of the application, and the step."""

        async def call() -> None:
            self.slow(5.5)

        task = self.loop.create_task(call(), name="GET /x")
        with capturedLogs() as logs:
            self.turn()
        self.assertTrue(task.done())
        (event,) = logs
        self.assertEqual(("asgi-slow", 5.5), (event["event"], event["seconds"]))
        self.assertRegex(event["place"], r"\A[a-z_.]+\.SlowStepsTests\.slow, line [0-9]+\Z")
        self.assertEqual("GET /x", event["name"])
        self.assertEqual((1, 5.5), (self.metrics.asgi_slow, self.metrics.asgi_slow_seconds))

    def test_not_seen(self) -> None:
        """A step at which nobody could look is named all the same, without the last one's place."""
        self.loop.call_soon(self.slow, 6.0)
        self.loop.call_soon(self.slow, 6.0, False)
        with capturedLogs() as logs:
            self.turn()
            self.turn()
        self.assertEqual("a place that was not seen", logs[1]["place"])
        self.assertIn("SlowStepsTests.slow", logs[1]["name"])

    def test_fast(self) -> None:
        """Other steps have no line, and outside of steps nobody looks."""
        self.loop.call_soon(self.slow, 4.9)
        with capturedLogs() as logs:
            self.turn()
            self.reactor.rightNow += 1000
            self.steps.look()
        self.assertEqual([], logs)
        self.assertEqual(0, self.metrics.asgi_slow)

    def test_stuck(self) -> None:
        """A step that does not end has a line, once."""

        def stuck() -> None:
            for _ in range(30):
                self.slow(10.0)

        self.loop.call_soon(stuck)
        with capturedLogs() as logs:
            self.turn()
        self.assertEqual(["asgi-stuck", "asgi-slow"], [each["event"] for each in logs])
        self.assertEqual(250.0, logs[0]["seconds"])

    def test_throttled(self) -> None:
        """A place that is slow at each step does not fill the log, but others have their lines."""
        with capturedLogs() as logs:
            for _ in range(4):
                self.loop.call_soon(self.slow, 6.0, False)
                self.loop.call_soon(self.slow, 6.0)
                self.turn()
                self.turn()
        self.assertEqual(4, len(logs))
        self.assertEqual(2, len({each["place"] for each in logs}))
        self.assertEqual(8, self.metrics.asgi_slow)

    def test_thread(self) -> None:
        """The thread that looks ends with the application."""
        self.steps.stop()
        self.steps._watch()
