"""Tests for `wsredis.layer.multiplex`."""

from __future__ import annotations

from tests.support.layer import run
from tests.unit.layer.case import MultiplexCase


class MultiplexTests(MultiplexCase):
    """Both connections."""

    def test_closed(self) -> None:
        """A carrier that was closed hears nothing, and can be used again."""

        async def hear() -> None:
            await self.subscribe(b"a")
            self.carrier.close()
            await self.subscribe(b"b")
            await self.call((b"PUBLISH", b"a", b"1"), (b"PUBLISH", b"b", b"2"))
            await self.until(lambda: self.sink.messages)

        run(hear())
        self.assertEqual(([(b"b", b"2")], []), (self.sink.messages, self.sink.gaps))

    def test_abandoned(self) -> None:
        """A process that was forked drops the connections without a word to Redis."""

        async def use() -> None:
            await self.subscribe(b"a")
            await self.call((b"LLEN", b"a"))

        run(use())
        commands = len(self.redis.server.commands)
        self.carrier.abandon()
        self.assertEqual(commands, len(self.redis.server.commands))
