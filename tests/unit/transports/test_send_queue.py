"""Tests for `wsredis.transports.send_queue`: Twisted's transport on a kernel that we control."""

from __future__ import annotations

import errno
from itertools import accumulate, product
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.support.fakes import (
    FakeOwner,
    FakeSocket,
    FakeStreamTransport,
    ServerTransport,
    messages,
    queued_bytes,
)
from wsredis.transports.send_queue import SendQueue
from wsredis.transports.websocket import frames

#: As in wsredis.transports.send_queue: the bytes that a transport is handed at a time.
CHUNK = 65536

_OVER = ("over", "within")


class _DirectCase(SynchronousTestCase):
    """A send queue on a plain socket."""

    kind: Any = tcp.Server
    limit = 1000

    def setUp(self) -> None:
        """Connect."""
        self.socket = FakeSocket()
        self.server = ServerTransport(self.socket, self.kind)
        self.owner = FakeOwner()
        self.send_queue = SendQueue(
            self.server.transport, self.limit, self.owner, queued_bytes(), self.socket
        )

    def sent(self) -> bytes:
        """The bytes that the kernel took."""
        return bytes(self.socket.sent)

    def unblock(self, room: int = 1 << 40) -> None:
        """Let the kernel take *room* more bytes, and the reactor run while there are some."""
        self.socket.room = room
        while self.server.writing and self.socket.room:
            self.server.turn()


class DirectTests(_DirectCase):
    """A plain TCP socket is written to directly."""

    def test_sent_at_once(self) -> None:
        """Bytes that the kernel takes never touch the transport."""
        self.send_queue.write(b"one")
        self.send_queue.write(b"two")
        self.assertEqual(b"onetwo", self.sent())
        self.assertFalse(self.server.writing)
        self.assertEqual([], self.owner.notified)

    def test_partial_send(self) -> None:
        """Bytes that the kernel does not take follow later, and before anything newer."""
        self.socket.room = 2
        self.send_queue.write(b"first")
        self.send_queue.write(b"second")
        self.assertEqual(b"fi", self.sent())
        self.unblock()
        self.assertEqual(b"firstsecond", self.sent())

    def test_would_block(self) -> None:
        """A kernel that takes nothing at all gets everything later."""
        self.socket.room = 0
        self.send_queue.write(b"all")
        self.assertEqual(b"", self.sent())
        self.unblock()
        self.assertEqual(b"all", self.sent())

    def test_byte_by_byte(self) -> None:
        """A kernel that takes one byte at a time gets the same bytes in the same order."""
        self.socket.room = 1
        expected = b""
        for number in range(20):
            data = frames.text(b"%d" % number)
            expected += data
            self.send_queue.write(data)
        while self.server.writing:
            self.socket.room = 1
            self.server.turn()
        self.assertEqual(expected, self.sent())

    def test_direct_again(self) -> None:
        """Once drained, the socket is written to directly again."""
        self.socket.room = 0
        self.send_queue.write(b"slow ")
        self.unblock()
        self.assertEqual("drained", self.owner.notified[-1])
        self.send_queue.write(b"fast")
        self.assertEqual(b"slow fast", self.sent())
        self.assertFalse(self.server.writing)

    def test_blocks_twice(self) -> None:
        """A client may be slow, quick and slow again."""
        for text in (b"a", b"b"):
            self.socket.room = 0
            self.send_queue.write(text)
            self.unblock()
        self.assertEqual(b"ab", self.sent())
        self.assertEqual(2, self.owner.notified.count("drained"))

    def test_big_message(self) -> None:
        """A message larger than limit, chunk and kernel buffer arrives whole."""
        data = bytes(range(256)) * 2000
        self.socket.room = 1000
        self.send_queue.write(data)
        while self.server.writing:
            self.unblock(50_000)
        self.assertEqual(data, self.sent())
        self.assertNotIn("overflowed", self.owner.notified)

    def test_nothing_is_copied(self) -> None:
        """The very bytes that were written wait, and the transport has none of them."""
        first, second = frames.binary(bytes(3 * CHUNK)), frames.text(b"second" * 20)
        self.socket.room = 100
        self.send_queue.write(first)
        self.send_queue.write(second)
        self.unblock(100)
        queue = self.send_queue._queue
        assert queue is not None
        begun, whole = queue
        assert isinstance(begun, memoryview)
        self.assertIs(first, begun.obj)
        self.assertIs(second, whole)
        transport = self.server.transport
        self.assertEqual(0, len(transport.dataBuffer) + transport._tempDataLen)

    def test_small_writes_share_a_chunk(self) -> None:
        """Many small messages that wait are sent together, in the order of their coming."""
        self.send_queue = SendQueue(
            self.server.transport, 1 << 20, self.owner, queued_bytes(), self.socket
        )
        self.socket.room = 0
        expected = b"".join(frames.text(b"%d" % number) for number in range(5000))
        for number in range(5000):
            self.send_queue.write(frames.text(b"%d" % number))
        turns = 0
        self.socket.room = 1 << 40
        while self.server.writing:
            self.server.turn()
            turns += 1
        self.assertEqual(expected, self.sent())
        self.assertLess(turns, 5)

    def test_chunk_ends_where_a_message_does(self) -> None:
        """A message that fills a chunk to the last byte loses and repeats nothing."""
        self.send_queue = SendQueue(
            self.server.transport, 3 * CHUNK, self.owner, queued_bytes(), self.socket
        )
        self.socket.room = 0
        self.send_queue.write(b"a" * CHUNK)
        self.send_queue.write(b"b" * CHUNK)
        self.send_queue.write(b"c")
        self.unblock()
        self.assertEqual(b"a" * CHUNK + b"b" * CHUNK + b"c", self.sent())

    def test_error_keeps_order(self) -> None:
        """After a passing error of the kernel (ENOBUFS), newer bytes do not overtake older ones."""
        self.socket.error = OSError(errno.ENOBUFS, "No buffer space available")
        self.send_queue.write(b"first")
        self.socket.error = None
        self.send_queue.write(b"second")
        self.unblock()
        self.assertEqual(b"firstsecond", self.sent())

    def test_error_while_something_waits(self) -> None:
        """The same holds for an error that comes when bytes wait already."""
        self.socket.room = 3
        for text in (b"first ", b"second ", b"third"):
            self.send_queue.write(text)
        self.socket.refuses_pieces = True
        self.unblock()
        self.assertEqual(b"first second third", self.sent())

    def test_broken_while_something_waits(self) -> None:
        """A socket that breaks while bytes wait raises nothing; the transport says that it did."""
        self.socket.room = 3
        self.send_queue.write(b"text")
        self.socket.refuses_pieces = True
        self.server.turn()
        self.socket.error = BrokenPipeError(errno.EPIPE, "Broken pipe")
        self.server.turn()
        self.assertTrue(self.server.transport.disconnected)
        self.assertEqual(0, self.send_queue.waiting)
        self.send_queue.write(b"late")

    def test_kernel_changes_its_mind(self) -> None:
        """A kernel that says that it takes more, and takes nothing, is asked again."""
        self.socket.room = 0
        self.send_queue.write(b"text")
        self.server.turn()
        self.assertTrue(self.server.writing)
        self.unblock()
        self.assertEqual(b"text", self.sent())

    def test_broken_pipe(self) -> None:
        """A socket that is broken raises nothing; the transport finds out and says so."""
        self.socket.error = BrokenPipeError(errno.EPIPE, "Broken pipe")
        self.send_queue.write(b"nobody reads this")
        self.server.turn()
        self.assertTrue(self.server.transport.disconnected)
        self.send_queue.write(b"nor this")
        self.assertEqual(b"", self.sent())

    def test_lost_while_nothing_waited(self) -> None:
        """Writing to a connection that is gone is harmless, again and again."""
        self.server.lose(ConnectionDone())
        self.send_queue.write(b"late")
        self.send_queue.write(b"later")
        self.send_queue.close()
        self.assertEqual(b"", self.sent())
        self.assertEqual(0, self.send_queue.waiting)

    def test_lost_while_something_waited(self) -> None:
        """Bytes that wait for a connection that is gone are dropped."""
        self.socket.room = 0
        for _ in range(10):
            self.send_queue.write(b"text")
        self.server.lose(ConnectionDone())
        self.assertEqual(0, self.send_queue.waiting)
        self.send_queue.write(b"late")
        self.assertEqual(0, self.send_queue.waiting)
        self.assertNotIn("drained", self.owner.notified)

    def test_resumed_without_need(self) -> None:
        """A transport that resumes an empty send queue changes nothing."""
        self.send_queue.resumeProducing()
        self.assertEqual([], self.owner.notified)

    def test_is_a_producer(self) -> None:
        """The send queue is the producer that it says it is."""
        verifyObject(IPushProducer, self.send_queue)


