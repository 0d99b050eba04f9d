"""Tests for `wsredis.transports.selective_queue`: which messages a slow client does not get."""

from __future__ import annotations

from random import Random
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import (
    FakeOwner,
    FakeSocket,
    FakeStreamTransport,
    ServerTransport,
    messages,
    queued_bytes,
)
from wsredis.config.slow_policy import SlowPolicy
from wsredis.gateway.queued_bytes import QueuedBytes
from wsredis.transports.selective_queue import SelectiveQueue
from wsredis.transports.websocket import frames

CONFLATE, DROP_OLDEST = SlowPolicy.CONFLATE, SlowPolicy.DROP_OLDEST

A, B, C = b"broadcast:a", b"broadcast:b", b"broadcast:c"

CLOSE = b"\x88\x02\x03\xe9"


class _SelectiveCase(SynchronousTestCase):
    """A queue on a plain socket that takes nothing."""

    policy = CONFLATE
    limit, hard = 1000, 10_000

    def setUp(self) -> None:
        """Connect."""
        self.use(queued_bytes())

    def use(self, total: QueuedBytes, limit: int | None = None, hard: int | None = None) -> None:
        """Go on with another queue."""
        self.total = total
        self.socket = FakeSocket(0)
        self.server = ServerTransport(self.socket)
        self.owner = FakeOwner()
        limit, hard = limit or self.limit, hard or self.hard
        arguments: Any = (self.server.transport, limit, self.owner, total, self.socket, hard)
        self.queue = SelectiveQueue(*arguments, policy=self.policy)

    def put(self, *payloads: bytes, channel: bytes = A) -> None:
        """Publish some messages."""
        for payload in payloads:
            self.queue.put(channel, frames.text(payload))

    def fill(self, count: int = 20, channel: bytes = A) -> list[bytes]:
        """Publish some messages of 100 bytes."""
        payloads = [(b"%s %d " % (channel[-1:], number)).ljust(98, b".") for number in range(count)]
        self.put(*payloads, channel=channel)
        return payloads

    def read(self, room: int) -> None:
        """Let the client read so many bytes more."""
        self.socket.room = room
        while self.server.writing and self.socket.room:
            self.server.turn()

    def got(self) -> list[bytes]:
        """Let the client read the rest. Returns: The payloads of all that it has read."""
        self.read(1 << 40)
        return [each.payload for each in messages(bytes(self.socket.sent))]

    def assert_drained(self) -> None:
        """Check that nothing waits, and that nothing is counted."""
        self.assertEqual((0, 0, 0), (self.queue.waiting, self.total.held, len(self.total)))


class PathTests(_SelectiveCase):
    """Publications come one by one while something waits."""

    def test_begin_and_end(self) -> None:
        """The owner hears when something begins to wait, and when nothing does any more."""
        self.assertIsNone(self.owner.put)
        self.socket.room = 1 << 40
        self.put(b"1")
        self.assertIsNone(self.owner.put)
        self.assertEqual(self.socket.send, self.queue.send)
        self.socket.room = 1
        self.put(b"2")
        self.assertEqual(self.queue.put, self.owner.put)
        self.assertEqual([b"1", b"2"], self.got())
        self.assertIsNone(self.owner.put)
        self.assertEqual(self.socket.send, self.queue.send)
        self.assert_drained()

    def test_burst(self) -> None:
        """A client that takes it within the grace gets all of it in order."""
        expected = self.fill(90)
        self.assertEqual(["over"], [each for each in self.owner.notified if each != "congested"])
        self.assertEqual(expected, self.got())
        self.assertIn("within", self.owner.notified)
        self.assertEqual(0, self.owner.dropped)
        self.assert_drained()

    def test_lost(self) -> None:
        """A connection that is lost leaves nothing."""
        self.fill()
        self.server.lose(ConnectionDone())
        self.fill()
        self.assert_drained()
        self.assertIsNone(self.owner.put)


