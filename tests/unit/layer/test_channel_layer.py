"""Tests for `wsredis.layer.channel_layer`."""

from __future__ import annotations

import asyncio
import inspect
import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

from channels.exceptions import ChannelFull

from tests.support.layer import LayerCase, run
from wsredis.errors import ConfigError
from wsredis.layer import ChannelLayer, LayerUnavailable
from wsredis.layer.channel_layer import _after_fork
from wsredis.layer.names import host_of

_MESSAGE = {"type": "chat.message", "text": "x"}


class ConfigTests(LayerCase):
    """The CONFIG."""

    def test_theirs(self) -> None:
        """All settings of channels_redis are taken."""
        layer = self.layer(
            hosts=["redis://localhost:6379"],
            prefix="p",
            expiry=10,
            group_expiry=100,
            capacity=5,
            channel_capacity={"http.*": 7},
            symmetric_encryption_keys=["secret"],
            random_prefix_length=12,
            serializer_format="msgpack",
            on_disconnect=None,
            on_reconnect=None,
        )
        self.assertEqual((5, 7), (layer.get_capacity("x"), layer.get_capacity("http.response")))
        self.assertEqual(["groups", "flush"], layer.extensions)

    def test_unknown(self) -> None:
        """Others are refused with their names: a wrong letter does not go unnoticed."""
        error = self.assertRaises(ConfigError, self.layer, hots=[], prefx="")
        text = "the CONFIG of the channel layer has unknown keys: hots, prefx"
        self.assertEqual(text, str(error))

    def test_wrong(self) -> None:
        """Values that cannot be used are refused with the name of the setting."""
        for config in (
            {"prefix": ""},
            {"prefix": 5},
            {"expiry": 0},
            {"expiry": "60"},
            {"group_expiry": -1},
            {"capacity": None},
            {"capacity": True},
            {"on_gap": "die"},
            {"channel_capacity": 5},
            {"channel_capacity": {5: 5}},
            {"channel_capacity": {"http.*": "5"}},
            {"channel_capacity": {"http.*": 0}},
            {"serializer_format": "pickle"},
            {"symmetric_encryption_keys": "secret"},
            {"hosts": "redis://localhost"},
        ):
            error = self.assertRaises(ConfigError, self.layer, **config)
            self.assertTrue(str(error).startswith(next(iter(config))), str(error))

    def test_shown(self) -> None:
        """A layer shows its hosts, and no password."""
        layer = self.layer(hosts=["redis://:secret@r.example/2", ("b", 1)])
        shown = "<ChannelLayer on redis://r.example:6379, redis://b:1>"
        self.assertEqual(shown, repr(layer))


class NameTests(LayerCase):
    """Names of channels and groups."""

    def test_rules(self) -> None:
        """The rules are those of Channels, and broken ones are a TypeError, as there."""
        layer = self.layer()
        for name in ("", "a b", "ü", "x" * 100, "a:b", "a!b!c", 5):
            wrong: Any = name
            for call in (
                layer.send(wrong, _MESSAGE),
                layer.receive(wrong),
                layer.group_add("g", wrong),
                layer.group_discard("g", wrong),
            ):
                with self.assertRaises(TypeError, msg=repr(name)):
                    run(call)
        for name in ("", "a b", "a!b", "x" * 100):
            for call in (
                layer.group_add(name, "c"),
                layer.group_discard(name, "c"),
                layer.group_send(name, _MESSAGE),
            ):
                with self.assertRaises(TypeError, msg=name):
                    run(call)
        with self.assertRaises(TypeError):
            run(layer.new_channel("x" * 50))
        self.assertEqual([], self.redis.names())

    def test_messages(self) -> None:
        """A message is a dictionary, without the key that other layers reserve."""
        layer = self.layer()
        for message in ("text", None, [], {"__asgi_channel__": "x"}):
            wrong: Any = message
            for call in (layer.send("a.b!c", wrong), layer.group_send("g", wrong)):
                with self.assertRaises(AssertionError):
                    run(call)

    def test_any_value(self) -> None:
        """To a worker channel any value may be sent, as in the pub/sub layer of channels_redis."""

        async def send() -> list[Any]:
            layer: Any = self.layer()
            for value in ("text", 5):
                await layer.send("jobs", value)
            with self.assertRaises(AssertionError):
                await layer.send("jobs", {"__asgi_channel__": "x"})
            return [await layer.receive("jobs") for _ in range(2)]

        self.assertEqual(["text", 5], run(send()))

    def test_not_encodable(self) -> None:
        """A message that cannot be encoded is an error of the caller, and nothing is sent."""
        layer = self.layer()
        message = {"type": "x", "object": object()}
        for call in (
            layer.send("c", message),
            layer.group_send("g", message),
            layer.send("a.b!c", message),
        ):
            with self.assertRaises(TypeError):
                run(call)
        self.assertEqual([], self.redis.names())

    def test_other_process(self) -> None:
        """To receive from a channel of another process is an error."""
        with self.assertRaises(AssertionError):
            run(self.layer().receive("specific.0af!x"))

    def test_unique(self) -> None:
        """Names do not depend on Python's random numbers, and differ between layers."""
        random.seed(1)
        first = self.layer()
        names = {run(first.new_channel())}
        random.seed(1)
        second = self.layer()
        names |= {run(second.new_channel()), run(second.new_channel())}
        self.assertEqual(3, len(names))
        self.assertNotEqual(first.client_prefix, second.client_prefix)

    def test_coroutines(self) -> None:
        """All methods are coroutine functions: async_to_sync looks at that."""
        layer = self.layer()
        for name in (
            "send",
            "receive",
            "new_channel",
            "group_add",
            "group_discard",
            "group_send",
            "flush",
        ):
            self.assertTrue(inspect.iscoroutinefunction(getattr(layer, name)), name)


