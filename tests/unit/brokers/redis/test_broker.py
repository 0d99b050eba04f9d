"""Tests of the two links of the broker together: up, down, and what was missed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fake_redis import FakeRedis
from wsredis.brokers.redis.broker import RedisBroker
from wsredis.brokers.redis.connection import MAX_DELAY, SILENCE
from wsredis.config import Limits
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication


class _Listener:
    """Writes down what it is told, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def deliver(self, batch: Sequence[Publication]) -> None:
        self.events.append(("live", [(each.channel, each.payload) for each in batch]))

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        self.events.append(("restored", dict(stored)))

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
            self.clock, self.server.target(password="pw"), 60, Limits(), self.metrics
        )
        self.server.users = {"default": "pw"}
        self.broker.start(self.listener)
        self.server.pump()

    def wait(self, seconds: float) -> None:
        """Let time pass, and bytes move, in small steps."""
        for _ in range(round(seconds / 0.1)):
            self.clock.advance(0.1)
            self.server.pump()

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

    def test_only_commands_lost(self) -> None:
        """Without the command link it is down, and live messages flow on."""
        self.subscribe(b"a")
        self.session(subscriber=False).cut(ConnectionError())
        self.assertFalse(self.broker.up)
        self.failureResultOf(self.broker.publish([b"a"], b"x"), BrokerUnavailable)
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
        """A channel that nobody wants any more is let go after a moment."""
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

    def test_stop_while_away(self) -> None:
        """The same while Redis is away."""
        self.outage()
        done = self.broker.stop()
        self.wait(2)
        self.successResultOf(done)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_messages_and_refusals_after_a_stop(self) -> None:
        """What still comes while the links are being closed is told to nobody."""
        self.subscribe(b"a")
        self.server.forbidden = {b"x"}
        self.broker.subscribe([b"x"]).addErrback(lambda failure: None)
        self.server.publish(b"a", b"1")
        self.broker._listener = None
        self.server.pump()
        self.assertEqual([], self.listener.events)


class LogTests(_BrokerCase):
    """An operator learns once what happened, and never a password."""

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
                ("warn", "lost the connection to {redis}"),
                ("info", "connected to {redis}, {count} channels subscribed"),
            ],
            self._told(events),
        )
        self.assertEqual(2, events[1]["count"])
        self.assertEqual(1, self.metrics.broker_losses)

    def test_long_outage(self) -> None:
        """The reason is told once a minute, not at every attempt of every link."""
        with capturedLogs() as events:
            self.outage(150)
        reasons = [each for each in events if "no connection" in each["log_format"]]
        self.assertEqual(3, len(reasons))

    def test_password_changed(self) -> None:
        """A refused login is told without the password, and told again when it is another."""
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
        """What is remembered of reasons is bounded, should each be another."""
        with capturedLogs() as events:
            for number in range(100):
                self.broker._failed(f"reason {number}")
        self.assertEqual(100, len(events))
        self.assertLess(len(self.broker._told), 50)

    def test_forbidden(self) -> None:
        """The listener learns of a channel that Redis refuses."""
        self.server.forbidden = {b"x"}
        self.broker.subscribe([b"x"]).addErrback(lambda failure: None)
        self.server.pump()
        self.assertEqual([("forbidden", b"x")], self.listener.events)


class FetchTests(_BrokerCase):
    """A fetched value comes after what was published before it."""

    def test_waits_for_the_other_link(self) -> None:
        """The two connections know nothing of each other: a PING on the subscriber tells."""
        self.subscribe(b"a")
        self.server.store(b"a", b"1")
        self.server.publish(b"a", b"1")
        fetched = self.broker.fetch([b"a"])
        fetched.addCallback(lambda values: self.listener.events.append(values))
        commands = self.session(subscriber=False)
        commands.move()
        self.assertEqual([], self.listener.events)
        self.server.pump()
        self.assertEqual([("live", [(b"a", b"1")]), {b"a": b"1"}], self.listener.events)

    def test_nothing_to_wait_for(self) -> None:
        """Without a value nobody waits."""
        before = len(self.server.sent(b"PING"))
        fetched = self.broker.fetch([b"a"])
        self.server.pump()
        self.assertEqual({}, self.successResultOf(fetched))
        self.assertEqual(before, len(self.server.sent(b"PING")))

    def test_subscriber_lost_meanwhile(self) -> None:
        """Without the subscriber there is no telling, so it fails."""
        self.subscribe(b"a")
        self.server.store(b"a", b"1")
        fetched = self.broker.fetch([b"a"])
        self.session(subscriber=True).cut(ConnectionError())
        self.server.pump()
        self.failureResultOf(fetched, BrokerUnavailable)

    def test_subscriber_lost_while_it_waits(self) -> None:
        """The same when it goes after the values came."""
        self.subscribe(b"a")
        self.server.store(b"a", b"1")
        fetched = self.broker.fetch([b"a"])
        subscriber = self.session(subscriber=True)
        self.session(subscriber=False).move()
        self.assertNoResult(fetched)
        subscriber.cut(ConnectionError())
        self.failureResultOf(fetched, BrokerUnavailable)


class OutageTests(_BrokerCase):
    """After an outage: what is stored first, then what is live, nothing twice."""

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

    def _move_subscriber(self) -> None:
        current = self.broker._subscriber._current
        if current is not None:
            current.transport.move()

    def _until_subscribed(self) -> None:
        """Let time pass until the channels are subscribed; the command link is not up yet."""
        while not any(session.subscribed for session in self.server.sessions):
            self.clock.advance(0.05)
            self._move_subscriber()

    def test_arrives_between_subscription_and_fetch(self) -> None:
        """What comes live meanwhile is held, and comes once: as the live one."""
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

    def test_too_much_to_hold(self) -> None:
        """What is held has a bound; beyond it the live messages go out alone."""
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
        self.assertTrue(any("too much to hold" in each["log_format"] for each in events))
        self.assertEqual(["live"], sorted({kind for kind, _ in self.listener.events}))
        self.assertEqual(17, sum(len(batch) for _, batch in self.listener.events))
        self.assertTrue(self.broker.up)

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
        self.assertTrue(any("could not be read" in each["log_format"] for each in events))
        self.assertFalse(self.broker.up)
        self.wait(MAX_DELAY + SILENCE)
        self.assertTrue(self.broker.up)

    def test_lost_again_while_catching_up(self) -> None:
        """A second loss in the middle of it: the next attempt makes it good, once."""
        self.outage()
        self.server.store(b"a", b"missed")
        self._until_subscribed()
        self.server.kill()
        self.wait(MAX_DELAY)
        self.assertEqual([("restored", {b"a": b"missed"})], self.listener.events)
        self.assertTrue(self.broker.up)

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
        """A broker that is being stopped has nobody to tell."""
        self.outage()
        self._until_subscribed()
        self.broker._listener = None
        self.wait(MAX_DELAY)
        self.assertEqual([], self.listener.events)

    def test_waiters_are_let_go(self) -> None:
        """Who waits for the command link in vain leaves nothing behind."""
        self.outage()
        waiter: Deferred[None] = self.broker._when_commands_are_up()
        waiter.addErrback(lambda failure: None)
        waiter.cancel()
        self.assertEqual([], self.broker._commands_wanted)


class FirstConnectionTests(_BrokerCase):
    """The first connection has missed nothing."""

    def test_nothing_is_read(self) -> None:
        """Stored messages are for those who subscribe, not for the start."""
        self.assertEqual([], self.server.sent(b"MGET"))
        self.assertEqual([], self.listener.events)
