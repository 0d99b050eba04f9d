"""Tests of the proof that messages arrive: each way in which Redis can lie, and what is done."""

from __future__ import annotations

from functools import partial
from typing import Any
from unittest.mock import Mock

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.broker import RedisBroker
from wsredis.brokers.redis.stored import StoredSettings
from wsredis.config import Limits
from wsredis.config.redis_url import RedisTarget
from wsredis.gateway.gap import Gap
from wsredis.gateway.health import Health
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics
from wsredis.testing.redis import FakeRedis, Session

#: Seconds within which each fault has to be noticed.
NOTICED = 4.0


class _Redis(FakeRedis):
    """
    Redis, or a proxy before it, that may lie.

    Attributes:
        is_swallowing: Whether publications are confirmed and not brought.
    """

    is_swallowing = False

    def publish(self, channel: bytes, payload: bytes) -> int:
        return 1 if self.is_swallowing else super().publish(channel, payload)


class ProofCase(SynchronousTestCase):
    """A broker that proves, with the hub of a gateway, on a Redis in memory."""

    options: dict[str, Any] = {}

    def setUp(self) -> None:
        """It is not started."""
        self.clock = MemoryReactorClock()
        self.server = _Redis(self.clock)
        self.metrics = Metrics()
        self.health = Health()
        self.broker = RedisBroker(
            self.clock,
            self.server.endpoint(),
            RedisTarget(name="redis://fake:6379"),
            StoredSettings(expire=60, prefix="ws"),
            Limits(),
            self.metrics,
            self.health,
            is_proving=True,
            **self.options,
        )
        self.hub = Hub(self.broker, 1000, self.metrics)

    def start(self) -> None:
        """Start as a gateway does, and let it connect."""
        assert self.broker.canary is not None
        self.broker.start(self.hub)
        self.hub.subscribe(self.broker.canary).addErrback(lambda failure: None)
        self.server.pump()

    def wait(self, seconds: float) -> None:
        """Let time pass, and bytes move, in small steps."""
        for _ in range(round(seconds * 16)):
            self.clock.advance(1 / 16)
            self.server.pump()

    def until_red(self, seconds: float = NOTICED) -> str:
        """Wait until the gateway is not ready, and return the reasons."""
        for _ in range(round(seconds * 16)):
            self.wait(1 / 16)
            if not self.health.is_ready:
                return "; ".join(each.text for each in self.health.problems.values())
        self.fail("nothing was noticed")

    def session(self, subscriber: bool) -> Session:
        """The connection to Redis that subscribes, or the other one."""
        (found,) = [
            each
            for each in self.server.sessions
            if bool(each.subscribed) is subscriber and not each.frozen
        ]
        return found

    def lines(self, captured: Any) -> list[str]:
        """The warnings that were logged."""
        return [formatEvent(each) for each in captured if each["log_level"] is LogLevel.warn]


