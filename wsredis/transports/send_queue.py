"""
Bytes to one socket: straight to the kernel, else through a bounded queue.

Everything that is written to a connection passes here, so "nothing is queued" means that the
transport buffers nothing either. In that state `SendQueue.send` *is* ``socket.send``, which costs
a third of ``transport.write``. What the kernel does not take waits here, as references to bytes
that all connections share, and the transport only says when the kernel takes more. Whether a
transport allows that is the caller's knowledge: under TLS there is a socket too, and plaintext must
not reach it.

It is one module because every way in and out of the queue has to count the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from wsredis.gateway.queued_bytes import Piece, QueuedBytes, Weight, whole_of
from wsredis.transports.sockets import write_now

__all__ = ["CONGESTION", "SendQueue", "SendQueueOwner"]

#: How much is handed at a time to a transport that takes copies.
_CHUNK = 65536

#: Bytes that wait are congestion if they are more than this.
CONGESTION = _CHUNK

#: A write of at most so many bytes is copied to those that wait, since a reference to it would take
#: more memory. So many bytes of such writes are collected in one piece.
_SMALL = 64
_COLLECTED = 8192

#: Seconds that a queue has been waiting for at least, when the slowest is looked for.
_MOMENT = 0.001

#: A queue is given up at the end of a frame if so many times as much waits after the write under
#: way. Else that would keep too much of the memory.
_WORTH = 8

#: Pieces of a queue that are looked at to find out how much memory is its own.
_SAMPLE = 64

#: How many of the writes that wait are offered to the kernel at a time. POSIX bounds it (IOV_MAX).
_PIECES = 256


class SendQueueOwner(Protocol):
    """
    The owner of a send queue, which hears of its state.

    Attributes:
        address: The key of the client's address; see `wsredis.gateway.shares.address_key`.
    """

    @property
    def address(self) -> str:
        """See above."""

    def send_queue_over(self) -> None:
        """
        More bytes wait than the limit, and something more has come.

        The owner calls `SendQueue.overdue` if that lasts for longer than a grace. It may be told
        again then.
        """

    def send_queue_within(self) -> None:
        """No more bytes wait than the limit any more."""

    def send_queue_overflowed(self) -> None:
        """The client is slow. All that waited was dropped, at the end of a frame."""

    def send_queue_congested(self) -> None:
        """The client reads slower than it is written to."""

    def send_queue_advanced(self) -> None:
        """The client took some of the bytes that were waiting."""

    def send_queue_drained(self) -> None:
        """Nothing waits any more."""

    def send_queue_evicted(self, is_cut: bool) -> None:
        """
        Too much waits for all clients together, and this one is among the slowest.

        Args:
            is_cut: Tells that nothing can be sent any more, since most of it is under way. If
                False, all that waited was dropped at the end of a frame, and a close frame may
                follow.
        """


class _Sink(Protocol):
    """The place for bytes while nothing is queued."""

    def send(self, data: bytes, /) -> int:
        """As ``socket.send``: take some bytes, and tell how many."""

    def sendmsg(self, pieces: Sequence[Piece], /) -> int:
        """As ``socket.sendmsg``: the same for several pieces in a row."""


class _TransportSink:
    """
    Lets a transport that only has ``write`` look like a socket.

    Attributes:
        last: The bytes of the last write.
    """

    __slots__ = ("_transport", "last")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.last = 0

    def send(self, data: bytes, /) -> int:
        if len(data) > _CHUNK:
            data = data[:_CHUNK]
        self.last = size = len(data)
        self._transport.write(data)
        return size

    def sendmsg(self, pieces: Sequence[Piece], /) -> int:
        chunk: list[Piece] = []
        room = _CHUNK
        for piece in pieces:
            chunk.append(piece if len(piece) <= room else memoryview(piece)[:room])
            room -= len(chunk[-1])
            if not room:
                break
        data = b"".join(chunk)
        # A piece that is looked at by a memoryview cannot grow.
        chunk.clear()
        return self.send(data)


class _Nowhere:
    """Takes the bytes for a connection that is gone."""

    def send(self, data: bytes, /) -> int:
        return len(data)

    def sendmsg(self, pieces: Sequence[Piece], /) -> int:
        return sum(map(len, pieces))


_nowhere = _Nowhere()


class _Collected(bytearray):
    """Small writes in a row."""

    __slots__ = ()


@implementer(IPushProducer)
class SendQueue:
    """
    The write side of one connection.

    Args:
        transport: The transport of the connection.
        limit: Bytes that may wait for longer than the owner's grace, not counting the write that
            is under way. One write more is taken however large it is, so that a message larger
            than the limit can pass.
        owner: It is notified when the queue grows, drains and overflows.
        total: Counts the bytes of all queues.
        socket: The socket below the transport, if bytes may be sent past the transport while it
            has none to send. If None, they may not: TLS is spoken, or the transport changes bytes.
        hard: Bytes that may wait at all, and one write more. If None, it is *limit*.

    Attributes:
        send: See `wsredis.gateway.client.Sink`.
        waiting: Bytes that wait, not counting the write under way.
    """

    __slots__ = (
        "_acknowledged",
        "_begin",
        "_buffered",
        "_closing",
        "_hard",
        "_is_marked",
        "_limit",
        "_owner",
        "_passed",
        "_paused",
        "_pulled",
        "_queue",
        "_sink",
        "_taken",
        "_total",
        "_transport",
        "send",
        "waiting",
    )

    def __init__(
        self,
        transport: Any,
        limit: int,
        owner: SendQueueOwner,
        total: QueuedBytes,
        socket: Any = None,
        hard: int | None = None,
    ) -> None:
        self._transport = transport
        self._limit = limit
        self._hard = limit if hard is None else hard
        self._owner = owner
        self._total = total
        self.waiting = 0
        #: Since when something waits, and the bytes that were taken of it. Both are halved from
        #: time to time, so that the past counts for less.
        self._begin = 0.0
        self._taken = 0
        #: Bytes in the buffer of a transport that has paused the queue.
        self._buffered = 0
        #: Whether nothing has been taken since `is_stuck` was asked.
        self._is_marked = False
        #: The bytes that were taken since more waits than the limit. None if no more does, or if
        #: the owner does not know yet.
        self._passed: int | None = None
        self._acknowledged: int | None = None
        self._paused = False
        self._closing = False
        #: Asked for more whenever the kernel takes more, or paused and resumed by the transport.
        self._pulled = socket is not None
        self._sink: _Sink = socket if self._pulled else _TransportSink(transport)
        self.send: Callable[[bytes], int]
        self._use(None)
        if not self._pulled:
            transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send whole frames. Never blocks, never raises for a connection that is gone."""
        try:
            taken = self.send(data)
        except OSError:
            taken = 0
        if taken != len(data):
            self.keep(data, taken)

    def keep(self, data: bytes, taken: int) -> None:
        """
        Queue the rest of *data*, of which `send` has just taken only a part.

        Args:
            taken: The number of bytes that it took. 0 if it raised an OSError: the kernel is full,
                or the transport will meet the same error and report the loss.
        """
        queue = self._queue
        if queue is None:
            queue = deque()
            self._use(queue)
        self._append(queue, memoryview(data)[taken:] if taken else data, data)
        if self._queue is not queue:
            # It was given up: too much waits.
            return
        if self._pulled:
            self._paused = True
            self._transport.registerProducer(self, False)
        elif not self._paused:
            self._pump(queue)

    @property
    def is_waiting(self) -> bool:
        """Tells whether bytes wait, or are in the transport's own buffer."""
        return self._queue is not None

    def overdue(self) -> None:
        """
        Give up what waits, if more waits than the limit: the grace of the client is over.

        A client that has taken as much meanwhile as waits now is less than the grace behind, and
        is granted another one.
        """
        if self._passed is None or not self._queue:
            return
        if self._passed >= self.waiting:
            self._passed = 0
            self._owner.send_queue_over()
        else:
            self._overflow(self._queue)

    def is_stuck(self, acknowledged: int | None = None) -> bool:
        """
        Tell whether nothing was taken of all that waits since this was asked before.

        It is asked from time to time. False if nothing waited then, or nothing waits now.

        Args:
            acknowledged: Counts the bytes that the client has taken from the kernel, where others
                wait. If None, nothing waits there, or it is not known.
        """
        waits = self._queue is not None or acknowledged is not None
        is_stuck = waits and self._is_marked and acknowledged == self._acknowledged
        self._is_marked = waits
        self._acknowledged = acknowledged
        if self._queue is not None:
            self._begin = (self._begin + self._total.now()) / 2
            self._taken //= 2
        return is_stuck

    def close(self) -> None:
        """Close the connection when all that waits is sent."""
        if self._queue is None:
            self._finish()
        else:
            self._closing = True

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        if self._queue is None:
            self._use(deque())
        if not self._paused:
            self._paused = True
            if isinstance(self._sink, _TransportSink):
                # The transport was empty before it, or it would have paused the queue earlier.
                self._buffered = self._sink.last
                self._total.grow(self._buffered)

    def resumeProducing(self) -> None:
        """The transport's buffer is empty, and the kernel takes more."""
        # Registering a pull producer calls this at once, before the client took anything.
        registering = self._pulled and self._paused
        self._unpause()
        if registering:
            self._transport.startWriting()
        elif self._queue is not None:
            self._owner.send_queue_advanced()
            self._pump(self._queue)

    def stopProducing(self) -> None:
        """The connection is lost, or given up: all that waits is forgotten."""
        self._sink = _nowhere
        queue = self._queue
        self._use(None)
        if queue:
            self._forget(queue)
        self._unpause()

    def weigh(self, now: float) -> Weight:
        """
        See `wsredis.gateway.queued_bytes.WaitingQueue.weigh`.

        The delay goes by what the client has taken since something waits, so one that has just
        come, or that reads, is not slow.
        """
        queue, share = self._queue, self._total.share
        held: float = self._buffered
        if queue:
            own = sum(map(share, islice(queue, _SAMPLE)))
            held += own * max(1.0, len(queue) / _SAMPLE)
        delay = held * (now - self._begin + _MOMENT) / (self._taken + _CHUNK)
        return Weight(self._owner.address, held, delay)

    def evict(self) -> None:
        """See `wsredis.gateway.queued_bytes.WaitingQueue.evict`."""
        queue = self._queue
        assert queue is not None
        # What cannot be taken back would wait on: the write under way, without whose rest no close
        # frame could be read, and the bytes in the transport's own buffer.
        rest = len(whole_of(queue[0])) if queue else 0
        is_cut = not self._pulled or rest * _WORTH > self.waiting
        if is_cut:
            self.stopProducing()
        else:
            self._drop_waiting(queue)
        self._owner.send_queue_evicted(is_cut)

    def _unpause(self) -> None:
        if self._paused:
            self._paused = False
            self._total.grow(-self._buffered)
            self._buffered = 0

    def _use(self, queue: deque[Piece] | None) -> None:
        """
        Let writes wait in *queue* from now on. If None, they need not wait.

        Nothing else decides about `send`: a moment in which it is the kernel's while bytes wait
        would be enough for a message to overtake another one.
        """
        self._queue = queue
        self.waiting = 0
        self._within()
        self._is_marked = False
        if queue is None:
            self.send = self._sink.send
            self._total.leave(self)
        else:
            self.send = self._enqueue
            self._begin = self._total.enter(self)
            self._taken = 0

    def _pump(self, queue: deque[Piece]) -> None:
        while queue and not self._paused:
            pieces = [*islice(queue, _PIECES)]
            try:
                taken = self._sink.sendmsg(pieces)
            except BlockingIOError:
                taken = 0
            except OSError:
                # The transport meets the same error, and reports the loss.
                self._transport.write(bytes(pieces[0]))
                self._advance(queue, len(pieces[0]))
                return
            if self._queue is not queue:
                # The connection was lost meanwhile.
                return
            self._advance(queue, taken)
            if self._pulled and queue and taken < sum(map(len, pieces)):
                self._transport.startWriting()
                return
        if not queue and not self._paused:
            self._drained()

    def _advance(self, queue: deque[Piece], taken: int) -> None:
        """Remove the first *taken* bytes."""
        if taken:
            self._taken += taken
            self._is_marked = False
            if self._passed is not None:
                self._passed += taken
        gone: list[Piece] = []
        waiting = self.waiting
        while queue and taken >= (size := len(queue[0])):
            gone.append(queue.popleft())
            taken -= size
            if queue:
                # The next one is under way from now on.
                waiting -= len(queue[0])
        self.waiting = waiting
        if waiting <= self._limit:
            self._within()
        self._total.remove(gone)
        if taken:
            queue[0] = memoryview(queue[0])[taken:]

    def _enqueue(self, data: bytes) -> int:
        queue = self._queue
        assert queue is not None
        size = len(data)
        if self.waiting > self._limit:
            self._catch_up(queue)
            if self._queue is not queue:
                return self.send(data)
            if self.waiting > self._limit and self._is_full(queue):
                return size
        if not queue:
            self._append(queue, data, data)
            return size
        self.waiting += size
        if size > _SMALL:
            self._append(queue, data, data)
        else:
            last = queue[-1]
            # The first one is under way.
            if type(last) is _Collected and len(last) < _COLLECTED and len(queue) > 1:
                last += data
                self._total.grow(size)
            else:
                last = _Collected(data)
                self._append(queue, last, last)
        if self.waiting > CONGESTION:
            self._owner.send_queue_congested()
        return size

    def _append(self, queue: deque[Piece], piece: Piece, whole: bytes | bytearray) -> None:
        """Queue *piece*, and count *whole*, which it keeps in memory. The queue may be given up."""
        queue.append(piece)
        self._total.add(whole)

    def _catch_up(self, queue: deque[Piece]) -> None:
        """
        Ask the kernel of a client that reads whether it takes more by now.

        Much may be read from Redis before the reactor says so, and the client reads meanwhile.
        """
        if not self._taken:
            return
        if self._pulled:
            self._pump(queue)
        else:
            write_now(self._transport)

    def _is_full(self, queue: deque[Piece]) -> bool:
        """Act on more than the limit that waits. Tell whether nothing more may be queued."""
        if self.waiting > self._hard:
            return self._overflow(queue)
        if self._passed is None:
            self._passed = 0
            self._owner.send_queue_over()
        return False

    def _within(self) -> None:
        """Go on with no more than the limit."""
        if self._passed is not None:
            self._passed = None
            self._owner.send_queue_within()

    def _overflow(self, queue: deque[Piece]) -> bool:
        """Act on a client that is slow. Tell whether it is given up."""
        self._drop_waiting(queue)
        self._owner.send_queue_overflowed()
        return True

    def _drop_waiting(self, queue: deque[Piece]) -> None:
        """Forget all but the write under way."""
        # A write that is partly sent must be finished, or no close frame could be read after it.
        under_way = queue.popleft() if queue else None
        self._forget(queue)
        if under_way is not None:
            queue.append(under_way)
        self.waiting = 0
        self._within()

    def _forget(self, queue: deque[Piece]) -> None:
        """Empty *queue*."""
        self._total.remove(queue)
        queue.clear()

    def _drained(self) -> None:
        self._use(None)
        if self._pulled:
            self._transport.unregisterProducer()
        self._owner.send_queue_drained()
        # The owner may have written again.
        if self._closing and self._queue is None:
            self._finish()

    def _finish(self) -> None:
        # A TLS transport does not shut down while a producer is registered.
        self._transport.unregisterProducer()
        self._transport.loseConnection()
