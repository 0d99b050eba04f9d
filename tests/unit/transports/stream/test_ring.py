"""Tests for `wsredis.transports.stream.ring`: the publications of the last minute."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import FakeListener
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics
from wsredis.transports.stream.encoding import EventEncodings, is_recorded
from wsredis.transports.stream.ring import Ring


class _Client(FakeListener):
    """A client that comes back with a cursor."""

    def __init__(self, ring: Ring, *channels: bytes, origin: str = "192.0.2.1") -> None:
        encoding = EventEncodings(ring)[PlainDialect(), True]
        super().__init__(*channels, encoding=encoding)
        self.origin = origin


class RingCase(SynchronousTestCase):
    """A ring on a hub."""

    limit = 1_000_000

    def setUp(self) -> None:
        """Start it."""
        self.clock = Clock()
        self.server = MemoryServer(self.clock)
        self.broker = MemoryBroker(self.server)
        self.hub = Hub(self.broker, 1_000_000, Metrics())
        self.ring = Ring(self.clock, self.hub, self.limit, is_recorded)
        self.hub.recorder = self.ring
        self.broker.start(self.hub)
        self.ring.start()
        self.addCleanup(self.ring.stop)

    def client(self, *channels: bytes, origin: str = "192.0.2.1") -> _Client:
        """Let a client come."""
        client = _Client(self.ring, *channels, origin=origin)
        self.hub.subscribe(client)
        return client

    def publish(self, channel: bytes, *payloads: bytes) -> None:
        """Publish as a backend does."""
        for payload in payloads:
            self.server.publish(channel, payload)

    def missed(self, cursor: str, *channels: bytes) -> list[bytes] | None:
        """What a client has missed."""
        found = self.ring.missed(channels, cursor)
        return None if found is None else [each.payload for each in found]

    def wait(self, seconds: int) -> None:
        """Let time pass."""
        for _ in range(seconds):
            self.clock.advance(1)


class CursorTests(RingCase):
    """A cursor stands for all that a client has heard."""

    def test_missed(self) -> None:
        """Exactly what came after the cursor is missed, each once."""
        self.client(b"a")
        self.publish(b"a", b"1", b"2")
        cursor = self.ring.cursor()
        self.assertEqual([], self.missed(cursor, b"a"))
        self.publish(b"a", b"3", b"4")
        self.assertEqual([b"3", b"4"], self.missed(cursor, b"a"))

    def test_order(self) -> None:
        """What came on several channels is missed in the order in which it came."""
        self.client(b"a", b"b", b"c")
        cursor = self.ring.cursor()
        for channel, payload in ((b"b", b"1"), (b"a", b"2"), (b"c", b"3"), (b"b", b"4")):
            self.publish(channel, payload)
        self.assertEqual([b"1", b"2", b"4"], self.missed(cursor, b"a", b"b"))
        self.assertEqual([], self.missed(cursor))

    def test_numbers(self) -> None:
        """The numbers of one channel grow, and the events have them."""
        client = self.client(b"a")
        self.publish(b"a", b"1", b"2")
        found = self.ring.missed([b"a"], f"{self.ring.prefix}1")
        assert found is not None
        self.assertEqual([2, 3], [each.number for each in found])
        self.assertIn(f"id: {self.ring.prefix}2\n".encode(), client.written[0])

    def test_other_process(self) -> None:
        """A cursor of another process tells nothing here."""
        other = Ring(self.clock, self.hub, self.limit, is_recorded)
        self.assertNotEqual(self.ring.prefix, other.prefix)
        self.client(b"a")
        self.assertIsNone(self.missed(other.prefix + "1", b"a"))

    def test_strange(self) -> None:
        """A cursor that was never given away tells nothing, whatever it is."""
        self.client(b"a")
        prefix = self.ring.prefix
        for number in ("", "x", "-1", "1.5", "99", "1\n", " 1", "٣", "1" * 16):
            self.assertIsNone(self.missed(prefix + number, b"a"), number)
        self.assertIsNone(self.missed(prefix, b"a"))

    def test_other_channel(self) -> None:
        """Of a channel that nobody heard then, anything may have been missed."""
        self.client(b"a")
        cursor = self.ring.cursor()
        self.assertIsNone(self.missed(cursor, b"a", b"b"))
        self.client(b"b")
        self.assertIsNone(self.missed(cursor, b"a", b"b"))
        self.assertEqual([], self.missed(self.ring.cursor(), b"a", b"b"))

    def test_loss(self) -> None:
        """After a loss, no older cursor tells anything; newer ones do."""
        self.client(b"a")
        self.publish(b"a", b"1")
        before = self.ring.cursor()
        self.ring.lose()
        self.assertIsNone(self.missed(before, b"a"))
        after = self.ring.cursor()
        self.publish(b"a", b"2")
        self.assertEqual([b"2"], self.missed(after, b"a"))

    def test_websockets(self) -> None:
        """Nothing is kept for WebSockets, which have no cursor."""
        self.hub.subscribe(FakeListener(b"a"))
        self.publish(b"a", b"1")
        self.assertEqual(0, self.ring.size)
        self.assertIsNone(self.missed(self.ring.cursor(), b"a"))


class EvenTests(RingCase):
    """A hub that has not yet delivered all that the ring has."""

    def test_even(self) -> None:
        """Nothing waits for a hub that has delivered all."""
        self.assertEqual("result", self.ring.when_even("result"))

    def test_behind(self) -> None:
        """The result is held back until the hub is even."""
        waiting = [1]
        self.patch(self.hub, "_waiting", waiting)
        result = self.ring.when_even("result")
        assert isinstance(result, Deferred)
        self.clock.advance(0.1)
        self.assertNoResult(result)
        waiting.clear()
        self.clock.advance(0.1)
        self.assertEqual("result", self.successResultOf(result))

    def test_worthless(self) -> None:
        """There is a cursor that is worth nothing on any channel."""
        self.client(b"a")
        self.assertIsNone(self.missed(self.ring.worthless, b"a"))


class AbsenceTests(RingCase):
    """A channel is heard for a minute without a client."""

    def test_absence(self) -> None:
        """What comes while the client is away is not lost."""
        client = self.client(b"a")
        cursor = self.ring.cursor()
        self.hub.unsubscribe(client)
        self.wait(50)
        self.publish(b"a", b"1")
        self.client(b"a")
        self.publish(b"a", b"2")
        self.assertEqual([b"1", b"2"], self.missed(cursor, b"a"))

    def test_too_long(self) -> None:
        """After a minute the channel is left, and forgotten."""
        client = self.client(b"a")
        cursor = self.ring.cursor()
        self.publish(b"a", b"1")
        self.hub.unsubscribe(client)
        self.assertEqual(1, len(self.hub))
        self.wait(65)
        self.assertEqual((0, 0), (len(self.hub), self.ring.size))
        self.client(b"a")
        self.assertIsNone(self.missed(cursor, b"a"))

    def test_one_stays(self) -> None:
        """As long as one client hears a channel, nobody else does for the ring."""
        first, _ = self.client(b"a"), self.client(b"a")
        self.hub.unsubscribe(first)
        self.assertEqual(1, self.hub.subscriptions)
        self.wait(65)
        self.publish(b"a", b"1")
        self.assertEqual([b"1"], self.missed(f"{self.ring.prefix}1", b"a"))

    def test_back_in_time(self) -> None:
        """A client that is back has its channel for good."""
        client = self.client(b"a")
        self.hub.unsubscribe(client)
        self.wait(30)
        client = self.client(b"a")
        self.assertEqual(1, self.hub.subscriptions)
        self.wait(65)
        self.assertEqual(1, len(self.hub))
        self.hub.unsubscribe(client)
        self.wait(30)
        self.assertEqual(1, len(self.hub))

    def test_old(self) -> None:
        """A publication is forgotten after a minute, and older cursors tell nothing any more."""
        self.client(b"a")
        cursor = self.ring.cursor()
        self.publish(b"a", b"1")
        between = self.ring.cursor()
        self.wait(30)
        self.publish(b"a", b"2")
        self.wait(36)
        self.assertIsNone(self.missed(cursor, b"a"))
        self.assertEqual([b"2"], self.missed(between, b"a"))

    def test_shares(self) -> None:
        """An address may leave a part of the places behind, and others find room."""
        for number in range(3000):
            self.hub.unsubscribe(self.client(b"%d" % number))
        mine = len(self.hub)
        self.assertLess(mine, 2800)
        self.hub.unsubscribe(self.client(b"other", origin="192.0.2.2"))
        self.assertEqual(mine + 1, len(self.hub))
        self.hub.unsubscribe(self.client(b"more"))
        self.assertEqual(mine + 1, len(self.hub))

    def test_stop(self) -> None:
        """After the stop nothing is heard, also of clients that leave only then."""
        gone, late = self.client(b"a"), self.client(b"b")
        self.hub.unsubscribe(gone)
        self.ring.stop()
        self.hub.unsubscribe(late)
        self.assertEqual(0, len(self.hub))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_redis_away(self) -> None:
        """A client may leave while Redis is away."""
        client = self.client(b"a")
        self.broker.disconnect()
        self.hub.unsubscribe(client)
        self.assertEqual([], self.flushLoggedErrors())

    def test_deaf(self) -> None:
        """Whatever the hub tells the ring as a listener, it has heard already."""
        client = self.client(b"a")
        self.hub.unsubscribe(client)
        self.hub.restore({b"a": b"stored"})
        self.server.forbidden.add(b"a")
        self.broker.disconnect()
        self.broker.connect()
        self.publish(b"a", b"1")
        self.assertEqual([], self.flushLoggedErrors())


class BoundTests(RingCase):
    """Memory is bounded."""

    limit = 100_000

    def test_total(self) -> None:
        """However much comes, no more is kept than the limit."""
        for name in (b"a", b"b", b"c"):
            self.client(name)
        for number in range(300):
            self.publish((b"a", b"b", b"c")[number % 3], b"%d" % number + b"x" * 1000)
            self.assertLessEqual(self.ring.size, self.limit)
        self.assertGreater(self.ring.size, self.limit / 3)

    def test_busy(self) -> None:
        """A busy channel does not push the messages of a quiet one out."""
        self.client(b"busy")
        self.client(b"quiet")
        cursor = self.ring.cursor()
        self.publish(b"quiet", b"kept")
        for _ in range(1000):
            self.publish(b"busy", b"x" * 1000)
        self.assertEqual([b"kept"], self.missed(cursor, b"quiet"))
        self.assertIsNone(self.missed(cursor, b"busy"))

    def test_large(self) -> None:
        """A message that is larger than everything is a gap, and nothing else."""
        self.client(b"a")
        cursor = self.ring.cursor()
        self.publish(b"a", b"x" * 100_000)
        self.assertEqual(0, self.ring.size)
        self.assertIsNone(self.missed(cursor, b"a"))
        cursor = self.ring.cursor()
        self.publish(b"a", b"1")
        self.assertEqual([b"1"], self.missed(cursor, b"a"))
