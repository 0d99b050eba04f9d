"""Tests for `wsredis.gateway.shares`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.shares import RateLimit, SharedBound, address_key


class AddressKeyTests(SynchronousTestCase):
    """Clients are counted by the part of their address that they cannot choose."""

    def test_keys(self) -> None:
        """IPv6 counts by /64, a mapped address as IPv4; all else stays as it is."""
        for host, key in [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
            ("2001:db8:1:3::9", "2001:db8:1:3::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::1", "::/64"),
            ("", ""),
            ("/run/socket", "/run/socket"),
            ("a:b", "a:b"),
        ]:
            self.assertEqual(address_key(host), key)


class SharedBoundTests(SynchronousTestCase):
    """Places are shared, and no key takes all of them."""

    def take_all(self, bound: SharedBound, key: str) -> int:
        """Take places for *key* until there is none for it."""
        count = 0
        while bound.take(key):
            count += 1
        return count

    def test_one_key(self) -> None:
        """One alone gets two thirds."""
        bound = SharedBound(300)
        self.assertEqual(self.take_all(bound, "a"), 200)
        self.assertEqual(bound.held, 200)
        self.assertFalse(bound.is_full())

    def test_next_key(self) -> None:
        """The next keys find room, each two thirds of what is left."""
        bound = SharedBound(300)
        self.take_all(bound, "a")
        self.assertEqual(self.take_all(bound, "b"), 67)
        self.assertEqual(self.take_all(bound, "c"), 22)

    def test_least(self) -> None:
        """Each key may have a few places in any case, and no more than are free."""
        bound = SharedBound(100, least=8)
        self.assertEqual([self.take_all(bound, key) for key in "abcd"], [67, 22, 8, 3])
        self.assertEqual(self.take_all(SharedBound(4, least=8), "a"), 4)

    def test_full(self) -> None:
        """Each key gets its first place as long as one is free."""
        bound = SharedBound(3)
        self.assertTrue(all(bound.take(key) for key in "abc"))
        self.assertTrue(bound.is_full())
        self.assertFalse(bound.take("d"))

    def test_one_place(self) -> None:
        """A bound of one works."""
        bound = SharedBound(1)
        self.assertEqual(self.take_all(bound, "a"), 1)

    def test_release(self) -> None:
        """A place that was given back is free for anybody, and an idle key costs nothing."""
        bound = SharedBound(4)
        bound.take("a")
        bound.take("a", 2)
        bound.release("a", 3)
        self.assertEqual((bound.held, bound.held_by("a")), (0, 0))
        self.assertEqual(self.take_all(bound, "b"), 3)

    def test_not_held(self) -> None:
        """Nobody gives back what it does not hold."""
        bound = SharedBound(4)
        bound.take("a")
        self.assertRaises(ValueError, bound.release, "a", 2)
        self.assertRaises(ValueError, bound.release, "b")
        self.assertEqual((bound.held, bound.held_by("a")), (1, 1))

    def test_several(self) -> None:
        """Several places are given together or not at all."""
        bound = SharedBound(10)
        self.assertFalse(bound.take("a", 11))
        self.assertTrue(bound.take("a", 6))
        self.assertFalse(bound.take("a", 4))
        self.assertEqual(bound.held, 6)

    def test_nobody(self) -> None:
        """Clients that cannot be told apart share all that is free."""
        bound = SharedBound(9)
        bound.take("a", 3)
        self.assertEqual(self.take_all(bound, ""), 6)

    def test_per_key(self) -> None:
        """A number for each key is in place of its share."""
        bound = SharedBound(10, 8)
        self.assertEqual(self.take_all(bound, "a"), 8)
        self.assertEqual(self.take_all(bound, "b"), 2)

    def test_move(self) -> None:
        """A place of one key may become that of another."""
        bound = SharedBound(3)
        bound.take("a", 2)
        bound.move("a", "b")
        self.assertEqual((2, 1, 1), (bound.held, bound.held_by("a"), bound.held_by("b")))
        self.assertRaises(ValueError, bound.move, "c", "b")
        self.assertEqual((2, 1), (bound.held, bound.held_by("b")))

    def test_add(self) -> None:
        """Places may be taken although there is none."""
        bound = SharedBound(1)
        bound.add("a", 3)
        self.assertTrue(bound.is_full())
        bound.release("a", 2)
        self.assertEqual((bound.held, bound.held_by("a")), (1, 1))


class RateLimitTests(SynchronousTestCase):
    """Work is shared by time."""

    def setUp(self) -> None:
        """Ten a second, twenty at once."""
        self.clock = Clock()
        self.rate = RateLimit(self.clock, 10, 20)

    def test_burst(self) -> None:
        """The burst costs no time, what is beyond it does."""
        self.assertEqual(self.rate.spend("a", 20), 0)
        self.assertAlmostEqual(self.rate.spend("a", 5), 0.5)
        self.assertAlmostEqual(self.rate.wait("a"), 0.5)
        self.assertEqual(self.rate.spend("b", 20), 0)

    def test_time_fills_it(self) -> None:
        """Time pays the debt, and fills the bucket to the burst and not beyond."""
        self.rate.spend("a", 30)
        self.clock.advance(1)
        self.assertEqual(self.rate.wait("a"), 0)
        self.clock.advance(100)
        self.assertEqual(self.rate.spend("a", 20), 0)
        self.assertAlmostEqual(self.rate.spend("a", 1), 0.1)

    def test_forgets(self) -> None:
        """Keys that are within their rate are forgotten."""
        for number in range(1024):
            self.rate.spend(number)
        self.clock.advance(1)
        self.rate.spend("one more")
        self.assertEqual(len(self.rate), 1)

    def test_bounded(self) -> None:
        """However many keys spend, the number that is remembered is bounded."""
        for number in range(200_000):
            self.rate.spend(number)
        self.assertLess(len(self.rate), 140_000)
