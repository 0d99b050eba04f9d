"""A send queue that leaves out messages, where a plain one would give the client up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import compress, islice
from operator import not_
from typing import Any, Protocol

from wsredis.config.slow_policy import SlowPolicy
from wsredis.gateway.queued_bytes import Piece, QueuedBytes, whole_of
from wsredis.transports.send_queue import CONGESTION, SendQueue, SendQueueOwner

__all__ = ["SelectiveOwner", "SelectiveQueue"]

#: The part of the limit that is left when the oldest messages are dropped, so that it is not done
#: for every message; and the part when the memory of all clients is short.
_LOW = 7 / 8
_SCARCE = 1 / 8

_CONFLATE = SlowPolicy.CONFLATE


class SelectiveOwner(SendQueueOwner, Protocol):
    """The owner of a `SelectiveQueue`."""

    def send_queue_selects(self, put: Callable[[bytes, bytes], None] | None) -> None:
        """
        Something begins to wait, or nothing waits any more.

        Args:
            put: Takes publications one by one from now on, each with its channel. If None, they
                may be written in any way.
        """

    def send_queue_dropped(self, policy: SlowPolicy, count: int) -> None:
        """The client is slow, and so many messages were left out."""


class SelectiveQueue(SendQueue):
    """
    The write side of one connection that does not go for being slow.

    While something waits, each publication is a piece of its own, whose channel is known. When the
    client is slow, the policy chooses among those; what was written in another way (control frames,
    heartbeats, messages of a handler) and the write under way are never left out. From then on the
    policy is applied to each further message, until nothing waits. The client goes if that does not
    help.

    Args:
        transport, limit, owner, total, socket, hard: See `SendQueue`.
        policy: Any but `SlowPolicy.DISCONNECT`.
    """

    __slots__ = ("_channels", "_is_pumping", "_is_slow", "_policy", "_selective_owner")

    def __init__(
        self,
        transport: Any,
        limit: int,
        owner: SelectiveOwner,
        total: QueuedBytes,
        socket: Any = None,
        hard: int | None = None,
        *,
        policy: SlowPolicy,
    ) -> None:
        self._selective_owner = owner
        self._policy = policy
        #: The channel of each piece of the queue. None for what is never left out, as the write
        #: under way, which is the first.
        self._channels: deque[bytes | None] = deque()
        self._is_slow = self._is_pumping = False
        super().__init__(transport, limit, owner, total, socket, hard)

    def put(self, channel: bytes, data: bytes) -> None:
        """Send a whole publication, as `write`. It may be left out if the client is slow."""
        queue = self._queue
        if queue is not None and self.waiting > self._limit:
            self._catch_up(queue)
            if self._queue is queue and self.waiting > self._limit and self._is_full(queue):
                return
            queue = self._queue
        if queue is None:
            self.write(data)
            return
        if self._is_slow and self._policy is _CONFLATE and channel in self._channels:
            self._replace(queue, channel, data)
            return
        if queue:
            self.waiting += len(data)
            self._channels.append(channel)
        else:
            self._channels.append(None)
        queue.append(data)
        self._total.add(data)
        if self.waiting > CONGESTION:
            self._owner.send_queue_congested()

    def evict(self) -> None:
        """
        See `wsredis.gateway.queued_bytes.WaitingQueue.evict`.

        The client stays if half of what waits for it can be left out.
        """
        queue = self._queue
        # Pieces that are being handed over may not change.
        if queue and not self._is_pumping:
            under_way = len(whole_of(queue[0]))
            before = under_way + self.waiting
            self._choose(queue, int(self._limit * _SCARCE))
            if 2 * (under_way + self.waiting) <= before:
                return
        super().evict()

    def _use(self, queue: deque[Piece] | None) -> None:
        self._channels.clear()
        self._is_slow = False
        super()._use(queue)
        self._selective_owner.send_queue_selects(None if queue is None else self.put)

    def _pump(self, queue: deque[Piece]) -> None:
        was_pumping, self._is_pumping = self._is_pumping, True
        try:
            super()._pump(queue)
        finally:
            self._is_pumping = was_pumping

    def _advance(self, queue: deque[Piece], taken: int) -> None:
        super()._advance(queue, taken)
        channels = self._channels
        while len(channels) > len(queue):
            channels.popleft()
        if channels:
            channels[0] = None

    def _append(self, queue: deque[Piece], piece: Piece, whole: bytes | bytearray) -> None:
        self._channels.append(None)
        super()._append(queue, piece, whole)

    def _drop_waiting(self, queue: deque[Piece]) -> None:
        super()._drop_waiting(queue)
        self._channels = deque([None] * len(queue))

    def _is_full(self, queue: deque[Piece]) -> bool:
        if self._is_slow and self._policy is not _CONFLATE:
            return self._overflow(queue)
        return super()._is_full(queue)

    def _overflow(self, queue: deque[Piece]) -> bool:
        kept = self._choose(queue, int(self._limit * _LOW))
        # The rest might grow without end.
        if kept > self._limit * _LOW or self.waiting > self._hard:
            return super()._overflow(queue)
        return False

    def _choose(self, queue: deque[Piece], room: int) -> int:
        """
        Leave out messages of a client that is slow from now on.

        Args:
            room: Bytes that may wait, if the oldest messages are left out. The newest one stays.

        Returns:
            The bytes that wait and can never be left out.
        """
        self._is_slow = True
        names = self._channels
        stays = self._newest() if self._policy is _CONFLATE else self._youngest(queue, room)
        gone = [*compress(queue, map(not_, stays))]
        if gone:
            pieces = [*compress(queue, stays)]
            queue.clear()
            queue += pieces
            self._channels = names = deque(compress(names, stays))
            self._dropped(gone)
        waiting = islice(zip(queue, names, strict=True), 1, None)
        return sum(len(piece) for piece, name in waiting if name is None)

    def _newest(self) -> list[bool]:
        """Tell for each piece whether no newer one of its channel waits."""
        last = {name: number for number, name in enumerate(self._channels)}
        return [name is None or last[name] == number for number, name in enumerate(self._channels)]

    def _youngest(self, queue: deque[Piece], room: int) -> list[bool]:
        """Tell for each piece whether no more than *room* waits with it, or it is the newest."""
        stays = [True] * len(queue)
        excess = self.waiting - room
        gone = -1
        for number, (piece, name) in enumerate(zip(queue, self._channels, strict=True)):
            if name is None:
                continue
            if excess <= 0:
                # A newer one stays.
                return stays
            stays[number] = False
            excess -= len(piece)
            gone = number
        if gone >= 0:
            stays[gone] = True
        return stays

    def _replace(self, queue: deque[Piece], channel: bytes, data: bytes) -> None:
        """
        Let *data* wait in the place of an older message of the channel.

        At the end, a channel with a message every moment would never have its turn.
        """
        number = self._channels.index(channel)
        old = queue[number]
        queue[number] = data
        self.waiting += len(data)
        self._dropped([old])
        self._total.add(data)

    def _dropped(self, gone: list[Piece]) -> None:
        """Count pieces that do not wait any more."""
        self.waiting -= sum(map(len, gone))
        if self.waiting <= self._limit:
            self._within()
        self._total.remove(gone)
        self._selective_owner.send_queue_dropped(self._policy, len(gone))