class LaneTests(_DirectCase):
    """`send` is that of the socket exactly as long as nothing waits."""

    def put(self, data: bytes) -> None:
        """Send as the hub does, by way of `send` and `keep`."""
        try:
            taken = self.send_queue.send(data)
        except OSError:
            taken = 0
        if taken != len(data):
            self.send_queue.keep(data, taken)

    def test_the_socket_itself(self) -> None:
        """While nothing waits, nothing stands between the caller and the socket."""
        self.assertEqual(self.socket.send, self.send_queue.send)
        self.socket.room = 2
        self.put(b"text")
        self.assertNotEqual(self.socket.send, self.send_queue.send)
        self.unblock()
        self.assertEqual(self.socket.send, self.send_queue.send)

    def test_a_lost_connection(self) -> None:
        """A socket that is gone is not called: its number may belong to another client soon."""
        self.socket.room = 0
        self.put(b"text")
        self.server.lose(ConnectionDone())
        self.socket.closed = False
        self.socket.room = 100
        self.put(b"for nobody")
        self.assertEqual(b"", self.sent())

    def test_every_order(self) -> None:
        """
        Nothing overtakes anything, whatever the order of messages, closes and turns.

        All rows of six steps are tried: a message that the kernel takes whole, in part or not at
        all, sent as the hub sends it or as everybody else does, and turns in which the client
        reads a little or everything.
        """
        steps = "whole", "part", "none", "write", "turn", "drain"
        for row in product(steps, repeat=6):
            self.setUp()
            self.queue_is_large()
            expected = b""
            for number, step in enumerate(row):
                if step == "turn":
                    self.unblock(3)
                    continue
                if step == "drain":
                    self.unblock()
                    continue
                message = b"(message %d)" % number
                expected += message
                self.socket.room = {"whole": 1 << 40, "part": 5, "none": 0, "write": 7}[step]
                if step == "write":
                    self.send_queue.write(message)
                else:
                    self.put(message)
                self.assertTrue(expected.startswith(self.sent()), row)
            self.send_queue.write(b"(end)")
            self.send_queue.close()
            self.unblock()
            self.server.run()
            self.assertEqual(expected + b"(end)", self.sent(), row)
            self.assertTrue(self.socket.closed, row)
            self.assertEqual(0, self.send_queue.waiting, row)

    def queue_is_large(self) -> None:
        """Go on with a queue that is never full."""
        self.send_queue = SendQueue(
            self.server.transport, 1 << 20, self.owner, queued_bytes(), self.socket
        )