class ProvenTests(ProofCase):
    """A Redis that does what it says."""

    def test_not_ready_before_the_first_proof(self) -> None:
        """A gateway that has connected is ready when its first message has come back."""
        self.server.is_swallowing = True
        self.start()
        self.assertTrue(self.broker.up)
        self.assertFalse(self.health.is_ready)
        self.assertEqual(["proof"], list(self.health.problems))

    def test_at_once(self) -> None:
        """The first proof needs no timer."""
        self.start()
        self.assertEqual({}, dict(self.health.problems))
        self.assertEqual((1, 0), (self.metrics.proofs, self.metrics.proof_failures))

    def test_cost(self) -> None:
        """A message, a count and a question for the role every two seconds; nothing is stored."""
        self.start()
        before = len(self.server.commands)
        self.wait(20.5)
        sent = [each[0] for each in self.server.commands[before:] if each[0] != b"PING"]
        self.assertEqual(
            {b"PUBLISH": 10, b"SUBSCRIBE": 10, b"ROLE": 10},
            {name: sent.count(name) for name in set(sent)},
        )
        self.assertEqual(11, self.metrics.proofs)
        self.assertLess(self.clock.seconds() - self.metrics.last_proof, 2)

    def test_channel(self) -> None:
        """The channel has the prefix, and is that of one gateway."""
        self.start()
        (channel,) = self.session(subscriber=True).subscribed
        self.assertRegex(channel, rb"\Aws:wsredis-proof:Gateway-[0-9a-f]{16}\Z")

    def test_not_counted(self) -> None:
        """The messages of the gateway to itself are not among the publications."""
        with capturedLogs() as captured:
            self.start()
        self.assertEqual(0, self.metrics.publications)
        self.assertIn(0, [each.get("count") for each in captured])

    def test_after_a_loss(self) -> None:
        """A new connection has everything to prove again, at once."""
        self.start()
        self.server.kill()
        self.assertFalse(self.health.is_ready)
        self.wait(0.5)
        self.assertEqual({}, dict(self.health.problems))
        self.assertEqual(2, self.metrics.proofs)

    def test_subscriptions_under_way(self) -> None:
        """Channels that come and go while they are counted are no fault."""
        self.start()
        for number in range(60):
            name = b"c%d" % number
            self.broker.subscribe([name])
            self.clock.advance(0.05)
            if number % 3 == 0:
                self.server.pump()
            self.broker.unsubscribe([name])
        self.wait(10)
        self.assertEqual(({}, 0), (dict(self.health.problems), self.metrics.proof_failures))
        self.assertEqual(2, self.server.accepted)

    def test_confirmation_after_a_loss(self) -> None:
        """A confirmation that comes after a loss of the other connection begins nothing twice."""
        assert self.broker.canary is not None
        self.server.forbidden = set(self.broker.canary.channels)
        self.start()
        self.server.forbidden.clear()
        subscriber, commands = self.server.sessions
        subscriber.frozen = True
        for _ in range(3):
            commands.cut(ConnectionError())
            self.wait(0.5)
            commands = self.server.sessions[-1]
        subscriber.frozen = False
        self.wait(0.5)
        self.server.commands.clear()
        self.wait(8)
        self.assertEqual({}, dict(self.health.problems))
        self.assertEqual(4, len(self.server.sent(b"PUBLISH")))

    def test_stop(self) -> None:
        """Nothing is left of it."""
        self.start()
        stopped = self.broker.stop()
        self.server.pump()
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_without_proof(self) -> None:
        """A broker without a hub need not prove anything."""
        broker = RedisBroker(
            self.clock,
            self.server.endpoint(),
            RedisTarget(name="redis://fake:6379"),
            StoredSettings(),
            Limits(),
            self.metrics,
            self.health,
        )
        self.assertIsNone(broker.canary)


