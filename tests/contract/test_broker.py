"""
The contract of a broker: one suite, over the broker in memory and over a real Redis.

The suite asserts the promise of `wsredis.gateway.broker`; a broker that passes it
may serve a hub.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, FirstError, fail, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from tests.support.children import RedisServer
from tests.support.fakes import publish, push
from tests.support.require import missing
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.brokers.redis.broker import RedisBroker
from wsredis.brokers.redis.endpoint import make_endpoint
from wsredis.brokers.redis.stored import StoredSettings
from wsredis.config import Limits
from wsredis.config.redis_url import RedisTarget
from wsredis.errors import BrokerError, BrokerUnavailable, PermissionDenied, QueueFull
from wsredis.gateway.broker import (
    LOG_BATCH,
    Broker,
    BrokerListener,
    LogEntry,
    PublishWaiter,
    WorkerQueue,
)
from wsredis.gateway.gap import Gap
from wsredis.gateway.health import Health
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication
from wsredis.worker_queues import DIGITS

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
    """A listener that keeps its calls."""

    def __init__(self) -> None:
        self.live: list[tuple[bytes, bytes]] = []
        self.restored: dict[bytes, bytes] = {}
        self.forbidden: list[bytes] = []
        self.gaps: list[Gap] = []
        self.order: list[tuple[bytes, str]] = []
        self.on_delivery: Callable[[Publication], None] = lambda publication: None

    def deliver(self, batch: Sequence[Publication]) -> None:
        for publication in batch:
            self.live.append((publication.channel, publication.payload))
            self.order.append((publication.channel, "live"))
            self.on_delivery(publication)

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        for channel, payload in stored.items():
            assert channel not in self.restored, "restored twice"
            self.restored[channel] = payload
            self.order.append((channel, "restored"))

    def gap(self, gap: Gap) -> None:
        self.gaps.append(gap)

    def forbid(self, channel: bytes) -> None:
        self.forbidden.append(channel)

    def kinds_on(self, channel: bytes) -> list[str]:
        """Whether each message on one channel was a stored or a live one, in order."""
        return [kind for name, kind in self.order if name == channel]

    def on(self, channel: bytes) -> list[bytes]:
        """Return the payloads that arrived on one channel."""
        return [payload for name, payload in self.live if name == channel]


class _Outside(_Case):
    """The server of the broker, as the suite needs it. Channels named no... are forbidden."""

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
        """Return the stored message of a channel. If None, there is none."""
        raise NotImplementedError

    def append(self, log: bytes, payload: bytes) -> None:
        """Append to a log as a backend does."""
        raise NotImplementedError

    def take(self, queue: bytes) -> bytes | None:
        """Take the first message of a queue as a worker does. If None, there is none."""
        raise NotImplementedError

    async def wait(self, seconds: float) -> None:
        """Let time pass, for the server."""
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
        """Wait for *count* payloads on a channel, and return them; there must not be more."""
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

    async def until_published(self, broker: Broker) -> None:
        """Wait until the broker can publish, and three round trips longer."""
        for _ in range(3):
            published = False
            while not published:
                try:
                    await publish(broker, [b"ok-other"], b"x")
                    published = True
                except BrokerError:
                    await deferLater(reactor, 0.005)

    async def _refuses(self, error: type[Exception], action: Deferred[Any]) -> None:
        """*action* fails with *error* and nothing else."""
        try:
            await action
        except error:
            return
        self.fail(f"{error.__name__} was not raised")

    # -- Subscribe and deliver

    async def test_delivers_in_order_and_byte_for_byte(self) -> None:
        """Publications of a backend arrive once, in order, byte for byte."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        for payload in _PAYLOADS:
            self.publish(b"ok-a", payload)
        self.assertEqual(_PAYLOADS, await self.arrived(b"ok-a", len(_PAYLOADS)))

    async def test_empty_payload(self) -> None:
        """An empty payload is delivered like any other."""
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
        """Publications on several channels arrive in the order of publishing."""
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
        """A channel that is wanted again at once misses nothing after its confirmation."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        broker.unsubscribe([b"ok-a"])
        await broker.subscribe([b"ok-a"])
        self.publish(b"ok-a", b"1")
        self.assertEqual([b"1"], await self.arrived(b"ok-a", 1))

    async def test_pause(self) -> None:
        """A paused broker delivers nothing, loses nothing, and completes a fetch afterwards."""
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
        await publish(broker, [b"ok-other"], b"x")
        self.assertEqual(([], []), (self.listener.live, seen))
        broker.resume()
        broker.resume()
        self.assertEqual({b"ok-a": b"stored"}, await fetched)
        self.assertEqual([[b"1", b"2", b"3"]], seen)

    async def test_pause_and_a_fetch_of_nothing(self) -> None:
        """A fetch that finds nothing waits for the end of the pause as well."""
        broker = await self.start()
        broker.pause()
        found: list[object] = []
        fetched = broker.fetch([b"ok-missing"]).addCallback(found.append)
        await publish(broker, [b"ok-other"], b"x")
        self.assertEqual([], found)
        broker.resume()
        await fetched
        self.assertEqual([{}], found)

    async def test_pause_outlives_a_link(self) -> None:
        """A link that is lost and back during a pause brings nothing before its end."""
        broker = await self.start()
        await broker.subscribe([b"ok-a", b"ok-b"])
        broker.pause()
        self.miss(b"ok-a", b"missed")
        await self.until(lambda: not (self.nobody_listens(b"ok-a") or self.nobody_listens(b"ok-b")))
        self.publish(b"ok-a", b"live")
        self.publish(b"ok-b", b"live")
        # Long enough for a broker that is not paused to have read it.
        await self.until_published(broker)
        self.assertEqual(([], {}), (self.listener.live, self.listener.restored))
        self.assertEqual([], self.listener.gaps)
        broker.resume()
        await self.until(lambda: broker.up)
        await self.settle(broker)
        self.assertEqual({b"ok-a": b"missed"}, self.listener.restored)
        self.assertEqual([b"live"], self.listener.on(b"ok-a"))
        self.assertEqual([b"live"], self.listener.on(b"ok-b"))
        self.assertEqual(["restored", "live"], self.listener.kinds_on(b"ok-a"))
        self.assertEqual([(1, True)], [(g.generation, g.is_restored) for g in self.listener.gaps])

    async def test_fetch_under_way_when_a_paused_link_is_lost(self) -> None:
        """A fetch that waits for the end of a pause fails if the link is lost meanwhile."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        self.store(b"ok-a", b"x")
        broker.pause()
        fetched = broker.fetch([b"ok-a"])
        await publish(broker, [b"ok-other"], b"x")
        self.lose()
        broker.resume()
        await self._refuses(BrokerUnavailable, fetched)

    # -- Publish and fetch

    async def test_own_publications_come_back(self) -> None:
        """Our own publications are delivered like others, once on each channel."""
        broker = await self.start()
        await broker.subscribe([b"ok-a", b"ok-b"])
        await publish(broker, [b"ok-a", b"ok-b"], b"007")
        self.assertEqual([b"007"], await self.arrived(b"ok-a", 1))
        self.assertEqual([b"007"], await self.arrived(b"ok-b", 1))

    async def test_stored_before_it_is_published(self) -> None:
        """A message is stored when its publication arrives."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        found: list[bytes | None] = []
        self.listener.on_delivery = lambda publication: found.append(
            self.stored(publication.channel)
        )
        await publish(broker, [b"ok-a"], b"1.50")
        await self.arrived(b"ok-a", 1)
        self.assertEqual([b"1.50"], found)

    async def test_fetch(self) -> None:
        """Stored messages are fetched byte for byte; empty and missing ones are left out."""
        broker = await self.start()
        for number, payload in enumerate(_PAYLOADS):
            await publish(broker, [b"ok-%d" % number], payload)
        self.store(b"ok-empty", b"")
        names = [b"ok-%d" % number for number in range(len(_PAYLOADS))]
        values = await broker.fetch([*names, b"ok-empty", b"ok-missing"])
        self.assertEqual(dict(zip(names, _PAYLOADS, strict=True)), values)

    async def test_fetch_of_nothing(self) -> None:
        """Fetching no channel, or one without a message, gives nothing."""
        broker = await self.start()
        self.assertEqual({}, await broker.fetch([]))
        self.assertEqual({}, await broker.fetch([b"ok-missing"]))

    async def test_values_that_look_like_protocol(self) -> None:
        """Stored values that look like the protocol do not disturb the fetches after them."""
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
        """With 0 nothing is stored, and older stored messages stay."""
        broker = await self.start(expire=0)
        await broker.subscribe([b"ok-a"])
        self.store(b"ok-b", b"old")
        await publish(broker, [b"ok-a", b"ok-b"], b"new")
        self.assertEqual([b"new"], await self.arrived(b"ok-a", 1))
        self.assertIsNone(self.stored(b"ok-a"))
        self.assertEqual(b"old", self.stored(b"ok-b"))

    # -- Queues of workers

    async def test_pushed(self) -> None:
        """What is pushed waits in its order, byte for byte; a list that was empty rings."""
        broker = await self.start()
        queue = WorkerQueue(b"ok-q", b"ok-bell", len(_PAYLOADS), 60)
        await broker.subscribe([queue.bell])
        await gatherResults([push(broker, queue, payload) for payload in _PAYLOADS])
        await push(broker, WorkerQueue(b"ok-other", b"ok-bell", 1, 60), b"x")
        await self.until(lambda: len(self.listener.on(queue.bell)) > 1)
        self.assertEqual([b"1", b"1"], self.listener.on(queue.bell))
        self.assertEqual(_PAYLOADS, [self.take(queue.key) for _ in _PAYLOADS])
        self.assertIsNone(self.take(queue.key))

    async def test_full_queue(self) -> None:
        """A queue takes as many as it may have, and more when a worker has taken some."""
        broker = await self.start()
        queue = WorkerQueue(b"ok-q", b"ok-bell", 2, 60)
        first = [push(broker, queue, b"%d" % number) for number in range(4)]
        for done in first[:2]:
            await done
        for done in first[2:]:
            await self._refuses(QueueFull, done)
        await self._refuses(QueueFull, push(broker, queue, b"4"))
        self.assertEqual(b"0", self.take(queue.key))
        await push(broker, queue, b"5")
        self.assertEqual([b"1", b"5"], [self.take(queue.key) for _ in range(2)])

    async def test_old_queue(self) -> None:
        """A queue that no worker looks at is dropped some time after its last message."""
        broker = await self.start()
        queue = WorkerQueue(b"ok-q", b"ok-bell", 1, 0.05)
        await push(broker, queue, b"1")
        await self.wait(0.1)
        await push(broker, queue, b"2")
        self.assertEqual([b"2", None], [self.take(queue.key) for _ in range(2)])

    async def test_forbidden_queue(self) -> None:
        """A queue whose bell is forbidden takes nothing."""
        broker = await self.start()
        await self._refuses(
            PermissionDenied, push(broker, WorkerQueue(b"ok-q", b"no-a", 2, 60), b"x")
        )
        self.assertIsNone(self.take(b"ok-q"))
        self.assertTrue(broker.up)

    async def test_push_while_away(self) -> None:
        """Without a link nothing is pushed, and that is told at once."""
        broker = await self.start()
        self.lose()
        await self.until(lambda: not broker.up)
        done = push(broker, WorkerQueue(b"ok-q", b"ok-bell", 2, 60), b"x")
        self.assertTrue(done.called)
        await self._refuses(BrokerUnavailable, done)

    # -- Forbidden channels

    async def test_forbidden_subscription(self) -> None:
        """A forbidden channel is refused; the others, also those asked for with it, work."""
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        await self._refuses(PermissionDenied, broker.subscribe([b"ok-b", b"no-a", b"ok-c"]))
        await self.until(lambda: not self.nobody_listens(b"ok-c"))
        for name in (b"ok-a", b"ok-b", b"ok-c"):
            self.publish(name, b"1")
            self.assertEqual([b"1"], await self.arrived(name, 1))
        # The failure of the call is the only report.
        self.assertEqual([], self.listener.forbidden)

    async def test_forbidden_while_away(self) -> None:
        """A channel that was wanted without a link, and is then refused, is reported."""
        self.listener = _Recorder()
        broker = self.make()
        await self._refuses(BrokerUnavailable, broker.subscribe([b"no-a", b"ok-a"]))
        broker.start(self.listener)
        self.addCleanup(broker.stop)
        await self.until(lambda: broker.up)
        self.assertEqual([b"no-a"], self.listener.forbidden)
        self.publish(b"ok-a", b"1")
        self.assertEqual([b"1"], await self.arrived(b"ok-a", 1))

    async def test_forbidden_publication(self) -> None:
        """Publishing on a forbidden channel is refused, and the link goes on."""
        broker = await self.start()
        await self._refuses(PermissionDenied, publish(broker, [b"no-a"], b"x"))
        await publish(broker, [b"ok-a"], b"x")
        self.assertTrue(broker.up)

    async def test_partly_forbidden_publication(self) -> None:
        """The other channels are published on; the message is stored also on the forbidden one."""
        broker = await self.start()
        await broker.subscribe([b"ok-a", b"ok-b"])
        await self._refuses(PermissionDenied, publish(broker, [b"ok-a", b"no-a", b"ok-b"], b"x"))
        for name in (b"ok-a", b"ok-b"):
            self.assertEqual([b"x"], await self.arrived(name, 1))
        self.assertEqual([b"x"] * 3, [self.stored(name) for name in (b"ok-a", b"no-a", b"ok-b")])

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
            publish(broker, [b"ok-a"], b"x"),
            broker.fetch([b"ok-a"]),
            broker.subscribe([b"ok-b"]),
        ):
            self.assertTrue(action.called, "it waits for something")
            await self._refuses(BrokerUnavailable, action)

    async def test_log(self) -> None:
        """The entries of a log come in order, each once, with their age; not without a link."""
        broker = await self.start()
        self.assertEqual([], await broker.read_log(b"log", b""))
        for payload in (b"1", b"2"):
            self.append(b"log", payload)
        entries = await broker.read_log(b"log", b"")
        self.assertEqual([b"1", b"2"], [each.payload for each in entries])
        self.assertTrue(all(-1.0 < each.age < _PATIENCE for each in entries), entries)
        self.assertEqual([], await broker.read_log(b"log", entries[1].position))
        self.append(b"log", b"3")
        (entry,) = await broker.read_log(b"log", entries[1].position)
        self.assertEqual(b"3", entry.payload)
        for number in range(LOG_BATCH):
            self.append(b"log", b"%d" % number)
        self.assertEqual(LOG_BATCH, len(await broker.read_log(b"log", b"")))
        self.assertEqual(LOG_BATCH, len(await broker.read_log(b"log", entry.position)))
        self.lose()
        await self.until(lambda: not broker.up)
        await self._refuses(BrokerUnavailable, broker.read_log(b"log", b""))

    async def test_when_up(self) -> None:
        """A broker that is up is not waited for."""
        broker = await self.start()
        self.assertTrue(broker.when_up().called)

    async def test_back(self) -> None:
        """Channels that were wanted before and during the outage are subscribed."""
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
        self.assertEqual(["restored", "live"], self.listener.kinds_on(b"ok-a"))
        self.assertEqual([1], [gap.generation for gap in self.listener.gaps])

    async def test_nothing_to_restore_at_the_start(self) -> None:
        """A first connection has missed nothing."""
        self.store(b"ok-a", b"old")
        broker = await self.start()
        await broker.subscribe([b"ok-a"])
        await self.settle(broker)
        self.assertEqual(({}, []), (self.listener.restored, self.listener.gaps))

    async def test_nothing_to_restore_for_a_channel_that_was_wanted(self) -> None:
        """A channel that was wanted before the first connection has missed nothing."""
        self.store(b"ok-a", b"old")
        self.listener = _Recorder()
        broker = self.make()
        await self._refuses(BrokerUnavailable, broker.subscribe([b"ok-a"]))
        broker.start(self.listener)
        self.addCleanup(broker.stop)
        await self.until(lambda: broker.up)
        self.publish(b"ok-a", b"1")
        await self.settle(broker)
        self.assertEqual({}, self.listener.restored)
        self.assertEqual([b"1"], self.listener.on(b"ok-a"))

    async def test_stopped(self) -> None:
        """After a stop nothing is delivered any more, and everything fails."""
        broker = await self.start(stop=False)
        await broker.subscribe([b"ok-a"])
        await broker.stop()
        self.assertFalse(broker.up)
        self.publish(b"ok-a", b"1")
        self.assertEqual([], self.listener.live)
        await self._refuses(BrokerUnavailable, publish(broker, [b"ok-a"], b"x"))


class TwoLinkBroker:
    """A `Broker` on two links: it is up when both are, and a pause concerns both."""

    def __init__(self, server: MemoryServer, expire: int) -> None:
        self._links = [MemoryBroker(server, expire) for _ in range(2)]

    def link_of(self, channel: bytes) -> MemoryBroker:
        """The link that carries a channel."""
        return self._links[channel[-1] % 2]

    @property
    def up(self) -> bool:
        return all(link.up for link in self._links)

    def when_up(self) -> Deferred[None]:
        return self._together([link.when_up() for link in self._links])

    def start(self, listener: BrokerListener) -> None:
        for link in self._links:
            link.start(listener)

    def stop(self) -> Deferred[None]:
        return self._together([link.stop() for link in self._links])

    def subscribe(self, channels: Sequence[bytes]) -> Deferred[None]:
        done = self._together(
            [link.subscribe(names) for link, names in self._by_link(channels).items()]
        )
        # Both links have to be there, whichever carries the channel.
        return done if self.up else self._away(done)

    def unsubscribe(self, channels: Sequence[bytes]) -> None:
        for link, names in self._by_link(channels).items():
            link.unsubscribe(names)

    def pause(self) -> None:
        for link in self._links:
            link.pause()

    def resume(self) -> None:
        for link in self._links:
            link.resume()

    def publish_all(
        self, channels: Sequence[bytes], payloads: Sequence[bytes], waiter: PublishWaiter
    ) -> None:
        for payload in payloads:
            self.publish(channels, payload, waiter)

    def publish(self, channels: Sequence[bytes], payload: bytes, waiter: PublishWaiter) -> None:
        size = len(payload)
        if not self.up:
            waiter.not_published(BrokerUnavailable("a link is lost"), size)
            return
        self._together(
            [publish(link, names, payload) for link, names in self._by_link(channels).items()]
        ).addCallbacks(
            lambda _: waiter.published(1, size),
            lambda failure: waiter.not_published(failure.value, size),
        )

    def push(self, queue: WorkerQueue, payload: bytes, waiter: PublishWaiter) -> None:
        if self.up:
            self.link_of(queue.key).push(queue, payload, waiter)
        else:
            waiter.not_published(BrokerUnavailable("a link is lost"), len(payload))

    def fetch(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        if not self.up:
            return fail(BrokerUnavailable("a link is lost"))
        fetched = gatherResults(
            [link.fetch(names) for link, names in self._by_link(channels).items()],
            consumeErrors=True,
        )
        return fetched.addCallbacks(
            lambda parts: {name: value for part in parts for name, value in part.items()}, _unwrap
        )

    def read_log(self, key: bytes, after: bytes) -> Deferred[list[LogEntry]]:
        return self.link_of(b"ok-a").read_log(key, after)

    def _by_link(self, channels: Sequence[bytes]) -> dict[MemoryBroker, list[bytes]]:
        found: dict[MemoryBroker, list[bytes]] = {}
        for channel in channels:
            found.setdefault(self.link_of(channel), []).append(channel)
        return found

    @staticmethod
    def _together(parts: list[Deferred[None]]) -> Deferred[None]:
        return gatherResults(parts, consumeErrors=True).addCallbacks(lambda _: None, _unwrap)

    @staticmethod
    def _away(done: Deferred[None]) -> Deferred[None]:
        done.addErrback(lambda failure: None)
        return done.addCallback(lambda _: fail(BrokerUnavailable("a link is lost")))


def _unwrap(failure: Failure) -> Failure:
    """The error of the first part that failed."""
    failure.trap(FirstError)
    return failure.value.subFailure


class _Forbidding(MemoryServer):
    """A server that forbids by name, as the rules of a Redis user do."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.forbidden = {b"no-a"}


