"""
The contract of a broker: one suite, over the broker in memory and over a real Redis.

What is asserted here is the promise of `wsredis.gateway.broker`; whatever passes
may stand behind a hub.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from tests.support.children import RedisServer
from tests.support.require import missing
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.brokers.redis.broker import RedisBroker
from wsredis.brokers.redis.url import Target
from wsredis.config import Limits
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.broker import Broker
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication

#: Seconds that Redis has; a test that passes takes a small part of it.
_PATIENCE = 15.0

_PAYLOADS = [
    b"hello",
    b"123",
    b"007",
    b"1.50",
    b"1_000",
    b"nan",
    b"\x00\xff\xfe",
    b"*1\r\n$4\r\nPING\r\n",
    "gr\u00fc\u00df dich".encode(),
    b"x" * 100_000,
]


# The suite is not a test case by itself, or trial would run it alone.
_Case = TestCase if TYPE_CHECKING else object


class _Recorder:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.live: list[tuple[bytes, bytes]] = []
        self.restored: dict[bytes, bytes] = {}
        self.forbidden: list[bytes] = []
        self.order: list[str] = []
        self.on_delivery: Callable[[Publication], None] = lambda publication: None

    def deliver(self, batch: Sequence[Publication]) -> None:
        for publication in batch:
            self.live.append((publication.channel, publication.payload))
            self.order.append("live")
            self.on_delivery(publication)

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        for channel, payload in stored.items():
            assert channel not in self.restored, "restored twice"
            self.restored[channel] = payload
            self.order.append("restored")

    def forbid(self, channel: bytes) -> None:
        self.forbidden.append(channel)

    def on(self, channel: bytes) -> list[bytes]:
        """What arrived on one channel."""
        return [payload for name, payload in self.live if name == channel]


class _Outside(_Case):
    """What a suite needs of the world behind the broker. Channels named no... are forbidden."""

    listener: _Recorder

    def make(self, expire: int = 60) -> Broker:
        """A new broker, not started."""
        raise NotImplementedError

    def publish(self, channel: bytes, payload: bytes) -> None:
        """Publish as a backend does."""
        raise NotImplementedError

    def store(self, channel: bytes, payload: bytes) -> None:
        """Store as a backend does."""
        raise NotImplementedError

    def stored(self, channel: bytes) -> bytes | None:
        """What is stored."""
        raise NotImplementedError

    def lose(self) -> None:
        """The link is lost, and will not come back by itself."""
        raise NotImplementedError

    def miss(self, channel: bytes, payload: bytes) -> None:
        """Lose the link; store and publish something that it cannot carry; let it come back."""
        raise NotImplementedError

    def forbid(self, channel: bytes) -> None:
        """Take the right to *channel* away; the link is lost and comes back."""
        raise NotImplementedError

    def recover(self) -> None:
        """The link of `lose` comes back."""
        raise NotImplementedError

    def nobody_listens(self, channel: bytes) -> bool:
        """Whether *channel* has no subscription."""
        raise NotImplementedError

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until *condition* holds."""
        deadline = reactor.seconds() + _PATIENCE
        while not condition():
            self.assertLess(reactor.seconds(), deadline, "it did not become true in time")
            await deferLater(reactor, 0.005)