class LieTests(ProofCase):
    """Everything is answered, and nothing is true."""

    def setUp(self) -> None:
        """The gateway is up, and two channels are subscribed."""
        super().setUp()
        self.start()
        self.successResultOf(self.publish_on(b"a", b"b"))

    def publish_on(self, *names: bytes) -> Any:
        """Subscribe to channels."""
        done = self.broker.subscribe(names)
        self.server.pump()
        return done

    def test_swallowed(self) -> None:
        """Messages that are confirmed and not brought: both connections are made anew."""
        self.server.is_swallowing = True
        with capturedLogs() as captured:
            self.assertIn("does not bring them back", self.until_red())
            self.wait(1)
        self.assertEqual(4, self.server.accepted)
        self.assertIn("connecting to Redis again, with both connections", self.lines(captured))
        self.assertFalse(self.health.is_ready)
        self.server.is_swallowing = False
        self.wait(2.5)
        self.assertEqual({}, dict(self.health.problems))

    def test_gap(self) -> None:
        """The time in which messages may be lost begins with the last proof, not with the alarm."""
        gaps: list[Gap] = []
        self.hub.gaps.watch(gaps.append)
        self.wait(5)
        begin = self.metrics.last_proof
        self.server.is_swallowing = True
        self.until_red()
        self.wait(30)
        self.server.is_swallowing = False
        self.wait(10)
        self.assertEqual({}, dict(self.health.problems))
        self.assertGreater(len(gaps), 1)
        self.assertEqual([*range(1, len(gaps) + 1)], [gap.generation for gap in gaps])
        # One follows the other until the last connection was made.
        end = begin + self.metrics.lost_seconds
        self.assertTrue(begin + 25 < end < self.clock.seconds(), (begin, end))
        self.assertGreater(gaps[0].seconds, 2)

    def test_gap_without_proof(self) -> None:
        """Where it is not known, the time begins with the loss."""
        self.wait(1)
        self.server.refuse["PUBLISH"] = "NOPERM no"
        self.wait(20)
        gaps: list[Gap] = []
        self.hub.gaps.watch(gaps.append)
        self.server.kill()
        self.wait(1)
        ((generation, is_short),) = [(gap.generation, gap.seconds < 1) for gap in gaps]
        self.assertEqual((1, True), (generation, is_short))

    def test_swallowed_for_long(self) -> None:
        """A fault that cannot be mended costs fewer connections with time, and few log lines."""
        self.server.is_swallowing = True
        with capturedLogs() as captured:
            self.wait(60)
            first = self.server.accepted
            self.wait(60)
        self.assertLess(first, 2 + 2 * 11)
        self.assertLess(self.server.accepted - first, 2 * 4)
        told = [each for each in self.lines(captured) if each.startswith("messages may not arrive")]
        self.assertEqual(1, len(told))

    def test_all_forgotten(self) -> None:
        """A connection that has lost its channels is made anew, with all of them."""
        self.session(subscriber=True).subscribed.clear()
        self.assertIn("lost subscriptions", self.until_red())
        self.wait(0.5)
        self.assertEqual(3, len(self.session(subscriber=True).subscribed))
        self.assertEqual({}, dict(self.health.problems))
        self.assertEqual(3, self.server.accepted)

    def test_gap_of_forgotten_channels(self) -> None:
        """Messages count as lost since the last count that was right."""
        gaps: list[Gap] = []
        self.hub.gaps.watch(gaps.append)
        self.wait(7.25)
        self.session(subscriber=True).subscribed.clear()
        self.until_red()
        self.wait(0.5)
        ((generation, is_long),) = [(gap.generation, 1.5 < gap.seconds < 4) for gap in gaps]
        self.assertEqual((1, True), (generation, is_long))

    def test_one_forgotten(self) -> None:
        """One channel of several is missed, too."""
        self.session(subscriber=True).subscribed.discard(b"a")
        self.assertIn("lost subscriptions", self.until_red())
        self.wait(0.5)
        self.assertIn(b"a", self.session(subscriber=True).subscribed)

    def test_one_too_many(self) -> None:
        """A channel that was not given up is found."""
        self.session(subscriber=True).subscribed.add(b"z")
        self.assertIn("gave up", self.until_red())
        self.wait(0.5)
        self.assertNotIn(b"z", self.session(subscriber=True).subscribed)

    def test_wrong_count_for_long(self) -> None:
        """A proxy that always counts otherwise does not cost a connection every two seconds."""
        session = self.session(subscriber=True)
        self.patch(type(session), "_counted", _miscounted)
        self.wait(60)
        self.assertFalse(self.health.is_ready)
        self.assertLess(self.server.accepted, 2 + 12)

    def test_another_server(self) -> None:
        """Connections that lead to different servers."""
        other = _Redis(self.clock)
        session = self.session(subscriber=False)
        session._server = other
        other.sessions.append(session)
        self.assertIn("does not bring them back", self.until_red())

    def test_errors(self) -> None:
        """A server that answers with errors is not ready at once; it is left when they stay."""
        self.server.refuse["PUBLISH"] = "BUSY Redis is busy running a script."
        with capturedLogs() as captured:
            self.assertIn("Redis refuses to publish", self.until_red(2.5))
        self.assertEqual(1, len(self.lines(captured)))
        self.wait(3)
        self.assertEqual(2, self.server.accepted)
        self.server.refuse.clear()
        self.wait(2)
        self.assertEqual({}, dict(self.health.problems))
        self.server.refuse["PUBLISH"] = "ERR no"
        self.wait(12)
        self.assertGreater(self.server.accepted, 2)

    def test_errors_to_subscribe(self) -> None:
        """The login that was forgotten is not a right that is missing."""
        self.server.refuse["SUBSCRIBE"] = "NOAUTH Authentication required."
        self.assertIn("refuses to subscribe", self.until_red())
        self.server.refuse.clear()
        self.wait(8)
        self.assertEqual({}, dict(self.health.problems))

    def test_reply_to_another_command(self) -> None:
        """A reply too many, or one of a transaction, costs a connection and one log line."""
        with capturedLogs() as captured:
            for reply in (b"+QUEUED\r\n", b"+OK\r\n", b"*0\r\n"):
                session = self.session(subscriber=False)
                self.clock.advance(2.1)
                session.push(reply)
                self.server.pump()
                self.wait(4)
                self.assertEqual({}, dict(self.health.problems), reply)
        self.assertEqual([], self.flushLoggedErrors())
        self.assertEqual(3, sum("no connection to" in each for each in self.lines(captured)))

    def test_number_of_another_message(self) -> None:
        """Only the newest message proves something, whoever publishes on the channel."""
        self.server.is_swallowing = True
        assert self.broker.canary is not None
        (channel,) = self.broker.canary.channels
        self.wait(1.5)
        for _ in range(20):
            self.wait(0.2)
            for session in self.server.sessions:
                if channel in session.subscribed:
                    session.push(b"*3\r\n$7\r\nmessage\r\n$%d\r\n%s\r\n" % (len(channel), channel))
                    session.push(b"$1\r\n0\r\n")
        self.assertFalse(self.health.is_ready)


