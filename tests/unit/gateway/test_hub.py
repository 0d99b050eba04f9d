"""Tests for `wsredis.gateway.hub`, with lists in the place of connections."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import (
    FakeListener,
    FakeOwner,
    FakeSocket,
    ServerTransport,
    queued_bytes,
)
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.dialects.plain import PlainDialect
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.client import Sink
from wsredis.gateway.gap import Gap
from wsredis.gateway.hub import Hub
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Encoding, Publication
from wsredis.transports.send_queue import SendQueue
from wsredis.transports.websocket import frames
from wsredis.transports.websocket.encoding import Encodings


def joined(*payloads: bytes) -> bytes:
    """The frames of *payloads* in one piece."""
    return b"".join(frames.message(payload) for payload in payloads)


def fail() -> None:
    """Raise an error, as a broken connection does."""
    raise RuntimeError("this connection is broken")


class _RecordingBroker(MemoryBroker):
    """Remembers what it was asked for."""

    def __init__(self) -> None:
        self.server = MemoryServer(Clock())
        super().__init__(self.server)
        self.left: list[Sequence[bytes]] = []

    def unsubscribe(self, channels: Sequence[bytes]) -> None:
        """Remember *channels*."""
        self.left.append(channels)
        super().unsubscribe(channels)


class _Counted(PlainDialect):
    """Remembers what it encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[bytes] = []

    def encode(self, publication: Publication) -> bytes:
        """Remember the payload."""
        self.encoded.append(publication.payload)
        return super().encode(publication)


class _HubCase(SynchronousTestCase):
    """A hub on a broker in memory."""

    threshold = 0

    def setUp(self) -> None:
        """Start the broker."""
        self.metrics = Metrics()
        self.dialect = _Counted()
        self.encodings = Encodings(self.threshold)
        self.broker = _RecordingBroker()
        self.hub = Hub(self.broker, 1000, self.metrics)
        self.broker.start(self.hub)

    def deliver(self, *batch: tuple[bytes, bytes]) -> None:
        """One read from the broker brings these channels and payloads."""
        self.hub.deliver([Publication(*each) for each in batch])

    def listener(self, *channels: bytes, direct: bool = True, window: int = 0) -> FakeListener:
        """A listener that is subscribed."""
        encoding = self.encodings[self.dialect, window]
        listener = FakeListener(*channels, direct=direct, encoding=encoding)
        self.successResultOf(self.hub.subscribe(listener))
        return listener

    def flushed(self) -> list[str]:
        """The texts of the errors that were logged."""
        return [str(failure.value) for failure in self.flushLoggedErrors(RuntimeError)]


class CountTests(_HubCase):
    """Deliveries and their bytes are counted for all listeners at once."""

    def counted(self) -> tuple[int, int]:
        """Deliveries and bytes since the last call."""
        counted = (self.metrics.deliveries, self.metrics.sent_bytes)
        self.metrics.deliveries = self.metrics.sent_bytes = 0
        return counted

    def test_every_way(self) -> None:
        """The bytes are those that the listeners got, whichever way they came."""
        alone = self.listener(b"single")
        several = [self.listener(b"a") for _ in range(3)]
        both = self.listener(b"a", b"b")
        listeners = [alone, *several, both]
        for batch, deliveries in (
            ([(b"a", b"text")], 4),
            ([(b"a", b"one"), (b"a", b"two")], 8),
            ([(b"single", b"text")], 1),
            ([(b"single", b"x"), (b"a", b"yy"), (b"b", b"zzz"), (b"nobody", b"n")], 6),
        ):
            self.deliver(*batch)
            got = sum(len(data) for each in listeners for data in each.written)
            self.assertEqual((deliveries, got), self.counted(), batch)
            for each in listeners:
                each.written.clear()

    def test_several_encodings(self) -> None:
        """Each listener counts with its own bytes."""
        plain, compressed = self.listener(b"a"), self.listener(b"a", window=15)
        self.deliver((b"a", b"text " * 50))
        (one,), (other,) = plain.written, compressed.written
        self.assertNotEqual(len(one), len(other))
        self.assertEqual((2, len(one) + len(other)), self.counted())

    def test_not_direct(self) -> None:
        """A listener that chooses for itself counts as if it took all."""
        self.listener(b"a", direct=False)
        self.listener(b"a")
        self.deliver((b"a", b"text"))
        self.assertEqual((2, 2 * len(joined(b"text"))), self.counted())