class _Contract(_Outside):
    """The suite."""

    async def start(self, expire: int = 60, *, stop: bool = True) -> Broker:
        """A broker that is up. Without *stop* the test stops it."""
        self.listener = _Recorder()
        broker = self.make(expire)
        broker.start(self.listener)
        if stop:
            self.addCleanup(broker.stop)
        await self.until(lambda: broker.up)
        return broker

    async def arrived(self, channel: bytes, count: int) -> list[bytes]:
        """What has arrived on a channel once there are *count*, and nothing that follows is."""
        await self.until(lambda: len(self.listener.on(channel)) >= count)
        payloads = self.listener.on(channel)
        self.assertEqual(count, len(payloads), "something arrived twice")
        return payloads

    async def settle(self, broker: Broker) -> None:
        """Wait until all that was published until now has been delivered."""
        await broker.subscribe([b"ok-marker"])
        before = len(self.listener.on(b"ok-marker"))
        self.publish(b"ok-marker", b"x")
        await self.until(lambda: len(self.listener.on(b"ok-marker")) > before)

    async def _refuses(self, error: type[Exception], action: Deferred[Any]) -> None:
        """*action* fails with *error* and nothing else."""
        try:
            await action
        except error:
            return
        self.fail(f"{error.__name__} was not raised")

    # -- Subscribe and deliver

    async def test_delivers_in_order_and_byte_for_byte(self) -> None:
        """What a backend publishes arrives once, in order, and is the same bytes."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        for payload in _PAYLOADS:
            self.publish(b"ok-a", payload)
        self.assertEqual(_PAYLOADS, await self.arrived(b"ok-a", len(_PAYLOADS)))

    async def test_empty_payload(self) -> None:
        """An empty payload is one: what it means is for others to say."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        self.publish(b"ok-a", b"")
        self.assertEqual([b""], await self.arrived(b"ok-a", 1))

    async def test_channels_keep_apart(self) -> None:
        """Patterns in a name are literal, and other channels are not heard."""
        broker = await self.start()
        await broker.subscribe([b"ok-*", b"ok-[ab]"])
        self.publish(b"ok-a", b"not for us")
        self.publish(b"ok-*", b"1")
        self.publish(b"ok-[ab]", b"2")
        await self.settle(broker)
        self.assertEqual([b"1"], self.listener.on(b"ok-*"))
        self.assertEqual([b"2"], self.listener.on(b"ok-[ab]"))
        self.assertEqual([], self.listener.on(b"ok-a"))

    async def test_order_across_channels(self) -> None:
        """What is published on several channels arrives in that order."""
        broker = await self.start()
        await broker.subscribe([b"ok-a", b"ok-b"])
        sent = [(b"ok-a" if number % 3 else b"ok-b", b"%d" % number) for number in range(30)]
        for channel, payload in sent:
            self.publish(channel, payload)
        await self.until(lambda: len(self.listener.live) >= len(sent))
        self.assertEqual(sent, self.listener.live)

    async def test_name_of_any_bytes(self) -> None:
        """A channel may be called anything: numbers, blanks, line ends, not UTF-8."""
        broker = await self.start()
        names = [b"ok42", b"ok a b", b"ok\r\nPING\r\n", b"ok\xff", b"ok:" + b"n" * 300]
        await broker.subscribe(names)
        for name in names:
            self.publish(name, name)
            self.assertEqual([name], await self.arrived(name, 1))

    async def test_subscribing_twice(self) -> None:
        """Repeating it is free, and brings nothing twice."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        await broker.subscribe([b"ok-a", b"ok-b"])
        self.publish(b"ok-a", b"1")
        await self.settle(broker)
        self.assertEqual([b"1"], self.listener.on(b"ok-a"))

    async def test_unsubscribing(self) -> None:
        """After a moment nothing arrives any more, and other channels go on."""
        broker = await self.start()
        await broker.subscribe([b"ok-a", b"ok-b"])
        broker.unsubscribe([b"ok-a", b"ok-unknown"])
        await self.until(lambda: self.nobody_listens(b"ok-a"))
        self.publish(b"ok-a", b"1")
        self.publish(b"ok-b", b"2")
        await self.settle(broker)
        self.assertEqual([], self.listener.on(b"ok-a"))
        self.assertEqual([b"2"], self.listener.on(b"ok-b"))

    async def test_unsubscribed_and_back(self) -> None:
        """Whoever comes back at once misses nothing from its confirmation on."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        broker.unsubscribe([b"ok-a"])
        await broker.subscribe([b"ok-a"])
        self.publish(b"ok-a", b"1")
        self.assertEqual([b"1"], await self.arrived(b"ok-a", 1))

    async def test_hold(self) -> None:
        """A broker that is held brings nothing, loses nothing, and answers behind what it held."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        self.store(b"ok-a", b"stored")
        broker.pause()
        broker.pause()
        for payload in (b"1", b"2", b"3"):
            self.publish(b"ok-a", payload)
        seen: list[list[bytes]] = []
        fetched = broker.fetch([b"ok-a"])
        fetched.addCallback(lambda values: seen.append(self.listener.on(b"ok-a")) or values)
        # A round trip on the other connection: Redis has published all of it.
        await broker.publish([b"ok-other"], b"x")
        self.assertEqual(([], []), (self.listener.live, seen))
        broker.resume()
        broker.resume()
        self.assertEqual({b"ok-a": b"stored"}, await fetched)
        self.assertEqual([[b"1", b"2", b"3"]], seen)

    # -- Publish and fetch

    async def test_own_publications_come_back(self) -> None:
        """What we publish is delivered as any other, once on each channel."""
        broker = await self.start()
        await broker.subscribe([b"ok-a", b"ok-b"])
        await broker.publish([b"ok-a", b"ok-b"], b"007")
        self.assertEqual([b"007"], await self.arrived(b"ok-a", 1))
        self.assertEqual([b"007"], await self.arrived(b"ok-b", 1))

    async def test_stored_before_it_is_published(self) -> None:
        """Whoever hears a publication finds it stored."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        found: list[bytes | None] = []
        self.listener.on_delivery = lambda publication: found.append(
            self.stored(publication.channel)
        )
        await broker.publish([b"ok-a"], b"1.50")
        await self.arrived(b"ok-a", 1)
        self.assertEqual([b"1.50"], found)

    async def test_fetch(self) -> None:
        """What is stored is fetched byte for byte; empty and missing ones are left out."""
        broker = await self.start()
        for number, payload in enumerate(_PAYLOADS):
            await broker.publish([b"ok-%d" % number], payload)
        self.store(b"ok-empty", b"")
        names = [b"ok-%d" % number for number in range(len(_PAYLOADS))]
        values = await broker.fetch([*names, b"ok-empty", b"ok-missing"])
        self.assertEqual(dict(zip(names, _PAYLOADS, strict=True)), values)

    async def test_fetch_of_nothing(self) -> None:
        """Fetching no channel, and one without a message, is no error."""
        broker = await self.start()
        self.assertEqual({}, await broker.fetch([]))
        self.assertEqual({}, await broker.fetch([b"ok-missing"]))

    async def test_values_that_look_like_protocol(self) -> None:
        """Whatever is stored, what is fetched afterwards is right as well."""
        broker = await self.start()
        words = [b"message", b"x", b"y"]
        for word in words:
            self.store(b"ok-" + word, word)
        names = [b"ok-" + word for word in words]
        for _ in range(2):
            self.assertEqual(dict(zip(names, words, strict=True)), await broker.fetch(names))

    async def test_fetched_after_what_preceded_it(self) -> None:
        """When a value is fetched, the publications before it have been delivered."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        for number in range(200):
            self.publish(b"ok-a", b"%d" % number)
        self.store(b"ok-a", b"199")
        self.assertEqual({b"ok-a": b"199"}, await broker.fetch([b"ok-a"]))
        self.assertEqual(200, len(self.listener.on(b"ok-a")))

    async def test_expire_0(self) -> None:
        """With 0 nothing is stored, and what was stored before stays."""
        broker = await self.start(expire=0)
        await broker.subscribe([b"ok-a"])
        self.store(b"ok-b", b"old")
        await broker.publish([b"ok-a", b"ok-b"], b"new")
        self.assertEqual([b"new"], await self.arrived(b"ok-a", 1))
        self.assertIsNone(self.stored(b"ok-a"))
        self.assertEqual(b"old", self.stored(b"ok-b"))

    # -- Forbidden channels

    async def test_forbidden_subscription(self) -> None:
        """A forbidden channel is refused; the others, also those asked for with it, work."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        await self._refuses(PermissionDenied, broker.subscribe([b"no-a"]))
        self.publish(b"ok-a", b"1")
        self.assertEqual([b"1"], await self.arrived(b"ok-a", 1))

    async def test_forbidden_publication(self) -> None:
        """Publishing on a forbidden channel is refused, and the link goes on."""
        broker = await self.start()
        await self._refuses(PermissionDenied, broker.publish([b"no-a"], b"x"))
        await broker.publish([b"ok-a"], b"x")
        self.assertTrue(broker.up)

    async def test_forbidden_later(self) -> None:
        """A channel that is forbidden from now on is reported, the others come back."""
        broker = await self.start()
        await broker.subscribe([b"ok-a", b"ok-b"])
        self.forbid(b"ok-b")
        await self.until(lambda: self.listener.forbidden)
        await self.until(lambda: broker.up)
        self.assertEqual([b"ok-b"], self.listener.forbidden)
        self.publish(b"ok-a", b"1")
        self.assertEqual([b"1"], await self.arrived(b"ok-a", 1))

    # -- The link is lost, and back

    async def test_fails_fast_without_a_link(self) -> None:
        """Everything fails at once with BrokerUnavailable; nothing waits for the link."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        self.lose()
        await self.until(lambda: not broker.up)
        for action in (
            broker.publish([b"ok-a"], b"x"),
            broker.fetch([b"ok-a"]),
            broker.subscribe([b"ok-b"]),
        ):
            self.assertTrue(action.called, "it waits for something")
            await self._refuses(BrokerUnavailable, action)

    async def test_back(self) -> None:
        """What was wanted before, and what was asked for meanwhile, is subscribed again."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        self.lose()
        await self.until(lambda: not broker.up)
        await self._refuses(BrokerUnavailable, broker.subscribe([b"ok-b"]))
        self.recover()
        await self.until(lambda: broker.up)
        self.publish(b"ok-a", b"1")
        self.publish(b"ok-b", b"2")
        self.assertEqual([b"1"], await self.arrived(b"ok-a", 1))
        self.assertEqual([b"2"], await self.arrived(b"ok-b", 1))

    async def test_stored_first_then_live(self) -> None:
        """After a loss the stored messages of wanted channels come, then live ones, all once."""
        broker = await self.start()
        await broker.subscribe([b"ok-a", b"ok-b"])
        self.miss(b"ok-a", b"missed")
        self.store(b"ok-not-ours", b"x")
        await self.until(lambda: self.listener.restored)
        await self.until(lambda: broker.up)
        self.publish(b"ok-a", b"live")
        self.publish(b"ok-b", b"live")
        await self.settle(broker)
        self.assertEqual({b"ok-a": b"missed"}, self.listener.restored)
        self.assertEqual([b"live"], self.listener.on(b"ok-a"))
        self.assertEqual([b"live"], self.listener.on(b"ok-b"))
        self.assertEqual("restored", self.listener.order[0])

    async def test_nothing_to_restore_at_the_start(self) -> None:
        """A first connection has missed nothing."""
        self.store(b"ok-a", b"old")
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        await self.settle(broker)
        self.assertEqual({}, self.listener.restored)

    async def test_stopped(self) -> None:
        """After a stop nothing is told any more, and everything fails."""
        broker = await self.start(stop=False)
        await broker.subscribe([b"ok-a"])
        await broker.stop()
        self.assertFalse(broker.up)
        self.publish(b"ok-a", b"1")
        self.assertEqual([], self.listener.live)
        await self._refuses(BrokerUnavailable, broker.publish([b"ok-a"], b"x"))


