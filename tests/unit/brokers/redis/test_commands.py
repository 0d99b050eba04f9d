"""Tests of storing, publishing and fetching on one connection."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import publish
from wsredis.brokers.redis.commands import Commands
from wsredis.brokers.redis.connection import RedisConnection
from wsredis.brokers.redis.stored import StoredKeys, StoredSettings
from wsredis.config import Limits
from wsredis.config.redis_url import RedisTarget
from wsredis.errors import BrokerUnavailable, PermissionDenied, PublishOutcomeUnknown
from wsredis.gateway.metrics import Metrics
from wsredis.testing.redis import FakeRedis


class _StoreCase(SynchronousTestCase):
    """A store on a link to a Redis in memory."""

    expire = 60
    limits = Limits()

    def setUp(self) -> None:
        """Connected, nothing is stored."""
        self.clock = MemoryReactorClock()
        self.server = FakeRedis(self.clock)
        self.metrics = Metrics()
        self.read_only: list[int] = []
        keys = StoredKeys(self.clock, StoredSettings(self.expire), self.metrics)
        self.store = Commands(
            self.clock, keys, self.limits, self.metrics, lambda: self.read_only.append(1)
        )
        link = RedisConnection(
            self.clock,
            self.server.endpoint(),
            RedisTarget(name="redis://fake:6379"),
            ping_interval=3,
            max_reply=10000,
            established=lambda protocol: setattr(self.store, "protocol", protocol),
            lost=lambda: setattr(self.store, "protocol", None),
            failed=lambda reason: None,
        )
        link.start()
        self.server.pump()

    def send(self, channels: list[bytes], payload: bytes) -> Deferred[None]:
        """Publish, and let the turn of the reactor end."""
        done = publish(self.store, channels, payload)
        self.clock.advance(0)
        return done

    def publish(self, *channels: bytes, payload: bytes = b"hello") -> Any:
        """Publish, and let all bytes arrive."""
        done = self.send([*channels], payload)
        self.server.pump()
        return done

    def fetch(self, *channels: bytes) -> Any:
        """Fetch, and let all bytes arrive."""
        done = self.start_fetching(channels)
        self.server.pump()
        return done

    def start_fetching(self, channels: Sequence[bytes]) -> Deferred[dict[bytes, bytes]]:
        """Begin to fetch. Returns: Fires with all messages."""
        values: dict[bytes, bytes] = {}
        done = Deferred.fromCoroutine(self.store.fetch_each(channels, values.update))
        return done.addCallback(lambda _: values)


class PublishTests(_StoreCase):
    """A message is stored, then published."""

    def test_store_then_publish(self) -> None:
        """Each channel is stored and published, in this order, not in a transaction."""
        self.successResultOf(self.publish(b"a", b"b"))
        self.assertEqual(
            [
                (b"SETEX", b"a", b"60", b"hello"),
                (b"PUBLISH", b"a", b"hello"),
                (b"SETEX", b"b", b"60", b"hello"),
                (b"PUBLISH", b"b", b"hello"),
            ],
            self.server.commands[2:],
        )

    def test_one_round_trip(self) -> None:
        """Nothing waits for an answer: all commands leave at once, and all answers come at once."""
        done = self.send([b"a", b"b"], b"x")
        self.server.sessions[0].move()
        self.successResultOf(done)

    def test_bytes(self) -> None:
        """Payloads and names go as they are."""
        for payload in (b"007", b"\x00\xff", b"*1\r\n$4\r\nPING\r\n"):
            self.successResultOf(self.publish(b"a b\xc3\xa9", payload=payload))
            self.assertEqual(payload, self.server.value(b"a b\xc3\xa9"))

    def test_nowhere(self) -> None:
        """Without a channel nothing is sent, and nothing fails."""
        self.successResultOf(self.publish())
        self.assertEqual(2, len(self.server.commands))

    def test_no_connection(self) -> None:
        """Without a connection it fails at once: nothing waits for Redis to come back."""
        self.server.down = True
        self.server.kill()
        self.failureResultOf(self.publish(b"a"), BrokerUnavailable)
        self.assertEqual([], self.server.sent(b"PUBLISH"))

    def test_lost_before_the_answer(self) -> None:
        """The outcome is unknown, so it fails; and the unanswered bytes count no more."""
        done = self.send([b"a", b"b"], b"x")
        self.server.kill()
        failure = self.failureResultOf(done, PublishOutcomeUnknown)
        self.assertNotIsInstance(failure.value, BrokerUnavailable)
        self.assertEqual(0, self.metrics.unpersisted)
        self.assertEqual(0, self.store.backlog.size)

    def test_lost_in_the_middle(self) -> None:
        """The same where the first channel was published: it is not safe to repeat."""
        done = self.send([b"a", b"b"], b"x")
        protocol = self.store.protocol
        assert protocol is not None
        protocol.dataReceived(b"+OK\r\n:1\r\n")
        self.assertNoResult(done)
        self.server.kill()
        self.failureResultOf(done, PublishOutcomeUnknown)
        self.assertEqual(0, self.store.backlog.size)

    def test_lost_before_it_is_sent(self) -> None:
        """Where nothing can be sent nothing is, and the error says that it is safe to repeat."""
        self.server.down = True
        self.server.kill()
        self.failureResultOf(self.publish(b"a"), BrokerUnavailable)
        self.server.down = False
        self.clock.advance(5)
        self.server.pump()
        self.successResultOf(self.publish(b"a"))
        self.assertEqual([(b"PUBLISH", b"a", b"hello")], self.server.sent(b"PUBLISH"))

    def test_forbidden(self) -> None:
        """Where Redis forbids one of the channels the caller learns it, after all is tried."""
        self.server.forbidden = {b"a"}
        self.failureResultOf(self.publish(b"a", b"b"), PermissionDenied)
        self.assertIn((b"PUBLISH", b"b", b"hello"), self.server.commands)
        # Storing is another right than publishing.
        self.assertEqual(b"hello", self.server.value(b"a"))

    def test_forbidden_and_lost(self) -> None:
        """A forbidden channel does not hide that the outcome on the other is unknown."""
        for replies in (
            b"+OK\r\n-NOPERM no\r\n",
            b"+OK\r\n-ERR whatever\r\n+OK\r\n-NOPERM no\r\n",
        ):
            self.setUp()
            done = self.send([b"a", b"b"], b"x")
            assert self.store.protocol is not None
            self.store.protocol.dataReceived(replies)
            self.server.kill()
            self.failureResultOf(done, PublishOutcomeUnknown)

    def test_refused(self) -> None:
        """Any other refusal is reported with its reason; the message may be stored all the same."""
        self.server.refuse["PUBLISH"] = "ERR whatever"
        failure = self.failureResultOf(self.publish(b"a"), PublishOutcomeUnknown)
        self.assertEqual(b"hello", self.server.value(b"a"))
        self.assertIn("ERR whatever", failure.getErrorMessage())


class _Publisher:
    """
    One that publishes many messages.

    Attributes:
        heard: The arguments of its calls, in order.
        react: Called at the end of each.
    """

    origin = ""

    def __init__(self) -> None:
        self.heard: list[tuple[object, int]] = []
        self.react: Callable[[], object] = bool

    def published(self, count: int, size: int) -> None:
        """See `wsredis.gateway.broker.PublishWaiter`."""
        self.heard.append((count, size))
        self.react()

    def not_published(self, error: Exception, size: int) -> None:
        """See `wsredis.gateway.broker.PublishWaiter`."""
        self.heard.append((type(error), size))
        self.react()


class TurnTests(_StoreCase):
    """Messages of one turn of the reactor leave together, and are answered together."""

    def setUp(self) -> None:
        """Two publishers on one channel."""
        super().setUp()
        self.one, self.two = _Publisher(), _Publisher()
        self.channels = [b"a"]

    def say(self, publisher: _Publisher, *payloads: bytes) -> None:
        """Publish, within this turn."""
        for payload in payloads:
            self.store.publish(self.channels, payload, publisher)

    def answer(self, replies: bytes) -> None:
        """The turn ends, and Redis answers with *replies*."""
        self.clock.advance(0)
        protocol = self.store.protocol
        assert protocol is not None
        protocol.dataReceived(replies)

    def test_one_write(self) -> None:
        """All commands of a turn are one write, at its end, in the order of publishing."""
        protocol = self.store.protocol
        assert protocol is not None
        writes: list[bytes] = []
        self.patch(protocol.transport, "write", writes.append)
        self.say(self.one, b"1", b"22")
        self.say(self.two, b"3")
        self.say(self.one, b"4")
        self.assertEqual([], writes)
        self.clock.advance(0)
        packed = b"".join(
            hiredis.pack_command(("SETEX", b"a", b"60", payload))
            + hiredis.pack_command(("PUBLISH", b"a", payload))
            for payload in (b"1", b"22", b"3", b"4")
        )
        self.assertEqual([packed], writes)
        self.assertEqual([], self.clock.getDelayedCalls()[1:])

    def test_answered_together(self) -> None:
        """One call tells of all messages in a row that one read answers; the order is kept."""
        order: list[object] = []
        self.one.react = lambda: order.append(1)
        self.two.react = lambda: order.append(2)
        self.say(self.one, b"1", b"22")
        self.say(self.two, b"333")
        self.say(self.one, b"4444")
        self.answer(b"+OK\r\n:0\r\n" * 4)
        self.assertEqual([(2, 3), (1, 4)], self.one.heard)
        self.assertEqual([(1, 3)], self.two.heard)
        self.assertEqual([1, 2, 1], order)
        self.assertEqual((0, 0), (self.store.backlog.commands, self.store.backlog.size))

    def test_any_cut(self) -> None:
        """Wherever the answers of Redis are cut, each message is told once, when it is complete."""
        replies = b"+OK\r\n:1\r\n+OK\r\n-ERR x\r\n-OOM x\r\n:0\r\n+OK\r\n:1\r\n"
        for cut in range(1, len(replies)):
            self.setUp()
            self.say(self.one, b"1", b"22", b"333", b"4444")
            self.answer(replies[:cut])
            self.answer(replies[cut:])
            told = [
                (first, size if first is PublishOutcomeUnknown else first)
                for first, size in self.one.heard
            ]
            self.assertIn((PublishOutcomeUnknown, 2), told)
            self.assertEqual(3, sum(first for first, _ in told if isinstance(first, int)))
            self.assertEqual(10, sum(size for _, size in self.one.heard))
            self.assertEqual(1, self.metrics.unpersisted)
            self.assertEqual((0, 0), (self.store.backlog.commands, self.store.backlog.size))

    def test_refused_at_once(self) -> None:
        """A message that is refused at once is told at once, before those that wait."""
        self.patch(self.store.backlog, "_most", 1)
        self.say(self.one, b"1", b"22")
        self.assertEqual([(BrokerUnavailable, 2)], self.one.heard)
        self.answer(b"+OK\r\n:1\r\n")
        self.assertEqual([(BrokerUnavailable, 2), (1, 1)], self.one.heard)

    def test_room_comes_back_with_each_answer(self) -> None:
        """Also in the middle of what one publisher said in one turn."""
        self.say(self.one, b"1", b"22")
        before = self.store.backlog.size
        self.answer(b"+OK\r\n:1\r\n+OK\r\n")
        self.assertEqual([(1, 1)], self.one.heard)
        self.assertEqual(2, self.store.backlog.commands)
        self.assertLess(self.store.backlog.size, before)

    def test_lost_before_the_end_of_the_turn(self) -> None:
        """A message that was not sent is not sent later; the error says that repeating is safe."""
        self.say(self.one, b"1", b"22")
        self.server.kill()
        self.assertEqual([], self.one.heard)
        self.clock.advance(0)
        self.assertEqual([(BrokerUnavailable, 1), (BrokerUnavailable, 2)], self.one.heard)
        self.assertEqual((0, 0), (self.store.backlog.commands, self.store.backlog.size))
        self.assertEqual(0, self.metrics.unpersisted)
        self.clock.advance(5)
        self.server.pump()
        self.successResultOf(self.publish(b"a"))
        self.assertEqual([(b"PUBLISH", b"a", b"hello")], self.server.sent(b"PUBLISH"))

    def test_lost_in_the_middle_of_a_turn(self) -> None:
        """Each message without an answer is told."""
        self.say(self.one, b"1", b"22", b"333")
        self.answer(b"+OK\r\n:1\r\n+OK\r\n")
        self.server.kill()
        expected = [(1, 1), (PublishOutcomeUnknown, 2), (PublishOutcomeUnknown, 3)]
        self.assertEqual(expected, self.one.heard)

    def test_flush(self) -> None:
        """The owner may end the turn early; there is nothing left to do then."""
        self.say(self.one, b"1")
        calls = len(self.clock.getDelayedCalls())
        self.store.flush()
        self.assertEqual(calls - 1, len(self.clock.getDelayedCalls()))
        self.server.pump()
        self.assertEqual([(1, 1)], self.one.heard)
        self.store.flush()
        self.server.pump()
        self.assertEqual(1, len(self.server.sent(b"PUBLISH")))

    def test_command_in_between(self) -> None:
        """Another command in the turn gets its own reply."""
        self.server.store(b"b", b"stored")
        self.say(self.one, b"1")
        fetched = self.start_fetching([b"b"])
        self.say(self.one, b"2")
        self.clock.advance(0)
        self.server.pump()
        self.assertEqual({b"b": b"stored"}, self.successResultOf(fetched))
        self.assertEqual([(2, 2)], self.one.heard)

    def test_publishing_from_within_the_answer(self) -> None:
        """A publisher that goes on at once is in the next turn."""
        self.say(self.one, b"1")
        self.one.react = lambda: self.one.heard[1:] or self.say(self.one, b"22")
        self.clock.advance(0)
        self.server.pump()
        self.clock.advance(0)
        self.server.pump()
        self.assertEqual([(1, 1), (1, 2)], self.one.heard)

    def test_failing_publisher(self) -> None:
        """A bug of one publisher is logged; the connection and the others stay."""

        def fail() -> None:
            raise ZeroDivisionError

        self.one.react = fail
        self.say(self.one, b"1")
        self.say(self.two, b"22")
        self.clock.advance(0)
        self.server.pump()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual([(1, 2)], self.two.heard)
        self.assertEqual(1, self.server.accepted)

    def test_other_channels(self) -> None:
        """A publisher whose channels change within the turn reaches the right ones."""
        self.say(self.one, b"1")
        self.channels = [b"b", b"c"]
        self.say(self.one, b"2")
        self.clock.advance(0)
        self.server.pump()
        sent = [(words[1], words[2]) for words in self.server.sent(b"PUBLISH")]
        self.assertEqual([(b"a", b"1"), (b"b", b"2"), (b"c", b"2")], sent)
        self.assertEqual([(1, 1), (1, 1)], self.one.heard)

    def test_nothing_is_kept(self) -> None:
        """The names of channels, which may be secrets, are forgotten when the turn ends."""
        self.say(self.one, b"1")
        self.clock.advance(0)
        self.assertEqual({}, self.store._heads)


class LatencyTests(_StoreCase):
    """The time until Redis answers is measured for one batch at a time."""

    def setUp(self) -> None:
        """Two publishers."""
        super().setUp()
        self.publisher = _Publisher()
        self.channels = [b"a"]

    def send_batch(self) -> None:
        """Send two messages in one turn."""
        for payload in (b"1", b"2"):
            self.store.publish(self.channels, payload, self.publisher)
        self.clock.advance(0)

    def measured(self) -> tuple[int, float]:
        """The number of times, and their sum."""
        latency = self.metrics.publish_latency
        return sum(latency.counts), latency.sum

    def test_batch(self) -> None:
        """A batch has one time: until the last answer."""
        self.send_batch()
        self.clock.advance(0.5)
        self.assertEqual((0, 0.0), self.measured())
        self.server.pump()
        self.assertEqual((1, 0.5), self.measured())
        self.send_batch()
        self.server.pump()
        self.assertEqual((2, 0.5), self.measured())

    def test_one_at_a_time(self) -> None:
        """A batch that is sent before the answer to another one is not measured."""
        self.send_batch()
        self.clock.advance(0.25)
        self.send_batch()
        self.clock.advance(0.25)
        self.server.pump()
        self.assertEqual((1, 0.5), self.measured())

    def test_failed(self) -> None:
        """A batch that is not answered has no time, and the next one has."""
        self.send_batch()
        self.store.protocol.connectionLost(Failure(ConnectionDone()))  # type: ignore[union-attr]
        self.assertEqual((0, 0.0), self.measured())
        self.assertIsNone(self.store.timed)


class AllAtOnceTests(TurnTests):
    """It is the same if a publisher hands over all that it has at once."""

    def say(self, publisher: _Publisher, *payloads: bytes) -> None:
        """Publish, within this turn."""
        self.store.publish_all(self.channels, payloads, publisher)

    def test_without_a_channel(self) -> None:
        """Messages for no channel are published at once."""
        self.store.publish_all([], [b"1", b"22"], self.one)
        self.assertEqual([(1, 1), (1, 2)], self.one.heard)

    def test_too_many(self) -> None:
        """If too many commands wait, each message is refused, in any order."""
        for _ in range(2):
            self.say(self.one, *[b"x"] * 5000)
            self.assertEqual(10_000, self.store.backlog.commands)
            self.say(self.one, b"1", b"22")
            refused = [(BrokerUnavailable, 1), (BrokerUnavailable, 2)]
            self.assertEqual(refused, self.one.heard[-2:])
            self.answer(b"+OK\r\n:0\r\n" * 5000)


class RefusedTests(_StoreCase):
    """A user of Redis that lacks a right."""

    def test_no_right_to_publish(self) -> None:
        """The log names the command once, and not its arguments."""
        self.server.refuse["PUBLISH"] = "NOPERM no permissions to run the 'publish' command"
        with capturedLogs() as events:
            for _ in range(3):
                self.failureResultOf(self.publish(b"a"), PermissionDenied)
        self.assertEqual(1, len(events))
        self.assertIn("'publish'", formatEvent(events[0]))

    def test_lost(self) -> None:
        """A connection that is lost is no refusal."""
        with capturedLogs() as events:
            done = self.send([b"a"], b"x")
            self.server.kill()
            self.failureResultOf(done, PublishOutcomeUnknown)
        self.assertEqual([], events)


class PublishOnlyTests(_StoreCase):
    """With ``expire`` 0 nothing is stored."""

    expire = 0

    def test_publish_only(self) -> None:
        """There is no SETEX."""
        self.successResultOf(self.publish(b"a"))
        self.assertEqual([(b"PUBLISH", b"a", b"hello")], self.server.commands[2:])


class StoringRefusedTests(_StoreCase):
    """Where Redis refuses to store, it is still published, and the log says so."""

    def setUp(self) -> None:
        """A Redis that cannot write to its disk."""
        super().setUp()
        self.server.refuse["SETEX"] = "MISCONF Redis is configured to save RDB snapshots."

    def test_published_and_counted(self) -> None:
        """The publication does not fail."""
        with capturedLogs() as events:
            self.successResultOf(self.publish(b"a"))
        self.assertEqual(1, self.metrics.unpersisted)
        self.assertIn("MISCONF", events[0]["error"])

    def test_told_once(self) -> None:
        """The log has one line for each kind of trouble, and one when it is over."""
        with capturedLogs() as events:
            for _ in range(3):
                self.publish(b"a")
            self.server.refuse["SETEX"] = "OOM command not allowed when used memory > 'maxmemory'."
            for _ in range(3):
                self.publish(b"a")
            del self.server.refuse["SETEX"]
            for _ in range(3):
                self.publish(b"a")
        self.assertEqual(["warn", "warn", "info"], [event["log_level"].name for event in events])
        self.assertEqual(6, self.metrics.unpersisted)


class ReplicaTests(_StoreCase):
    """A Redis that says that it is a replica."""

    def test_not_published(self) -> None:
        """It publishes among its own clients only: the publisher is told, and the role is asked."""
        self.server.replica = True
        self.failureResultOf(self.publish(b"a"), PublishOutcomeUnknown)
        self.assertEqual([1], self.read_only)
        self.assertEqual(0, self.metrics.unpersisted)


class BoundTests(_StoreCase):
    """Unanswered commands are limited in number and size."""

    limits = Limits(max_commands=4, max_command_bytes=2000)

    def test_too_many(self) -> None:
        """Beyond the number of commands it fails at once; with the answers there is room again."""
        self.server.frozen = True
        done = [self.send([b"a"], b"x") for _ in range(2)]
        self.failureResultOf(self.send([b"a"], b"x"), BrokerUnavailable)
        self.server.frozen = False
        self.server.pump()
        for each in done:
            self.successResultOf(each)
        self.successResultOf(self.publish(b"a"))

    def test_room_comes_back_with_each_answer(self) -> None:
        """Each message that is answered makes room at once, not only the last one."""
        first, second = (self.send([b"a"], b"x" * 900) for _ in range(2))
        self.failureResultOf(self.send([b"a"], b"x"), BrokerUnavailable)
        assert self.store.protocol is not None
        self.store.protocol.dataReceived(b"+OK\r\n:1\r\n")
        self.successResultOf(first)
        third = self.send([b"a"], b"x")
        self.assertNoResult(second)
        self.assertNoResult(third)

    def test_refused_messages_were_not_sent(self) -> None:
        """A message beyond the limit is not sent, and counts for nothing."""
        self.server.frozen = True
        self.send([b"a"], b"x" * 2000)
        before = self.store.backlog.size
        for _ in range(5):
            self.failureResultOf(self.send([b"a"], b"y"), BrokerUnavailable)
        self.assertEqual(before, self.store.backlog.size)
        self.server.frozen = False
        self.server.pump()
        self.assertEqual(1, len(self.server.sent(b"PUBLISH")))
        self.assertEqual(0, self.store.backlog.size)

    def test_limit_of_the_next_connection(self) -> None:
        """Commands that were unanswered when a connection was lost do not count on the next."""
        self.server.frozen = True
        for _ in range(2):
            self.send([b"a"], b"x" * 900).addErrback(lambda failure: None)
        self.server.frozen = False
        self.server.kill()
        self.clock.advance(5)
        self.server.pump()
        self.successResultOf(self.publish(b"a"))

    def test_too_much(self) -> None:
        """Beyond the number of bytes likewise."""
        self.server.frozen = True
        large = self.send([b"a"], b"x" * 2000)
        self.failureResultOf(self.send([b"a"], b"x"), BrokerUnavailable)
        self.server.frozen = False
        self.server.pump()
        self.successResultOf(large)
        self.successResultOf(self.publish(b"a"))


class FetchTests(_StoreCase):
    """Stored messages are read from the connection that there is."""

    def test_values(self) -> None:
        """Missing and empty ones are left out."""
        self.server.store(b"a", b"1_000")
        self.server.store(b"b", b"")
        values = self.successResultOf(self.fetch(b"a", b"b", b"d"))
        self.assertEqual({b"a": b"1_000"}, values)

    def test_nothing(self) -> None:
        """Without a name nothing is sent."""
        self.assertEqual({}, self.successResultOf(self.fetch()))
        self.assertEqual([], self.server.sent(b"STRLEN", b"MGET"))

    def test_no_connection(self) -> None:
        """Without a connection it fails at once."""
        self.server.down = True
        self.server.kill()
        self.failureResultOf(self.fetch(b"a"), BrokerUnavailable)

    def test_each(self) -> None:
        """The messages may be taken one batch after the other; their channels are known before."""
        taken: list[object] = []
        self.server.store(b"a", b"1")

        def take(found: dict[bytes, bytes]) -> Deferred[None]:
            taken.append(found)
            return succeed(None)

        done = Deferred.fromCoroutine(
            self.store.fetch_each([b"a", b"b"], take, lambda names: taken.append([*names]))
        )
        self.server.pump()
        self.successResultOf(done)
        self.assertEqual([[b"a"], {b"a": b"1"}], taken)

    def test_nothing_is_kept(self) -> None:
        """The messages are gone with the one who asked: no garbage collection is needed."""
        self.server.store(b"a", b"x" * 1000)
        gc.disable()
        self.addCleanup(gc.enable)
        (found,) = self.successResultOf(self.fetch(b"a")).values()
        # The reference of this function, and that of the question.
        self.assertEqual(2, sys.getrefcount(found))

    def test_cancelled(self) -> None:
        """The reply to a cancelled fetch is not an error."""
        done = self.start_fetching([b"a"])
        done.addErrback(lambda failure: None)
        done.cancel()
        self.server.pump()
        self.successResultOf(self.publish(b"a"))


class ShareTests(_StoreCase):
    """Half of the limits is for everybody; of the other half each publisher has a share."""

    limits = Limits(max_commands=80, max_command_bytes=800000)

    def say(self, origin: str, count: int, payload: bytes = b"x") -> list[object]:
        """Publish from one origin, in a turn for each message. Return what it heard at once."""
        publisher = _Publisher()
        publisher.origin = origin
        for _ in range(count):
            self.store.publish(self.channels, payload, publisher)
            self.clock.advance(0)
        return publisher.heard

    def setUp(self) -> None:
        """Redis answers nothing."""
        super().setUp()
        self.channels = [b"a"]
        self.server.frozen = True

    def test_number(self) -> None:
        """One publisher cannot use all commands up: others find some."""
        heard = self.say("192.0.2.1", 40)
        self.assertEqual([(BrokerUnavailable, 1)] * len(heard), heard)
        self.assertGreater(len(heard), 3)
        self.assertEqual([], self.say("192.0.2.2", 1))

    def test_size(self) -> None:
        """The same with bytes."""
        heard = self.say("192.0.2.1", 10, b"x" * 50000)
        self.assertEqual({(BrokerUnavailable, 50000)}, set(heard))
        self.assertEqual([], self.say("192.0.2.2", 1, b"x" * 10000))

    def test_given_back(self) -> None:
        """What is answered is free again."""
        self.say("192.0.2.1", 40)
        self.server.frozen = False
        self.server.pump()
        self.assertEqual(0, self.store.backlog.shared.held)
        self.assertEqual(0, self.store.backlog.commands)
        self.assertEqual(0, self.store.backlog.size)

    def test_nobody(self) -> None:
        """Publishers without an address cannot be told apart, and have all of it."""
        self.assertEqual([], self.say("", 40))


class CheckTests(_StoreCase):
    """A key of a user that the application made is neither written nor given an end."""

    def stored(self) -> list[tuple[bytes, ...]]:
        """The commands that store."""
        return self.server.sent(b"SETEX")

    def test_free(self) -> None:
        """A key that is not there may be written; it is asked about once in a while."""
        for _ in range(3):
            self.successResultOf(self.publish(b"user:ann:f"))
        self.assertEqual(3, len(self.stored()))
        self.assertEqual([(b"TTL", b"user:ann:f")], self.server.sent(b"TTL"))
        self.clock.advance(11)
        self.successResultOf(self.publish(b"user:ann:f"))
        self.assertEqual(2, len(self.server.sent(b"TTL")))

    def test_of_the_application(self) -> None:
        """A key without an end, or of another type, stays; the message is published."""
        self.server.store(b"user:ann:role", b"customer", expire=None)
        self.server.store(b"group:chess:members", ["ann"])
        with capturedLogs() as events:
            done = self.send([b"user:ann:role", b"group:chess:members"], b"admin")
            self.server.pump()
        self.successResultOf(done)
        self.assertEqual([], self.stored())
        self.assertEqual(2, len(self.server.sent(b"PUBLISH")))
        self.assertEqual(2, self.metrics.unpersisted)
        self.assertEqual(1, len(events))
        self.assertEqual(b"customer", self.server.value(b"user:ann:role"))

    def test_order(self) -> None:
        """Messages that come meanwhile keep their order, whoever sends them."""
        first = self.send([b"user:ann:f"], b"1")
        others = [self.send([name], b"2") for name in (b"a", b"user:bob:f", b"a")]
        self.server.pump()
        for each in (first, *others):
            self.successResultOf(each)
        names = [words[1] for words in self.server.sent(b"PUBLISH")]
        self.assertEqual([b"user:ann:f", b"a", b"user:bob:f", b"a"], names)

    def test_may_not_ask(self) -> None:
        """Where Redis does not tell, the message is stored as it always was."""
        self.server.refuse.update(TTL="NOPERM", TYPE="NOPERM")
        self.successResultOf(self.publish(b"user:ann:f"))
        self.assertEqual(1, len(self.stored()))

    def test_lost(self) -> None:
        """Messages that wait when the connection is lost were not sent."""
        done = self.send([b"user:ann:f"], b"1")
        self.server.kill()
        self.failureResultOf(done, BrokerUnavailable)

    def test_stopped(self) -> None:
        """Messages that wait at the end are published, and not stored."""
        done = self.send([b"user:ann:f"], b"1")
        self.store.stop()
        self.server.pump()
        self.successResultOf(done)
        self.assertEqual([], self.stored())
        self.assertEqual(1, len(self.server.sent(b"PUBLISH")))