class SendTests(LayerCase):
    """Messages to channels."""

    def test_own(self) -> None:
        """A message to a channel of this process comes, with a copy for each receiver."""

        async def send() -> Any:
            layer = self.layer()
            channel = await layer.new_channel("x")
            self.assertTrue(channel.startswith(f"x.{layer.client_prefix}!"))
            message = {"type": "x", "list": [1]}
            await layer.send(channel, message)
            message["list"] = 5
            return await layer.receive(channel)

        self.assertEqual({"type": "x", "list": [1]}, run(send()))

    def test_order(self) -> None:
        """Messages of one sender come in order, to channels and by groups."""

        async def send() -> list[Any]:
            layer = self.layer()
            channel = await layer.new_channel()
            await layer.group_add("g", channel)
            for number in range(20):
                if number % 2:
                    await layer.send(channel, {"type": "x", "number": number})
                else:
                    await layer.group_send("g", {"type": "x", "number": number})
            return [(await layer.receive(channel))["number"] for _ in range(20)]

        self.assertEqual([*range(20)], run(send()))

    def test_full(self) -> None:
        """A channel of this process that is full tells the sender, by its own capacity."""

        async def send(layer: ChannelLayer, prefix: str) -> int:
            channel = await layer.new_channel(prefix)
            for number in range(10):
                try:
                    await layer.send(channel, _MESSAGE)
                except ChannelFull:
                    return number
            return 10

        layer = self.layer(capacity=3, channel_capacity={"tiny.*": 1})
        self.assertEqual((3, 1), (run(send(layer, "x")), run(send(layer, "tiny"))))

    def test_queue(self) -> None:
        """A worker channel is a list in Redis, with a capacity, for any process."""

        async def send() -> Any:
            here, there = self.layer(capacity=2), self.layer()
            await here.send("jobs", _MESSAGE)
            await here.send("jobs", _MESSAGE)
            with self.assertRaises(ChannelFull):
                await here.send("jobs", _MESSAGE)
            return await there.receive("jobs")

        self.assertEqual(_MESSAGE, run(send()))

    def test_queue_expiry(self) -> None:
        """A job that is too old is not received, and makes room."""

        async def send() -> Any:
            layer = self.layer(expiry=5, capacity=1)
            await layer.send("jobs", {"type": "old"})
            self.redis.now += 6
            await layer.send("jobs", {"type": "new"})
            return await layer.receive("jobs")

        self.assertEqual({"type": "new"}, run(send()))

    def test_encrypted(self) -> None:
        """With keys no message is readable in Redis, in whatever way it travels."""

        async def send() -> list[Any]:
            layer = self.layer(symmetric_encryption_keys=["secret"])
            channel = await layer.new_channel()
            await layer.group_add("g", channel)
            await layer.send(channel, _MESSAGE)
            await layer.group_send("g", _MESSAGE)
            await layer.send("jobs", _MESSAGE)
            return [await layer.receive(channel) for _ in range(2)] + [await layer.receive("jobs")]

        self.assertEqual([_MESSAGE] * 3, run(send()))
        words = b" ".join(word for command in self.redis.commands for word in command)
        self.assertNotIn(b"chat.message", words)

    def test_raw(self) -> None:
        """Programs may encode and decode as the layer does."""
        layer = self.layer()
        self.assertEqual(b"\x81\xa1a\xc3", layer.serialize({"a": True}))
        self.assertEqual({"a": True}, layer.deserialize(b"\x81\xa1a\xc3"))