class _Forbidding(MemoryServer):
    """A server that forbids by name, as the rules of a Redis user do."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.forbidden = {b"no-a"}


class MemoryBrokerTests(_Contract, TestCase):
    """The contract, without Redis."""

    def setUp(self) -> None:
        """Nothing is stored."""
        self.server = _Forbidding(Clock())

    def make(self, expire: int = 60) -> Broker:
        self.broker = MemoryBroker(self.server, expire)
        return self.broker

    def publish(self, channel: bytes, payload: bytes) -> None:
        self.server.publish(channel, payload)

    def store(self, channel: bytes, payload: bytes) -> None:
        self.server.store(channel, 60, payload)

    def stored(self, channel: bytes) -> bytes | None:
        return self.server.value(channel)

    def lose(self) -> None:
        self.broker.disconnect()

    def recover(self) -> None:
        self.broker.connect()

    def miss(self, channel: bytes, payload: bytes) -> None:
        self.lose()
        self.store(channel, payload)
        self.publish(channel, payload)
        self.recover()

    def forbid(self, channel: bytes) -> None:
        self.lose()
        self.server.forbidden.add(channel)
        self.recover()

    def nobody_listens(self, channel: bytes) -> bool:
        return channel not in self.broker._wanted


class RedisBrokerTests(_Contract, TestCase):
    """The contract, over a real Redis."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start a server; the broker logs in as a user with few rights."""
        self.server = RedisServer()
        self.addCleanup(self.server.stop)
        self._allow(b"ok*")

    def _allow(self, *patterns: bytes) -> None:
        self.server.command(
            *("ACL", "SETUSER", "gate", "on", ">secret", "~*", "+@all", "resetchannels"),
            *[b"&" + pattern for pattern in patterns],
        )

    def make(self, expire: int = 60) -> Broker:
        target = Target(name="redis", path=self.server.path, username="gate", password="secret")
        return RedisBroker(reactor, target, expire, Limits(), Metrics())

    def publish(self, channel: bytes, payload: bytes) -> None:
        self.server.command("PUBLISH", channel, payload)

    def store(self, channel: bytes, payload: bytes) -> None:
        self.server.command("SETEX", channel, 60, payload)

    def stored(self, channel: bytes) -> bytes | None:
        value = self.server.command("GET", channel)
        assert value is None or isinstance(value, bytes)
        return value

    def lose(self) -> None:
        self.server.kill()

    def recover(self) -> None:
        self.server.start()
        self._allow(b"ok*")

    def miss(self, channel: bytes, payload: bytes) -> None:
        # The reactor does nothing before this returns, so the link is back only afterwards.
        self._kick()
        self.store(channel, payload)
        self.publish(channel, payload)

    def _kick(self) -> None:
        self.server.command("CLIENT", "KILL", "USER", "gate")

    def forbid(self, channel: bytes) -> None:
        self._allow(b"ok-a", b"ok-marker")
        self._kick()

    def nobody_listens(self, channel: bytes) -> bool:
        return self.server.command("PUBSUB", "NUMSUB", channel) == [channel, 0]
