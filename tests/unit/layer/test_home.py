"""Tests for `wsredis.layer.home`."""

from __future__ import annotations

import asyncio
import socket
from threading import Event, Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.layer import run
from wsredis.layer.answers import settle
from wsredis.layer.home import Home


class _Connection:
    """
    A connection on which each byte is the result of the next future.

    Attributes:
        other: The other end.
        waiting: The futures.
        readers: The loops in which it was read.
    """

    def __init__(self) -> None:
        self.socket, self.other = socket.socketpair()
        self.socket.setblocking(False)
        self.waiting: list[asyncio.Future[int]] = []
        self.readers: list[asyncio.AbstractEventLoop | None] = []
        self.unsent = b""

    def fileno(self) -> int:
        """See `Readable`."""
        return self.socket.fileno()

    def readable(self) -> None:
        """See `Readable`."""
        try:
            data = self.socket.recv(100)
        except BlockingIOError:
            return
        self.readers.append(asyncio._get_running_loop())
        for each in data:
            settle(self.waiting.pop(0), each)

    def writable(self) -> bool:
        """See `Readable`."""
        self.socket.send(self.unsent)
        return True

    def tick(self) -> None:
        """See `Readable`."""

    def close(self) -> None:
        """Close both ends."""
        self.socket.close()
        self.other.close()


class HomeTests(SynchronousTestCase):
    """The loop that reads."""

    def setUp(self) -> None:
        """Make a connection."""
        self.results: list[int] = []
        self.home = Home()
        self.connection = _Connection()
        self.addCleanup(self.connection.close)
        self.home.add(self.connection)

    async def wait(self, answer: int | None, receives: bool = False) -> int:
        """Wait for a byte, which comes now, before what others wait for, unless it is None."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.connection.waiting.insert(0 if answer is not None else 99, future)
        if answer is not None:
            self.connection.other.send(bytes([answer]))
        found: int = await self.home.wait(future, receives=receives)
        return found

    def in_thread(self, *args: Any, started: Event | None = None) -> Thread:
        """Wait in a loop of another thread."""
        results = self.results

        async def wait() -> None:
            if started is not None:
                asyncio.get_running_loop().call_soon(started.set)
            results.append(await self.wait(*args))

        thread = Thread(target=run, args=(wait(),))
        thread.start()
        return thread

    def test_one(self) -> None:
        """The loop that waits reads."""

        async def wait() -> None:
            self.assertEqual(7, await self.wait(7))
            self.assertEqual([asyncio.get_running_loop()], self.connection.readers)

        run(wait())

    def test_one_after_the_other(self) -> None:
        """The next loop takes the place of one that has ended, or that is not running."""
        for number in range(3):
            self.assertEqual(number, run(self.wait(number)))
        first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
        for loop in (first, second, first, second):
            self.assertEqual(5, loop.run_until_complete(self.wait(5)))
        first.close()
        self.assertEqual(6, second.run_until_complete(self.wait(6)))
        second.close()
        self.assertEqual(6, run(self.wait(6)))

    def test_two(self) -> None:
        """While one loop reads, another gets what it waits for from there."""

        async def wait() -> None:
            home = asyncio.get_running_loop()
            await self.wait(1, True)
            thread = self.in_thread(2)
            await asyncio.to_thread(thread.join)
            self.assertEqual(([2], [home, home]), (self.results, self.connection.readers))
            self.assertEqual({}, self.home.strangers)

        run(wait())

    def test_ends(self) -> None:
        """If the home ends while another loop waits, that loop reads."""
        started = Event()

        async def wait() -> Thread:
            await self.wait(1)
            thread = self.in_thread(None, started=started)
            await asyncio.to_thread(started.wait)
            return thread

        thread = run(wait())
        self.connection.other.send(b"\x03")
        thread.join()
        self.assertEqual([3], self.results)

    def test_handed_over(self) -> None:
        """A home without consumers lets one read that still waits, once it has its own answer."""
        started = Event()

        async def wait() -> None:
            await self.wait(1)
            thread = self.in_thread(None, started=started)
            await asyncio.to_thread(started.wait)
            await self.wait(2)
            while self.home.loop is asyncio.get_running_loop():
                await asyncio.sleep(0)
            self.connection.other.send(b"\x03")
            await asyncio.to_thread(thread.join)

        run(wait())
        self.assertEqual([3], self.results)

    def test_consumers_first(self) -> None:
        """A loop with consumers becomes the home, though another one runs."""
        started, done = Event(), Event()

        async def short() -> None:
            await self.wait(1)
            started.set()
            await asyncio.to_thread(done.wait)

        async def consumers() -> None:
            await self.wait(2, True)
            self.assertIs(asyncio.get_running_loop(), self.home.loop)
            done.set()

        thread = Thread(target=run, args=(short(),))
        thread.start()
        started.wait()
        run(consumers())
        thread.join()

    def test_removed(self) -> None:
        """A connection that was removed is read no more."""

        async def wait() -> None:
            await self.wait(1)
            self.home.remove(self.connection)
            self.home.remove(self.connection)
            self.connection.other.send(b"x")
            await asyncio.sleep(0)
            self.assertEqual(1, len(self.connection.readers))

        run(wait())

    def test_writes(self) -> None:
        """What there was no room for is written when there is."""

        async def wait() -> None:
            await self.wait(1)
            self.connection.unsent = b"rest"
            self.home.wants_to_write(self.connection)
            while not self.home._writers:
                await asyncio.sleep(0)
            while self.home._writers:
                await asyncio.sleep(0)

        run(wait())
        self.assertEqual(b"rest", self.connection.other.recv(10))


class ShortTests(SynchronousTestCase):
    """Loops for one call."""

    def setUp(self) -> None:
        """Make a connection."""
        self.home = Home()
        self.connection = _Connection()
        self.addCleanup(self.connection.close)

    def test_empty(self) -> None:
        """The first call of a loop is served without it, if there is a connection and no home."""

        async def look() -> list[bool]:
            loop = asyncio.get_running_loop()
            return [self.home.is_empty(loop), self.home.is_empty(loop)]

        self.assertEqual([False, False], run(look()))
        self.home.add(self.connection)
        self.assertEqual([True, False], run(look()))
        self.assertEqual([True, False], run(look()))

    def test_home_runs(self) -> None:
        """Not so if another loop reads."""
        self.home.add(self.connection)

        async def look() -> bool:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self.connection.waiting.append(future)
            self.connection.other.send(b"\x01")
            await self.home.wait(future)
            other = asyncio.new_event_loop()
            try:
                return self.home.is_empty(other)
            finally:
                other.close()

        self.assertFalse(run(look()))

    def test_read(self) -> None:
        """It is read until the answer is there, and not for long if none comes."""
        self.home.add(self.connection)
        self.connection.other.send(b"\x01")

        async def read() -> None:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            self.connection.waiting.append(future)
            self.home.read_until(future.done)
            self.assertEqual(1, future.result())
            self.home.read_until(lambda: False)

        run(read())