class GroupTests(LayerCase):
    """Groups."""

    def test_one_publication(self) -> None:
        """A message to a group is one publication, whatever the number of its members."""

        async def send() -> list[Any]:
            layer = self.layer()
            channels = [await layer.new_channel() for _ in range(20)]
            for channel in channels:
                await layer.group_add("g", channel)
            await layer.group_send("g", _MESSAGE)
            return [await layer.receive(channel) for channel in channels]

        self.assertEqual([_MESSAGE] * 20, run(send()))
        self.assertEqual([b"PUBLISH", b"ZRANGEBYSCORE"], self.redis.names())

    def test_left(self) -> None:
        """A channel that has left gets nothing, and to leave without being in is no error."""

        async def send() -> Any:
            layer = self.layer()
            channel = await layer.new_channel()
            await layer.group_discard("g", channel)
            await layer.group_add("g", channel)
            await layer.group_discard("g", channel)
            await layer.group_send("g", _MESSAGE)
            await layer.send(channel, {"type": "last"})
            await layer.group_discard("g", f"x.{layer.client_prefix}!unknown")
            return await layer.receive(channel)

        self.assertEqual({"type": "last"}, run(send()))

    def test_workers(self) -> None:
        """A worker channel may be in a group; one worker gets each message."""

        async def send() -> list[Any]:
            layer = self.layer(capacity=2)
            await layer.group_add("g", "jobs")
            await layer.group_add("g", "mail")
            await layer.group_discard("g", "mail")
            for _ in range(3):
                await layer.group_send("g", _MESSAGE)
            return [await layer.receive("jobs"), await layer.receive("jobs")]

        self.assertEqual([_MESSAGE] * 2, run(send()))
        self.assertEqual({b"asgi:queue:jobs": []}, self.redis.lists)

    def test_workers_expire(self) -> None:
        """A worker channel leaves the group after the time for memberships."""

        async def send() -> None:
            layer = self.layer(group_expiry=100)
            await layer.group_add("g", "jobs")
            [members] = self.redis.sets.values()
            members[b"jobs"] -= 101
            await layer.group_send("g", _MESSAGE)

        run(send())
        self.assertEqual({}, self.redis.lists)

    def test_hosts(self) -> None:
        """Of several hosts, the name of a group, a process and a queue decides on both sides."""

        async def send() -> None:
            hosts = [("localhost", 6379 + number) for number in range(3)]
            here, there = self.layer(hosts=hosts), self.layer(hosts=hosts)
            channel = await there.new_channel()
            for number in range(10):
                group, queue = f"g{number}", f"q{number}"
                await there.group_add(group, channel)
                await here.group_send(group, _MESSAGE)
                self.assertEqual(_MESSAGE, await there.receive(channel))
                await here.group_add(group, queue)
                await here.group_send(group, _MESSAGE)
                self.assertEqual(_MESSAGE, await there.receive(queue))
                self.assertEqual(_MESSAGE, await there.receive(channel))
                self.assertIn(
                    f"asgi:queue:{queue}".encode(), self.server(6379 + host_of(queue, 3)).lists
                )
            await here.send(channel, _MESSAGE)
            self.assertEqual(_MESSAGE, await there.receive(channel))

        run(send())
        self.assertTrue(all(server.lists for server in self.servers.values()))

    def test_flush(self) -> None:
        """All messages and groups are forgotten, and keys of others stay."""

        async def flush() -> Any:
            layer = self.layer()
            channel = await layer.new_channel()
            await layer.group_add("g", channel)
            await layer.group_add("g", "jobs")
            await layer.group_send("g", _MESSAGE)
            self.redis.lists[b"other:queue:x"] = [b"x"]
            await layer.flush()
            await layer.group_send("g", _MESSAGE)
            await layer.send(channel, {"type": "last"})
            return await layer.receive(channel)

        self.assertEqual({"type": "last"}, run(flush()))
        self.assertEqual([b"other:queue:x"], [*self.redis.lists])
        self.assertEqual({}, self.redis.sets)