class MemoryBrokerTests(_Contract, TestCase):
    """The contract, without Redis."""

    def setUp(self) -> None:
        """Nothing is stored."""
        self.clock = Clock()
        self.server = _Forbidding(self.clock)

    def make(self, expire: int = 60) -> Broker:
        self.broker = MemoryBroker(self.server, expire)
        return self.broker

    def publish(self, channel: bytes, payload: bytes) -> None:
        self.server.publish(channel, payload)

    def store(self, channel: bytes, payload: bytes) -> None:
        self.server.store(channel, 60, payload)

    def append(self, log: bytes, payload: bytes) -> None:
        self.server.append(log, payload)

    def stored(self, channel: bytes) -> bytes | None:
        return self.server.value(channel)

    def take(self, queue: bytes) -> bytes | None:
        waiting = self.server.queues.get(queue)
        return waiting.pop(0)[1] if waiting else None

    async def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

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


class TwoLinkBrokerTests(MemoryBrokerTests):
    """
    The contract, over a broker with two links, as one for a Redis Cluster will have.

    A channel belongs to one of them. The link that is lost, and comes back, is the one that carries
    ``ok-a``; the other one stays.
    """

    def make(self, expire: int = 60) -> Broker:
        self.two_links = TwoLinkBroker(self.server, expire)
        self.broker = self.two_links.link_of(b"ok-a")
        return self.two_links

    def forbid(self, channel: bytes) -> None:
        link = self.two_links.link_of(channel)
        link.disconnect()
        self.server.forbidden.add(channel)
        link.connect()

    def nobody_listens(self, channel: bytes) -> bool:
        return channel not in self.two_links.link_of(channel)._wanted

    def test_links(self) -> None:
        """The names of the tests are spread over both links."""
        self.make()
        links = {self.two_links.link_of(name) for name in (b"ok-a", b"ok-b")}
        self.assertEqual(2, len(links))


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
        target = RedisTarget("redis", path=self.server.path, username="gate", password="secret")
        endpoint = make_endpoint(target, reactor)
        stored = StoredSettings(expire=expire)
        return RedisBroker(reactor, endpoint, target, stored, Limits(), Metrics(), Health())

    def publish(self, channel: bytes, payload: bytes) -> None:
        self.server.command("PUBLISH", channel, payload)

    def store(self, channel: bytes, payload: bytes) -> None:
        self.server.command("SETEX", channel, 60, payload)

    def append(self, log: bytes, payload: bytes) -> None:
        self.server.command("XADD", log, "*", "command", payload)

    def take(self, queue: bytes) -> bytes | None:
        value = self.server.command("LPOP", queue)
        assert value is None or isinstance(value, bytes)
        return value and value[DIGITS:]

    async def wait(self, seconds: float) -> None:
        await deferLater(reactor, seconds)

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