class UnixTests(_DirectCase):
    """A UNIX socket is treated the same."""

    kind = unix.Server

    def test_sent_at_once(self) -> None:
        """Bytes that the kernel takes never touch the transport, and the rest waits."""
        self.socket.room = 5
        self.send_queue.write(b"one")
        self.send_queue.write(b"two")
        self.assertEqual(b"onetw", self.sent())
        self.unblock()
        self.assertEqual(b"onetwo", self.sent())


class LimitTests(_DirectCase):
    """The number of bytes that may wait is bounded."""

    def fill(self) -> int:
        """Write frames until the queue overflows. Return how many were taken."""
        self.socket.room = 3
        count = 0
        while "overflowed" not in self.owner.notified:
            self.send_queue.write(frames.text(b"%010d" % count))
            count += 1
            self.assertLess(count, 1000)
        return count - 1

    def test_bound(self) -> None:
        """No more waits than the limit and one write."""
        self.socket.room = 0
        highest = 0
        while "overflowed" not in self.owner.notified:
            self.send_queue.write(bytes(90))
            highest = max(highest, self.send_queue.waiting)
        self.assertGreater(highest, self.limit)
        self.assertLessEqual(highest, self.limit + 90)

    def test_write_under_way_does_not_count(self) -> None:
        """A message larger than the limit may wait, and another one after it."""
        self.socket.room = 0
        self.send_queue.write(bytes(2 * CHUNK))
        self.assertEqual(0, self.send_queue.waiting)
        self.send_queue.write(bytes(2 * CHUNK))
        self.assertEqual(2 * CHUNK, self.send_queue.waiting)
        self.assertNotIn("overflowed", self.owner.notified)
        self.send_queue.write(b"the straw")
        self.assertIn("overflowed", self.owner.notified)

    def test_overflow_ends_at_a_frame(self) -> None:
        """After an overflow the client reads whole frames and then the close frame."""
        close = b"\x88\x02\x03\xf0"
        self.owner.on_overflow = lambda: self.send_queue.write(close)
        self.fill()
        self.unblock()
        found = messages(self.sent())
        self.assertEqual((8, b"\x03\xf0"), found[-1])
        expected = [(1, b"%010d" % number) for number in range(len(found) - 1)]
        self.assertEqual(expected, found[:-1])

    def test_overflow_in_the_middle_of_a_chunk(self) -> None:
        """A message of which the transport holds a part is finished before the close frame."""
        big = frames.binary(b"x" * (2 * CHUNK))
        close = b"\x88\x02\x03\xf0"
        self.owner.on_overflow = lambda: self.send_queue.write(close)
        self.socket.room = 10
        self.send_queue.write(frames.text(b"small"))
        self.send_queue.write(big)
        self.unblock(5)
        while "overflowed" not in self.owner.notified:
            self.send_queue.write(frames.text(b"another"))
        self.unblock()
        found = messages(self.sent())
        self.assertEqual([1, 2, 8], [message.opcode for message in found])

    def test_overflow_lets_go(self) -> None:
        """After an overflow nothing counts as waiting."""
        self.fill()
        self.assertEqual(0, self.send_queue.waiting)

    def test_the_bound_recovers(self) -> None:
        """Bytes that were sent make room again, as often as one likes."""
        for _ in range(50):
            self.socket.room = 0
            for _ in range(10):
                self.send_queue.write(bytes(90))
            self.unblock()
            self.assertEqual(0, self.send_queue.waiting)
        self.assertNotIn("overflowed", self.owner.notified)

    def test_waiting_is_exact(self) -> None:
        """The number of waiting bytes is the sum of all writes but the one under way."""
        send_queue = SendQueue(
            self.server.transport, 1 << 30, self.owner, queued_bytes(), self.socket
        )
        self.socket.room = 0
        sizes = [1, 70_000, 10, 65_536, 200_000, 3]
        for size in sizes:
            send_queue.write(bytes(size))
        # The first one is under way.
        self.assertEqual(sum(sizes[1:]), send_queue.waiting)
        seen = []
        while self.server.writing:
            self.unblock(CHUNK)
            seen.append(send_queue.waiting)
        self.assertEqual(sorted(seen, reverse=True), seen)
        self.assertEqual(0, seen[-1])

    def test_always_behind(self) -> None:
        """A client that is always a few messages behind is never slow, however much passes."""
        for size in (CHUNK, 100_000):
            self.setUp()
            self.queue_with_limit(3 * size)
            self.socket.room = 0
            # One message is under way.
            for _ in range(4):
                self.send_queue.write(bytes(size))
            for _ in range(50):
                self.assertEqual(3 * size, self.send_queue.waiting)
                self.unblock(size)
                self.assertEqual(2 * size, self.send_queue.waiting)
                self.send_queue.write(bytes(size))
            self.assertNotIn("overflowed", self.owner.notified)
            self.unblock()
            self.assertEqual(54 * size, len(self.socket.sent))
            self.assertEqual(0, self.send_queue.waiting)

    def queue_with_limit(self, limit: int) -> None:
        """Go on with a queue that has another limit."""
        self.send_queue = SendQueue(
            self.server.transport, limit, self.owner, queued_bytes(), self.socket
        )

    def test_exactly_the_limit(self) -> None:
        """As long as no more than the limit waits, one more write is taken."""
        self.socket.room = 0
        self.send_queue.write(b"under way")
        self.send_queue.write(bytes(self.limit))
        self.assertEqual(self.limit, self.send_queue.waiting)
        self.send_queue.write(bytes(1))
        self.assertEqual(self.limit + 1, self.send_queue.waiting)
        self.assertNotIn("overflowed", self.owner.notified)
        self.send_queue.write(bytes(1))
        self.assertIn("overflowed", self.owner.notified)

    def graced(self) -> list[str]:
        """Go on with a queue that has a grace. Returns: What its owner hears about it."""
        self.owner = FakeOwner()
        self.send_queue = SendQueue(
            self.server.transport, 1000, self.owner, queued_bytes(), self.socket, 5000
        )
        return self.owner.notified

    def test_grace(self) -> None:
        """More than the limit may wait until the owner says that it is overdue."""
        notified = self.graced()
        self.socket.room = 0
        for _ in range(30):
            self.send_queue.write(bytes(100))
        self.assertEqual(["over"], notified)
        self.send_queue.overdue()
        self.assertEqual(["over", "within", "overflowed"], notified)
        self.assertEqual(0, self.send_queue.waiting)
        self.send_queue.overdue()
        self.assertEqual(3, len(notified))

    def test_within_the_grace(self) -> None:
        """A client that is over the limit no more is not overdue, and may be over it again."""
        notified = self.graced()
        self.send_queue.overdue()
        for _ in range(2):
            self.socket.room = 0
            for _ in range(30):
                self.send_queue.write(bytes(100))
            self.unblock(2500)
            self.send_queue.overdue()
            self.unblock()
        self.assertEqual(["over", "within"] * 2, [each for each in notified if each in _OVER])
        self.assertNotIn("overflowed", notified)
        self.assertEqual(6000, len(self.sent()))

    def test_behind_less_than_the_grace(self) -> None:
        """A client that takes as much in the grace as waits after it is granted another one."""
        notified = self.graced()
        self.socket.room = 0
        for _ in range(15):
            self.send_queue.write(bytes(100))
        for _ in range(5):
            for _ in range(20):
                self.unblock(100)
                self.send_queue.write(bytes(100))
            self.send_queue.overdue()
            self.unblock(0)
        self.assertEqual(["over"] * 6, [each for each in notified if each in _OVER])
        self.assertNotIn("overflowed", notified)
        for _ in range(10):
            self.unblock(100)
            self.socket.room = 0
            self.send_queue.write(bytes(100))
        self.send_queue.overdue()
        self.assertIn("overflowed", notified)

    def test_hard_limit(self) -> None:
        """No more than the hard limit and one write waits, however short the time."""
        notified = self.graced()
        self.socket.room = 0
        highest = 0
        while "overflowed" not in notified:
            self.send_queue.write(bytes(90))
            highest = max(highest, self.send_queue.waiting)
        self.assertGreater(highest, 5000)
        self.assertLessEqual(highest, 5090)

    def test_reads_meanwhile(self) -> None:
        """A client that has begun to read is asked for more between two turns of the reactor."""
        notified = self.graced()
        self.socket.room = 0
        for _ in range(20):
            self.send_queue.write(bytes(100))
        self.unblock(100)
        for _ in range(100):
            self.socket.room = 100
            self.send_queue.write(bytes(100))
        self.assertNotIn("overflowed", notified)
        self.assertLess(self.send_queue.waiting, 2000)
        self.socket.room = 1 << 40
        self.send_queue.write(bytes(100))
        # The reactor did nothing for this.
        self.assertEqual(12100, len(self.sent()))
        self.assertEqual(self.socket.send, self.send_queue.send)

    def test_reads_nothing_meanwhile(self) -> None:
        """One that has taken nothing costs no call of the kernel for each write."""
        self.graced()
        self.socket.room = 0
        self.patch(self.socket, "sendmsg", self.fail)
        for _ in range(40):
            self.send_queue.write(bytes(100))

    def test_congestion(self) -> None:
        """The owner hears of congestion long before the limit of a large queue."""
        send_queue = SendQueue(
            self.server.transport, 1 << 20, self.owner, queued_bytes(), self.socket
        )
        self.socket.room = 0
        send_queue.write(b"under way")
        send_queue.write(bytes(CHUNK))
        self.assertNotIn("congested", self.owner.notified)
        send_queue.write(bytes(CHUNK))
        self.assertIn("congested", self.owner.notified)

    def test_progress(self) -> None:
        """The owner hears that a slow client took something."""
        self.socket.room = 0
        self.send_queue.write(bytes(2 * CHUNK))
        self.owner.notified.clear()
        self.unblock(CHUNK)
        self.assertEqual(["advanced"], self.owner.notified)

    def test_no_progress(self) -> None:
        """A client that takes nothing is not said to have taken something."""
        self.socket.room = 0
        self.send_queue.write(b"text")
        self.assertEqual([], self.owner.notified)


