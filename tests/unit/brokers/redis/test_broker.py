"""Tests of the two links of the broker together: up, down, paused, and catching up."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import publish
from wsredis.brokers.redis.broker import RedisBroker
from wsredis.brokers.redis.connection import SILENCE
from wsredis.brokers.redis.reconnect import MAX_DELAY
from wsredis.brokers.redis.stored import StoredSettings
from wsredis.config import Limits
from wsredis.config.redis_url import RedisTarget
from wsredis.errors import BrokerUnavailable, PublishOutcomeUnknown
from wsredis.gateway.gap import Gap
from wsredis.gateway.health import Health
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication
from wsredis.testing.redis import FakeRedis, Session


class _Listener:
    """A listener that keeps its calls, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        #: Each gap, with the number of events before it.
        self.gaps: list[tuple[int, Gap]] = []
        self.on_delivery: Callable[[], None] = lambda: None

    def deliver(self, batch: Sequence[Publication]) -> None:
        self.events.append(("live", [(each.channel, each.payload) for each in batch]))
        self.on_delivery()

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        self.events.append(("restored", dict(stored)))

    def gap(self, gap: Gap) -> None:
        self.gaps.append((len(self.events), gap))

    def forbid(self, channel: bytes) -> None:
        self.events.append(("forbidden", channel))


