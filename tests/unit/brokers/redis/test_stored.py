"""Tests of stored messages: their keys, and what clients may store."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.stored import StoredKeys, StoredSettings, is_of_application
from wsredis.gateway.metrics import Metrics


class _Publisher:
    """See `wsredis.gateway.broker.PublishWaiter`."""

    def __init__(self, origin: str) -> None:
        self.origin = origin

    def published(self, count: int, size: int) -> None:
        """Not called."""

    def not_published(self, error: Exception, size: int) -> None:
        """Not called."""


class _Case(SynchronousTestCase):
    """The decisions, and a clock."""

    def setUp(self) -> None:
        """With the defaults."""
        self.clock = Clock()
        self.clock.advance(1000)
        self.metrics = Metrics()
        self.keys = self.make()
        self.one, self.two = _Publisher("192.0.2.1"), _Publisher("192.0.2.2")

    def make(self, **settings: Any) -> StoredKeys:
        """With other settings."""
        return StoredKeys(self.clock, StoredSettings(**settings), self.metrics)


class NameTests(_Case):
    """The name of a key, and whose it may be."""

    def test_name_of_the_channel(self) -> None:
        """By default the key has the name of the channel."""
        self.assertEqual(b"broadcast:news", self.keys.key(b"broadcast:news"))

    def test_name_of_its_own(self) -> None:
        """With a prefix it has another one, and nothing is asked about it."""
        keys = self.make(stored_prefix="ws", prefix="shop")
        self.assertEqual(b"ws:shop:user:ann:f", keys.key(b"shop:user:ann:f"))
        self.assertFalse(keys.must_be_checked(b"shop:user:ann:f"))
        self.assertFalse(keys.is_foreign(b"shop:user:ann:f"))

    def test_guarded(self) -> None:
        """The channels of a user, a group and a session are guarded, with their prefix."""
        keys = self.make(prefix="shop")
        for audience in (b"user", b"group", b"session"):
            self.assertTrue(keys.is_guarded(b"shop:%b:x:f" % audience))
            self.assertFalse(keys.is_guarded(b"%b:x:f" % audience))
            self.assertTrue(self.keys.is_guarded(b"%b:x:f" % audience))
        self.assertFalse(self.keys.is_guarded(b"broadcast:user:x"))

    def test_nothing_is_stored(self) -> None:
        """Where nothing is stored, nothing is asked."""
        self.assertFalse(self.make(expire=0).must_be_checked(b"user:ann:f"))

    def test_application(self) -> None:
        """A key without an end or of another type; an answer that says nothing is no proof."""
        refusal = ValueError("NOPERM")
        for ttl, kind in ((-1, b"string"), (-1, None), (60, b"hash"), (refusal, b"set")):
            self.assertTrue(is_of_application(ttl, kind), (ttl, kind))
        for ttl, kind in ((60, b"string"), (-2, b"none"), (refusal, refusal), (60, None)):
            self.assertFalse(is_of_application(ttl, kind), (ttl, kind))

    def test_checked(self) -> None:
        """An answer counts for some seconds; until there is one, the key is not touched."""
        name = b"user:ann:f"
        self.assertTrue(self.keys.must_be_checked(name))
        self.assertTrue(self.keys.is_foreign(name))
        self.keys.checked(name, -2, b"none")
        self.assertFalse(self.keys.must_be_checked(name))
        self.assertFalse(self.keys.is_foreign(name))
        self.clock.advance(11)
        self.assertTrue(self.keys.must_be_checked(name))

    def test_bounded(self) -> None:
        """Not more than a number of channels are remembered, and no name."""
        for number in range(70000):
            self.keys.checked(b"user:u%d:f" % number, -2, b"none")
        self.assertLess(len(self.keys._checked), 65537)


class RateTests(_Case):
    """What one publisher may store."""

    def test_burst_and_rate(self) -> None:
        """Some megabytes at once, then so many bytes a second, on different channels."""
        admitted = sum(
            self.keys.admits(self.one, [b"broadcast:f%d" % number], 1048576) for number in range(20)
        )
        self.assertEqual(3, admitted)
        self.clock.advance(30)
        self.assertTrue(self.keys.admits(self.one, [b"broadcast:later"], 1048576))
        self.assertFalse(self.keys.admits(self.one, [b"broadcast:later still"], 2000000))

    def test_others(self) -> None:
        """Another publisher has a rate of its own."""
        for number in range(20):
            self.keys.admits(self.one, [b"broadcast:f%d" % number], 1048576)
        self.assertTrue(self.keys.admits(self.two, [b"broadcast:f"], 1048576))

    def test_same_channel(self) -> None:
        """Messages that replace each other cost nothing, as long as they do not grow."""
        for _ in range(1000):
            self.assertTrue(self.keys.admits(self.one, [b"broadcast:f"], 1000000))
        self.assertTrue(self.keys.admits(self.one, [b"broadcast:f"], 1000001))

    def test_same_channel_later(self) -> None:
        """After a minute they count again: what is kept is bounded by the rate."""
        admitted = 0
        for _ in range(10):
            self.keys.begin_turn()
            for number in range(20):
                admitted += self.keys.admits(self.one, [b"broadcast:f%d" % number], 1000000)
            self.clock.advance(61)
        self.assertLessEqual(admitted, (64 + 610) * 65536 // 1000000)

    def test_nobody(self) -> None:
        """Publishers without an address cannot be told apart, and have no rate."""
        nobody = _Publisher("")
        for number in range(20):
            self.assertTrue(self.keys.admits(nobody, [b"broadcast:f%d" % number], 1048576))

    def test_names_count(self) -> None:
        """Small messages under many names are not free."""
        admitted = sum(
            self.keys.admits(self.one, [b"broadcast:f%d" % number], 1) for number in range(70000)
        )
        self.assertLess(admitted, 40000)

    def test_largest(self) -> None:
        """A message of the allowed size can always be stored by one who has rested."""
        keys = self.make(max_stored=10000000, rate=1000)
        self.assertTrue(keys.admits(self.one, [b"broadcast:f"], 10000000))

    def test_left_out(self) -> None:
        """Each is counted, and logged by rate."""
        with capturedLogs() as events:
            for _ in range(10):
                self.keys.left_out("it is too large", self.one, 5)
            self.keys.stop()
        self.assertEqual(10, self.metrics.unpersisted)
        self.assertEqual(2, len(events))
        self.assertEqual("192.0.2.1", events[0]["origin"])
