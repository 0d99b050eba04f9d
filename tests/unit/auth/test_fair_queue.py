"""Tests of `wsredis.auth.fair_queue`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.fair_queue import FairQueue


class FairQueueTests(SynchronousTestCase):
    """`FairQueue`."""

    def queue(self, places: int, waiting: int, *busy: tuple[str, str]) -> FairQueue[str]:
        """Make a queue whose places these items take."""
        queue: FairQueue[str] = FairQueue(places, waiting)
        for address, item in busy:
            self.assertTrue(queue.begin(address, item))
        return queue

    def test_turns(self) -> None:
        """Addresses take turns, whichever came first; items of one address come in order."""
        queue = self.queue(1, 100, ("a", "a0"))
        for address, item in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("b", "b2")):
            self.assertFalse(queue.begin(address, item))
            self.assertTrue(queue.wait(address, item))
        self.assertTrue(queue.wait("c", "c1"))
        self.assertEqual(6, len(queue))
        order = []
        following: tuple[str, str] | None = ("a", "a0")
        while following is not None:
            following = queue.next(*following)
            order.append(following and following[1])
        self.assertEqual(["a1", "b1", "c1", "a2", "b2", "a3", None], order)
        self.assertEqual(0, len(queue))

    def test_share_of_places(self) -> None:
        """One address does not get all places; another one finds some at once."""
        queue = self.queue(16, 100)
        mine = [number for number in range(16) if queue.begin("a", f"a{number}")]
        self.assertEqual([*range(11)], mine)
        self.assertTrue(queue.wait("a", "next"))
        self.assertTrue(queue.begin("b", "b0"))
        # A new item of the first address comes after the one that waits, even if there is room.
        self.assertEqual(("a", "next"), queue.next("b", "b0") or queue.next("a", "a0"))

    def test_share_of_the_queue(self) -> None:
        """One address does not fill the queue; another one is taken in, and is the next."""
        queue = self.queue(1, 16, ("a", "a"))
        mine = [number for number in range(16) if queue.wait("a", f"a{number}")]
        self.assertEqual([*range(11)], mine)
        self.assertTrue(queue.wait("b", "b0"))
        self.assertEqual(("a", "a0"), queue.next("a", "a"))
        self.assertEqual(("b", "b0"), queue.next("a", "a0"))

    def test_no_address(self) -> None:
        """Items without an address are bounded by the totals only."""
        queue = self.queue(4, 8, *(("", f"begun {number}") for number in range(4)))
        self.assertFalse(queue.begin("", "more"))
        mine = [number for number in range(10) if queue.wait("", f"waiting {number}")]
        self.assertEqual([*range(8)], mine)
        self.assertFalse(queue.wait("a", "other"))
        for number in range(4):
            self.assertEqual(("", f"waiting {number}"), queue.next("", f"begun {number}"))
        self.assertTrue(queue.wait("a", "other"))

    def test_discard(self) -> None:
        """An item that is dropped has no turn, and gives its place in the queue back."""
        queue = self.queue(1, 2, ("a", "a0"))
        self.assertTrue(queue.wait("b", "b1"))
        self.assertTrue(queue.wait("c", "c1"))
        self.assertFalse(queue.wait("d", "d1"))
        queue.discard("b", "b1")
        queue.discard("b", "b1")
        queue.discard("nobody", "x")
        self.assertTrue(queue.wait("d", "d1"))
        self.assertEqual(("c", "c1"), queue.next("a", "a0"))
        queue.clear()
        self.assertEqual(0, len(queue))
        self.assertIsNone(queue.next("c", "c1"))

    def test_cancel(self) -> None:
        """An item that did not begin gives its place back."""
        queue = self.queue(1, 1, ("a", "a0"))
        queue.cancel("a", "a0")
        self.assertTrue(queue.begin("b", "b0"))

    def test_blocked(self) -> None:
        """An address that used up its share of the places is passed over, and waits no longer."""
        queue = self.queue(16, 100, *(("a", f"a{number}") for number in range(11)))
        for number in range(11, 14):
            self.assertTrue(queue.wait("a", f"a{number}"))
        self.assertTrue(queue.begin("b", "b0"))
        self.assertIsNone(queue.next("b", "b0"))
        self.assertEqual(("a", "a11"), queue.next("a", "a0"))