class _BrokerCase(SynchronousTestCase):
    """A broker on a Redis in memory."""

    def setUp(self) -> None:
        """Start it and let it connect."""
        self.clock = MemoryReactorClock()
        self.server = FakeRedis(self.clock)
        self.metrics = Metrics()
        self.listener = _Listener()
        self.broker = RedisBroker(
            self.clock,
            self.server.endpoint(),
            RedisTarget(name="redis://fake:6379", password="pw"),
            StoredSettings(expire=60),
            Limits(),
            self.metrics,
            Health(),
        )
        self.server.users = {"default": "pw"}
        self.broker.start(self.listener)
        self.server.pump()

    def wait(self, seconds: float) -> None:
        """Let time pass, and bytes move, in small steps."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
            self.server.pump()

    def fetch(self, *names: bytes) -> Deferred[dict[bytes, bytes]]:
        """Ask for stored messages, and let the turn of the reactor end."""
        fetched = self.broker.fetch(names)
        self.clock.advance(0)
        return fetched

    def subscribe(self, *names: bytes) -> None:
        """Subscribe, and have it confirmed."""
        done = self.broker.subscribe(names)
        self.server.pump()
        self.successResultOf(done)

    def outage(self, seconds: float = 1) -> None:
        """Both links are lost; Redis stays away for a time, and keeps its data."""
        self.server.down = True
        self.server.kill()
        self.wait(seconds)
        self.server.down = False

    def session(self, subscriber: bool) -> Any:
        """The connection to Redis of one of the links; of the subscriber if it has channels."""
        (found,) = [each for each in self.server.sessions if bool(each.subscribed) is subscriber]
        return found


class UpTests(_BrokerCase):
    """The broker is up while both links are, and everything is subscribed."""

    def test_up(self) -> None:
        """Two connections, no more."""
        self.assertTrue(self.broker.up)
        self.assertEqual(2, len(self.server.sessions))

    def test_not_before_all_is_subscribed(self) -> None:
        """After a loss it is not up before the last channel is confirmed."""
        self.subscribe(*[b"c%d" % number for number in range(700)])
        self.outage()
        self.server.frozen = True
        self.wait(1)
        self.assertFalse(self.broker.up)
        self.server.frozen = False
        self.wait(MAX_DELAY)
        self.assertTrue(self.broker.up)
        self.assertEqual(700, len(self.session(subscriber=True).subscribed))

    def test_when_up(self) -> None:
        """A client that comes in a short outage waits for its end."""
        self.successResultOf(self.broker.when_up())
        self.server.kill()
        waiting = self.broker.when_up()
        self.assertNoResult(waiting)
        self.wait(0.5)
        self.successResultOf(waiting)

    def test_when_up_in_a_long_outage(self) -> None:
        """After a moment nobody waits any more; after the next loss they do again."""
        self.server.down = True
        self.server.kill()
        waiting = self.broker.when_up()
        self.wait(1.6)
        self.failureResultOf(waiting, BrokerUnavailable)
        self.failureResultOf(self.broker.when_up(), BrokerUnavailable)
        self.server.down = False
        self.wait(MAX_DELAY)
        self.server.kill()
        self.assertNoResult(self.broker.when_up().addErrback(lambda failure: None))

    def test_when_up_at_the_start(self) -> None:
        """The first clients wait for the first connection, for some seconds."""
        server = FakeRedis(self.clock)
        server.down = True
        target = RedisTarget(name="redis://fake:6379")
        broker = RedisBroker(
            self.clock,
            server.endpoint(),
            target,
            StoredSettings(),
            Limits(),
            self.metrics,
            Health(),
        )
        broker.start(self.listener)
        waiting, cancelled = broker.when_up(), broker.when_up()
        cancelled.addErrback(lambda failure: None)
        cancelled.cancel()
        self.wait(2.5)
        self.assertNoResult(waiting)
        broker.stop()
        self.failureResultOf(waiting, BrokerUnavailable)

    def test_demoted(self) -> None:
        """A server that becomes a replica is left by both links, and used again as a master."""
        self.subscribe(b"a")
        self.server.replica = True
        with capturedLogs() as events:
            self.wait(2.2)
        self.assertFalse(self.broker.up)
        self.assertIn("has become a replica", events[0]["log_format"])
        self.failureResultOf(publish(self.broker, [b"a"], b"x"), BrokerUnavailable)
        self.server.replica = False
        self.wait(MAX_DELAY)
        self.assertTrue(self.broker.up)
        self.assertEqual({b"a"}, self.session(subscriber=True).subscribed)

    def test_only_commands_lost(self) -> None:
        """Without the command link it is down, and live messages flow on."""
        self.subscribe(b"a")
        self.session(subscriber=False).cut(ConnectionError())
        self.assertFalse(self.broker.up)
        self.failureResultOf(publish(self.broker, [b"a"], b"x"), BrokerUnavailable)
        self.server.publish(b"a", b"1")
        self.wait(1)
        self.assertEqual([("live", [(b"a", b"1")])], self.listener.events)
        self.assertTrue(self.broker.up)

    def test_only_subscriber_lost(self) -> None:
        """Without the subscriber link it is down; it comes back with all channels."""
        self.subscribe(b"a")
        self.session(subscriber=True).cut(ConnectionError())
        self.assertFalse(self.broker.up)
        self.wait(1)
        self.assertTrue(self.broker.up)
        self.server.publish(b"a", b"1")
        self.server.pump()
        self.assertEqual(("live", [(b"a", b"1")]), self.listener.events[-1])

    def test_frozen(self) -> None:
        """A server that is frozen is noticed in time, and it recovers."""
        self.server.frozen = True
        self.wait(SILENCE + 4)
        self.assertFalse(self.broker.up)
        self.server.frozen = False
        self.wait(MAX_DELAY + 1)
        self.assertTrue(self.broker.up)

    def test_unsubscribe(self) -> None:
        """A channel is unsubscribed a moment after the last client has left."""
        self.subscribe(b"a", b"b")
        self.broker.unsubscribe([b"a"])
        self.wait(4)
        self.assertEqual({b"b"}, self.session(subscriber=True).subscribed)

    def test_stop(self) -> None:
        """After a stop nothing is left, and nothing is logged."""
        self.subscribe(b"a")
        with capturedLogs() as events:
            done = self.broker.stop()
            self.wait(1)
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual([], self.server.sessions)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual([], list(events))

    def test_long_replies(self) -> None:
        """A part of the log of ended sessions may be longer than publications are."""
        broker = RedisBroker(
            self.clock,
            self.server.endpoint(),
            RedisTarget(name="redis://fake:6379", password="pw"),
            StoredSettings(),
            Limits(max_publication=1000),
            self.metrics,
            Health(),
        )
        broker.start(self.listener)
        self.server.pump()
        protocol = broker._commands_link.protocol
        assert protocol is not None
        protocol.dataReceived(b"$100000\r\n" + bytes(50000))
        self.wait(0.1)
        self.assertIs(protocol, broker._commands_link.protocol)
        broker.stop()
        self.wait(2)

    def test_stop_sends_what_was_published(self) -> None:
        """A message that was published in the same turn of the reactor still leaves."""
        published = publish(self.broker, [b"a"], b"x")
        done = self.broker.stop()
        self.server.pump()
        self.successResultOf(done)
        self.failureResultOf(published, PublishOutcomeUnknown)
        self.assertEqual([(b"PUBLISH", b"a", b"x")], self.server.sent(b"PUBLISH"))

    def test_stop_while_away(self) -> None:
        """The same while Redis is away."""
        self.outage()
        done = self.broker.stop()
        self.wait(2)
        self.successResultOf(done)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_messages_and_refusals_after_a_stop(self) -> None:
        """Publications that come while the links are being closed are not delivered."""
        self.subscribe(b"a")
        self.server.forbidden = {b"x"}
        self.broker.subscribe([b"x"]).addErrback(lambda failure: None)
        self.server.publish(b"a", b"1")
        self.broker._listener = None
        self.server.pump()
        self.assertEqual([], self.listener.events)


class LogTests(_BrokerCase):
    """The log has each event once, and never a password."""

    def _told(self, events: Any) -> list[tuple[str, str]]:
        return [(event["log_level"].name, event["log_format"]) for event in events]

    def test_lost_and_back(self) -> None:
        """One line when it is lost, one when it is back, however many links there are."""
        self.subscribe(b"a", b"b")
        with capturedLogs() as events:
            self.outage(0.1)
            self.wait(2)
        self.assertEqual(
            [
                ("warn", "lost the connection to {redis}: {reason}"),
                ("info", "connected to {redis}, {count} channels subscribed"),
            ],
            self._told(events),
        )
        self.assertEqual(2, events[1]["count"])
        self.assertEqual(1, self.metrics.broker_losses)

    def test_long_outage(self) -> None:
        """The reason is logged once a minute, not at every attempt of every link."""
        with capturedLogs() as events:
            self.outage(150)
        reasons = [each for each in events if "no connection" in each["log_format"]]
        self.assertEqual(3, len(reasons))

    def test_password_changed(self) -> None:
        """A refused login is logged without the password."""
        self.server.users = {"default": "other"}
        with capturedLogs() as events:
            self.server.kill()
            self.wait(20)
        text = " ".join(str(event) for event in events)
        self.assertIn("WRONGPASS", text)
        self.assertNotIn("'pw'", text)
        self.server.users = {"default": "pw"}
        self.wait(MAX_DELAY + 1)
        self.assertTrue(self.broker.up)

    def test_many_reasons(self) -> None:
        """The number of reasons that are remembered is limited, even if each is another."""
        with capturedLogs() as events:
            for number in range(100):
                self.broker._failed(f"reason {number}")
        self.assertEqual(100, len(events))
        self.assertLess(len(self.broker._throttle._kinds), 100)

    def test_forbidden(self) -> None:
        """The listener learns of a channel that Redis refuses from now on."""
        self.subscribe(b"x")
        self.server.forbidden = {b"x"}
        self.server.kill()
        self.wait(MAX_DELAY)
        self.assertEqual([("forbidden", b"x")], self.listener.events)


class SilenceTests(_BrokerCase):
    """One link that falls silent is enough to be down, while the other goes on."""

    # Nine seconds, and two steps of the clock: one to see it, one to close the connection.
    _BOUND = 9.2

    def _seconds_until_down(self) -> float:
        for number in range(1, 200):
            self.wait(0.1)
            if not self.broker.up:
                return number / 10
        self.fail("it was not noticed")

    def test_only_subscriber(self) -> None:
        """A subscriber that hears nothing is noticed within nine seconds, whenever it begins."""
        for start in range(6):
            self.subscribe(b"a")
            self.wait(start / 2)
            self.session(subscriber=True).frozen = True
            self.assertLessEqual(self._seconds_until_down(), self._BOUND)
            self.wait(MAX_DELAY + 1)
            self.assertTrue(self.broker.up)
            self.server.publish(b"a", b"%d" % start)
            self.server.pump()
            self.assertEqual(("live", [(b"a", b"%d" % start)]), self.listener.events[-1])

    def test_only_commands(self) -> None:
        """The commands connection is noticed as soon, and live messages flow on."""
        self.subscribe(b"a")
        self.session(subscriber=False).frozen = True
        self.assertLessEqual(self._seconds_until_down(), self._BOUND)
        self.server.publish(b"a", b"1")
        self.server.pump()
        self.assertEqual([("live", [(b"a", b"1")])], self.listener.events)


class PauseTests(_BrokerCase):
    """A pause is the broker's: it holds whatever becomes of a link."""

    def setUp(self) -> None:
        """One channel is subscribed."""
        super().setUp()
        self.subscribe(b"a")

    def test_nothing_is_delivered(self) -> None:
        """Publications wait, and come in order."""
        self.broker.pause()
        for payload in (b"1", b"2"):
            self.server.publish(b"a", payload)
        self.wait(1)
        self.assertEqual([], self.listener.events)
        self.broker.resume()
        self.server.pump()
        self.assertEqual([("live", [(b"a", b"1"), (b"a", b"2")])], self.listener.events)

    def test_link_that_comes_back(self) -> None:
        """A link that is lost and made again brings nothing either, stored or live."""
        self.broker.pause()
        self.outage()
        self.server.store(b"a", b"missed")
        self.wait(MAX_DELAY)
        self.server.publish(b"a", b"live")
        self.wait(30)
        self.assertEqual([], self.listener.events)
        self.assertFalse(self.broker.up)
        self.broker.resume()
        self.wait(1)
        self.assertEqual(
            [("restored", {b"a": b"missed"}), ("live", [(b"a", b"live")])], self.listener.events
        )
        self.assertTrue(self.broker.up)

    def test_paused_while_catching_up(self) -> None:
        """A pause that begins while the stored messages are read holds these back as well."""
        self.outage()
        self.server.store(b"a", b"missed")
        while not any(session.subscribed for session in self.server.sessions):
            self.clock.advance(0.01)
            # One step of each connection: pumping would also read the stored messages.
            for session in list(self.server.sessions):
                session.move()
        self.broker.pause()
        self.wait(SILENCE * 3)
        self.assertEqual([], self.listener.events)
        self.broker.resume()
        self.wait(1)
        self.assertEqual(("restored", {b"a": b"missed"}), self.listener.events[0])

    def test_publishing_goes_on(self) -> None:
        """A pause does not delay publishing."""
        self.broker.pause()
        done = publish(self.broker, [b"a"], b"1")
        self.clock.advance(0)
        self.server.pump()
        self.successResultOf(done)
        self.assertEqual([], self.listener.events)

    def test_fetch_waits(self) -> None:
        """No fetch is completed, whether it found something or not."""
        self.server.store(b"a", b"1")
        self.broker.pause()
        fetched = [self.fetch(name) for name in (b"a", b"b")]
        self.server.pump()
        for each in fetched:
            self.assertNoResult(each)
        self.broker.resume()
        self.server.pump()
        self.assertEqual([{b"a": b"1"}, {}], [self.successResultOf(each) for each in fetched])

    def test_paused_again_by_what_waited(self) -> None:
        """A delivery that pauses again keeps a fetch waiting until that pause is over, too."""
        protocol = self.broker._subscriber_link.protocol
        assert protocol is not None
        self.listener.on_delivery = self.broker.pause
        protocol.call("PING")
        message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
        protocol.dataReceived(message + b"+PONG\r\n" + message)
        fetched = self.fetch(b"b")
        self.session(subscriber=False).move()
        self.assertEqual(1, len(self.listener.events))
        self.broker.resume()
        self.assertEqual(2, len(self.listener.events))
        self.assertNoResult(fetched)
        self.broker.resume()
        self.assertEqual({}, self.successResultOf(fetched))


