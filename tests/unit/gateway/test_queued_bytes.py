"""Tests for `wsredis.gateway.queued_bytes`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.queued_bytes import QueuedBytes, Weight


class _Queue:
    """A queue of one piece, which goes away when it is told to."""

    def __init__(self, total: QueuedBytes, piece: bytes | bytearray, slow: float) -> None:
        self.total, self.piece, self.slow = total, piece, slow
        self.evicted = 0
        self.address = ""
        self.last_words = b""
        total.enter(self)

    def weigh(self, now: float) -> Weight:
        """See `wsredis.gateway.queued_bytes.WaitingQueue`."""
        return Weight(self.address, len(self.piece), self.slow)

    def evict(self) -> None:
        """See `wsredis.gateway.queued_bytes.WaitingQueue`."""
        self.evicted += 1
        self.total.leave(self)
        self.total.remove([self.piece])
        if self.last_words:
            self.total.add(self.last_words)


class QueuedBytesTests(SynchronousTestCase):
    """Memory is counted once, and the slowest queues go."""

    def setUp(self) -> None:
        """Have room for 10 kB."""
        self.clock = Clock()
        self.total = QueuedBytes(self.clock, 10_000)

    def queue(self, size: int, slow: float) -> _Queue:
        """Let *size* bytes wait."""
        queue = _Queue(self.total, bytes(bytearray(size)), slow)
        self.total.add(queue.piece)
        return queue

    def test_counts(self) -> None:
        """An object counts once, and a little for each place; nothing is left when all are gone."""
        piece = b"x" * 1000
        self.total.add(piece)
        once = self.total.held
        self.assertTrue(1000 < once < 1300)
        for _ in range(9):
            self.total.add(piece)
        self.assertTrue(once < self.total.held < once + 9 * 20)
        self.assertTrue(100 <= self.total.share(piece) < 120)
        for _ in range(10):
            self.total.remove([piece])
        self.assertEqual(0, self.total.held)

    def test_growing(self) -> None:
        """A piece that grows is counted off as large as it is then."""
        piece = bytearray(b"abc")
        self.total.add(piece)
        piece += b"def"
        self.total.grow(3)
        self.total.remove([piece])
        self.assertEqual(0, self.total.held)

    def test_time(self) -> None:
        """The time is that of the clock."""
        self.clock.advance(7)
        self.assertEqual(7, self.total.now())
        queue = self.queue(1, 1)
        self.assertEqual(7, self.total.enter(queue))
        self.assertEqual(1, len(self.total))

    def test_slowest_first(self) -> None:
        """No more go than have to, in the order of their slowness, whoever came last."""
        queues = [self.queue(2500, slow) for slow in (2, 9, 1)]
        self.assertEqual([0, 0, 0], [each.evicted for each in queues])
        queues.append(self.queue(2500, 3))
        self.assertEqual([0, 1, 0, 0], [each.evicted for each in queues])
        self.assertLess(self.total.held, 8750)
        queues.append(self.queue(2500, 8))
        self.assertEqual([0, 1, 0, 0, 1], [each.evicted for each in queues])

    def test_by_address(self) -> None:
        """A slow client does not go for many that have just come from one address."""
        slow = self.queue(1000, 3)
        slow.address = "a"
        others = [self.queue(2000, 1) for _ in range(4)]
        self.assertEqual(0, slow.evicted)
        others.append(self.queue(2000, 1))
        self.assertEqual(0, slow.evicted)
        self.assertIn(1, [each.evicted for each in others])

    def test_growing_is_too_much(self) -> None:
        """The same holds for a piece that grows."""
        queue = self.queue(9000, 1)
        self.total.grow(2000)
        self.assertEqual(1, queue.evicted)

    def test_nothing_waits(self) -> None:
        """A queue in which nothing waits does not go: it would be of no use."""
        idle = self.queue(0, 0)
        busy = self.queue(20_000, 1)
        self.assertEqual((0, 1), (idle.evicted, busy.evicted))

    def test_last_words(self) -> None:
        """A queue that takes in more when it goes does not make others go for that."""
        slow, other = self.queue(5000, 5), self.queue(3000, 1)
        slow.last_words = b"x" * 6900
        last = self.queue(3000, 2)
        self.assertEqual((1, 1, 1), (slow.evicted, last.evicted, other.evicted))
        self.assertLess(self.total.held, 10_000)

    def test_gone_meanwhile(self) -> None:
        """A queue that another one took with it is left alone."""
        slow, other = self.queue(5000, 5), self.queue(4000, 4)
        self.patch(slow, "evict", other.evict)
        self.total.add(b"x" * 5000)
        self.assertEqual(1, other.evicted)
