"""Tests for `wsredis.layer.mailbox`."""

from __future__ import annotations

import asyncio
import gc
from threading import RLock, Thread
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.layer import run
from wsredis.layer.mailbox import Mailbox, Mailboxes
from wsredis.layer.messages import Parcel


def parcel(name: str, size: int = 10) -> Parcel:
    """A message."""
    message = {"type": name}
    return Parcel(message, size, message.copy)


class _Consumer:
    """Somebody who reads."""


class MailboxCase(SynchronousTestCase):
    """Mailboxes of three messages, and a hundred bytes in all."""

    def setUp(self) -> None:
        """Make them."""
        self.clock = Clock()
        self.removed: list[str] = []
        self.lock = RLock()
        self.mailboxes = Mailboxes(
            lambda channel: 1 if channel == "tiny" else 3,
            lambda mailbox: self.removed.append(mailbox.channel),
            self.lock,
            100,
            self.clock.seconds,
        )

    def put(self, mailbox: Mailbox, message: Parcel, expiry: float = 60.0) -> bool:
        """Put a message, without a loop."""
        return mailbox.put((self.clock.seconds() + expiry, message), None)

    def take(self, mailbox: Mailbox) -> str | None:
        """The type of the next message."""
        found = mailbox.take(self.clock.seconds())
        return None if found is None else str(found.take()["type"])


class MailboxTests(MailboxCase):
    """The messages to one channel."""

    def test_order(self) -> None:
        """Messages come in order, as many as there is room for; the newest are dropped."""
        mailbox = self.mailboxes.make("c")
        for name, kept in (("a", True), ("b", True), ("c", True), ("d", False)):
            self.assertEqual(kept, self.put(mailbox, parcel(name)))
        self.assertTrue(mailbox.is_full())
        self.assertEqual(["a", "b", "c", None], [self.take(mailbox) for _ in range(4)])
        self.assertEqual(0, self.mailboxes.size)

    def test_capacity(self) -> None:
        """The channel decides how many there may be."""
        tiny = self.mailboxes.make("tiny")
        self.assertEqual([True, False], [self.put(tiny, parcel("a")), self.put(tiny, parcel("b"))])

    def test_expiry(self) -> None:
        """A message that is too old is not received, and makes room."""
        mailbox = self.mailboxes.make("c")
        self.put(mailbox, parcel("a"), 1)
        self.put(mailbox, parcel("b"), 2)
        self.put(mailbox, parcel("c"), 3)
        self.clock.advance(1)
        self.assertTrue(self.put(mailbox, parcel("d"), 3))
        self.clock.advance(1)
        self.assertEqual(["c", "d", None], [self.take(mailbox) for _ in range(3)])

    def test_bytes(self) -> None:
        """All mailboxes together have a bound of bytes, in which a shared message counts once."""
        a, b = self.mailboxes.make("a"), self.mailboxes.make("b")
        shared = parcel("shared", 60)
        self.assertEqual([True, True], [self.put(a, shared), self.put(b, shared)])
        self.assertEqual(60, self.mailboxes.size)
        self.assertFalse(self.put(b, parcel("large", 41)))
        self.assertTrue(self.put(b, parcel("small", 40)))
        self.take(a)
        self.assertEqual(100, self.mailboxes.size)
        self.take(b)
        self.assertEqual(40, self.mailboxes.size)

    def test_room(self) -> None:
        """Old messages of others make room, though nobody reads there."""
        a, b = self.mailboxes.make("a"), self.mailboxes.make("b")
        self.put(a, parcel("old", 90), 1)
        self.clock.advance(2)
        large = parcel("large", 90)
        self.mailboxes.prepare(large)
        self.assertTrue(self.put(b, large))

    def test_gap(self) -> None:
        """What is told needs no room, is not dropped for its age, and is told once."""
        mailbox = self.mailboxes.make("tiny")
        self.put(mailbox, parcel("a"))
        mailbox.tell(parcel("gap"))
        mailbox.tell(parcel("gap"))
        self.clock.advance(10000)
        self.assertEqual(["gap", None], [self.take(mailbox), self.take(mailbox)])
        mailbox.tell(parcel("gap"))
        self.mailboxes.clear()
        self.assertIsNone(self.take(mailbox))