class SubscribeTests(_HubCase):
    """The listeners of a channel, and the broker's knowledge of them."""

    def test_hears_from_now_on(self) -> None:
        """A listener gets what is published on its channels and nothing else."""
        listener = self.listener(b"a")
        self.broker.server.publish(b"a", b"text")
        self.broker.server.publish(b"b", b"other")
        self.assertEqual([joined(b"text")], listener.written)

    def test_counts_channels(self) -> None:
        """The length of a hub is the number of its channels with listeners."""
        first = self.listener(b"a", b"b")
        self.listener(b"b", b"c")
        self.assertEqual(3, len(self.hub))
        self.hub.unsubscribe(first)
        self.assertEqual(2, len(self.hub))

    def test_counts_subscriptions(self) -> None:
        """Each listener counts once for each of its channels, however often it says so."""
        first, second = self.listener(b"a", b"b"), self.listener(b"b")
        self.assertEqual(3, self.hub.subscriptions)
        self.hub.extend(first, [b"a"])
        self.assertEqual(3, self.hub.subscriptions)
        self.hub.retract(first, [b"a", b"z"])
        self.assertEqual(2, self.hub.subscriptions)
        for each in (first, second, second):
            self.hub.unsubscribe(each)
        self.assertEqual(0, self.hub.subscriptions)

    def test_last_one_leaves(self) -> None:
        """The broker hears of a channel once nobody listens any more, and of no other."""
        first, second = self.listener(b"a", b"b"), self.listener(b"b")
        self.hub.unsubscribe(first)
        self.assertEqual([[b"a"]], self.broker.left)
        self.hub.unsubscribe(second)
        self.assertEqual([[b"a"], [b"b"]], self.broker.left)
        self.assertEqual(0, len(self.hub))

    def test_unsubscribe_twice(self) -> None:
        """Unsubscribing again, or without having subscribed, is harmless."""
        listener, other = self.listener(b"a"), self.listener(b"a")
        self.hub.unsubscribe(FakeListener(b"a", b"z"))
        self.hub.unsubscribe(listener)
        self.hub.unsubscribe(listener)
        self.assertEqual([], self.broker.left)
        self.broker.server.publish(b"a", b"text")
        self.assertEqual([joined(b"text")], other.written)
        self.assertEqual([], listener.written)

    def test_mute_listener(self) -> None:
        """A listener without channels is nowhere."""
        listener = self.listener()
        self.hub.unsubscribe(listener)
        self.assertEqual(0, len(self.hub))
        self.assertEqual([], self.broker.left)

    def test_refusal_leaves_the_listener_in_the_hub(self) -> None:
        """A listener stays until `unsubscribe`, also if the broker refuses."""
        self.broker.server.forbidden.add(b"secret")
        listener = FakeListener(b"secret")
        self.failureResultOf(self.hub.subscribe(listener), PermissionDenied)
        self.broker.disconnect()
        self.failureResultOf(self.hub.subscribe(FakeListener(b"a")), BrokerUnavailable)
        self.assertEqual(2, len(self.hub))
        self.hub.unsubscribe(listener)
        self.assertEqual(1, len(self.hub))


