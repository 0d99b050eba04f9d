"""The memory of all bytes that wait for clients, and which of them go when it is too much."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple, Protocol, cast

from twisted.internet.interfaces import IReactorTime

__all__ = ["Piece", "QueuedBytes", "WaitingQueue", "Weight", "whole_of"]

#: Bytes of memory that one piece costs beside its own: the object, its place in a queue, and its
#: count here. And the same for each further queue that it waits in.
_PIECE = 192
_REFERENCE = 16

#: When too much waits, queues are given up until this part of the limit is left. So a limit that is
#: met again and again costs little each time.
_LOW = 7 / 8


#: A write that waits, or what is left of it.
Piece = bytes | bytearray | memoryview


def whole_of(piece: Piece) -> bytes | bytearray:
    """Return the object that *piece* keeps in memory."""
    return cast(bytes, piece.obj) if isinstance(piece, memoryview) else piece


class Weight(NamedTuple):
    """
    The part of one queue in all that waits.

    Attributes:
        address: The key of the client's address.
        held: The bytes of memory that the client stands for. 0 if nothing waits.
        delay: The seconds in which the client would take them.
    """

    address: str
    held: float
    delay: float


class WaitingQueue(Protocol):
    """A queue in which something waits."""

    def weigh(self, now: float) -> Weight:
        """
        Return what decides whether the queue is given up.

        Args:
            now: The time, as that of `QueuedBytes.enter`.
        """

    def evict(self) -> None:
        """Give up the client, and take at least most of the pieces off the `QueuedBytes`."""


class QueuedBytes:
    """
    The memory of everything that waits in the queues of all clients.

    An object that waits in many queues is in memory once, and counts once. When it is too much,
    those go first that would take longest for their own part, and whose address has most of it.

    Args:
        clock: Tells how long a queue has been waiting.
        limit: Bytes. If there are more, the slowest queues are given up.

    Attributes:
        held: The bytes that wait now, with what the queues cost themselves.
    """

    __slots__ = ("_clock", "_counts", "_is_relieving", "_limit", "_queues", "held")

    def __init__(self, clock: IReactorTime, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self.held = 0
        #: In how many places each object waits, by its `id`: it lives as long as it waits.
        self._counts: dict[int, int] = {}
        self._queues: set[WaitingQueue] = set()
        self._is_relieving = False

    def __len__(self) -> int:
        """Return the number of queues in which something waits."""
        return len(self._queues)

    def enter(self, queue: WaitingQueue) -> float:
        """Remember that something waits in *queue*. Returns: The time, in seconds."""
        self._queues.add(queue)
        return self._clock.seconds()

    def now(self) -> float:
        """Return the time, in seconds."""
        return self._clock.seconds()

    def leave(self, queue: WaitingQueue) -> None:
        """Remember that nothing waits in *queue* any more. Harmless if nothing did."""
        self._queues.discard(queue)

    def add(self, piece: bytes | bytearray) -> None:
        """
        Count a piece that a queue has just taken in.

        It may lead to a call of `WaitingQueue.evict`, also of that queue.
        """
        counts, key = self._counts, id(piece)
        if key in counts:
            counts[key] += 1
            held = self.held + _REFERENCE
        else:
            counts[key] = 1
            held = self.held + len(piece) + _PIECE
        self.held = held
        if held > self._limit:
            self._relieve()

    def grow(self, size: int) -> None:
        """Count *size* bytes by which a piece that is counted already has just grown."""
        self.held += size
        if self.held > self._limit:
            self._relieve()

    def remove(self, pieces: Iterable[Piece]) -> None:
        """Count off pieces that a queue holds no more, or what was left of them."""
        counts = self._counts
        freed = 0
        for piece in pieces:
            # Nearly all are bytes.
            whole = piece if type(piece) is bytes else whole_of(piece)
            key = id(whole)
            count = counts[key]
            if count > 1:
                counts[key] = count - 1
                freed += _REFERENCE
            else:
                del counts[key]
                freed += len(whole) + _PIECE
        self.held -= freed

    def share(self, piece: Piece) -> float:
        """Return the bytes of *piece* that each of the queues that hold it stands for."""
        whole = whole_of(piece)
        return _REFERENCE + len(whole) / self._counts[id(whole)]

    def _relieve(self) -> None:
        """Give up queues, the slowest first, until there is room."""
        if self._is_relieving:
            return
        self._is_relieving = True
        try:
            now = self._clock.seconds()
            weights = {queue: queue.weigh(now) for queue in self._queues}
            by_address: dict[str, float] = defaultdict(float)
            for weight in weights.values():
                by_address[weight.address] += weight.held

            def rank(queue: WaitingQueue) -> float:
                weight = weights[queue]
                return weight.delay * by_address[weight.address]

            for queue in sorted(weights, key=rank, reverse=True):
                # What nothing waits in has no part in it.
                if self.held <= self._limit * _LOW or not weights[queue].held:
                    break
                if queue in self._queues:
                    queue.evict()
        finally:
            self._is_relieving = False
