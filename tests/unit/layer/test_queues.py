"""Tests for `wsredis.layer.queues`."""

from __future__ import annotations

import asyncio
import logging
from threading import RLock
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.layer import MemoryCarrier, MemoryRedis, run
from wsredis.layer.messages import Codec
from wsredis.layer.queues import Queue
from wsredis.layer.scripts import PUSH


class _Sink:
    """Rings the bell."""

    def __init__(self) -> None:
        self.queue: Queue | None = None

    def heard(self, channel: bytes, payload: bytes) -> None:
        """See `Sink`."""
        if self.queue is not None and channel == self.queue.bell:
            self.queue.ring()

    def gap(self, seconds: float) -> None:
        """See `Sink`."""


class QueueTests(SynchronousTestCase):
    """Two processes that receive from one worker channel."""

    def setUp(self) -> None:
        """Make a Redis and two processes."""
        self.redis = MemoryRedis()
        self.codec = Codec()
        self.carriers: list[MemoryCarrier] = []
        log, quiet = logging.getLogger("wsredis.layer"), logging.NullHandler()
        log.addHandler(quiet)
        self.addCleanup(log.removeHandler, quiet)
        self.queues = [self.process(), self.process()]

    def process(self) -> Queue:
        """One more process."""
        sink = _Sink()
        carrier = MemoryCarrier(self.redis, sink)
        sink.queue = queue = Queue(carrier, b"q", b"bell", self.codec, 60, RLock())
        carrier.subscribe(b"bell", lambda _: None)
        self.carriers.append(carrier)
        return queue

    def send(self, *names: str) -> None:
        """Send messages."""
        for name in names:
            args = (100, 60000, b"bell", self.codec.encode({"type": name}))
            PUSH.run(self.carriers[0], b"q", args, lambda _: None)

    @staticmethod
    def receive(queue: Queue) -> asyncio.Task[Any]:
        """Start to receive."""
        return asyncio.ensure_future(queue.receive(None))

    def test_order(self) -> None:
        """Messages that were sent before are found, and come in order."""
        self.send("a", "b", "c")

        async def receive() -> list[str]:
            return [(await self.queues[0].receive(None))["type"] for _ in range(3)]

        self.assertEqual(["a", "b", "c"], run(receive()))

    def test_one(self) -> None:
        """Of those who wait, in one process or in several, exactly one gets a message."""

        async def receive() -> list[str]:
            tasks = [self.receive(queue) for queue in (*self.queues, *self.queues)]
            await asyncio.sleep(0)
            self.send("a", "b", "c", "d")
            return sorted(each["type"] for each in await asyncio.gather(*tasks))

        self.assertEqual(["a", "b", "c", "d"], run(receive()))

    def test_few_questions(self) -> None:
        """A worker that knows the list to be empty asks no more until the bell rings."""

        async def receive() -> None:
            for name in ("a", "b", "c"):
                task = self.receive(self.queues[0])
                await asyncio.sleep(0)
                self.send(name)
                await task

        run(receive())
        # Once at first, and then once for each message.
        self.assertEqual(1 + 3, self.redis.names().count(b"LPOP"))

    def test_bell_meanwhile(self) -> None:
        """A bell that rings while "nothing there" is on its way is not forgotten."""

        async def receive() -> str:
            carrier = self.carriers[0]
            carrier.held = []
            task = self.receive(self.queues[0])
            await asyncio.sleep(0)
            # The question has been answered with nothing, but the answer is late.
            [question] = carrier.held
            replies = [
                self.redis.execute(each) for each in ((b"LPOP", b"q"), (b"LLEN", b"q"), (b"TIME",))
            ]
            carrier.held = None
            self.send("a")
            del question
            self.queues[0]._taker(0)(replies)
            return str((await task)["type"])

        self.assertEqual("a", run(receive()))

    def test_cancelled(self) -> None:
        """A message whose receiver has given up goes back to Redis, to the front, for another."""

        async def receive() -> list[str]:
            self.send("a", "b")
            carrier = self.carriers[0]
            carrier.held = []
            task = self.receive(self.queues[0])
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            carrier.release()
            return [(await self.queues[1].receive(None))["type"] for _ in range(2)]

        self.assertEqual(["a", "b"], run(receive()))

    def test_cancelled_late(self) -> None:
        """It goes back as well if it has come, and was not taken yet."""

        async def receive() -> str:
            task = self.receive(self.queues[0])
            await asyncio.sleep(0)
            # The bell hands the message over, and the task is not awake yet.
            self.send("a")
            task.cancel()
            await asyncio.wait([task])
            self.assertTrue(task.cancelled())
            return str((await self.queues[1].receive(None))["type"])

        self.assertEqual("a", run(receive()))

    def test_another_waits(self) -> None:
        """If another one waits in the same process, it gets the message at once."""

        async def receive() -> str:
            self.send("a")
            carrier = self.carriers[0]
            carrier.held = []
            first, second = self.receive(self.queues[0]), self.receive(self.queues[0])
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.wait([first])
            carrier.release()
            return str((await second)["type"])

        self.assertEqual("a", run(receive()))

    def test_bad(self) -> None:
        """An entry that is no message, or is too old, is passed over."""
        self.redis.lists[b"q"] = [b"9999999999999\xc1", b"0000000000001", b"foreign"]
        self.send("a")

        async def receive() -> str:
            return str((await self.queues[0].receive(None))["type"])

        self.assertEqual("a", run(receive()))

    def test_away(self) -> None:
        """While Redis is away a worker waits, and goes on afterwards."""

        async def receive() -> str:
            self.redis.away = True
            task = self.receive(self.queues[0])
            await asyncio.sleep(0)
            self.assertFalse(task.done())
            self.redis.away = False
            # After a moment it asks again by itself.
            self.send("a")
            return str((await task)["type"])

        self.assertEqual("a", run(receive()))
