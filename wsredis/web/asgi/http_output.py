"""The bytes of answers on their way to a client."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from wsredis.transports.sockets import is_plain, report_at_once

__all__ = ["Clock", "Output"]

#: Bytes that the transport gets at a time: when it has passed them on, the client has read more.
_PIECE = 131072


class Clock(Protocol):
    """
    Knows the time.

    Attributes:
        tick: Seconds since some moment, roughly.
    """

    tick: int


class Output:
    """
    Hands bytes to a transport as fast as the kernel takes them; an `IPushProducer`.

    Args:
        transport: The transport. It is told to use this producer.
        clock: Tells since when it takes nothing.
        drained: Called when the kernel has taken all that there was.

    Attributes:
        is_full: Tells whether bytes wait for the kernel.
        full_since: The tick of the clock at which it took nothing for the last time.
    """

    __slots__ = ("_clock", "_drained", "_offset", "_transport", "_waiting", "full_since", "is_full")

    def __init__(self, transport: Any, clock: Clock, drained: Callable[[], None]) -> None:
        self._transport = transport
        self._clock = clock
        self._drained = drained
        self._waiting: deque[bytes] = deque()
        self._offset = 0
        self.is_full = False
        self.full_since = 0
        # It tells as soon as the kernel takes no more.
        if is_plain(transport):
            transport.bufferSize = 0
        else:
            report_at_once(transport)
        transport.registerProducer(self, True)

    def send(self, data: bytes) -> None:
        """Hand bytes to the transport, or let them wait for it."""
        if self.is_full or len(data) > _PIECE:
            self._waiting.append(data)
            self._flush()
        elif data:
            self._transport.write(data)

    def release(self) -> None:
        """Let go of the transport, which has all bytes."""
        self._transport.unregisterProducer()
        if is_plain(self._transport):
            del self._transport.bufferSize

    def drop(self) -> None:
        """Forget what waits: the connection is gone."""
        self._waiting.clear()
        self.is_full = True

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting and not self.is_full:
            data, start = waiting[0], self._offset
            end = start + _PIECE
            if end >= len(data):
                waiting.popleft()
                self._offset = 0
            else:
                self._offset = end
            self._transport.write(data[start:end])

    def pauseProducing(self) -> None:
        """Write no more: the kernel takes nothing."""
        self.is_full = True
        self.full_since = self._clock.tick

    def resumeProducing(self) -> None:
        """Go on writing: the kernel has taken all that was written."""
        self.is_full = False
        self._flush()
        if not self.is_full:
            self._drained()

    def stopProducing(self) -> None:
        """Do nothing: the loss of the connection follows."""