class AwayTests(LayerCase):
    """Redis is away, or refuses."""

    def test_raises(self) -> None:
        """All that sends raises an OSError at once; a group is not joined."""

        async def use() -> None:
            layer = self.layer()
            channel = await layer.new_channel()
            self.redis.away = True
            calls: list[Callable[[], Awaitable[Any]]] = [
                lambda: layer.send(channel, _MESSAGE),
                lambda: layer.send("jobs", _MESSAGE),
                lambda: layer.group_send("g", _MESSAGE),
                lambda: layer.group_add("g", channel),
                lambda: layer.group_add("g", "jobs"),
                lambda: layer.flush(),
            ]
            for call in calls:
                with self.assertRaises(LayerUnavailable):
                    await call()
            self.assertEqual(set(), layer._station.mailboxes.make(channel).groups)

        run(use())
        self.assertNotIn(b"asgi:group:g", self.redis.carriers[0].counts)

    def test_new_channel(self) -> None:
        """A channel can be made all the same: what is sent to it comes when Redis is back."""

        async def use() -> Any:
            self.redis.away = True
            layer = self.layer()
            channel = await layer.new_channel()
            self.redis.away = False
            await layer.send(channel, _MESSAGE)
            return await layer.receive(channel)

        self.assertEqual(_MESSAGE, run(use()))

    def test_refused(self) -> None:
        """An error of Redis is an OSError as well, with its text."""
        layer = self.layer()
        for name, call in (
            (b"PUBLISH", layer.group_send("g", _MESSAGE)),
            (b"EVALSHA", layer.send("jobs", _MESSAGE)),
        ):
            self.redis.refuse[name] = "OOM command not allowed"
            with self.assertRaises(LayerUnavailable) as caught:
                run(call)
            self.assertEqual("OOM command not allowed", str(caught.exception))

    def test_gap(self) -> None:
        """After a gap, those who want to know are told before anything else comes."""

        async def use() -> list[Any]:
            layer = self.layer()
            told, other = await layer.new_channel(), await layer.new_channel()
            layer.tell_gaps(told)
            self.redis.carriers[0].sink.gap(1.5)
            for channel in (told, other):
                await layer.send(channel, _MESSAGE)
            found = [
                await layer.receive(told),
                await layer.receive(told),
                await layer.receive(other),
            ]
            layer.tell_gaps(told, False)
            self.redis.carriers[0].sink.gap(1.5)
            await layer.send(told, {"type": "last"})
            return [*found, await layer.receive(told)]

        gap = {"type": "layer.gap", "seconds": 1.5}
        self.assertEqual([gap, _MESSAGE, _MESSAGE, {"type": "last"}], run(use()))

    def test_consumer(self) -> None:
        """A consumer of Channels with a method for the event is told without asking for it."""
        from channels.consumer import AsyncConsumer

        class Hearing(AsyncConsumer):  # type: ignore[misc]
            """As in a project."""

            async def layer_gap(self, event: object) -> None:
                """Look for what was missed."""

        async def use() -> list[bool]:
            layer = self.layer()
            hears = []
            for kind in (Hearing, AsyncConsumer):
                consumer = kind()
                consumer.channel_layer = layer
                channel = await _ask(consumer)
                mailbox = layer._station.mailboxes.get(channel)
                assert mailbox is not None and mailbox.consumer is not None
                hears.append(mailbox.hears_gaps)
            return hears

        async def _ask(self: Any) -> str:
            channel: str = await self.channel_layer.new_channel()
            return channel

        self.assertEqual([True, False], run(use()))

    def test_workers_look(self) -> None:
        """After a gap a worker looks for messages whose bell it has not heard."""

        async def use() -> Any:
            layer = self.layer()
            task = asyncio.ensure_future(layer.receive("jobs"))
            await asyncio.sleep(0)
            carrier = self.redis.carriers[0]
            counts, carrier.counts = carrier.counts, {}
            await layer.send("jobs", _MESSAGE)
            carrier.counts = counts
            carrier.sink.gap(1.0)
            return await task

        self.assertEqual(_MESSAGE, run(use()))


class LifeTests(LayerCase):
    """The life of a layer."""

    def test_closed(self) -> None:
        """A layer that was closed can be used again."""

        async def use() -> Any:
            layer = self.layer()
            channel = await layer.new_channel()
            await layer.close_pools()
            await layer.close()
            self.assertTrue(self.redis.carriers[0].is_closed)
            again = await layer.new_channel()
            self.assertNotEqual(channel, again)
            await layer.send(again, _MESSAGE)
            return await layer.receive(again)

        self.assertEqual(_MESSAGE, run(use()))

    def test_dropped(self) -> None:
        """The connections of a layer that nobody uses any more are closed."""
        layer = self.layer()
        run(layer.new_channel())
        [carrier] = self.redis.carriers
        del layer
        self.assertTrue(carrier.is_closed)

    def test_nothing_before_use(self) -> None:
        """A layer that is not used connects to nothing."""
        self.layer()
        self.assertEqual([], self.redis.carriers)

    def test_forked(self) -> None:
        """After a fork a layer has another name and other connections; the old ones stay open."""
        layer = self.layer()
        name = layer.client_prefix
        _after_fork()
        self.assertNotEqual(name, layer.client_prefix)
        self.assertEqual([False, False], [each.is_closed for each in self.redis.carriers])
        self.assertTrue(os.getpid())