class DeliverTests(_HubCase):
    """The fan-out."""

    def test_one_write_for_a_batch(self) -> None:
        """All publications of a batch reach a listener in one write, in order."""
        listener = self.listener(b"a")
        self.deliver((b"a", b"1"), (b"a", b"2"), (b"a", b"3"))
        self.assertEqual([joined(b"1", b"2", b"3")], listener.written)

    def test_framed_once(self) -> None:
        """A payload is framed once for all listeners, and they share the bytes."""
        first, second = self.listener(b"a"), self.listener(b"a")
        self.deliver((b"a", b"1"), (b"a", b"2"))
        self.assertEqual([b"1", b"2"], self.dialect.encoded)
        self.assertIs(first.written[0], second.written[0])

    def test_single_frame_is_not_copied(self) -> None:
        """The frame of a lone publication is written as it is."""
        listener = self.listener(b"a")
        other = self.listener(b"a", direct=False)
        self.deliver((b"a", b"x"))
        self.assertIs(other.items[0][other.encoding], listener.written[0])

    def test_order_across_channels(self) -> None:
        """A listener on several channels gets them in the order of arrival, in one write."""
        both = self.listener(b"a", b"b")
        lone = self.listener(b"b")
        batch = [(b"b", b"1"), (b"a", b"2"), (b"b", b"3"), (b"c", b"-"), (b"a", b"4")]
        self.deliver(*batch)
        self.assertEqual([joined(b"1", b"2", b"3", b"4")], both.written)
        self.assertEqual([joined(b"1", b"3")], lone.written)

    def test_order_for_every_set_of_channels(self) -> None:
        """Every listener gets its own channels, once each, in order, whatever the others hear."""
        names = [b"a", b"b", b"c"]
        chosen = [[n for bit, n in enumerate(names) if mask >> bit & 1] for mask in range(1, 8)]
        listeners = [self.listener(*each, direct=n % 2 == 0) for n, each in enumerate(chosen)]
        numbers = [5, 3, 0, 1, 1, 2, 7, 4, 6, 2, 0, 0, 1]
        batch = [(names[n % 3], b"%d-%d" % (n, position)) for position, n in enumerate(numbers)]
        self.deliver(*batch)
        for listener in listeners:
            expected = [entry for entry in batch if entry[0] in listener.channels]
            if listener.direct:
                wire = joined(*(payload for _, payload in expected))
                self.assertEqual([wire], listener.written)
            else:
                self.assertEqual(expected, listener.heard)

    def test_several_channels_but_one_in_the_batch(self) -> None:
        """A listener on several channels of which one is in the batch gets that one."""
        listener = self.listener(b"a", b"z")
        self.listener(b"b")
        self.deliver((b"a", b"1"), (b"b", b"2"), (b"a", b"3"))
        self.assertEqual([joined(b"1", b"3")], listener.written)

    def test_same_payload_twice(self) -> None:
        """Equal publications are separate publications, on one channel and on two."""
        listener = self.listener(b"a", b"b")
        self.deliver((b"a", b"x"), (b"a", b"x"), (b"b", b"x"))
        self.assertEqual([joined(b"x", b"x", b"x")], listener.written)

    def test_not_direct(self) -> None:
        """A listener that is not direct gets the items, and no write."""
        listener = self.listener(b"a", direct=False)
        self.deliver((b"a", b"1"), (b"a", b"2"))
        self.assertEqual([(b"a", b"1"), (b"a", b"2")], listener.heard)
        self.assertEqual([], listener.written)

    def test_unknown_channels(self) -> None:
        """Publications without a listener are counted, not framed, and cost nobody anything."""
        listener = self.listener(b"a")
        self.deliver((b"x", b"1"), (b"a", b"2"), (b"y", b"3"))
        self.assertEqual([joined(b"2")], listener.written)
        self.assertEqual([b"2"], self.dialect.encoded)
        self.assertEqual((1, 2), (self.metrics.publications, self.metrics.unwanted))

    def test_only_unknown_channels(self) -> None:
        """A batch for nobody is only counted; an empty one does nothing."""
        listener = self.listener(b"a")
        self.deliver((b"x", b"1"), (b"x", b"2"))
        self.deliver((b"x", b"1"), (b"y", b"2"), (b"x", b"3"))
        self.deliver()
        self.assertEqual([], listener.written)
        self.assertEqual((0, 5), (self.metrics.publications, self.metrics.unwanted))

    def test_unknown_and_unusual(self) -> None:
        """Whatever its size, each publication without a listener is counted once."""
        self.listener(b"a")
        self.deliver((b"x", b""), (b"a", b"1"), (b"x", b"x" * 1001), (b"y", b"2"), (b"a", b""))
        self.assertEqual((1, 3), (self.metrics.publications, self.metrics.unwanted))
        self.assertEqual(0, self.metrics.oversized)

    def test_empty_payloads(self) -> None:
        """An empty publication is not delivered: in this contract it clears the stored one."""
        listener = self.listener(b"a")
        self.deliver((b"a", b""))
        self.assertEqual([], listener.written)
        self.deliver((b"a", b"1"), (b"a", b""), (b"a", b"2"))
        self.assertEqual([joined(b"1", b"2")], listener.written)
        self.assertEqual(2, self.metrics.publications)

    def test_too_large(self) -> None:
        """A publication beyond the limit is left out, counted and logged; the others arrive."""
        listener = self.listener(b"a")
        with capturedLogs() as logs:
            self.deliver((b"a", b"x" * 1000), (b"a", b"y" * 1001), (b"a", b"z"))
        self.assertEqual([joined(b"x" * 1000, b"z")], listener.written)
        self.assertEqual(1, self.metrics.oversized)
        self.assertEqual(2, self.metrics.publications)
        (event,) = logs
        self.assertEqual((1001, "a", 1000), (event["size"], event["channel"], event["limit"]))

    def test_many_too_large(self) -> None:
        """They are logged by rate, and without the key of a session."""
        clock = Clock()
        self.hub = Hub(self.broker, 1000, self.metrics, throttle=LogThrottle(clock))
        self.listener(b"session:KEY:a")
        with capturedLogs() as logs:
            for _ in range(3):
                self.deliver((b"session:KEY:a", b"x" * 1001))
            clock.advance(60)
        lines = [formatEvent(event) for event in logs]
        self.assertEqual(2, len(lines))
        self.assertIn("on 'session:...:a'", lines[0])
        self.assertIn("(and 1 more of this kind)", lines[1])
        self.assertNotIn("KEY", "".join(map(str, logs)))
        self.assertEqual(3, self.metrics.oversized)

    def test_binary(self) -> None:
        """Payloads are bytes and stay bytes."""
        listener = self.listener(b"a")
        payload = bytes(range(256))
        self.deliver((b"a", payload))
        self.assertEqual([frames.binary(payload)], listener.written)