class BacklogTests(SynchronousTestCase):
    """A client that reads as fast as it is written to, and is behind all the time."""

    #: Sizes of the messages that come while the client reads one chunk.
    sizes = (30_000, 10_000, 25_000, CHUNK - 65_000)

    def setUp(self) -> None:
        """Let two rounds of messages wait on a transport that takes one chunk at a time."""
        self.owner = FakeOwner()
        self.transport = FakeStreamTransport(0)
        self.send_queue = SendQueue(self.transport, 3 * CHUNK, self.owner, queued_bytes())
        self.written: list[int] = []
        self.round()
        self.round()

    def round(self) -> None:
        """Write as much as one chunk."""
        for size in self.sizes:
            self.send_queue.write(bytes([len(self.written) % 256]) * size)
            self.written.append(size)

    def expected(self) -> int:
        """The bytes of all messages that the transport has no part of, but for the first."""
        handed_over = len(self.transport.written)
        ends = list(accumulate(self.written))
        under_way = min(end for end in ends if end > handed_over)
        return ends[-1] - under_way

    def test_never_slow(self) -> None:
        """However much passes, it is not slow, and the number of waiting bytes is exact."""
        for _ in range(100):
            self.transport.drain()
            self.round()
            self.assertEqual(self.expected(), self.send_queue.waiting)
        self.assertEqual({"advanced", "congested"}, set(self.owner.notified))

    def test_order(self) -> None:
        """It gets every message whole and in order, and is up to date when it has all."""
        for _ in range(5):
            self.transport.drain()
            self.round()
        while self.owner.notified[-1] != "drained":
            self.transport.drain()
        self.assertEqual(0, self.send_queue.waiting)
        expected = b"".join(bytes([number]) * size for number, size in enumerate(self.written))
        self.assertEqual(expected, self.transport.written)

    def test_no_more_than_a_chunk(self) -> None:
        """However many messages wait, no write to the transport is larger than a chunk."""
        for _ in range(5):
            self.transport.drain()
        self.assertEqual(CHUNK, self.transport.largest)