class ConflateTests(_SelectiveCase):
    """Only the newest message of each channel waits for a client that is slow."""

    def test_overdue(self) -> None:
        """What is under way is finished, then the newest of each channel follows."""
        a, b, c = (self.fill(10, channel) for channel in (A, B, C))
        self.queue.overdue()
        self.assertEqual(26, self.owner.dropped)
        self.assertEqual([a[0], a[-1], b[-1], c[-1]], self.got())
        self.assert_drained()

    def test_further_ones(self) -> None:
        """From then on each message takes the place of the older one, until nothing waits."""
        self.fill()
        self.queue.overdue()
        for number in range(50):
            for channel in (A, B):
                self.put(b"%d" % number, channel=channel)
            self.assertLess(self.queue.waiting, 20)
        *_, a, b = self.got()
        self.assertEqual((b"49", b"49"), (a, b))
        self.assert_drained()
        self.socket.room = 0
        self.socket.sent.clear()
        payloads = self.fill(5)
        self.assertEqual(payloads, self.got())

    def test_its_turn(self) -> None:
        """A channel with a message every moment has its turn beside quiet ones."""
        self.fill()
        self.queue.overdue()
        self.put(b"busy 0")
        self.put(b"quiet 0", channel=B)
        for number in range(1, 10):
            self.put(b"busy %d" % number)
        self.put(b"quiet 1", channel=B)
        self.assertEqual([b"busy 9", b"quiet 1"], self.got()[-2:])

    def test_under_way(self) -> None:
        """A message that is under way is finished, and is not the one that is replaced."""
        self.fill()
        self.queue.overdue()
        self.put(b"x" * 100)
        self.read(150)
        self.put(b"y")
        self.put(b"z")
        self.assertEqual([b"x" * 100, b"z"], self.got()[-2:])
        self.assert_drained()

    def test_never_left_out(self) -> None:
        """Control frames, heartbeats and messages of a handler are no publications."""
        self.fill(10)
        self.queue.write(frames.PING)
        self.fill(10)
        self.queue.write(frames.text(b"--heartbeat--"))
        self.queue.write(frames.text(b"handler".ljust(100)))
        (*_, last) = self.fill(10)
        self.queue.write(CLOSE)
        self.queue.overdue()
        expected = [b"", b"--heartbeat--", b"handler".ljust(100), last, CLOSE[2:]]
        self.assertEqual(expected, self.got()[1:])

    def test_reads_meanwhile(self) -> None:
        """A client that has begun to read is asked for more between two turns of the reactor."""
        expected = self.fill(30)
        self.read(100)
        for _ in range(100):
            self.socket.room = 100
            expected += self.fill(1)
        self.assertNotIn("overflowed", self.owner.notified)
        self.socket.room = 1 << 40
        expected += self.fill(1)
        # The reactor did nothing for this.
        self.assertEqual(self.socket.send, self.queue.send)
        self.assertEqual(expected, self.got())
        self.assert_drained()

    def test_hard_limit(self) -> None:
        """More than the hard limit in a burst is slow at once."""
        self.fill(110)
        self.assertGreater(self.owner.dropped, 90)
        self.assertLess(self.queue.waiting, 1000)
        self.assertNotIn("overflowed", self.owner.notified)

    def test_many_channels(self) -> None:
        """If the newest ones alone are more than the hard limit, the client goes."""
        for number in range(12):
            self.put(b"x" * 1000, channel=b"%d" % number)
        self.queue.overdue()
        self.assertIn("overflowed", self.owner.notified)
        self.assertLess(self.queue.waiting, self.hard)

    def test_large_messages(self) -> None:
        """One message larger than the limit may wait, as often as there is a newer one."""
        for number in range(9):
            self.put(b"%d" % number + b"x" * 3000)
            self.queue.overdue()
        self.assertNotIn("overflowed", self.owner.notified)
        self.assertEqual([b"0", b"8"], [each[:1] for each in self.got()])
        self.assert_drained()

    def test_too_much_else(self) -> None:
        """If messages of a handler alone are too much, the client goes after the grace."""
        self.fill(5)
        for _ in range(15):
            self.queue.write(frames.text(b"h" * 100))
        self.assertNotIn("overflowed", self.owner.notified)
        self.queue.overdue()
        self.assertIn("overflowed", self.owner.notified)
        self.assertEqual(0, self.queue.waiting)

    def test_in_time(self) -> None:
        """An end of the grace that is known too late changes nothing."""
        expected = self.fill(20)
        self.read(1800)
        heard = [each for each in self.owner.notified if each in ("over", "within")]
        self.assertEqual("within", heard[-1])
        self.queue.overdue()
        self.assertEqual(expected, self.got())