def _miscounted(self: Session, verb: bytes, name: bytes, change: Any) -> bytes:
    change(name)
    return b"*3\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n:7\r\n" % (len(verb), verb, len(name), name)


class DeadTests(ProofCase):
    """Connections that are dead without an end."""

    def setUp(self) -> None:
        """The gateway is up."""
        super().setUp()
        self.start()

    def test_subscriber(self) -> None:
        """A subscriber that is dead is made anew within the time, whenever it dies."""
        for _ in range(20):
            self.wait(1.15)
            accepted = self.server.accepted
            self.session(subscriber=True).frozen = True
            self.until_red()
            self.wait(0.5)
            self.assertEqual({}, dict(self.health.problems))
            self.assertEqual(accepted + 1, self.server.accepted)

    def test_subscriber_one_way(self) -> None:
        """A subscriber whose commands are lost is made anew, although messages come."""
        session = self.session(subscriber=True)
        session.write = lambda data: None  # type: ignore[method-assign]
        self.assertIn("does not answer SUBSCRIBE", self.until_red())
        self.wait(0.5)
        self.assertEqual({}, dict(self.health.problems))
        self.assertEqual(3, self.server.accepted)

    def test_commands(self) -> None:
        """Commands that are not answered make the gateway not ready; after 6 seconds they end."""
        for _ in range(6):
            self.wait(1.15)
            self.session(subscriber=False).frozen = True
            self.assertIn("does not answer PUBLISH", self.until_red())
            self.wait(7)
            self.assertEqual({}, dict(self.health.problems))

    def test_commands_one_way(self) -> None:
        """Answers that are lost make it not ready, although the messages arrive."""
        session = self.session(subscriber=False)
        move = session.move

        def swallowing() -> bool:
            moved = session._to_server != b""
            session._paused = True
            move()
            session._to_client = b""
            return moved

        session.move = swallowing  # type: ignore[method-assign]
        self.assertIn("does not answer PUBLISH", self.until_red())

    def test_server(self) -> None:
        """A server that sleeps for a moment keeps its connections, and is not ready meanwhile."""
        self.server.frozen = True
        self.until_red()
        self.wait(1)
        self.server.frozen = False
        self.wait(0.5)
        self.assertEqual({}, dict(self.health.problems))
        self.assertEqual(2, self.server.accepted)
        self.assertEqual(1, self.metrics.proof_failures)

    def test_without_messages(self) -> None:
        """Where publishing is forbidden, the count tells that the subscriber is dead."""
        self.server.refuse["PUBLISH"] = "NOPERM no"
        self.wait(4)
        self.session(subscriber=True).frozen = True
        self.assertIn("nothing arrives", self.until_red())
        self.wait(1)
        self.assertTrue(self.health.is_ready)


