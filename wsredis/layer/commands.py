"""The connection of a layer for commands."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

from wsredis.layer.carrier import Command, Done
from wsredis.layer.errors import LayerOutcomeUnknown, LayerUnavailable
from wsredis.layer.link import Link, guarded
from wsredis.layer.wire import Wire, pack

__all__ = ["Commands"]

#: Calls without an answer, above which no more are taken.
_MAX_PENDING = 20000


class _Call:
    """Commands that were sent together."""

    __slots__ = ("count", "done", "replies", "sent_at")

    def __init__(self, count: int, done: Done, sent_at: float) -> None:
        self.count = count
        self.done = done
        self.replies: list[Any] = []
        self.sent_at = sent_at


class Commands(Link):
    """The connection for commands. Answers come in the order of the commands."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # For the connection that is being made.
        self._waiting: list[tuple[bytes, _Call]] = []
        # The loop that writes at the end of its turn.
        self._flushes: asyncio.AbstractEventLoop | None = None

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """See `Carrier.call`."""
        data = pack(commands)
        call = _Call(len(commands), done, self.clock())
        error: LayerUnavailable | None = None
        with self.lock:
            wire = self.wire
            if wire is None:
                error = self.away()
                if error is None and len(self._waiting) >= _MAX_PENDING:
                    error = LayerUnavailable("too many calls wait for Redis")
                if error is None:
                    self._waiting.append((data, call))
            elif len(wire.pending) >= _MAX_PENDING or self.full(wire):
                error = LayerUnavailable("Redis does not keep up")
            else:
                self._send(wire, data, call)
        if error is not None:
            done(error)

    def _send(self, wire: Wire, data: bytes, call: _Call) -> None:
        wire.pending.append(call)
        if len(wire.pending) > 1:
            loop = asyncio._get_running_loop()
            if loop is not None and loop is self.home.loop:
                # Redis is busy: calls of the same turn of the loop need one write.
                wire.hold(data)
                if self._flushes is not loop:
                    self._flushes = loop
                    loop.call_soon(self._flush)
                return
        self.transmit(wire, data)

    def _flush(self) -> None:
        with self.lock:
            self._flushes = None
            wire = self.wire
            if wire is not None and not wire.flush():
                self.home.wants_to_write(self)

    def is_wanted(self) -> bool:
        """See `Link`."""
        # Somebody may have come since the others were told of a failure.
        return bool(self._waiting)

    def connected(self, wire: Wire) -> None:
        """See `Link`."""
        wire.pending = deque()
        waiting, self._waiting = self._waiting, []
        for data, call in waiting:
            call.sent_at = self.clock()
            wire.pending.append(call)
            self.transmit(wire, data)

    def replies(self, wire: Wire, replies: list[Any]) -> None:
        """See `Link`."""
        pending = wire.pending
        for reply in replies:
            call = pending[0]
            call.replies.append(reply)
            if isinstance(reply, Exception) and str(reply).startswith("READONLY"):
                # Another server has become the master.
                wire.hang_up()
            if len(call.replies) == call.count:
                pending.popleft()
                guarded(call.done, call.replies)

    def lost(self, wire: Wire, error: Exception) -> None:
        """See `Link`."""
        for call in wire.pending:
            guarded(call.done, LayerOutcomeUnknown(f"{self.host.target.name}: {error}"))

    def failed(self, error: LayerUnavailable) -> None:
        """See `Link`."""
        with self.lock:
            waiting, self._waiting = self._waiting, []
        for _, call in waiting:
            guarded(call.done, error)

    def overdue(self, wire: Wire) -> bool:
        """See `Link`."""
        pending = wire.pending
        return bool(pending) and self.clock() - pending[0].sent_at > self.host.timeout