class DropOldestTests(_SelectiveCase):
    """The oldest messages are left out for a client that is slow."""

    policy = DROP_OLDEST

    def test_overdue(self) -> None:
        """So many are left out that there is room again, and no more."""
        payloads = self.fill(30)
        self.queue.overdue()
        self.assertLessEqual(self.queue.waiting, 875)
        self.assertGreater(self.queue.waiting, 700)
        got = self.got()
        self.assertEqual([payloads[0], *payloads[31 - len(got) :]], got)
        self.assertEqual(30, len(got) + self.owner.dropped)
        self.assert_drained()

    def test_further_ones(self) -> None:
        """From then on the limit holds without a grace, until nothing waits."""
        self.fill(30)
        self.queue.overdue()
        payloads = self.fill(100)
        self.assertLessEqual(self.queue.waiting, 1100)
        got = self.got()
        self.assertEqual(payloads[-5:], got[-5:])
        self.assertEqual(130, len(got) + self.owner.dropped)
        self.socket.room = 0
        self.socket.sent.clear()
        self.assertEqual(self.fill(40), self.got())

    def test_channels_are_equal(self) -> None:
        """The age decides, and not the channel."""
        for _ in range(3):
            self.fill(5, A)
            self.fill(5, B)
        self.queue.overdue()
        self.assertEqual([b"a", *[b"a"] * 3, *[b"b"] * 5], [each[:1] for each in self.got()])

    def test_never_left_out(self) -> None:
        """Control frames and messages of a handler are no publications."""
        self.fill(5)
        self.queue.write(frames.PING)
        self.queue.write(frames.text(b"handler"))
        self.fill(25)
        self.queue.overdue()
        got = self.got()
        self.assertEqual([b"", b"handler"], got[1:3])
        self.assertTrue(got[-1].startswith(b"a 24"))

    def test_newest_before_others(self) -> None:
        """The newest message waits, also if a ping or a message of a handler follows it."""
        self.fill(2)
        self.put(b"state" + b"x" * 2000)
        self.queue.write(frames.PING)
        self.queue.overdue()
        self.assertEqual([b"a 0", b"sta", b""], [each[:3] for each in self.got()])

    def test_large_messages(self) -> None:
        """The newest message waits, however large it is."""
        for number in range(9):
            self.put(b"%d" % number + b"x" * 3000)
            self.queue.overdue()
        self.assertNotIn("overflowed", self.owner.notified)
        self.assertEqual([b"0", b"8"], [each[:1] for each in self.got()])

    def test_too_much_else(self) -> None:
        """If messages of a handler alone are too much, the client goes at once when it is slow."""
        self.fill(20)
        self.queue.overdue()
        for _ in range(20):
            self.queue.write(frames.text(b"h" * 100))
        self.assertIn("overflowed", self.owner.notified)


class TotalTests(_SelectiveCase):
    """What waits for all clients is bounded, and exactly counted."""

    def test_evicted(self) -> None:
        """The slowest client makes room by its policy, and stays."""
        for policy in (CONFLATE, DROP_OLDEST):
            self.policy = policy
            self.use(queued_bytes(100_000, Clock()), 1 << 20, 1 << 24)
            payloads = [b"%d" % number + b"x" * 1000 for number in range(200)]
            if policy is DROP_OLDEST:
                self.use(self.total, 100_000, 1 << 24)
            self.put(*payloads)
            self.assertLess(self.total.held, 100_000)
            self.assertFalse({"cut", "evicted"} & {*self.owner.notified})
            got = self.got()
            self.assertEqual((payloads[0], payloads[-1]), (got[0], got[-1]))
            self.assertEqual(200, len(got) + self.owner.dropped)
            self.assert_drained()

    def test_does_not_help(self) -> None:
        """If too little can be left out, the client goes."""
        self.use(queued_bytes(10_000, Clock()), 1 << 20, 1 << 24)
        self.put(b"under way")
        for number in range(20):
            self.put(b"x" * 1000, channel=b"%d" % number)
        self.assertIn("evicted", self.owner.notified)
        self.assertLess(self.total.held, 10_000)

    def test_replaced_by_too_much(self) -> None:
        """A message that takes the place of another may be the one that is too much."""
        self.use(queued_bytes(10_000, Clock()))
        self.fill(20)
        self.queue.overdue()
        self.put(b"x" * 20_000)
        self.assertIn("evicted", self.owner.notified)
        self.assertLess(self.total.held, 10_000)
        self.server.lose(ConnectionDone())
        self.assert_drained()

    def test_shared(self) -> None:
        """A message that is left out for one client waits on for the others."""
        payload = frames.text(b"x" * 500)
        first = self.queue
        self.use(self.total)
        for queue in (first, self.queue):
            for _ in range(5):
                queue.put(A, payload)
        first.overdue()
        self.assertEqual([b"x" * 500] * 5, self.got())
        self.assertEqual(1, len(self.total))
        self.assertGreater(self.total.held, 500)
        first.stopProducing()
        self.assert_drained()