class SingleTests(_HubCase):
    """Channels with one listener and one publication each, several in one batch."""

    def test_each_gets_its_own(self) -> None:
        """Each listener gets its publication in its encoding, direct or not; all are counted."""
        plain, packed = self.listener(b"a"), self.listener(b"b", window=15)
        careful = self.listener(b"c", direct=False)
        text = b"x" * 200
        self.deliver((b"a", text), (b"b", text), (b"c", text))
        self.assertEqual([joined(text)], plain.written)
        self.assertEqual([frames.deflated(joined(text), 15, 0)], packed.written)
        self.assertEqual([(b"c", text)], careful.heard)
        self.assertEqual(3, self.metrics.publications)

    def test_alike_in_number(self) -> None:
        """Two listeners, two publications and two channels are nothing of the kind."""
        both = [self.listener(b"a", b"b") for _ in range(2)]
        self.deliver((b"a", b"1"), (b"a", b"2"), (b"b", b"3"))
        for listener in both:
            self.assertEqual([joined(b"1", b"2", b"3")], listener.written)

    def test_one_raises(self) -> None:
        """A listener that raises costs the others nothing; neither does one that is not direct."""
        for direct in (True, False):
            with self.subTest(direct=direct):
                broken = self.listener(b"b%d" % direct, direct=direct)
                broken.react = fail
                others = [self.listener(b"a%d" % direct), self.listener(b"c%d" % direct)]
                self.deliver(*((b"%c%d" % (name, direct), b"1") for name in b"abc"))
                for each in others:
                    self.assertEqual([joined(b"1")], each.written)
                self.assertEqual(["this connection is broken"], self.flushed())


class CompressTests(_HubCase):
    """Listeners that can inflate get frames that are deflated, others do not."""

    threshold = 100
    one, two, small = b"1" * 200, b"2" * 300, b"small"

    def deflated(self, *payloads: bytes, window: int) -> bytes:
        """Return the bytes that a listener with a window gets for these payloads."""
        return b"".join(
            frames.deflated(frames.message(payload), window, 100) for payload in payloads
        )

    def test_each_gets_its_own(self) -> None:
        """Each listener gets one write, in an encoding that it can read; small ones stay plain."""
        windows = (0, 15, 10, 15, 0)
        listeners = [self.listener(b"a", window=window) for window in windows]
        self.deliver((b"a", self.one), (b"a", self.small), (b"a", self.two))
        for window, listener in zip(windows, listeners, strict=True):
            expected = self.deflated(self.one, self.small, self.two, window=window)
            self.assertEqual([expected], listener.written)
        self.assertEqual([self.one, self.small, self.two], self.dialect.encoded)

    def test_made_once(self) -> None:
        """Those with the same window share the bytes, and nobody else's window costs anything."""
        first, second = (self.listener(b"a", window=15) for _ in range(2))
        self.listener(b"b", window=9)
        held = self.listener(b"a", direct=False)
        self.deliver((b"a", self.one))
        self.assertIs(first.written[0], second.written[0])
        self.assertEqual(2, len(held.items[0]))

    def test_made_once_for_all_sets_of_channels(self) -> None:
        """Also where its listeners are on different sets of channels."""
        alone = self.listener(b"a", window=15)
        both = self.listener(b"a", b"b", window=15, direct=False)
        self.deliver((b"b", self.two), (b"a", self.one))
        self.assertEqual([self.deflated(self.one, window=15)], alone.written)
        self.assertEqual([self.two, self.one], [payload for _, payload in both.heard])
        self.assertIs(alone.written[0], both.items[1][both.encoding])

    def test_not_direct(self) -> None:
        """Items carry the frame that their listener can read."""
        listener = self.listener(b"a", direct=False, window=10)
        self.deliver((b"a", self.one), (b"a", self.small))
        self.assertEqual(
            [self.deflated(self.one, window=10), frames.message(self.small)],
            [item[listener.encoding] for item in listener.items],
        )

    def test_restored(self) -> None:
        """So do stored messages of an outage."""
        plain, deflating = self.listener(b"a"), self.listener(b"a", window=15)
        self.hub.restore({b"a": self.one})
        self.assertEqual(frames.message(self.one), plain.restored[0][plain.encoding])
        self.assertEqual(
            self.deflated(self.one, window=15), deflating.restored[0][deflating.encoding]
        )


class BrokenDialectTests(_HubCase):
    """A dialect that cannot encode a publication."""

    def broken_at(self, *windows: int) -> None:
        """Deliver a publication that cannot be encoded, and one that can."""

        class Broken(PlainDialect):
            def encode(self, publication: Publication) -> bytes:
                if publication.payload == b"bad":
                    raise RuntimeError("this cannot be encoded")
                return publication.payload

        self.dialect = Broken()  # type: ignore[assignment]
        listeners = [self.listener(b"a", window=window) for window in windows]
        self.deliver((b"a", b"bad"))
        self.deliver((b"a", b"good"))
        for listener in listeners:
            self.assertEqual([frames.message(b"good")], listener.written)

    def test_one_encoding(self) -> None:
        """The publication is logged and lost; the broker and the next publication are not."""
        self.broken_at(0, 0)
        self.assertEqual(["this cannot be encoded"], self.flushed())

    def test_several_encodings(self) -> None:
        """The same holds if clients differ."""
        self.broken_at(0, 15)
        self.assertEqual(["this cannot be encoded"] * 2, self.flushed())


