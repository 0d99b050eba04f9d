"""
Bytes to one socket: straight to the kernel, else through a bounded queue.

Everything that is written to a connection passes here, so "nothing is queued" means that the
transport buffers nothing either. In that state bytes go to ``socket.send`` directly, which costs
a third of ``transport.write``. Whether a transport allows that is the caller's knowledge: under TLS
there is a socket too, and plaintext must not reach it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

__all__ = ["SendQueue", "SendQueueOwner"]

#: How much is handed to the transport at a time once the kernel takes no more. The queue keeps
#: references to bytes that all connections share; what the transport holds is a copy.
_CHUNK = 65536


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


class _Nowhere:
    """Takes the bytes for a connection that is gone."""

    def send(self, data: bytes, /) -> int:
        return len(data)


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
        "waiting",
    )

    def __init__(
        self, transport: Any, limit: int, owner: SendQueueOwner, socket: Any = None
    ) -> None:
        self._transport = transport
        self._limit = limit
        self._owner = owner
        self._queue: deque[bytes | memoryview] | None = None
        self.waiting = 0
        self._paused = False
        self._closing = False
        #: Pulled by the transport whenever its buffer is empty, or paused and resumed by it.
        self._pulled = socket is not None
        self._sink: _Sink = socket if self._pulled else _TransportSink(transport)
        if not self._pulled:
            transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send whole frames. Never blocks, never raises for a connection that is gone."""
        if self._queue is not None:
            self._enqueue(data)
            return
        try:
            taken = self._sink.send(data)
        except OSError:
            # The kernel is full, or the transport will meet the same error and report the loss.
            taken = 0
        if taken != len(data):
            self._block(memoryview(data)[taken:] if taken else data)

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
            self._queue = deque()

    def resumeProducing(self) -> None:
        """The transport's buffer is empty."""
        # Registering a pull producer calls this at once, before the client took anything.
        registering = self._pulled and self._paused
        self._paused = False
        if self._queue is not None:
            if not registering:
                self._owner.send_queue_advanced()
            self._pump(self._queue)

    def stopProducing(self) -> None:
        """The connection is lost."""
        self._queue = None
        self.waiting = 0
        self._sink = _nowhere

    def _pump(self, queue: deque[bytes | memoryview]) -> None:
        while queue and not self._paused:
            self._transport.write(self._next_chunk(queue))
            if self._pulled:
                return
        if not queue and not self._paused:
            self._drained()

    def _block(self, rest: bytes | memoryview) -> None:
        if self._queue is None:
            self._queue = deque()
        self._queue.append(rest)
        if self._pulled:
            self._paused = True
            self._transport.registerProducer(self, False)
        elif not self._paused:
            self._pump(self._queue)

    def _enqueue(self, data: bytes) -> None:
        queue = self._queue
        assert queue is not None
        if self.waiting > self._limit:
            self._overflow(queue)
            return
        if queue:
            self.waiting += len(data)
        queue.append(data)
        if self.waiting > _CHUNK:
            self._owner.send_queue_congested()

    def _overflow(self, queue: deque[bytes | memoryview]) -> None:
        # A write that is partly sent must be finished, or no close frame could be read after it.
        under_way = queue[0] if queue else b""
        queue.clear()
        if under_way:
            queue.append(under_way)
        self.waiting = 0
        self._owner.send_queue_overflowed()

    def _next_chunk(self, queue: deque[bytes | memoryview]) -> bytes:
        parts: list[bytes | memoryview] = []
        room = _CHUNK
        while queue and room > 0:
            head = queue.popleft()
            if len(head) > room:
                view = memoryview(head)
                parts.append(view[:room])
                queue.appendleft(view[room:])
                break
            room -= len(head)
            parts.append(head)
            if queue:
                # The next one is under way from now on.
                self.waiting -= len(queue[0])
        return b"".join(parts)

    def _drained(self) -> None:
        self._queue = None
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