class CloseTests(_DirectCase):
    """Closing waits for what is to be sent."""

    def test_idle(self) -> None:
        """Where nothing waits, the transport is closed at once."""
        self.send_queue.write(b"bye")
        self.send_queue.close()
        self.server.run()
        self.assertTrue(self.socket.closed)
        self.assertEqual(b"bye", self.sent())

    def test_waits(self) -> None:
        """Bytes that wait, and later ones, are sent before the transport is closed."""
        self.socket.room = 0
        self.send_queue.write(bytes(2 * CHUNK))
        self.send_queue.close()
        self.send_queue.write(b"close frame")
        self.unblock(CHUNK)
        self.assertFalse(self.socket.closed)
        self.unblock()
        self.assertTrue(self.sent().endswith(b"close frame"))
        self.assertTrue(self.socket.closed)

    def test_twice(self) -> None:
        """Closing twice is closing once."""
        self.send_queue.close()
        self.send_queue.close()
        self.server.run()
        self.assertTrue(self.socket.closed)

    def test_lost_before(self) -> None:
        """A connection that is lost while it waits to be closed is just lost."""
        self.socket.room = 0
        self.send_queue.write(b"text")
        self.send_queue.close()
        self.server.lose(ConnectionDone())
        self.send_queue.close()
        self.assertEqual(b"", self.sent())

    def test_written_and_closed_while_drained(self) -> None:
        """Bytes that the owner writes when it hears "drained" are sent before the end."""
        words = b"last words" * CHUNK

        def last_words() -> None:
            self.owner.on_drained = bool
            self.send_queue.write(words)
            self.send_queue.close()

        self.owner.on_drained = last_words
        self.socket.room = 0
        self.send_queue.write(b"text, ")
        self.unblock(6)
        self.unblock()
        self.assertEqual(b"text, " + words, self.sent())
        self.assertTrue(self.socket.closed)