class _Wire(FakeOwner):
    """A listener behind a real send queue on a socket that the test controls."""

    def __init__(self, channels: Sequence[bytes], encoding: Encoding) -> None:
        super().__init__()
        self.socket = FakeSocket()
        self.server = ServerTransport(self.socket)
        self.queue = SendQueue(self.server.transport, 1 << 20, self, queued_bytes(), self.socket)
        self.direct: Sink | None = self.queue
        self.channels = channels
        self.encoding = encoding
        self.heard: list[bytes] = []

    def deliver(self, items: Sequence[Publication]) -> None:
        """Note the payloads."""
        self.heard += [item.payload for item in items]

    def restore(self, item: Publication) -> None:
        """Not used."""

    def forbid(self) -> None:
        """Not used."""

    def close(self) -> None:
        """Send a close frame as the transport does: nothing is delivered after it."""
        self.direct = None
        self.queue.write(b"(close)")
        self.queue.close()


class SinkTests(_HubCase):
    """Listeners whose kernel takes everything, a part, or nothing."""

    def wire(self, *channels: bytes) -> _Wire:
        """A listener that is subscribed."""
        wire = _Wire(channels, self.encodings[self.dialect, 0])
        self.successResultOf(self.hub.subscribe(wire))
        return wire

    def unblock(self, wire: _Wire) -> bytes:
        """Let the client read everything, and return all that it read."""
        wire.socket.room = 1 << 40
        wire.server.run()
        return bytes(wire.socket.sent)

    def check(self, broken: _Wire, *, gets: tuple[bytes, ...]) -> None:
        """Deliver three messages, of which two come while *broken* takes less than it is sent."""
        first, last = self.wire(b"a"), self.wire(b"a")
        self.deliver((b"a", b"1"))
        self.deliver((b"a", b"2"), (b"a", b"3"))
        for wire in (first, last):
            self.assertEqual(joined(b"1", b"2", b"3"), bytes(wire.socket.sent))
        self.assertEqual(joined(*gets), self.unblock(broken))

    def test_partly_sent(self) -> None:
        """A message of which the kernel took a part is finished before the next one."""
        wire = self.wire(b"a")
        wire.socket.room = 2
        self.check(wire, gets=(b"1", b"2", b"3"))

    def test_full(self) -> None:
        """A kernel that takes nothing costs nobody anything."""
        wire = self.wire(b"a")
        wire.socket.room = 0
        self.check(wire, gets=(b"1", b"2", b"3"))

    def test_broken(self) -> None:
        """A socket that is broken costs the others nothing."""
        wire = self.wire(b"a")
        wire.socket.error = BrokenPipeError(errno.EPIPE, "Broken pipe")
        self.check(wire, gets=())

    def test_sliced_and_mixed(self) -> None:
        """A listener on several channels, among others with another encoding, keeps its order."""
        wire = self.wire(b"a", b"b")
        self.listener(b"a", window=15)
        for room in (3, 0, 1, 1 << 40):
            wire.socket.room = room
            self.deliver((b"b", b"first"), (b"a", b"second"))
            self.deliver((b"a", b"third"))
        self.assertEqual(joined(*(b"first", b"second", b"third") * 4), self.unblock(wire))

    def test_closed_by_another(self) -> None:
        """One that is closed during a fan-out gets its close frame, and nothing after it."""
        first = self.listener(b"a")
        for room in (1 << 40, 3, 0):
            wire = self.wire(b"a")
            self.deliver((b"a", b"1"))
            wire.socket.room = room
            self.deliver((b"a", b"2"))
            first.react = wire.close
            self.deliver((b"a", b"3"))
            first.react = bool
            self.deliver((b"a", b"4"))
            self.assertEqual(joined(b"1", b"2") + b"(close)", self.unblock(wire))
            self.assertEqual([b"3", b"4"], wire.heard)
            self.hub.unsubscribe(wire)


