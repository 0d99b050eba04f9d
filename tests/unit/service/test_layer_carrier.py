"""Tests for `wsredis.service.layer_carrier`: a channel layer on the gateway's connections."""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any
from urllib.parse import quote
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import HeldBroker
from wsredis.config import GatewayConfig, RedisConfig
from wsredis.config.redis_url import parse_url
from wsredis.errors import BrokerUnavailable, PublishOutcomeUnknown
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication
from wsredis.layer.carrier import Carrier, Command, Done, carrier_for
from wsredis.layer.errors import LayerOutcomeUnknown, LayerUnavailable
from wsredis.service.embedded import EmbeddedRedis
from wsredis.service.layer_carrier import LayerCarriers, make_carriers

OURS = "redis://localhost:6379/1"


class _Reactor:
    """Keeps the calls of other threads."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []

    def callFromThread(self, function: Callable[[], object]) -> None:
        """See IReactorFromThreads."""
        self.calls.append(function)

    def turn(self) -> None:
        """Make the calls."""
        calls, self.calls = self.calls, []
        for each in calls:
            each()


class _Redis:
    """Keeps the commands; answers when it is told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[Sequence[Command], Done]] = []

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """See `CommandSender`."""
        self.calls.append((commands, done))


class _Sink:
    """Keeps what a layer is told."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    def heard(self, channel: bytes, payload: bytes) -> None:
        """See `wsredis.layer.carrier.Sink`."""
        self.got.append((channel, payload))

    def gap(self, seconds: float) -> None:
        """See `wsredis.layer.carrier.Sink`."""
        self.got.append(seconds)


def in_thread(function: Callable[[], object]) -> None:
    """Call *function* in another thread, and wait for it."""
    thread = Thread(target=function)
    thread.start()
    thread.join()


class CarrierTests(SynchronousTestCase):
    """`LayerCarriers` and `GatewayCarrier`."""

    def setUp(self) -> None:
        """A gateway that runs, and a layer in its process."""
        self.metrics = Metrics()
        self.clock = Clock()
        self.broker = HeldBroker(self.clock)
        self.server = self.broker.server
        self.hub = Hub(self.broker, 1000, self.metrics)
        self.broker.start(self.hub)
        self.reactor: Any = _Reactor()
        self.redis = _Redis()
        self.sink = _Sink()
        self.carriers = self.make()
        self.results: list[Any] = []

    def make(self, url: str = OURS, **settings: Any) -> LayerCarriers:
        """Register another gateway in place of the last one."""
        made = LayerCarriers(self.reactor, self.hub, self.redis, parse_url(url), **settings)
        made.start()
        self.addCleanup(made.stop)
        return made

    def carrier(self, url: str = OURS) -> Carrier:
        """The carrier of a layer."""
        carrier = carrier_for(parse_url(url), self.sink)
        assert carrier is not None
        return carrier

    # -- Which layers

    def test_same_redis(self) -> None:
        """A layer with another Redis, or another database, has connections of its own."""
        for url, is_ours in (
            (OURS, True),
            ("redis://127.0.0.1/1", True),
            ("redis://user:secret@[::1]:6379/1", True),
            ("redis://localhost", False),
            ("redis://localhost:6380/1", False),
            ("rediss://localhost:6379/1", False),
            ("redis://redis.example/1", False),
            ("unix:///run/redis.sock?db=1", False),
        ):
            self.assertEqual(is_ours, carrier_for(parse_url(url), self.sink) is not None, url)

    def test_private_redis(self) -> None:
        """The private Redis of the gateway is that of a layer that names none, or this one."""
        self.carriers.stop()
        self.make("unix:///tmp/x/redis.sock", is_private=True)
        for url, is_ours in (
            ("redis://localhost:6379", True),
            ("unix:///tmp/x/redis.sock", True),
            ("redis://localhost:6379/1", False),
            ("redis://other", False),
        ):
            self.assertEqual(is_ours, carrier_for(parse_url(url), self.sink) is not None, url)

    def test_another_redis(self) -> None:
        """A layer with another Redis is logged once, by the reactor, without its password."""
        events = self.enterContext(capturedLogs())
        for _ in range(2):
            in_thread(lambda: carrier_for(parse_url("redis://:secret@other:6379"), self.sink))
            carrier_for(parse_url(OURS), self.sink)
            self.assertEqual([], events)
        self.reactor.turn()
        (event,) = events
        self.assertEqual("layer-elsewhere", event["event"])
        line = str(formatEvent(event))
        self.assertIn("uses redis://other:6379, and the gateway redis://localhost", line)
        self.assertNotIn("secret", line)

    def test_made(self) -> None:
        """The settings say which Redis it is; a broker that is not Redis has no carriers."""
        self.carriers.stop()
        self.assertIsNone(make_carriers(GatewayConfig(), self.reactor, self.hub))
        private = f"unix://{quote(EmbeddedRedis(self.reactor, '/x').url.removeprefix('unix://'))}"
        for url, found in ((None, True), (private, True), ("redis://other", False)):
            broker: Any = self.redis
            hub = Hub(broker, 1000, self.metrics)
            config = GatewayConfig(redis=RedisConfig(url=url))
            carriers = make_carriers(config, self.reactor, hub)
            assert carriers is not None
            carriers.start()
            target = parse_url("redis://localhost:6379")
            self.assertEqual(found, carrier_for(target, self.sink) is not None, url)
            carriers.stop()

    def test_forked(self) -> None:
        """In a process that was forked nobody runs the reactor: a layer connects by itself."""
        self.patch(os, "getpid", lambda: 1)
        self.assertIsNone(carrier_for(parse_url(OURS), self.sink))

    def test_stopped(self) -> None:
        """After a stop a layer gets no carrier; one that has it hears that Redis is away."""
        carrier = self.carrier()
        carrier.subscribe(b"a", self.results.append)
        self.carriers.stop()
        self.carriers.stop()
        self.assertIsNone(carrier_for(parse_url(OURS), self.sink))
        self.assertEqual(0, len(self.hub))
        carrier.call([("PING",)], self.results.append)
        carrier.subscribe(b"b", self.results.append)
        carrier.unsubscribe(b"a")
        carrier.close()
        self.assertEqual([None, LayerUnavailable, LayerUnavailable], self.kinds())
        self.assertEqual([], self.redis.calls)

    def kinds(self) -> list[Any]:
        """The results, with the classes of exceptions in their places."""
        return [type(each) if isinstance(each, Exception) else each for each in self.results]

    # -- Commands

    def test_call(self) -> None:
        """Commands go to Redis, and replies come back; errors are those of the layer."""
        carrier = self.carrier()
        for result in ([b"x"], BrokerUnavailable("away"), PublishOutcomeUnknown("lost")):
            carrier.call([("GET", b"k")], self.results.append)
            commands, done = self.redis.calls.pop()
            self.assertEqual([("GET", b"k")], commands)
            done(result)
        self.assertEqual([[b"x"], LayerUnavailable, LayerOutcomeUnknown], self.kinds())
        self.assertIsInstance(self.results[1], OSError)
        self.assertEqual("away", str(self.results[1]))

    def test_call_at_the_start(self) -> None:
        """A call waits for Redis if it may be there in a moment; others keep their order."""
        self.broker.disconnect()
        waiting: list[Deferred[None]] = []

        def when_up() -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

        self.patch(self.broker, "when_up", when_up)
        carrier = self.carrier()
        for name in ("A", "B", "C"):
            carrier.call([(name,)], self.results.append)
        carrier.subscribe(b"a", self.results.append)
        self.assertEqual(([], []), (self.redis.calls, self.results))
        self.broker.connect()
        carrier.unsubscribe(b"a")
        carrier.subscribe(b"b", self.results.append)
        waiting[0].callback(None)
        # Whether it is there is found out by the call.
        waiting[1].errback(BrokerUnavailable("too late"))
        waiting[2].callback(None)
        waiting[3].callback(None)
        self.assertEqual([[("A",)], [("B",)], [("C",)]], [call for call, _ in self.redis.calls])
        self.assertEqual([None, None], self.results)
        self.assertEqual([b"b"], [*self.hub.names()])

    def test_calls_that_wait_are_bounded(self) -> None:
        """While Redis is away for a moment, not any number of calls waits for it."""
        self.broker.disconnect()
        self.patch(self.broker, "when_up", Deferred)
        carrier = self.carrier()
        for _ in range(20001):
            carrier.call([("A",)], self.results.append)
        self.assertEqual([LayerUnavailable], self.kinds())

    def test_other_threads(self) -> None:
        """Calls of another thread are made by the reactor, in their order; it is woken once."""
        carrier = self.carrier()

        def work() -> None:
            carrier.subscribe(b"a", self.results.append)
            carrier.call([("A",)], self.results.append)
            carrier.call([("B",)], self.results.append)
            carrier.unsubscribe(b"a")
            carrier.subscribe(b"b", self.results.append)

        in_thread(work)
        self.assertEqual(([], 1, 0), (self.redis.calls, len(self.reactor.calls), len(self.hub)))
        self.reactor.turn()
        self.assertEqual([[("A",)], [("B",)]], [commands for commands, _ in self.redis.calls])
        self.assertEqual([b"b"], [*self.hub.names()])
        in_thread(lambda: carrier.call([("C",)], self.results.append))
        self.assertEqual(1, len(self.reactor.calls))

    def test_stopped_meanwhile(self) -> None:
        """What waits for the reactor when the gateway stops is refused: nobody waits for ever."""
        carrier = self.carrier()
        in_thread(lambda: carrier.call([("A",)], self.results.append))
        self.carriers.stop()
        self.assertEqual([LayerUnavailable], self.kinds())
        self.reactor.turn()
        self.assertEqual(([], 1), (self.redis.calls, len(self.results)))

    def test_stopped_in_between(self) -> None:
        """So is what comes at the very moment of the stop, by whichever of the two threads."""
        turns: Any = self.carriers._turns

        def stop(function: Callable[[], object]) -> None:
            turns._is_stopped = True

        self.patch(self.reactor, "callFromThread", stop)
        carrier = self.carrier()
        in_thread(lambda: carrier.call([("A",)], self.results.append))
        self.assertEqual([LayerUnavailable], self.kinds())

    def test_emptied_by_another_thread(self) -> None:
        """Two threads may refuse what waits at the end; each call is refused once."""

        class Emptied(deque[Any]):
            def __len__(self) -> int:
                return 1

        turns: Any = self.carriers._turns
        turns._waiting = Emptied()
        turns.stop()
        self.assertEqual([], self.results)

    def test_others_have_their_turn(self) -> None:
        """Calls that come while others are made wait for the next turn of the reactor."""
        carrier = self.carrier()

        def call(commands: Sequence[Command], done: Done) -> None:
            self.redis.calls.append((commands, done))
            in_thread(lambda: carrier.call([("B",)], self.results.append))

        in_thread(lambda: carrier.call([("A",)], self.results.append))
        self.patch(self.redis, "call", call)
        self.reactor.turn()
        self.assertEqual((1, 1), (len(self.redis.calls), len(self.reactor.calls)))

    def test_wrong_call(self) -> None:
        """A call that fails in the reactor fails where it was made: nobody waits for ever."""

        def call(commands: Sequence[Command], done: Done) -> None:
            raise TypeError

        self.patch(self.redis, "call", call)
        carrier = self.carrier()
        for _ in range(2):
            in_thread(lambda: carrier.call([("A",)], self.results.append))
        self.reactor.turn()
        self.assertEqual([TypeError, TypeError], self.kinds())
        self.assertRaises(TypeError, carrier.call, [("A",)], self.results.append)

    def test_bounded(self) -> None:
        """A reactor that does not keep up with other threads takes no more."""
        carrier = self.carrier()

        def work() -> None:
            for _ in range(20001):
                carrier.call([("A",)], self.results.append)

        in_thread(work)
        self.assertEqual([LayerUnavailable], self.kinds())
        self.reactor.turn()
        self.assertEqual(20000, len(self.redis.calls))

    # -- Publications

    def test_heard(self) -> None:
        """A layer hears its channels, in order, and no client counts for that."""
        carrier = self.carrier()
        carrier.subscribe(b"a", self.results.append)
        carrier.subscribe(b"b", self.results.append)
        for channel in (b"a", b"b", b"c", b"a"):
            self.server.publish(channel, b"x")
        self.assertEqual([None, None], self.results)
        self.assertEqual([(b"a", b"x"), (b"b", b"x"), (b"a", b"x")], self.sink.got)
        self.assertEqual(0, self.metrics.deliveries)

    def test_failing(self) -> None:
        """A message over which a layer fails costs it no other one."""
        carrier = self.carrier()
        carrier.subscribe(b"a", self.results.append)
        heard = self.sink.heard

        def fail(channel: bytes, payload: bytes) -> None:
            heard(channel, payload)
            if payload == b"1":
                raise ZeroDivisionError

        self.patch(self.sink, "heard", fail)
        self.hub.deliver([Publication(b"a", b"1"), Publication(b"a", b"2")])
        self.assertEqual([(b"a", b"1"), (b"a", b"2")], self.sink.got)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_ended(self) -> None:
        """A layer that is not there any more leaves nothing behind."""
        carrier: Any = ref(self.carrier())
        gc.collect()
        self.assertIsNone(carrier())

    def test_counted(self) -> None:
        """A channel is heard until as many have left it as came."""
        carrier = self.carrier()
        for _ in range(2):
            carrier.subscribe(b"a", self.results.append)
        carrier.unsubscribe(b"a")
        self.server.publish(b"a", b"1")
        carrier.unsubscribe(b"a")
        carrier.unsubscribe(b"a")
        self.server.publish(b"a", b"2")
        self.assertEqual([(b"a", b"1")], self.sink.got)
        self.assertEqual(0, len(self.hub))

    def test_confirmed(self) -> None:
        """Each hears when Redis has confirmed, also one that comes in between."""
        self.broker.slow.add("subscribe")
        carrier = self.carrier()
        carrier.subscribe(b"a", self.results.append)
        carrier.subscribe(b"a", self.results.append)
        self.assertEqual([], self.results)
        self.broker.answer(2)
        self.assertEqual([None, None], self.results)

    def test_away(self) -> None:
        """If Redis is away that is told, and the channel is heard when it is back."""
        carrier = self.carrier()
        self.broker.disconnect()
        carrier.subscribe(b"a", self.results.append)
        self.assertEqual([LayerUnavailable], self.kinds())
        self.broker.connect()
        self.server.publish(b"a", b"1")
        self.assertIn((b"a", b"1"), self.sink.got)

    def test_forbidden(self) -> None:
        """A channel that Redis forbids is told; leaving it is harmless."""
        carrier = self.carrier()
        self.server.forbidden.add(b"a")
        carrier.subscribe(b"a", self.results.append)
        self.assertEqual([LayerUnavailable], self.kinds())
        self.assertIn("forbid", str(self.results[0]))
        carrier.unsubscribe(b"a")
        self.assertEqual(0, len(self.hub))

    def test_forbidden_later(self) -> None:
        """A right that is lost closes nothing."""
        carrier = self.carrier()
        carrier.subscribe(b"a", self.results.append)
        self.broker.disconnect()
        self.server.forbidden.add(b"a")
        self.broker.connect()
        self.assertEqual([None], self.results)

    def test_gap(self) -> None:
        """A layer that hears something learns of a gap, and gets no stored message."""
        carrier, idle = self.carrier(), self.carrier()
        carrier.subscribe(b"a", self.results.append)
        self.broker.disconnect()
        self.clock.advance(2.5)
        self.server.store(b"a", 60, b"missed")
        self.broker.connect()
        # The one that hears nothing is not told.
        self.assertIsNot(carrier, idle)
        self.assertEqual([2.5], self.sink.got)

    def test_close(self) -> None:
        """A layer that is closed hears nothing; used again, it works."""
        carrier = self.carrier()
        carrier.subscribe(b"a", self.results.append)
        carrier.close()
        self.server.publish(b"a", b"1")
        carrier.subscribe(b"a", self.results.append)
        self.server.publish(b"a", b"2")
        self.assertEqual([(b"a", b"2")], self.sink.got)
