"""Tests for `wsredis.layer.commands`."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.support.layer import run
from tests.unit.layer.case import MultiplexCase
from wsredis.layer import LayerOutcomeUnknown, LayerUnavailable


class CommandTests(MultiplexCase):
    """The connection for commands."""

    def test_replies(self) -> None:
        """Each call gets its own replies, in order, and errors as exceptions among them."""
        self.redis.server.refuse[b"DEL"] = "NOPERM no"

        async def call() -> list[Sequence[Any]]:
            return await asyncio.gather(
                self.call((b"LLEN", b"a"), (b"LPOP", b"a"), (b"DEL", b"a")),
                *[self.call((b"ZADD", b"z", number, number)) for number in range(50)],
            )

        first, *others = run(call())
        self.assertEqual([0, None, "NOPERM no"], [first[0], first[1], str(first[2])])
        self.assertEqual([[1]] * 50, others)
        self.assertEqual(50, len(self.redis.server.sets[b"z"]))

    def test_one_connection(self) -> None:
        """Loops that come one after the other use the same connection."""
        for _ in range(20):
            run(self.call((b"LLEN", b"a")))
        self.assertEqual(1, self.redis.accepted)

    def test_refused(self) -> None:
        """If nobody listens, those who ask are told at once, and those who come later try again."""
        self.redis.down = True
        for _ in range(2):
            with self.assertRaises(LayerUnavailable):
                run(self.call((b"LLEN", b"a")))
        self.redis.down = False
        self.clock.advance(1)
        self.assertEqual([0], run(self.call((b"LLEN", b"a"))))

    def test_lost(self) -> None:
        """A call whose answer is lost is told so, and nothing is sent again."""

        async def call() -> None:
            await self.call((b"LLEN", b"a"))
            self.redis.freeze()
            task = asyncio.ensure_future(self.call((b"ZADD", b"z", 1, 1)))
            await asyncio.sleep(0)
            self.redis.kill()
            with self.assertRaises(LayerOutcomeUnknown):
                await task
            self.assertEqual([0], await self.call((b"LLEN", b"a")))

        run(call())
        self.assertEqual({}, self.redis.server.sets)
        self.assertEqual(2, self.redis.accepted)

    def test_lost_between(self) -> None:
        """A connection that has ended between two loops is noticed before anything is sent."""
        run(self.call((b"LLEN", b"a")))
        self.redis.kill()
        self.assertEqual([0], run(self.call((b"LLEN", b"a"))))

    def test_no_answer(self) -> None:
        """A Redis that does not answer in time is given up."""

        async def call() -> None:
            await self.call((b"LLEN", b"a"))
            self.redis.freeze()
            task = asyncio.ensure_future(self.call((b"LLEN", b"a")))
            await asyncio.sleep(0)
            self.clock.advance(5.1)
            for connection in list(self.home._connections):
                connection.tick()
            with self.assertRaises(LayerOutcomeUnknown):
                await task

        run(call())

    def test_other_master(self) -> None:
        """A server that is no longer the master is left, and the next call asks for the new one."""
        self.redis.server.refuse[b"DEL"] = "READONLY You can't write against a read only replica."

        async def call() -> None:
            [reply] = await self.call((b"DEL", b"a"))
            self.assertIn("READONLY", str(reply))
            while self.home._connections:
                await asyncio.sleep(0)
            await self.call((b"LLEN", b"a"))

        run(call())
        self.assertEqual(2, self.redis.accepted)

    def test_bounded(self) -> None:
        """Calls without an answer are bounded."""

        async def call() -> None:
            await self.call((b"LLEN", b"a"))
            self.redis.freeze()
            errors: list[object] = []
            for _ in range(20010):
                self.carrier.call([(b"LLEN", b"a")], errors.append)
            self.assertEqual(10, len(errors))
            self.assertIsInstance(errors[0], LayerUnavailable)

        run(call())