class HostileListenerTests(_HubCase):
    """Listeners that fail, leave or come during a delivery."""

    def test_one_raises(self) -> None:
        """A listener that raises costs the others nothing, and the log says so."""
        first, broken, last = (self.listener(b"a") for _ in range(3))
        broken.react = fail
        self.deliver((b"a", b"1"))
        self.assertEqual([joined(b"1")], first.written)
        self.assertEqual([joined(b"1")], last.written)
        self.assertEqual(["this connection is broken"], self.flushed())

    def test_one_raises_in_a_mixed_batch(self) -> None:
        """The same holds for listeners on several channels and for those that are not direct."""
        broken = self.listener(b"a", b"b", direct=False)
        broken.react = fail
        others = [self.listener(b"a", b"b"), self.listener(b"a"), self.listener(b"b")]
        self.deliver((b"a", b"1"), (b"b", b"2"))
        wires = [joined(b"1", b"2"), joined(b"1"), joined(b"2")]
        self.assertEqual([[wire] for wire in wires], [each.written for each in others])
        self.assertEqual(1, len(self.flushed()))

    def test_one_leaves(self) -> None:
        """A listener may leave during a delivery."""
        leaving, other = self.listener(b"a"), self.listener(b"a")
        leaving.react = lambda: self.hub.unsubscribe(leaving)
        self.deliver((b"a", b"1"))
        self.deliver((b"a", b"2"))
        self.assertEqual([joined(b"1")], leaving.written)
        self.assertEqual([joined(b"1"), joined(b"2")], other.written)

    def test_one_leaves_in_a_mixed_batch(self) -> None:
        """A listener on several channels may leave in the middle of a batch."""
        leaving, other = self.listener(b"a", b"b"), self.listener(b"a", b"c")
        leaving.react = lambda: self.hub.unsubscribe(leaving)
        self.deliver((b"a", b"1"), (b"b", b"2"), (b"c", b"3"))
        self.assertEqual([joined(b"1", b"2")], leaving.written)
        self.assertEqual([joined(b"1", b"3")], other.written)
        self.assertEqual(2, len(self.hub))

    def test_one_sends_away_the_last_of_another_channel(self) -> None:
        """A listener may make a channel vanish that is still to be fanned out."""
        first, victim, last = self.listener(b"a"), self.listener(b"b"), self.listener(b"c")
        first.react = lambda: self.hub.unsubscribe(victim)
        self.deliver((b"a", b"1"), (b"b", b"2"), (b"c", b"3"))
        self.assertEqual([joined(b"1")], first.written)
        self.assertEqual([joined(b"3")], last.written)
        self.deliver((b"b", b"4"), (b"c", b"5"))
        self.assertEqual(joined(b"5"), last.written[-1])
        self.assertNotIn(joined(b"4"), victim.written)

    def test_one_comes(self) -> None:
        """A listener that comes during a fan-out hears what follows."""
        first = self.listener(b"a")
        late = FakeListener(b"a")

        def admit() -> None:
            first.react = bool
            self.successResultOf(self.hub.subscribe(late))

        first.react = admit
        self.deliver((b"a", b"1"))
        self.assertEqual([], late.written)
        self.deliver((b"a", b"2"))
        self.assertEqual([joined(b"2")], late.written)


