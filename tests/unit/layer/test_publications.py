"""Tests for `wsredis.layer.publications`."""

from __future__ import annotations

import asyncio

from tests.support.layer import run
from tests.unit.layer.case import MultiplexCase
from wsredis.layer import LayerUnavailable


class PublicationTests(MultiplexCase):
    """The connection for publications."""

    def test_heard(self) -> None:
        """What is published after a channel was confirmed is heard, until the last one leaves."""

        async def hear() -> None:
            await asyncio.gather(self.subscribe(b"a"), self.subscribe(b"a"), self.subscribe(b"b"))
            await self.call((b"PUBLISH", b"a", b"1"), (b"PUBLISH", b"b", b"2"))
            self.carrier.unsubscribe(b"a")
            self.carrier.unsubscribe(b"nothing")
            await self.call((b"PUBLISH", b"a", b"3"))
            self.carrier.unsubscribe(b"a")
            # The answer to this one comes after that to the one before.
            await self.subscribe(b"c")
            await self.call((b"PUBLISH", b"a", b"4"), (b"PUBLISH", b"c", b"5"))
            await self.until(lambda: len(self.sink.messages) >= 4)

        run(hear())
        expected = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"c", b"5")]
        self.assertEqual(expected, self.sink.messages)
        self.assertEqual(2, self.redis.accepted)

    def test_again(self) -> None:
        """A channel that is left and heard again at once is confirmed anew."""

        async def hear() -> None:
            await self.subscribe(b"a")
            self.carrier.unsubscribe(b"a")
            await self.subscribe(b"a")
            await self.call((b"PUBLISH", b"a", b"1"))
            await self.until(lambda: self.sink.messages)

        run(hear())

    def test_between_loops(self) -> None:
        """What comes while no loop runs is heard by the next one."""
        run(self.subscribe(b"a"))
        run(self.call((b"PUBLISH", b"a", b"1")))
        run(self.until(lambda: self.sink.messages))
        self.assertEqual([(b"a", b"1")], self.sink.messages)

    def test_gap(self) -> None:
        """After a loss all channels are heard again, and then the gap is told, once."""

        async def hear() -> None:
            for number in range(600):
                self.carrier.subscribe(b"%d" % number, lambda _: None)
            await self.subscribe(b"last")
            self.redis.kill()
            await self.until(lambda: self.sink.gaps)
            await self.call((b"PUBLISH", b"0", b"1"), (b"PUBLISH", b"last", b"2"))
            await self.until(lambda: len(self.sink.messages) == 2)
            await self.subscribe(b"new")

        run(hear())
        self.assertEqual([0.0], self.sink.gaps)

    def test_away_at_first(self) -> None:
        """If Redis is away at first, that is told; when it comes, so is a gap."""

        async def hear() -> None:
            self.redis.down = True
            with self.assertRaises(LayerUnavailable):
                await self.subscribe(b"a")
            self.redis.down = False
            await self.until(lambda: self.sink.gaps)
            await self.call((b"PUBLISH", b"a", b"1"))
            await self.until(lambda: self.sink.messages)

        run(hear())

    def test_refused(self) -> None:
        """A channel that Redis refuses is an error for those who want it, and for no others."""
        self.redis.refuse.add(b"secret")

        async def hear() -> None:
            refused, heard = await asyncio.gather(
                self.subscribe(b"secret"), self.subscribe(b"a"), return_exceptions=True
            )
            self.assertIsInstance(refused, LayerUnavailable)
            self.assertIn("NOPERM", str(refused))
            self.assertIsNone(heard)

        run(hear())

    def test_bug(self) -> None:
        """An error in the one who hears ends nothing."""
        self.sink.fails = True

        async def hear() -> None:
            await self.subscribe(b"a")
            await self.call((b"PUBLISH", b"a", b"1"), (b"PUBLISH", b"a", b"2"))
            await self.until(lambda: len(self.sink.messages) == 2)

        run(hear())

    def test_silence(self) -> None:
        """A connection that is silent for long is asked, and given up if it does not answer."""

        async def hear() -> None:
            await self.subscribe(b"a")
            [connection] = self.home._connections
            self.clock.advance(11)
            connection.tick()
            # It answers.
            while connection._asked_at is not None:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
            self.redis.freeze()
            self.clock.advance(11)
            connection.tick()
            self.clock.advance(5.1)
            connection.tick()
            await self.until(lambda: self.sink.gaps)

        run(hear())
        self.assertEqual(2, self.redis.accepted)
