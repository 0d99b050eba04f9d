"""
Bytes to one socket: straight to the kernel, else through a bounded queue.

Everything that is written to a connection passes here, so "nothing is queued" means that the
transport buffers nothing either. In that state `SendQueue.send` *is* ``socket.send``, which costs
a third of ``transport.write``. What the kernel does not take waits here, as references to bytes
that all connections share, and the transport only says when the kernel takes more. Whether a
transport allows that is the caller's knowledge: under TLS there is a socket too, and plaintext must
not reach it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

__all__ = ["SendQueue", "SendQueueOwner"]

#: How much is handed at a time to a transport that takes copies. As many bytes that wait are
#: congestion.
_CHUNK = 65536

#: How many of the writes that wait are offered to the kernel at a time. POSIX bounds it (IOV_MAX).
_PIECES = 256


class SendQueueOwner(Protocol):
    """The owner of a send queue, which hears of its state."""

    def send_queue_overflowed(self) -> None:
        """More bytes wait than the limit. All that waited was dropped, at the end of a frame."""

    def send_queue_congested(self) -> None:
        """The client reads slower than it is written to."""

    def send_queue_advanced(self) -> None:
        """The client took some of the bytes that were waiting."""

    def send_queue_drained(self) -> None:
        """Nothing waits any more."""


class _Sink(Protocol):
    """The place for bytes while nothing is queued."""

    def send(self, data: bytes, /) -> int:
        """As ``socket.send``: take some bytes, and tell how many."""

    def sendmsg(self, pieces: Sequence[bytes | memoryview], /) -> int:
        """As ``socket.sendmsg``: the same for several pieces in a row."""


class _TransportSink:
    """Lets a transport that only has ``write`` look like a socket."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def send(self, data: bytes, /) -> int:
        if len(data) > _CHUNK:
            data = data[:_CHUNK]
        self._transport.write(data)
        return len(data)

    def sendmsg(self, pieces: Sequence[bytes | memoryview], /) -> int:
        chunk: list[bytes | memoryview] = []
        room = _CHUNK
        for piece in pieces:
            chunk.append(piece if len(piece) <= room else memoryview(piece)[:room])
            room -= len(chunk[-1])
            if not room:
                break
        self._transport.write(b"".join(chunk))
        return _CHUNK - room


class _Nowhere:
    """Takes the bytes for a connection that is gone."""

    def send(self, data: bytes, /) -> int:
        return len(data)

    def sendmsg(self, pieces: Sequence[bytes | memoryview], /) -> int:
        return sum(map(len, pieces))


_nowhere = _Nowhere()


@implementer(IPushProducer)
class SendQueue:
    """
    The write side of one connection.

    Args:
        transport: The transport of the connection.
        limit: Bytes that may wait, not counting the write that is under way. One write more is
            taken however large it is, so that a message larger than the limit can pass.
        owner: It is notified when the queue grows, drains and overflows.
        socket: The socket below the transport, if bytes may be sent past the transport while it
            has none to send. If None, they may not: TLS is spoken, or the transport changes bytes.

    Attributes:
        send: See `wsredis.gateway.client.Sink`.
        waiting: Bytes that wait, not counting the write under way.
    """

    __slots__ = (
        "_closing",
        "_limit",
        "_owner",
        "_paused",
        "_pulled",
        "_queue",
        "_sink",
        "_transport",
        "send",
        "waiting",
    )

    def __init__(
        self, transport: Any, limit: int, owner: SendQueueOwner, socket: Any = None
    ) -> None:
        self._transport = transport
        self._limit = limit
        self._owner = owner
        self.waiting = 0
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
        queue.append(memoryview(data)[taken:] if taken else data)
        if self._pulled:
            self._paused = True
            self._transport.registerProducer(self, False)
        elif not self._paused:
            self._pump(queue)

    def close(self) -> None:
        """Close the connection when all that waits is sent."""
        if self._queue is None:
            self._finish()
        else:
            self._closing = True

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True
        if self._queue is None:
            self._use(deque())

    def resumeProducing(self) -> None:
        """The transport's buffer is empty, and the kernel takes more."""
        # Registering a pull producer calls this at once, before the client took anything.
        registering = self._pulled and self._paused
        self._paused = False
        if registering:
            self._transport.startWriting()
        elif self._queue is not None:
            self._owner.send_queue_advanced()
            self._pump(self._queue)

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._sink = _nowhere
        self._use(None)
        self.waiting = 0

    def _use(self, queue: deque[bytes | memoryview] | None) -> None:
        """
        Let writes wait in *queue* from now on. If None, they need not wait.

        Nothing else decides about `send`: a moment in which it is the kernel's while bytes wait
        would be enough for a message to overtake another one.
        """
        self._queue = queue
        self.send = self._sink.send if queue is None else self._enqueue

    def _pump(self, queue: deque[bytes | memoryview]) -> None:
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

    def _advance(self, queue: deque[bytes | memoryview], taken: int) -> None:
        """Remove the first *taken* bytes."""
        while queue and taken >= len(queue[0]):
            taken -= len(queue.popleft())
            if queue:
                # The next one is under way from now on.
                self.waiting -= len(queue[0])
        if taken:
            queue[0] = memoryview(queue[0])[taken:]

    def _enqueue(self, data: bytes) -> int:
        queue = self._queue
        assert queue is not None
        if self.waiting > self._limit:
            self._overflow(queue)
            return len(data)
        if queue:
            self.waiting += len(data)
        queue.append(data)
        if self.waiting > _CHUNK:
            self._owner.send_queue_congested()
        return len(data)

    def _overflow(self, queue: deque[bytes | memoryview]) -> None:
        # A write that is partly sent must be finished, or no close frame could be read after it.
        under_way = queue[0] if queue else b""
        queue.clear()
        if under_way:
            queue.append(under_way)
        self.waiting = 0
        self._owner.send_queue_overflowed()

    def _drained(self) -> None:
        self._use(None)
        self.waiting = 0
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