class RestoreTests(_HubCase):
    """After an outage: messages that differ from the last one seen."""

    def restored(self, listener: FakeListener, **values: bytes) -> list[bytes]:
        """The payloads that *listener* is given when the broker comes back with *values*."""
        listener.restored.clear()
        self.hub.restore({name.encode(): payload for name, payload in values.items()})
        return [item.payload for item in listener.restored]

    def test_never_saw_anything(self) -> None:
        """A listener that saw nothing gets the stored message."""
        self.assertEqual([b"x"], self.restored(self.listener(b"a"), a=b"x"))

    def test_whole_item(self) -> None:
        """A listener is handed a publication with channel and payload."""
        listener = self.listener(b"a")
        self.hub.restore({b"a": b"x"})
        (restored,) = listener.restored
        self.assertEqual((b"a", b"x"), (restored.channel, restored.payload))

    def test_shared(self) -> None:
        """A large stored message is one object as long as somebody hears its channel."""
        self.hub = Hub(self.broker, 5000, self.metrics)
        self.broker.start(self.hub)
        listener = self.listener(b"a")

        def given() -> Publication:
            (publication,) = self.hub.without_oversized({b"a": bytes(bytearray(4500))})
            return publication

        first = given()
        self.assertIs(first, given())
        self.hub.unsubscribe(listener)
        self.assertIsNot(first, given())

    def test_saw_the_same(self) -> None:
        """A listener that saw that very message last gets nothing."""
        listener = self.listener(b"a")
        self.deliver((b"a", b"old"), (b"a", b"x"))
        self.assertEqual([], self.restored(listener, a=b"x"))

    def test_saw_it_earlier(self) -> None:
        """A listener that saw that message before the last one gets it: the state went back."""
        listener = self.listener(b"a")
        self.deliver((b"a", b"x"), (b"a", b"new"))
        self.assertEqual([b"x"], self.restored(listener, a=b"x"))

    def test_was_given_the_stored_one(self) -> None:
        """A listener that was given the stored message gets nothing, unless it is another now."""
        listener = self.listener(b"a")
        self.hub.mark_stored(listener, Publication(b"a", b"x"))
        self.assertEqual([], self.restored(listener, a=b"x"))
        other = self.listener(b"a")
        self.hub.mark_stored(other, Publication(b"a", b"x"))
        self.assertEqual([b"y"], self.restored(other, a=b"y"))

    def test_live_after_the_stored_one(self) -> None:
        """A live message counts more than the stored one that came before it."""
        listener = self.listener(b"a")
        self.hub.mark_stored(listener, Publication(b"a", b"x"))
        self.deliver((b"a", b"y"))
        self.assertEqual([], self.restored(listener, a=b"y"))
        self.assertEqual([b"x"], self.restored(listener, a=b"x"))

    def test_joined_later(self) -> None:
        """A listener did not see the messages that the channel delivered before it came."""
        early = self.listener(b"a")
        self.deliver((b"a", b"x"))
        late = self.listener(b"a")
        given = self.listener(b"a")
        self.hub.mark_stored(given, Publication(b"a", b"x"))
        self.hub.restore({b"a": b"x"})
        self.assertEqual([0, 1, 0], [len(each.restored) for each in (early, late, given)])

    def test_joined_later_and_saw_more(self) -> None:
        """Listeners that came at different times agree as soon as they heard the same."""
        listeners = [self.listener(b"a")]
        for payload in (b"1", b"2", b"x"):
            self.deliver((b"a", payload))
            listeners.append(self.listener(b"a"))
        self.hub.restore({b"a": b"x"})
        self.assertEqual([0, 0, 0, 1], [len(each.restored) for each in listeners])

    def test_two_outages(self) -> None:
        """A message that was restored once counts as seen; a second outage brings only news."""
        listener = self.listener(b"a")
        self.assertEqual([b"x"], self.restored(listener, a=b"x"))
        self.assertEqual([], self.restored(listener, a=b"x"))
        self.assertEqual([b"y"], self.restored(listener, a=b"y"))
        self.assertEqual([b"x"], self.restored(listener, a=b"x"))

    def test_joined_between_two_outages(self) -> None:
        """A listener that came after the first outage saw nothing of it."""
        early = self.listener(b"a")
        self.hub.restore({b"a": b"x"})
        late = self.listener(b"a")
        self.hub.restore({b"a": b"x"})
        self.assertEqual([1, 1], [len(each.restored) for each in (early, late)])

    def test_each_channel_by_itself(self) -> None:
        """A message seen on one channel says nothing about another."""
        listener = self.listener(b"a", b"b")
        self.deliver((b"a", b"x"))
        self.assertEqual([b"x"], self.restored(listener, a=b"x", b=b"x"))
        self.assertEqual(b"b", listener.restored[0].channel)

    def test_unknown_and_empty(self) -> None:
        """Channels without a listener, and empty values, are nothing to restore."""
        listener = self.listener(b"a")
        self.assertEqual([], self.restored(listener, a=b"", z=b"x"))
        self.assertEqual([], self.dialect.encoded)

    def test_empty_publication_is_not_seen(self) -> None:
        """An empty publication does not count as the last one seen."""
        listener = self.listener(b"a")
        self.deliver((b"a", b"x"), (b"a", b""))
        self.assertEqual([], self.restored(listener, a=b"x"))

    def test_too_large(self) -> None:
        """A stored message beyond the limit is left out like a live one."""
        listener = self.listener(b"a")
        self.assertEqual([], self.restored(listener, a=b"x" * 1001))
        self.assertEqual(1, self.metrics.oversized)

    def test_as_large_as_allowed(self) -> None:
        """A stored message of exactly the limit is handed over like a live one."""
        listener = self.listener(b"a")
        self.assertEqual([b"x" * 1000], self.restored(listener, a=b"x" * 1000))
        self.assertEqual(0, self.metrics.oversized)

    def test_left_and_came_back(self) -> None:
        """A channel that everybody left starts anew."""
        listener = self.listener(b"a")
        self.deliver((b"a", b"x"))
        self.hub.unsubscribe(listener)
        self.successResultOf(self.hub.subscribe(listener))
        self.assertEqual([b"x"], self.restored(listener, a=b"x"))

    def test_one_raises(self) -> None:
        """A listener that raises costs the others nothing."""
        first, broken, last = (self.listener(b"a") for _ in range(3))
        broken.react = fail
        self.hub.restore({b"a": b"x"})
        self.assertEqual([1, 1], [len(each.restored) for each in (first, last)])
        self.assertEqual(1, len(self.flushed()))

    def test_all_leave(self) -> None:
        """Listeners may leave, and channels vanish, while messages are restored."""
        first, second = self.listener(b"a"), self.listener(b"b")

        def leave() -> None:
            self.hub.unsubscribe(first)
            self.hub.unsubscribe(second)

        first.react = leave
        self.hub.restore({b"a": b"x", b"b": b"y"})
        self.assertEqual([], second.restored)
        self.assertEqual(0, len(self.hub))


class GapTests(_HubCase):
    """Times in which publications may have been lost."""

    def test_reported(self) -> None:
        """A loss of the link is counted, and told to those who watch, after the stored message."""
        listener = self.listener(b"a")
        heard: list[tuple[Gap, list[bytes]]] = []
        self.hub.gaps.watch(
            lambda gap: heard.append((gap, [each.payload for each in listener.restored]))
        )
        self.broker.disconnect()
        self.broker.server.store(b"a", 10, b"missed")
        self.broker.connect()
        self.assertEqual([(Gap(1, 0.0, 1), [b"missed"])], heard)
        self.assertEqual(1, self.metrics.generation)


class ForbidTests(_HubCase):
    """A channel that the broker refuses from now on."""

    def test_notified(self) -> None:
        """The listeners of the channel are notified, and nobody else."""
        first, second, other = self.listener(b"a", b"b"), self.listener(b"b"), self.listener(b"a")
        self.hub.forbid(b"b")
        self.hub.forbid(b"unknown")
        self.assertEqual([1, 1, 0], [each.forbidden for each in (first, second, other)])

    def test_notified_and_gone(self) -> None:
        """A listener may leave when it is notified."""
        listeners = [self.listener(b"a") for _ in range(3)]
        for each in listeners:
            each.react = lambda each=each: self.hub.unsubscribe(each)
        self.hub.forbid(b"a")
        self.assertEqual([1, 1, 1], [each.forbidden for each in listeners])
        self.assertEqual(0, len(self.hub))