class ReceiveTests(MailboxCase):
    """Waiting for a message."""

    def test_waits(self) -> None:
        """One who waits gets the next message, and each message goes to one of those who wait."""

        async def both() -> list[Any]:
            mailbox = self.mailboxes.make("c")
            tasks = [asyncio.ensure_future(mailbox.receive(None)) for _ in range(2)]
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            for name in ("a", "b", "c"):
                mailbox.put((60, parcel(name)), loop)
            found = [*await asyncio.gather(*tasks), await mailbox.receive(None)]
            return [each.take()["type"] for each in found]

        self.assertEqual(["a", "b", "c"], run(both()))

    def test_thread(self) -> None:
        """A message may come in another thread than the one who waits."""

        async def receive() -> Parcel:
            mailbox = self.mailboxes.make("c")
            task = asyncio.ensure_future(mailbox.receive(None))
            await asyncio.sleep(0)
            Thread(target=self.put, args=(mailbox, parcel("a"))).start()
            return await task

        self.assertEqual({"type": "a"}, run(receive()).take())

    def test_cancelled(self) -> None:
        """One who gives up takes no message along, whenever it happens."""

        async def cancelled(late: bool, thread: bool) -> Parcel:
            mailbox = self.mailboxes.make("c")
            task = asyncio.ensure_future(mailbox.receive(None))
            await asyncio.sleep(0)
            loop = asyncio.get_running_loop()
            if late:
                mailbox.put((60, parcel("a")), None if thread else loop)
            task.cancel()
            await asyncio.wait([task])
            self.assertTrue(task.cancelled())
            if not late:
                mailbox.put((60, parcel("a")), loop)
            return await mailbox.receive(None)

        for late, thread in ((False, False), (True, False), (True, True)):
            self.assertEqual({"type": "a"}, run(cancelled(late, thread)).take())
            self.assertEqual(0, len(self.mailboxes.make("c").waiters))

    def test_closed_loop(self) -> None:
        """One whose loop is closed gets nothing: the next one does."""
        mailbox = self.mailboxes.make("c")

        async def abandon() -> None:
            mailbox.waiters.append(asyncio.get_running_loop().create_future())

        run(abandon())
        self.put(mailbox, parcel("a"))
        self.assertEqual("a", self.take(mailbox))


class KeepTests(MailboxCase):
    """The mailboxes that are kept."""

    def make_many(self, number: int) -> None:
        """Make mailboxes that nobody uses."""
        for each in range(number):
            self.mailboxes.make(f"more-{each}")

    def test_consumer(self) -> None:
        """A mailbox whose consumer is known is kept for as long as that lives, and no longer."""
        consumer: Any = _Consumer()
        self.put(self.mailboxes.make("c", consumer), parcel("a"), 1)
        self.clock.advance(10000)
        self.make_many(3)
        self.assertIsNotNone(self.mailboxes.get("c"))
        del consumer
        gc.collect()
        self.mailboxes.prepare(parcel("b"))
        self.assertIsNone(self.mailboxes.get("c"))
        self.assertIn("c", self.removed)
        self.assertEqual(0, self.mailboxes.size)

    def test_unused(self) -> None:
        """One that nobody uses for a minute goes when others come, so they do not grow."""
        self.make_many(1000)
        self.clock.advance(61)
        for each in range(1000):
            self.mailboxes.make(f"later-{each}")
        self.assertLessEqual(len(self.mailboxes), 1001)
        self.assertIsNone(self.mailboxes.get("more-0"))

    def test_waited_for(self) -> None:
        """One that somebody waits for is kept."""

        async def wait() -> None:
            task = asyncio.ensure_future(self.mailboxes.make("c").receive(None))
            await asyncio.sleep(0)
            self.clock.advance(10000)
            self.make_many(10)
            self.assertIsNotNone(self.mailboxes.get("c"))
            task.cancel()

        run(wait())

    def test_no_references(self) -> None:
        """A consumer whose class has no weak references is treated as if it were not known."""
        self.mailboxes.make("c", 5)
        self.clock.advance(61)
        self.make_many(3)
        self.assertIsNone(self.mailboxes.get("c"))