class BehindTests(ProofCase):
    """A gateway that is late itself is no fault of Redis."""

    def setUp(self) -> None:
        """The gateway is up."""
        super().setUp()
        self.start()

    def behind(self) -> str:
        """What the gateway says about being late; it is ready all the same."""
        self.assertTrue(self.health.is_ready)
        return self.health.problems["proof"].text

    def test_paused(self) -> None:
        """A subscriber that is paused on purpose is not dead, however long it lasts."""
        self.broker.pause()
        with capturedLogs() as captured:
            self.wait(60)
        self.assertRegex(self.behind(), r"messages arrive 5[5-9] seconds late")
        self.assertEqual((2, 0), (self.server.accepted, self.metrics.proof_failures))
        self.assertEqual(1, len(captured))
        with capturedLogs() as captured:
            self.broker.resume()
            self.server.pump()
        self.assertEqual({}, dict(self.health.problems))
        self.assertEqual(
            "messages arrive again, after {seconds:.0f} seconds", captured[0]["log_format"]
        )

    def test_backlog(self) -> None:
        """A subscriber that brings older messages all the time is not dead."""
        session = self.session(subscriber=True)
        session.frozen = True
        for _ in range(20):
            self.wait(0.25)
            session._protocol.dataReceived(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n" * 100)
        self.assertIn("seconds late", self.behind())
        session.frozen = False
        self.wait(0.25)
        self.assertEqual({}, dict(self.health.problems))
        self.assertEqual((2, 0), (self.server.accepted, self.metrics.proof_failures))

    def test_backlog_that_is_lost(self) -> None:
        """When the connection ends with its backlog, the next one is not late."""
        self.broker.pause()
        self.wait(5)
        self.server.kill()
        self.wait(0.5)
        self.broker.resume()
        self.wait(0.5)
        self.assertEqual({}, dict(self.health.problems))

    def test_late_process(self) -> None:
        """A process that did not run for a time judges nothing before it has read."""
        self.clock.advance(0.9)
        self.server.pump()
        self.clock.advance(1.1)
        # The message has been sent, and nothing is read for long.
        for session in self.server.sessions:
            session._paused = True
        self.server.pump()
        self.clock.advance(30)
        for session in self.server.sessions:
            session._paused = False
        self.server.pump()
        self.wait(1)
        self.assertEqual(({}, 0), (dict(self.health.problems), self.metrics.proof_failures))
        self.assertEqual(2, self.server.accepted)

    def test_slow_line(self) -> None:
        """A line on which everything comes some seconds late is slow, and loses nothing."""
        session = self.session(subscriber=True)
        push = session.push
        for tenths in (5, 12, 16, 19, 22, 24, 26):
            delay = tenths / 10
            self.patch(session, "push", partial(self.clock.callLater, delay, push))
            self.wait(20)
            self.assertEqual((0, 2), (self.metrics.proof_failures, self.server.accepted), delay)

    def test_catching_up_later(self) -> None:
        """Stored messages that are read for long hold up the live ones, and that is no fault."""
        self.broker.subscribe([b"a"])
        self.server.pump()
        reading: Deferred[bool] = Deferred()
        self.patch(self.broker._commands, "fetch_each", lambda *arguments: reading)
        self.broker._owed = {b"a": None}
        self.session(subscriber=False).cut(ConnectionLost("cut"))
        self.wait(2)
        self.server.publish(b"a", b"live")
        before = self.metrics.proofs
        self.wait(10)
        self.assertEqual(({}, 0), (dict(self.health.problems), self.metrics.proof_failures))
        self.assertEqual(3, self.server.accepted)
        self.assertGreater(self.metrics.proofs, before)
        self.assertEqual(0, self.metrics.unwanted)
        reading.callback(True)
        self.wait(1)
        self.assertEqual(1, self.metrics.unwanted, "it was held until now")


class DeniedTests(ProofCase):
    """An ACL that does not know of the proof."""

    def assert_unproven(self) -> None:
        """The gateway is ready, and says that it proves nothing."""
        self.assertTrue(self.health.is_ready)
        self.assertEqual(["unproven"], list(self.health.problems))
        self.assertIn("delivery is not proven", self.health.problems["unproven"].text)
        self.assertEqual(1, self.metrics.unproven)

    def test_publish(self) -> None:
        """One line names the right; the gateway is ready, and still counts its channels."""
        self.server.refuse["PUBLISH"] = "NOPERM this user has no permissions"
        with capturedLogs() as captured:
            self.start()
            self.wait(30)
        self.assert_unproven()
        (text,) = [each["text"] for each in captured if "text" in each]
        self.assertIn("+publish +subscribe &ws:wsredis-proof:*", text)
        self.assertEqual(1, len(self.server.sent(b"PUBLISH")))
        self.session(subscriber=True).subscribed.add(b"z")
        self.until_red()
        self.wait(1)
        self.assert_unproven()

    def test_subscribe(self) -> None:
        """The same where the channel is forbidden; that costs one line, too."""
        assert self.broker.canary is not None
        self.server.forbidden = set(self.broker.canary.channels)
        with capturedLogs() as captured:
            self.start()
            self.wait(30)
        self.assert_unproven()
        self.assertEqual(1, len(self.lines(captured)))
        self.server.kill()
        self.wait(1)
        self.assert_unproven()
        self.assertEqual(4, self.server.accepted)

    def test_other_channels(self) -> None:
        """After a loss the forbidden channel does not cost the others a command each."""
        assert self.broker.canary is not None
        self.server.forbidden = set(self.broker.canary.channels)
        self.start()
        self.broker.subscribe([b"a", b"b", b"c"])
        self.server.pump()
        self.server.commands.clear()
        self.server.kill()
        self.wait(1)
        self.assertEqual(
            [(b"SUBSCRIBE", b"a", b"b", b"c"), (b"SUBSCRIBE", *self.broker.canary.channels)],
            self.server.sent(b"SUBSCRIBE"),
        )

    def test_right_is_given(self) -> None:
        """A right that is given is used after a minute, without a restart."""
        for denied in (True, False):
            self.setUp()
            assert self.broker.canary is not None
            if denied:
                self.server.forbidden = set(self.broker.canary.channels)
            else:
                self.server.refuse["PUBLISH"] = "NOPERM no"
            self.start()
            self.wait(1)
            self.assert_unproven()
            self.server.forbidden.clear()
            self.server.refuse.clear()
            self.wait(65)
            self.assertEqual({}, dict(self.health.problems))
            self.assertEqual((0, 2), (self.metrics.unproven, self.server.accepted))
            self.assertGreater(self.metrics.proofs, 1)

    def test_right_to_ask_for_the_role_is_given(self) -> None:
        """So is that to ask for the role."""
        self.server.refuse["ROLE"] = "NOPERM no"
        self.start()
        self.wait(50)
        self.assert_unproven()
        self.assertEqual(3, len(self.server.sent(b"ROLE")), "each refusal is kept by Redis")
        self.server.refuse.clear()
        self.wait(20)
        self.assertEqual({}, dict(self.health.problems))
        self.server.replica = True
        self.assertIn("is a replica", self.until_red(2.1))

    def test_taken_away(self) -> None:
        """A right that is taken away at run time is named, too."""
        self.start()
        self.server.refuse["SUBSCRIBE"] = "NOPERM no"
        self.wait(2)
        self.assert_unproven()
        self.assertEqual(2, self.server.accepted)

    def test_taken_away_after_a_wrong_count(self) -> None:
        """What can be counted no more is not wrong for ever."""
        self.start()
        self.session(subscriber=True).subscribed.add(b"z")
        self.patch(type(self.session(subscriber=True)), "_counted", _miscounted)
        self.until_red()
        self.server.refuse["SUBSCRIBE"] = "NOPERM no"
        self.wait(30)
        self.assert_unproven()

    def test_answer_after_a_denial(self) -> None:
        """A message whose publication is confirmed later proves nothing without the right."""
        self.start()
        self.wait(1.9)
        self.session(subscriber=False).frozen = True
        self.wait(0.25)
        self.server.refuse["SUBSCRIBE"] = "NOPERM no"
        self.wait(1)
        self.assert_unproven()
        self.server.sessions[1].frozen = self.server.sessions[0].frozen = False
        self.wait(1)
        self.assert_unproven()

    def test_role(self) -> None:
        """A server that does not tell its role is used; the right is named."""
        self.server.refuse["ROLE"] = "NOPERM this user has no permissions to run the 'role' command"
        with capturedLogs() as captured:
            self.start()
            self.wait(5)
        self.assert_unproven()
        (text,) = [each["text"] for each in captured if "text" in each]
        self.assertIn("+role", text)


class RoleTests(ProofCase):
    """A replica takes messages, and nobody hears them."""

    def test_demoted(self) -> None:
        """A server that becomes a replica is left, and not ready until it is a master."""
        self.start()
        self.server.replica = True
        self.assertIn("is a replica", self.until_red(2.1))
        self.wait(5)
        self.assertIn("role", self.health.problems)
        self.server.replica = False
        self.wait(4)
        self.assertEqual({}, dict(self.health.problems))

    def test_read_only_for_a_time(self) -> None:
        """A server that does not tell its role, and is read-only for a time, is not left in a loop.

        Each client that publishes would otherwise cost all others a gap.
        """
        self.server.refuse["ROLE"] = "ERR unknown command 'ROLE'"
        self.start()
        self.server.replica = True
        for _ in range(60):
            self.broker.publish([b"a"], b"x", Mock())
            self.wait(0.5)
        self.assertIn(self.server.accepted, range(8, 2 + 2 * 6))
        self.server.replica = False
        self.wait(10)
        self.assertTrue(self.health.is_ready)

    def test_any(self) -> None:
        """With ``redis-role any`` a replica is as good."""
        self.options = {"is_any_role": True}
        self.setUp()
        self.server.replica = True
        self.start()
        self.wait(10)
        self.assertEqual({}, dict(self.health.problems))
        self.assertEqual(2, self.server.accepted)
