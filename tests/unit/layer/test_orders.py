"""Tests for `wsredis.layer.orders`: what two processes tell each other."""

from __future__ import annotations

import asyncio

from tests.support.layer import LayerCase, run
from wsredis.layer import LayerOutcomeUnknown, LayerUnavailable


class OrderTests(LayerCase):
    """Two processes, each with a layer."""

    def test_message(self) -> None:
        """A message to a channel of another process arrives there, and nowhere else."""

        async def send() -> object:
            here, there = self.layer(), self.layer()
            channel = await there.new_channel()
            await here.new_channel()
            await here.send(channel, {"type": "x"})
            return await there.receive(channel)

        self.assertEqual({"type": "x"}, run(send()))

    def test_unknown(self) -> None:
        """A message to a channel that there is not is dropped: its consumer has ended."""

        async def send() -> int:
            layer = self.layer()
            await layer.new_channel()
            await layer.send(f"specific.{layer.client_prefix}!nobody", {"type": "x"})
            return len(layer._station.mailboxes)

        self.assertEqual(1, run(send()))

    def test_groups(self) -> None:
        """A process puts a channel of another one into a group, and takes it out again."""

        async def send() -> None:
            here, there = self.layer(), self.layer()
            channel = await there.new_channel()
            await here.group_add("g", channel)
            await here.group_send("g", {"type": "x"})
            self.assertEqual({"type": "x"}, await there.receive(channel))
            await here.group_discard("g", channel)
            await here.group_send("g", {"type": "y"})
            await here.send(channel, {"type": "z"})
            self.assertEqual({"type": "z"}, await there.receive(channel))
            self.assertEqual({}, here._station.orders._questions)

        run(send())

    def test_nobody(self) -> None:
        """If the other process, or its channel, is no more, there is nothing to do."""

        async def ask() -> None:
            here, there = self.layer(), self.layer()
            await here.group_add("g", "specific.0af!nobody")
            await here.group_discard("g", "specific.0af!nobody")
            await there.new_channel()
            await here.group_add("g", f"specific.{there.client_prefix}!nobody")

        run(ask())
        self.assertNotIn(
            b"asgi:group:g", {name for each in self.redis.carriers for name in each.counts}
        )

    def test_no_answer(self) -> None:
        """A process that does not answer in time is an error."""

        async def ask() -> None:
            here, there = self.layer(), self.layer()
            channel = await there.new_channel()
            await here.new_channel()
            there._station.handlers[0].clear()
            task = asyncio.ensure_future(here.group_add("g", channel))
            await asyncio.sleep(0)
            [answered] = here._station.orders._questions.values()
            answered(LayerOutcomeUnknown("late"))
            await task

        with self.assertRaises(LayerOutcomeUnknown):
            run(ask())

    def test_away(self) -> None:
        """Without Redis the question is not asked."""

        async def ask() -> None:
            layer = self.layer()
            await layer.new_channel()
            self.redis.away = True
            await layer.group_add("g", "specific.0af!x")

        with self.assertRaises(LayerUnavailable):
            run(ask())

    def test_bad(self) -> None:
        """What is no order, or one of a later version, is dropped and harms nobody."""

        async def send() -> object:
            layer = self.layer()
            channel = await layer.new_channel()
            name = f"asgi:process:{layer.client_prefix}".encode()
            for payload in (
                b"",
                b"\xc1",
                b"\x93\x09\xa1c\xa0",
                b"\x93\x01\xa1c\x90",
                b"\x93\x00\xa1c\x05",
            ):
                self.redis.execute((b"PUBLISH", name, payload))
            await layer.send(channel, {"type": "x"})
            return await layer.receive(channel)

        self.assertEqual({"type": "x"}, run(send()))

    def test_full(self) -> None:
        """A channel without room misses messages from other processes."""

        async def send() -> list[object]:
            here, there = self.layer(), self.layer(capacity=2)
            channel = await there.new_channel()
            for number in range(3):
                await here.send(channel, {"type": "x", "number": number})
            found = [await there.receive(channel), await there.receive(channel)]
            await here.send(channel, {"type": "x", "number": 3})
            return [*found, await there.receive(channel)]

        self.assertEqual([0, 1, 3], [each["number"] for each in run(send())])  # type: ignore[index]

    def test_flush(self) -> None:
        """One that flushes lets the others forget as well."""

        async def flush() -> None:
            here, there = self.layer(), self.layer()
            channel = await there.new_channel()
            await there.group_add("g", channel)
            await here.send(channel, {"type": "x"})
            await here.flush()
            await here.group_send("g", {"type": "y"})
            await here.send(channel, {"type": "z"})
            self.assertEqual({"type": "z"}, await there.receive(channel))

        run(flush())