class SliceTests(_HubCase):
    """A channel with very many listeners is served in slices."""

    def setUp(self) -> None:
        """A hub with a reactor that waits to be turned."""
        super().setUp()
        self.turns: list[Callable[[], None]] = []
        self.hub = Hub(self.broker, 1000, self.metrics, later=self.turns.append)
        self.broker.stop()
        self.broker = _RecordingBroker()
        self.hub.broker = self.broker
        self.broker.start(self.hub)

    def turn(self, count: int = 1) -> None:
        """Let the reactor turn."""
        for _ in range(count):
            self.turns.pop(0)()

    def crowd(self, size: int, *channels: bytes) -> list[FakeListener]:
        """Many listeners."""
        return [self.listener(*(channels or (b"many",))) for _ in range(size)]

    def served(self, listeners: list[FakeListener]) -> int:
        """How many of them have got something."""
        return sum(bool(each.written) for each in listeners)

    def test_small(self) -> None:
        """A thousand are served at once."""
        crowd = self.crowd(1000)
        self.deliver((b"many", b"x"))
        self.assertEqual(1000, self.served(crowd))
        self.assertEqual([], self.turns)

    def test_large(self) -> None:
        """More than that are served a thousand at a turn, each once."""
        crowd = self.crowd(2500)
        self.deliver((b"many", b"x"), (b"many", b"y"))
        counts = []
        while self.turns:
            self.turn()
            counts.append(self.served(crowd))
        self.assertEqual([1000, 2000, 2500], counts[:3])
        self.assertEqual([[joined(b"x", b"y")]] * 2500, [each.written for each in crowd])

    def test_order(self) -> None:
        """A later publication waits its turn, also on other channels and for other listeners."""
        crowd = self.crowd(1500)
        both = self.listener(b"many", b"few")
        few = self.listener(b"few")
        self.deliver((b"many", b"1"))
        self.deliver((b"few", b"2"))
        self.deliver((b"few", b"3"), (b"many", b"4"))
        self.assertEqual([], few.written)
        while self.turns:
            self.turn()
        self.assertEqual([joined(b"2"), joined(b"3")], few.written)
        self.assertEqual([joined(b"1"), joined(b"2"), joined(b"3", b"4")], both.written)
        self.assertEqual([joined(b"1"), joined(b"4")], crowd[-1].written)

    def test_broker_is_held(self) -> None:
        """The broker brings nothing more until the last one has its turn."""
        few = self.listener(b"few")
        self.crowd(1500)
        self.deliver((b"many", b"1"))
        self.broker.server.publish(b"few", b"2")
        self.turn(2)
        self.assertEqual([], few.written)
        self.turn()
        self.assertEqual([joined(b"2")], few.written)
        self.assertEqual([], self.turns)

    def test_left_meanwhile(self) -> None:
        """One that comes after the publication does not get it; one that left gets it once."""
        crowd = self.crowd(1500)
        self.deliver((b"many", b"1"))
        late = self.listener(b"many")
        self.hub.unsubscribe(crowd[-1])
        self.turn(3)
        self.assertEqual([], late.written)
        self.assertEqual(1500, self.served(crowd))

    def test_restored_behind(self) -> None:
        """Stored messages of an outage do not overtake what waits."""
        crowd = self.crowd(1500)
        self.deliver((b"many", b"1"))
        self.hub.restore({b"many": b"2"})
        self.assertEqual([joined(b"1")], crowd[-1].written)
        self.assertEqual([b"2"], [item.payload for item in crowd[-1].restored])
        self.turn()
        self.assertEqual([joined(b"1")], crowd[-1].written)


class FreshTests(_HubCase):
    """Whether a listener was given something on a channel already."""

    def test_nothing_yet(self) -> None:
        """A listener is fresh on each of its channels until something comes there."""
        listener = self.listener(b"a", b"b")
        self.assertTrue(self.hub.is_fresh(listener, b"a"))
        self.broker.server.publish(b"a", b"text")
        self.assertFalse(self.hub.is_fresh(listener, b"a"))
        self.assertTrue(self.hub.is_fresh(listener, b"b"))

    def test_stored(self) -> None:
        """A stored message counts, be it from the handshake or after an outage."""
        first, second = self.listener(b"a"), self.listener(b"a")
        self.hub.mark_stored(first, Publication(b"a", b"text"))
        self.assertFalse(self.hub.is_fresh(first, b"a"))
        self.assertTrue(self.hub.is_fresh(second, b"a"))
        self.hub.restore({b"a": b"new"})
        self.assertFalse(self.hub.is_fresh(second, b"a"))

    def test_latecomer(self) -> None:
        """Publications that came before a listener were not given to it."""
        self.listener(b"a")
        self.broker.server.publish(b"a", b"text")
        self.assertTrue(self.hub.is_fresh(self.listener(b"a"), b"a"))