class StreamTests(_SelectiveCase):
    """A transport that takes copies, as under TLS."""

    def setUp(self) -> None:
        """Connect."""
        self.stream = FakeStreamTransport(500)
        self.owner = FakeOwner()
        self.total = queued_bytes()
        self.queue = SelectiveQueue(
            self.stream, self.limit, self.owner, self.total, None, self.hard, policy=self.policy
        )

    def stream_got(self) -> list[bytes]:
        """Let the client read. Returns: The payloads of all that it has read so far."""
        while self.queue._queue is not None:
            self.stream.drain()
        return [each.payload for each in messages(bytes(self.stream.written))]

    def test_conflate(self) -> None:
        """It is the same, whatever the transport holds itself."""
        payloads = self.fill(50)
        self.assertEqual(self.queue.put, self.owner.put)
        self.queue.overdue()
        got = self.stream_got()
        self.assertEqual(payloads[: len(got) - 1], got[:-1])
        self.assertEqual(payloads[-1], got[-1])
        self.assertEqual(50, len(got) + self.owner.dropped)
        self.assert_drained()

    def test_too_much_while_it_is_handed_over(self) -> None:
        """Nothing is left out of what is being handed over, even if it is too much then."""
        self.total = queued_bytes(4000, Clock())
        self.stream = FakeStreamTransport(500)
        self.queue = SelectiveQueue(
            self.stream, 1 << 20, self.owner, self.total, policy=self.policy
        )
        payloads = self.fill(12)
        self.total.grow(4000 - self.total.held)
        self.stream.drain()
        self.assertIn("cut", self.owner.notified)
        got = messages(bytes(self.stream.written))
        self.assertEqual(payloads[: len(got)], [each.payload for each in got])


class ModelTests(_SelectiveCase):
    """Any order of messages, reads and ends of the grace."""

    def test_any_order(self) -> None:
        """
        The messages of a channel come in order, the newest last; control frames come all in order.

        Each message is either read or counted, and in the end nothing is counted as waiting.
        """
        for seed in range(300):
            random = Random(seed)
            self.policy = random.choice([CONFLATE, DROP_OLDEST])
            self.use(queued_bytes(), random.choice([300, 1000]), 1 << 30)
            sent: dict[bytes, list[bytes]] = {A: [], B: [], C: [], b"": []}
            for number in range(random.randrange(5, 150)):
                step = random.choice("pppppppprrod")
                channel = random.choice([A, B, C])
                payload = b"%s %d" % (channel[-1:], number)
                payload = payload.ljust(random.choice([10, 60, 110]), b".")
                if step == "p":
                    sent[channel].append(payload)
                    self.socket.room = random.choice([0, 0, 0, 7])
                    self.put(payload, channel=channel)
                elif step == "o":
                    self.queue.overdue()
                elif step == "r":
                    self.read(random.choice([3, 90, 400]))
                else:
                    sent[b""].append(b"ping %d" % number)
                    self.queue.write(b"\x89" + bytes([len(sent[b""][-1])]) + sent[b""][-1])
            self.assertNotIn("overflowed", self.owner.notified)
            got = self.got()
            self.assert_drained()
            self.assertEqual(sent[b""], [each for each in got if each.startswith(b"ping")], seed)
            self.assertEqual(sum(map(len, sent.values())), len(got) + self.owner.dropped, seed)
            for channel, payloads in sent.items():
                mine = [each for each in got if each[:2] == channel[-1:] + b" "]
                numbers = [payloads.index(each) for each in mine]
                self.assertEqual(sorted({*numbers}), numbers, seed)
                if payloads and channel and self.policy is CONFLATE:
                    self.assertEqual(payloads[-1], mine[-1], seed)