class FetchTests(_BrokerCase):
    """A fetched value comes after the publications that preceded it."""

    def test_waits_for_the_other_link(self) -> None:
        """The two connections know nothing of each other: a PING on the subscriber tells."""
        self.subscribe(b"a")
        self.server.store(b"a", b"1")
        self.server.publish(b"a", b"1")
        fetched = self.fetch(b"a")
        fetched.addCallback(lambda values: self.listener.events.append(values))
        commands = self.session(subscriber=False)
        commands.move()
        self.assertEqual([], self.listener.events)
        self.server.pump()
        self.assertEqual([("live", [(b"a", b"1")]), {b"a": b"1"}], self.listener.events)

    def test_nothing_to_wait_for(self) -> None:
        """Without a stored message there is nothing to wait for."""
        before = len(self.server.sent(b"PING"))
        fetched = self.fetch(b"a")
        self.server.pump()
        self.assertEqual({}, self.successResultOf(fetched))
        self.assertEqual(before, len(self.server.sent(b"PING")))

    def test_one_turn(self) -> None:
        """All who ask in one turn cost one command, and one PING if there is anything stored."""
        self.server.store(b"a", b"1")
        before = len(self.server.sent(b"PING"))
        fetched = [self.broker.fetch([b"a"]), self.broker.fetch([b"b"]), self.fetch(b"a", b"b")]
        self.server.pump()
        self.assertEqual(
            [{b"a": b"1"}, {}, {b"a": b"1"}], [self.successResultOf(each) for each in fetched]
        )
        self.assertEqual(1, len(self.server.sent(b"MGET")))
        self.assertEqual(before + 1, len(self.server.sent(b"PING")))

    def test_subscriber_lost_in_one_turn(self) -> None:
        """Without the subscriber link only those fail for whom something is stored."""
        self.server.store(b"a", b"1")
        self.subscribe(b"x")
        first, second = self.broker.fetch([b"a"]), self.fetch(b"b")
        self.session(subscriber=True).cut(ConnectionError())
        self.server.pump()
        self.failureResultOf(first, BrokerUnavailable)
        self.assertEqual({}, self.successResultOf(second))

    def test_no_connection(self) -> None:
        """While Redis is away, it fails at once."""
        self.outage()
        self.failureResultOf(self.broker.fetch([b"a"]), BrokerUnavailable)

    def test_stopped_within_the_turn(self) -> None:
        """Stopping answers what was not asked yet."""
        fetched = self.broker.fetch([b"a"])
        self.broker.stop()
        self.failureResultOf(fetched, BrokerUnavailable)

    def test_after_a_stop(self) -> None:
        """After a stop commands fail at once, and leave no timer."""
        self.broker.stop()
        before = len(self.clock.getDelayedCalls())
        self.failureResultOf(self.broker.fetch([b"a"]), BrokerUnavailable)
        self.failureResultOf(publish(self.broker, [b"a"], b"x"), BrokerUnavailable)
        self.assertEqual(before, len(self.clock.getDelayedCalls()))

    def test_subscriber_lost_meanwhile(self) -> None:
        """Without the subscriber the order cannot be known, so the fetch fails."""
        self.subscribe(b"a")
        self.server.store(b"a", b"1")
        fetched = self.fetch(b"a")
        self.session(subscriber=True).cut(ConnectionError())
        self.server.pump()
        self.failureResultOf(fetched, BrokerUnavailable)

    def test_no_right_to_ping(self) -> None:
        """A refusal is as good as an answer: it comes after the publications."""
        self.subscribe(b"a")
        self.server.store(b"a", b"1")
        self.server.refuse["PING"] = "NOPERM"
        fetched = self.fetch(b"a")
        self.server.pump()
        self.assertEqual({b"a": b"1"}, self.successResultOf(fetched))

    def test_subscriber_lost_while_it_waits(self) -> None:
        """The same when it goes after the values came."""
        self.subscribe(b"a")
        self.server.store(b"a", b"1")
        fetched = self.fetch(b"a")
        subscriber = self.session(subscriber=True)
        self.session(subscriber=False).move()
        self.session(subscriber=False).move()
        self.assertNoResult(fetched)
        subscriber.cut(ConnectionError())
        self.failureResultOf(fetched, BrokerUnavailable)


