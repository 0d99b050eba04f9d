"""Tests for `wsredis.brokers.memory`; the contract suite has the promises that Redis shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import publish
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.broker import Broker
from wsredis.gateway.gap import Gap
from wsredis.gateway.publication import Publication


class _Listener:
    """A listener that keeps its calls."""

    def __init__(self) -> None:
        self.batches: list[list[tuple[bytes, bytes]]] = []
        self.restored: list[dict[bytes, bytes]] = []
        self.forbidden: list[bytes] = []
        self.gaps: list[Gap] = []

    def deliver(self, batch: Sequence[Publication]) -> None:
        """See `wsredis.gateway.broker.BrokerListener`."""
        self.batches.append([(each.channel, each.payload) for each in batch])

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        """See `wsredis.gateway.broker.BrokerListener`."""
        self.restored.append(dict(stored))

    def gap(self, gap: Gap) -> None:
        """See `wsredis.gateway.broker.BrokerListener`."""
        self.gaps.append(gap)

    def forbid(self, channel: bytes) -> None:
        """See `wsredis.gateway.broker.BrokerListener`."""
        self.forbidden.append(channel)


class ServerTests(SynchronousTestCase):
    """The server: values that last for a time."""

    def setUp(self) -> None:
        """Make one."""
        self.clock = Clock()
        self.server = MemoryServer(self.clock)

    def test_expire(self) -> None:
        """A value lasts as long as was said, and each one anew."""
        self.server.store(b"a", 10, b"1")
        self.clock.advance(9)
        self.assertEqual(b"1", self.server.value(b"a"))
        self.server.store(b"a", 10, b"2")
        self.clock.advance(9)
        self.assertEqual(b"2", self.server.value(b"a"))
        self.clock.advance(1)
        self.assertIsNone(self.server.value(b"a"))

    def test_missing(self) -> None:
        """A value that was never stored is not there."""
        self.assertIsNone(self.server.value(b"a"))

    def test_full(self) -> None:
        """A server that does not store keeps its old values."""
        self.server.store(b"a", 10, b"1")
        self.server.storing = False
        self.server.store(b"a", 10, b"2")
        self.assertEqual(b"1", self.server.value(b"a"))

    def test_detach_twice(self) -> None:
        """A broker that is not attached can be detached."""
        broker = MemoryBroker(self.server)
        self.server.detach(broker)
        self.server.attach(broker)
        self.server.detach(broker)
        self.server.detach(broker)
        self.server.publish(b"a", b"1")


class BrokerTests(SynchronousTestCase):
    """The broker: the port of `wsredis.gateway.broker` in its simplest form."""

    def setUp(self) -> None:
        """Start one."""
        self.clock = Clock()
        self.server = MemoryServer(self.clock)
        self.listener = _Listener()
        self.broker = MemoryBroker(self.server, 10)
        self.broker.start(self.listener)

    def wanted(self, *channels: bytes) -> None:
        """Want *channels*."""
        self.successResultOf(self.broker.subscribe(channels))

    def test_is_a_broker(self) -> None:
        """Type checkers take it for a broker, and so does the rest."""
        broker: Broker = self.broker
        self.assertTrue(broker.up)

    def test_delivers_what_is_wanted(self) -> None:
        """Publications on wanted channels are delivered, each in a batch of its own."""
        self.wanted(b"a", b"b")
        for channel, payload in ((b"a", b"1"), (b"x", b"2"), (b"b", b"3")):
            self.server.publish(channel, payload)
        self.assertEqual([[(b"a", b"1")], [(b"b", b"3")]], self.listener.batches)

    def test_wanted_twice(self) -> None:
        """Wanting a channel again is free; unwanting ends it, known or not."""
        self.wanted(b"a")
        self.wanted(b"a")
        self.server.publish(b"a", b"1")
        self.broker.unsubscribe([b"a", b"unknown"])
        self.server.publish(b"a", b"2")
        self.assertEqual([[(b"a", b"1")]], self.listener.batches)

    def test_publish(self) -> None:
        """Publishing stores first, then tells all brokers of the server, its own, too."""
        other, listener = MemoryBroker(self.server), _Listener()
        other.start(listener)
        self.wanted(b"a")
        self.successResultOf(other.subscribe([b"b"]))
        self.successResultOf(publish(self.broker, [b"a", b"b"], b"1"))
        self.assertEqual([[(b"a", b"1")]], self.listener.batches)
        self.assertEqual([[(b"b", b"1")]], listener.batches)
        self.assertEqual({b"a": b"1", b"b": b"1"}, self.fetched(b"a", b"b"))

    def fetched(self, *channels: bytes) -> dict[bytes, bytes]:
        """The stored messages of *channels*."""
        return self.successResultOf(self.broker.fetch(channels))

    def test_expire(self) -> None:
        """A stored message expires in time; with 0 seconds nothing is stored."""
        self.successResultOf(publish(self.broker, [b"a"], b"1"))
        self.clock.advance(10)
        self.assertEqual({}, self.fetched(b"a"))
        forgetful = MemoryBroker(self.server, 0)
        forgetful.start(self.listener)
        self.successResultOf(publish(forgetful, [b"a"], b"1"))
        self.assertEqual({}, self.fetched(b"a"))

    def test_empty(self) -> None:
        """An empty message clears the stored one."""
        self.successResultOf(publish(self.broker, [b"a"], b"1"))
        self.successResultOf(publish(self.broker, [b"a"], b""))
        self.assertEqual({}, self.fetched(b"a", b"b"))

    def test_not_storing(self) -> None:
        """A server that does not store still publishes."""
        self.wanted(b"a")
        self.server.storing = False
        self.successResultOf(publish(self.broker, [b"a"], b"1"))
        self.assertEqual([[(b"a", b"1")]], self.listener.batches)
        self.assertEqual({}, self.fetched(b"a"))

    def test_down(self) -> None:
        """Without a link everything fails, but wanted channels stay wanted."""
        self.broker.disconnect()
        self.assertFalse(self.broker.up)
        self.failureResultOf(self.broker.subscribe([b"a"]), BrokerUnavailable)
        self.failureResultOf(publish(self.broker, [b"a"], b"1"), BrokerUnavailable)
        self.failureResultOf(self.broker.fetch([b"a"]), BrokerUnavailable)
        self.server.publish(b"a", b"lost")
        self.broker.connect()
        self.server.publish(b"a", b"2")
        self.assertEqual([[(b"a", b"2")]], self.listener.batches)

    def test_restore(self) -> None:
        """When the link is back, the listener gets the stored messages of its channels."""
        self.assertEqual([], self.listener.restored)
        self.wanted(b"a", b"b", b"c")
        self.broker.disconnect()
        self.server.store(b"a", 10, b"1")
        self.server.store(b"b", 10, b"")
        self.server.store(b"x", 10, b"2")
        self.broker.connect()
        self.assertEqual([{b"a": b"1"}], self.listener.restored)

    def test_gap(self) -> None:
        """Each loss of the link is a gap: its number, its time and the channels."""
        self.wanted(b"a", b"b")
        for _ in range(2):
            self.broker.disconnect()
            self.broker.disconnect()
            self.clock.advance(3)
            self.broker.connect()
        self.assertEqual([Gap(1, 3.0, 2), Gap(2, 3.0, 2)], self.listener.gaps)

    def test_forbidden(self) -> None:
        """A channel that the server forbids is refused, and the others of the same call are not."""
        self.server.forbidden.add(b"a")
        self.failureResultOf(self.broker.subscribe([b"a", b"b"]), PermissionDenied)
        self.assertEqual([], self.listener.forbidden)
        self.failureResultOf(publish(self.broker, [b"b", b"a"], b"1"), PermissionDenied)
        # As with Redis, the other channel is wanted and published on, and storing is another right.
        self.assertEqual([[(b"b", b"1")]], self.listener.batches)
        self.assertEqual({b"a": b"1", b"b": b"1"}, self.fetched(b"a", b"b"))

    def test_forbidden_later(self) -> None:
        """A channel that is forbidden when the link is back is reported and dropped."""
        self.wanted(b"a", b"b")
        self.broker.disconnect()
        self.server.forbidden.add(b"a")
        self.broker.connect()
        self.assertEqual([b"a"], self.listener.forbidden)
        self.server.publish(b"a", b"1")
        self.server.publish(b"b", b"2")
        self.assertEqual([[(b"b", b"2")]], self.listener.batches)

    def test_stop(self) -> None:
        """A broker that was stopped tells nothing, whatever happens."""
        self.wanted(b"a")
        self.successResultOf(self.broker.stop())
        self.assertFalse(self.broker.up)
        self.server.publish(b"a", b"1")
        self.broker.arrived(b"a", b"1")
        self.broker.connect()
        self.assertEqual(([], []), (self.listener.batches, self.listener.restored))
        self.assertEqual([], self.listener.gaps)


class PauseTests(SynchronousTestCase):
    """A pause keeps everything back, in order, and the link may be lost meanwhile."""

    def setUp(self) -> None:
        """Start a broker that is subscribed to one channel, and pause it."""
        self.server = MemoryServer(Clock())
        self.broker = MemoryBroker(self.server)
        self.listener = _Listener()
        self.broker.start(self.listener)
        self.successResultOf(self.broker.subscribe([b"a"]))
        self.broker.pause()

    def test_order(self) -> None:
        """Publications and stored messages wait, and come in order."""
        self.server.publish(b"a", b"1")
        self.server.store(b"a", 10, b"stored")
        fetched = self.broker.fetch([b"a"])
        self.server.publish(b"a", b"2")
        self.assertNoResult(fetched)
        self.assertEqual([], self.listener.batches)
        fetched.addCallback(lambda _: self.assertEqual([[(b"a", b"1")]], self.listener.batches))
        self.broker.resume()
        self.successResultOf(fetched)
        self.assertEqual([[(b"a", b"1")], [(b"a", b"2")]], self.listener.batches)
        self.server.publish(b"a", b"3")
        self.assertEqual(3, len(self.listener.batches))

    def test_paused_again(self) -> None:
        """A listener that pauses again gets the rest after the next resume."""
        for payload in (b"1", b"2"):
            self.server.publish(b"a", payload)
        deliver = self.listener.deliver

        def pause(batch: Sequence[Publication]) -> None:
            deliver(batch)
            self.broker.pause()

        self.listener.deliver = pause  # type: ignore[method-assign]
        self.broker.resume()
        self.assertEqual([[(b"a", b"1")]], self.listener.batches)
        self.broker.resume()
        self.assertEqual([[(b"a", b"1")], [(b"a", b"2")]], self.listener.batches)

    def test_lost(self) -> None:
        """Publications and answers that wait for the end of a pause are lost with the link."""
        self.server.publish(b"a", b"1")
        fetched = self.broker.fetch([b"a"])
        cancelled = self.broker.fetch([b"a"])
        cancelled.addErrback(lambda _: None)
        cancelled.cancel()
        self.broker.disconnect()
        self.failureResultOf(fetched, BrokerUnavailable)
        self.broker.connect()
        self.assertEqual([], self.listener.gaps)
        self.broker.resume()
        self.assertEqual([], self.listener.batches)
        self.assertEqual([1], [gap.generation for gap in self.listener.gaps])

    def test_cancelled(self) -> None:
        """A fetch that nobody waits for any more is dropped."""
        fetched = self.broker.fetch([b"a"])
        fetched.addErrback(lambda _: None)
        fetched.cancel()
        self.broker.resume()
        self.broker.disconnect()

    def test_heard(self) -> None:
        """The server knows how many brokers have subscribed to a channel."""
        other = MemoryBroker(self.server)
        other.start(_Listener())
        self.assertEqual((1, 0), (self.server.publish(b"a", b"1"), self.server.publish(b"b", b"1")))
        self.successResultOf(other.subscribe([b"a", b"b"]))
        self.assertEqual((2, 1), (self.server.publish(b"a", b"2"), self.server.publish(b"b", b"2")))