class StreamTests(SynchronousTestCase):
    """A transport without a plain socket is only written to by its own methods."""

    def setUp(self) -> None:
        """Connect."""
        self.owner = FakeOwner()
        self.transport = FakeStreamTransport()
        self.send_queue = SendQueue(self.transport, 1000, self.owner, queued_bytes())

    def test_not_past_the_transport(self) -> None:
        """The socket below a TLS transport is not touched."""
        self.send_queue.write(b"secret")
        self.assertEqual(b"secret", self.transport.written)

    def test_chunks(self) -> None:
        """A big message is handed over a chunk at a time, as the other side takes it."""
        data = bytes(range(256)) * 2000
        self.send_queue.write(data)
        self.assertLessEqual(self.transport.largest, CHUNK)
        self.assertLessEqual(len(self.transport.written), 2 * CHUNK)
        while len(self.transport.written) < len(data):
            before = len(self.transport.written)
            self.transport.drain()
            self.assertGreater(len(self.transport.written), before)
        self.assertEqual(data, self.transport.written)
        self.assertEqual("drained", self.drained())

    def drained(self) -> str:
        """The last event that the owner hears when the other side took all."""
        self.transport.drain()
        self.transport.drain()
        return self.owner.notified[-1]

    def test_big_message_into_an_empty_buffer(self) -> None:
        """A transport that buffers a lot gets all chunks at once."""
        transport = FakeStreamTransport(1 << 30)
        send_queue = SendQueue(transport, 1000, self.owner, queued_bytes())
        send_queue.write(b"a" * (3 * CHUNK))
        send_queue.write(b"b")
        self.assertEqual(b"a" * (3 * CHUNK) + b"b", transport.written)
        self.assertEqual(CHUNK, transport.largest)

    def test_paused_by_the_first_chunk(self) -> None:
        """Where the transport is full after the first chunk, the rest waits for it."""
        transport = FakeStreamTransport(1000)
        send_queue = SendQueue(transport, 1000, self.owner, queued_bytes())
        send_queue.write(b"a" * (2 * CHUNK))
        send_queue.write(b"b")
        self.assertEqual(b"a" * CHUNK, transport.written)
        for _ in range(3):
            transport.drain()
        self.assertEqual(b"a" * (2 * CHUNK) + b"b", transport.written)
        self.assertEqual("drained", self.owner.notified[-1])

    def test_always_behind(self) -> None:
        """A client that is always three messages behind is never slow, and counted exactly."""
        transport = FakeStreamTransport(CHUNK // 2)
        send_queue = SendQueue(transport, 3 * CHUNK, self.owner, queued_bytes())
        for _ in range(5):
            send_queue.write(bytes(CHUNK))
        self.assertEqual(3 * CHUNK, send_queue.waiting)
        for _ in range(50):
            transport.drain()
            self.assertEqual(2 * CHUNK, send_queue.waiting)
            send_queue.write(bytes(CHUNK))
            self.assertEqual(3 * CHUNK, send_queue.waiting)
        self.assertNotIn("overflowed", self.owner.notified)

    def test_bound(self) -> None:
        """The queue of a transport that is full is bounded, too."""
        self.send_queue.write(bytes(2 * CHUNK))
        while "overflowed" not in self.owner.notified:
            self.send_queue.write(bytes(100))
            self.assertLessEqual(self.send_queue.waiting, 1100)
        self.assertEqual(0, self.send_queue.waiting)

    def test_paused_by_the_last_byte(self) -> None:
        """Where the transport is full after a whole message, the next one waits."""
        self.send_queue.write(bytes(CHUNK))
        self.send_queue.write(b"1")
        self.send_queue.write(b"2")
        self.send_queue.write(b"3")
        written = len(self.transport.written)
        self.assertLess(written, CHUNK + 3)
        self.transport.drain()
        self.assertEqual(bytes(CHUNK) + b"123", self.transport.written)
        self.assertEqual("drained", self.owner.notified[-1])

    def test_overflow_of_nothing_under_way(self) -> None:
        """Where what is under way is empty, an overflow leaves nothing."""
        self.send_queue.pauseProducing()
        self.send_queue.write(b"")
        while "overflowed" not in self.owner.notified:
            self.send_queue.write(bytes(100))
        self.send_queue.resumeProducing()
        self.assertEqual(b"", self.transport.written)
        self.assertEqual("drained", self.owner.notified[-1])

    def test_close(self) -> None:
        """Closing gets past the registered producer, when all is sent."""
        self.send_queue.write(bytes(CHUNK))
        self.send_queue.write(b"text")
        self.send_queue.write(b"bye")
        self.send_queue.close()
        self.assertFalse(self.transport.lost)
        self.transport.drain()
        self.transport.drain()
        self.assertTrue(self.transport.lost)
        self.assertTrue(self.transport.written.endswith(b"textbye"))

    def test_close_at_once(self) -> None:
        """Where nothing waits, closing is at once."""
        self.send_queue.close()
        self.assertTrue(self.transport.lost)

    def test_lost_is_left_alone(self) -> None:
        """A transport that has lost its connection is not called any more."""
        self.transport.drop()
        for name in ("write", "registerProducer"):
            setattr(self.transport, name, self.fail)
        self.send_queue.write(b"late")
        self.send_queue.write(bytes(3 * CHUNK))
        self.assertEqual(0, self.send_queue.waiting)

    def test_lost(self) -> None:
        """Bytes for a connection that is gone go nowhere."""
        self.transport.drop()
        self.send_queue.write(bytes(3 * CHUNK))
        self.send_queue.close()
        self.assertEqual(b"", self.transport.written)
        self.assertEqual(0, self.send_queue.waiting)


class TotalTests(_DirectCase):
    """What waits is counted with what waits for all others."""

    def setUp(self) -> None:
        """Let nothing be taken."""
        super().setUp()
        self.clock = Clock()
        self.total = queued_bytes(100_000, self.clock)
        self.owners: list[FakeOwner] = []

    def queue(self, room: int = 0, limit: int = 1 << 20) -> SendQueue:
        """Return a queue on a socket of its own; `socket`, `server` and `owner` are the newest."""
        self.socket = FakeSocket()
        self.socket.room = room
        self.server = ServerTransport(self.socket, self.kind)
        self.owner = FakeOwner()
        self.owners.append(self.owner)
        return SendQueue(self.server.transport, limit, self.owner, self.total, self.socket)

    def test_nothing_waits(self) -> None:
        """Bytes that the kernel takes are not counted, and those that waited are counted off."""
        for data in (b"x", b"y" * 1000, b"z" * 50_000):
            queue = self.queue(10)
            queue.write(data)
            queue.write(b"small")
            queue.write(b"large" * 100)
            queue.write(b"small")
            self.assertGreater(self.total.held, len(data))
            self.assertEqual(1, len(self.total))
            self.unblock()
            self.assertEqual(data + b"small" + b"large" * 100 + b"small", self.sent())
            self.assertEqual((0, 0), (self.total.held, len(self.total)))

    def test_lost(self) -> None:
        """A connection that is lost takes its part with it."""
        queue = self.queue()
        queue.write(b"x" * 1000)
        queue.write(b"y")
        self.server.lose(ConnectionDone())
        self.assertEqual((0, 0), (self.total.held, len(self.total)))
        queue.stopProducing()
        queue.write(b"z")
        self.assertEqual((0, 0), (self.total.held, len(self.total)))

    def test_overflow(self) -> None:
        """What an overflow drops is counted off."""
        queue = self.queue(limit=1000)
        queue.write(b"under way")
        first = self.total.held
        for _ in range(3):
            queue.write(b"x" * 1000)
        self.assertEqual("overflowed", self.owner.notified[-1])
        self.assertEqual(first, self.total.held)

    def test_shared(self) -> None:
        """A message that waits for many is in memory once."""
        message = b"x" * 50_000
        for _ in range(100):
            self.queue().write(message)
        self.assertLess(self.total.held, 60_000)
        self.assertEqual({()}, {(*each.notified,) for each in self.owners})

    def test_rest_counts_whole(self) -> None:
        """The last byte of a message keeps all of it in memory."""
        self.queue(49_999).write(b"x" * 50_000)
        self.assertGreater(self.total.held, 50_000)

    def test_small_writes(self) -> None:
        """Many tiny writes take not much more memory than their bytes, and keep their order."""
        queue = self.queue()
        expected = b""
        for number in range(5000):
            data = b"%d" % number
            expected += data
            queue.write(data)
        self.assertLess(self.total.held, len(expected) + 1000)
        self.assertEqual(len(expected) - 1, queue.waiting)
        self.socket.room = 9000
        self.server.turn()
        queue.write(b"end")
        self.unblock()
        self.assertEqual(expected + b"end", self.sent())
        self.assertEqual(0, self.total.held)

    def test_slowest_first(self) -> None:
        """The one that has waited longest and holds most goes first, until there is room."""
        stuck, reading, new = self.queue(), self.queue(), self.queue()
        stuck.write(b"a" * 45_000)
        reading.write(b"b" * 20_000)
        self.clock.advance(10)
        reading.write(b"c" * 15_000)
        new.write(b"d" * 19_000)
        self.assertEqual([[], [], []], [each.notified for each in self.owners])
        new.write(b"e" * 1_000)
        self.assertEqual([["cut"], [], []], [each.notified for each in self.owners])

    def test_reader_stays(self) -> None:
        """One that has taken much is not the slowest, however long something has waited."""
        reading = self.queue()
        socket, server = self.socket, self.server
        reading.write(b"a" * 30_000)
        for number in range(100):
            self.clock.advance(1)
            reading.write(bytes([number]) * 30_000)
            socket.room = 30_000
            server.turn()
        stuck = self.queue()
        stuck.write(b"c" * 35_000)
        self.clock.advance(20)
        self.queue().write(b"d" * 50_000)
        self.assertEqual(
            [["advanced"], ["cut"], []], [sorted({*each.notified}) for each in self.owners]
        )

    def test_shared_is_nobodys(self) -> None:
        """Clients that wait for the same message do not go for one with much of its own."""
        message = b"m" * 30_000
        for _ in range(50):
            self.queue().write(message)
        self.clock.advance(20)
        own = self.queue()
        own.write(b"x")
        for number in range(7):
            own.write(bytes([number]) * 9_000)
        self.clock.advance(0.5)
        own.write(b"y" * 7_000)
        self.assertEqual(
            [*[[]] * 50, ["evicted"]],
            [sorted({*each.notified}) for each in self.owners],
        )

    def test_evicted(self) -> None:
        """Of a small write under way, the rest follows, and then what the owner still writes."""
        queue = self.queue(3)
        queue.write(b"first")
        queue.write(b"x" * 50_000)
        queue.evict()
        self.assertEqual(["evicted"], self.owner.notified)
        self.assertEqual(0, queue.waiting)
        queue.write(b" close")
        self.unblock()
        self.assertEqual(b"first close", self.sent())

    def test_cut(self) -> None:
        """Of a large write under way, nothing follows, and the memory is free at once."""
        queue = self.queue(10)
        queue.write(b"x" * 70_000)
        queue.evict()
        self.assertEqual(["cut"], self.owner.notified)
        self.assertEqual(0, self.total.held)
        queue.write(b"late")
        self.assertEqual(0, self.total.held)

    def test_evicted_by_its_own_write(self) -> None:
        """The write that is too much may be its own, whichever way it comes."""
        for way in ("keep", "enqueue", "small"):
            self.total = queued_bytes(10_000, self.clock)
            queue = self.queue()
            if way != "keep":
                queue.write(b"under way")
            if way == "small":
                for _ in range(1000):
                    queue.write(b"x" * 60)
                self.assertIn("evicted", self.owner.notified)
            else:
                queue.write(b"x" * 100_000)
                self.assertEqual(["cut" if way == "keep" else "evicted"], self.owner.notified)
            self.assertLess(self.total.held, 10_000)
            self.server.lose(ConnectionDone())
            self.assertEqual((0, 0), (self.total.held, len(self.total)))

    def test_stream(self) -> None:
        """The buffer of a transport that is paused counts, and cannot be taken back."""
        owner = FakeOwner()
        transport = FakeStreamTransport(1000)
        queue = SendQueue(transport, 1 << 20, owner, self.total)
        queue.write(b"x" * 2000)
        self.assertEqual((2000, 1), (self.total.held, len(self.total)))
        queue.write(b"y" * 3000)
        self.assertGreater(self.total.held, 5000)
        for _ in range(2):
            transport.drain()
        self.assertEqual((0, 0), (self.total.held, len(self.total)))
        queue.write(b"x" * 2000)
        self.assertEqual(2000, self.total.held)
        self.assertEqual(("", 2000), queue.weigh(1)[:2])
        queue.evict()
        self.assertEqual("cut", owner.notified[-1])
        self.assertEqual((0, 0), (self.total.held, len(self.total)))

    def test_stream_is_too_much(self) -> None:
        """A transport that pauses the queue in the middle of a write may make it go."""
        owner = FakeOwner()
        transport = FakeStreamTransport(1000)
        queue = SendQueue(transport, 1 << 20, owner, queued_bytes(50_000))
        queue.write(b"x" * 60_000)
        self.assertEqual(["cut"], owner.notified)
        queue.write(b"late" * 40_000)
        self.assertEqual(60_000, len(transport.written))


class StuckTests(_DirectCase):
    """A queue of which nothing is taken is found."""

    def test_stuck(self) -> None:
        """It is stuck if something waited the last time, and nothing was taken since."""
        self.assertFalse(self.send_queue.is_stuck())
        self.socket.room = 0
        self.send_queue.write(b"text")
        self.assertFalse(self.send_queue.is_stuck())
        self.send_queue.write(b"more")
        self.server.turn()
        self.assertTrue(self.send_queue.is_stuck())

    def test_moving(self) -> None:
        """One byte is enough to be not."""
        self.socket.room = 0
        self.send_queue.write(b"text")
        for _ in range(3):
            self.assertFalse(self.send_queue.is_stuck())
            self.unblock(1)
        self.unblock()
        self.assertFalse(self.send_queue.is_stuck())
        self.socket.room = 0
        self.send_queue.write(b"text")
        self.assertFalse(self.send_queue.is_stuck())

    def test_in_the_kernel(self) -> None:
        """The same holds for what waits in the kernel, as far as it tells."""
        self.assertFalse(self.send_queue.is_stuck(5))
        self.assertTrue(self.send_queue.is_stuck(5))
        self.assertFalse(self.send_queue.is_stuck(6))
        self.assertFalse(self.send_queue.is_stuck(None))
        self.assertFalse(self.send_queue.is_stuck(6))

    def test_both(self) -> None:
        """One that takes nothing of the queue, but reads what the kernel has, is slow only."""
        self.socket.room = 0
        self.send_queue.write(b"text")
        for taken in range(3):
            self.assertFalse(self.send_queue.is_stuck(taken))
        self.assertTrue(self.send_queue.is_stuck(2))

    def test_stream(self) -> None:
        """The same holds for a transport that is paused."""
        transport = FakeStreamTransport()
        queue = SendQueue(transport, 1000, self.owner, queued_bytes())
        queue.write(bytes(6 * CHUNK))
        self.assertFalse(queue.is_stuck())
        transport.drain()
        self.assertFalse(queue.is_stuck())
        self.assertTrue(queue.is_stuck())