class OutageTests(_BrokerCase):
    """After an outage stored messages come first, then live ones, and nothing comes twice."""

    def setUp(self) -> None:
        """Two channels are subscribed."""
        super().setUp()
        self.subscribe(b"a", b"b")

    def test_missed(self) -> None:
        """The stored value is handed over before anything live."""
        self.outage()
        self.server.store(b"a", b"missed")
        self.wait(MAX_DELAY)
        self.server.publish(b"a", b"live")
        self.server.pump()
        self.assertEqual(
            [("restored", {b"a": b"missed"}), ("live", [(b"a", b"live")])], self.listener.events
        )
        ((before, _),) = self.listener.gaps
        self.assertEqual(1, before)

    def _move_subscriber(self) -> None:
        current = self.broker._subscriber_link._current
        if current is not None:
            current.transport.move()

    def _until_subscribed(self) -> None:
        """Let time pass until the channels are subscribed; the command link is not up yet."""
        while not any(session.subscribed for session in self.server.sessions):
            self.clock.advance(0.05)
            self._move_subscriber()

    def test_arrives_between_subscription_and_fetch(self) -> None:
        """A message that is live and stored comes once: as the live one."""
        self.outage()
        self._until_subscribed()
        self.server.store(b"a", b"new")
        self.server.publish(b"a", b"new")
        self.server.publish(b"b", b"other")
        self.assertEqual([], self.listener.events)
        self.wait(MAX_DELAY)
        self.assertEqual([("live", [(b"a", b"new"), (b"b", b"other")])], self.listener.events)

    def test_older_stored_and_newer_live(self) -> None:
        """A stored message that did not come live goes first."""
        self.outage()
        self.server.store(b"a", b"old")
        self._until_subscribed()
        self.server.publish(b"a", b"new")
        self.wait(MAX_DELAY)
        self.assertEqual(
            [("restored", {b"a": b"old"}), ("live", [(b"a", b"new")])], self.listener.events
        )

    def test_gap(self) -> None:
        """Each loss of the subscriber opens a generation, and tells how long and how much."""
        self.outage(2)
        self.assertEqual([], self.listener.gaps)
        self.wait(MAX_DELAY)
        self.outage(2)
        self.wait(MAX_DELAY)
        gaps = [gap for _, gap in self.listener.gaps]
        self.assertEqual([1, 2], [gap.generation for gap in gaps])
        for gap in gaps:
            self.assertEqual((2, True), (gap.channels, gap.is_restored))
            self.assertTrue(2 <= gap.seconds <= 2 + MAX_DELAY, gap)

    def test_no_gap(self) -> None:
        """The loss of the other link takes nothing from subscribers, nor does the first start."""
        self.assertEqual([], self.listener.gaps)
        self.session(subscriber=False).cut(ConnectionError())
        self.wait(MAX_DELAY)
        self.assertTrue(self.broker.up)
        self.assertEqual([], self.listener.gaps)

    def test_gap_while_stopping(self) -> None:
        """A broker that is stopped tells of no gap."""
        self.outage(1)
        self.broker.stop()
        self.wait(MAX_DELAY)
        self.assertEqual([], self.listener.gaps)

    def test_stop_while_catching_up(self) -> None:
        """A stop leaves no timer, and says nothing, while the command link is still awaited."""
        self.outage()
        self._until_subscribed()
        self._move_subscriber()
        self.assertEqual(1, len(self.broker._commands_signal))
        with capturedLogs() as events:
            self.broker.stop()
            self.wait(1.5)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual([], list(events))

    def test_too_much_to_hold(self) -> None:
        """Publications that wait are limited; if there are more, the stored ones are left out."""
        self.outage()
        self.server.store(b"a", b"old")
        self._until_subscribed()
        subscriber = self.session(subscriber=True)
        with capturedLogs() as events:
            for _ in range(17):
                self.server.publish(b"b", b"x" * 1048576)
                subscriber.move()
            self.assertIn("live", [kind for kind, _ in self.listener.events])
            self.wait(MAX_DELAY)
        self.assertTrue(any("too many publications" in each["log_format"] for each in events))
        self.assertEqual(["live"], sorted({kind for kind, _ in self.listener.events}))
        self.assertEqual(17, sum(len(batch) for _, batch in self.listener.events))
        self.assertTrue(self.broker.up)
        self.assertEqual([(0, False)], [(at, gap.is_restored) for at, gap in self.listener.gaps])

    def test_values_cannot_be_read(self) -> None:
        """A server that is still loading: the link is up all the same, and says so once."""
        self.outage()
        self.server.store(b"a", b"old")
        self.server.loading = True
        self.wait(MAX_DELAY)
        self.assertTrue(self.broker.up)
        self.server.publish(b"a", b"1")
        self.server.pump()
        self.assertEqual([("live", [(b"a", b"1")])], self.listener.events)
        self.assertEqual([(0, False)], [(at, gap.is_restored) for at, gap in self.listener.gaps])

    def test_commands_stay_away(self) -> None:
        """If only the subscriber comes back, live messages are not held for ever."""
        self.outage()
        with capturedLogs() as events:
            for _ in range(round((MAX_DELAY + SILENCE + 2) / 0.1)):
                self.clock.advance(0.1)
                self._move_subscriber()
            self.server.publish(b"a", b"1")
            self._move_subscriber()
        self.assertEqual([("live", [(b"a", b"1")])], self.listener.events)
        self.assertTrue(any("cannot read the stored" in each["log_format"] for each in events))
        self.assertFalse(self.broker.up)
        self.wait(MAX_DELAY + SILENCE)
        self.assertTrue(self.broker.up)
        self.assertEqual([(0, False)], [(at, gap.is_restored) for at, gap in self.listener.gaps])

    def _interrupt(self, times: int) -> None:
        """Cut the commands connection when it asks for values, the first *times*."""
        original = Session._mget

        def cutting(session: Session, *keys: bytes) -> bytes:
            nonlocal times
            times -= 1
            if times >= 0:
                session.cut(ConnectionError())
            return original(session, *keys)

        self.patch(Session, "_mget", cutting)

    def test_interrupted(self) -> None:
        """A catch-up whose commands connection is lost goes on when it is back."""
        self.outage()
        self.server.store(b"a", b"missed")
        self._interrupt(2)
        self.wait(MAX_DELAY)
        self.server.publish(b"a", b"live")
        self.server.pump()
        self.assertEqual(
            [("restored", {b"a": b"missed"}), ("live", [(b"a", b"live")])], self.listener.events
        )
        self.assertEqual([True], [gap.is_restored for _, gap in self.listener.gaps])

    def test_interrupted_after_a_part(self) -> None:
        """What was handed over before is not read again."""
        values = {b"c%d" % number: b"x" * 5000 for number in range(300)}
        self.subscribe(*values)
        self.outage()
        for name, value in values.items():
            self.server.store(name, value)
        asked = []
        original = Session._mget

        def cutting(session: Session, *keys: bytes) -> bytes:
            asked.append(set(keys))
            if len(asked) == 2:
                session.cut(ConnectionError())
            return original(session, *keys)

        self.patch(Session, "_mget", cutting)
        self.wait(MAX_DELAY)
        restored = [event[1] for event in self.listener.events]
        self.assertEqual(values, {name: each[name] for each in restored for name in each})
        self.assertEqual(len(values), sum(map(len, restored)))
        self.assertEqual(3, len(asked))
        self.assertEqual(set(), asked[0] & asked[2])

    def test_interrupted_for_ever(self) -> None:
        """A server that ends each attempt is not asked for ever."""
        self.outage()
        self.server.store(b"a", b"missed")
        self._interrupt(1000)
        with capturedLogs() as events:
            self.wait(MAX_DELAY * 5)
        self.assertTrue(self.broker.up)
        told = [each for each in events if "cannot read the stored" in each["log_format"]]
        self.assertEqual(1, len(told))
        self.assertEqual([False], [gap.is_restored for _, gap in self.listener.gaps])
        self.server.publish(b"a", b"live")
        self.server.pump()
        self.assertEqual([("live", [(b"a", b"live")])], self.listener.events)

    def _commands_return(self) -> None:
        """The subscriber is back and live; the commands connection comes after its time is up."""
        # Of two connections that try at the same time, the subscriber is the first.
        self.patch(random, "uniform", lambda least, most: most)
        self.outage()
        self.server.max_clients = 1
        self.wait(MAX_DELAY + SILENCE + 2)
        self.assertEqual(1, len(self.listener.gaps))
        self.assertFalse(self.broker.up)

    def test_taken_up_later(self) -> None:
        """Stored messages that could not be read are read when commands are answered again."""
        self._commands_return()
        self.server.store(b"a", b"missed a")
        self.server.store(b"b", b"missed b")
        self.server.publish(b"a", b"live a")
        self.server.pump()
        self.server.max_clients = 2
        with capturedLogs() as events:
            self.wait(MAX_DELAY)
        self.server.publish(b"b", b"live b")
        self.server.pump()
        self.assertTrue(self.broker.up)
        self.assertEqual(
            [
                # A stored message that is older than a live one is no news any more.
                ("live", [(b"a", b"live a")]),
                ("restored", {b"b": b"missed b"}),
                ("live", [(b"b", b"live b")]),
            ],
            self.listener.events,
        )
        self.assertIn("outage-messages-read", [each.get("event") for each in events])

    def test_taken_up_later_and_lost(self) -> None:
        """A loss of the subscriber meanwhile begins a catch-up of its own."""
        self._commands_return()
        self.server.store(b"a", b"missed")
        self.server.kill()
        self.server.max_clients = 2
        self.wait(MAX_DELAY)
        self.assertEqual([("restored", {b"a": b"missed"})], self.listener.events)
        self.assertEqual(2, len(self.listener.gaps))

    def test_lost_again_while_catching_up(self) -> None:
        """A second loss in the middle of it: the next attempt makes it good, once."""
        self.outage()
        self.server.store(b"a", b"missed")
        self._until_subscribed()
        self.server.kill()
        self.wait(MAX_DELAY)
        self.assertEqual([("restored", {b"a": b"missed"})], self.listener.events)
        self.assertTrue(self.broker.up)
        ((_, gap),) = self.listener.gaps
        self.assertEqual((1, True), (gap.generation, gap.is_restored))

    def test_lost_again_while_reading(self) -> None:
        """The same when the commands' answer is under way."""
        self.outage()
        self.server.store(b"a", b"missed")
        before = len(self.server.sent(b"MGET"))
        while len(self.server.sent(b"MGET")) == before:
            self.clock.advance(0.05)
            for session in list(self.server.sessions):
                session.move()
                if len(self.server.sent(b"MGET")) > before:
                    # Before the subscriber's PING, which the values wait for, is answered.
                    break
        self.server.kill()
        self.wait(MAX_DELAY)
        self.assertEqual([("restored", {b"a": b"missed"})], self.listener.events)

    def test_no_listener_while_catching_up(self) -> None:
        """A broker that is being stopped delivers nothing."""
        self.outage()
        self._until_subscribed()
        self.broker._listener = None
        self.wait(MAX_DELAY)
        self.assertEqual([], self.listener.events)

    def test_waiters_are_let_go(self) -> None:
        """A cancelled wait for the commands connection leaves no waiter."""
        self.outage()
        waiter: Deferred[None] = self.broker._when_commands_are_up()
        waiter.addErrback(lambda failure: None)
        waiter.cancel()
        self.assertEqual(0, len(self.broker._commands_signal))


class FirstConnectionTests(_BrokerCase):
    """The first connection has missed nothing."""

    def test_nothing_is_read(self) -> None:
        """Stored messages are fetched by subscribers, not read at the start."""
        self.assertEqual([], self.server.sent(b"MGET"))
        self.assertEqual([], self.listener.events)

    def test_with_a_channel_that_is_wanted(self) -> None:
        """A channel that was wanted before there was a connection has missed nothing either."""
        clock = MemoryReactorClock()
        self.server = FakeRedis(clock)
        self.server.store(b"a", b"old")
        target = RedisTarget(name="redis")
        broker = RedisBroker(
            clock,
            self.server.endpoint(),
            target,
            StoredSettings(),
            Limits(),
            self.metrics,
            Health(),
        )
        self.failureResultOf(broker.subscribe([b"a"]), BrokerUnavailable)
        broker.start(self.listener)
        self.server.pump()
        self.assertTrue(broker.up)
        self.assertEqual({b"a"}, self.session(subscriber=True).subscribed)
        self.assertEqual([], self.listener.events)
        self.assertEqual([], self.server.sent(b"MGET"))
