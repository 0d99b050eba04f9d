"""One connection to Redis that comes back, read by the loop that is home."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Callable
from threading import Event, Lock, RLock, Thread
from time import monotonic
from typing import Any

from wsredis.layer.dial import Dial
from wsredis.layer.errors import LayerUnavailable
from wsredis.layer.home import Home
from wsredis.layer.hosts import Host
from wsredis.layer.quiet import Quiet
from wsredis.layer.wire import Wire

__all__ = ["Link", "guarded"]

_log = logging.getLogger("wsredis.layer")

_quiet = Quiet(_log)

#: Seconds between two attempts to connect, at first and at most.
_PAUSE = 0.1
_MAX_PAUSE = 2.0

#: Seconds for which the failure of an attempt is an answer for those who come after it.
_FRESH = 0.5

#: Bytes that wait to be written, above which a connection takes no more.
_MAX_UNSENT = 16 * 1024 * 1024


class Link:
    """
    Keeps one connection. Subclasses say what it is for.

    Args:
        purpose: For the log.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        host: Host,
        home: Home,
        dial: Dial,
        purpose: str,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.clock = clock
        self.host = host
        self.home = home
        # Guards `wire` and what is written to it; nothing of others is called with it.
        self.lock = Lock()
        # One thread reads, or ends the connection, at a time.
        self._reading = RLock()
        self.wire: Wire | None = None
        self._dial = dial
        self._purpose = purpose
        self._dialling = False
        self._closed = False
        self._error: Exception | None = None
        self._failed_at = 0.0
        self._retry = Event()

    # -- For subclasses

    def is_wanted(self) -> bool:
        """Tells whether to connect again, though nobody has asked."""
        raise NotImplementedError

    def connected(self, wire: Wire) -> None:
        """Write the first commands. It is called with the lock."""
        raise NotImplementedError

    def replies(self, wire: Wire, replies: list[Any]) -> None:
        """Take replies, in the thread of the home."""
        raise NotImplementedError

    def lost(self, wire: Wire, error: Exception) -> None:
        """Tell those who wait for answers on *wire*."""
        raise NotImplementedError

    def failed(self, error: LayerUnavailable) -> None:
        """Tell those who wait for a connection."""
        raise NotImplementedError

    def overdue(self, wire: Wire) -> bool:
        """Tells whether an answer should have come by now. It may ask Redis for one."""
        raise NotImplementedError

    # --

    def away(self) -> LayerUnavailable | None:
        """
        Ask for a connection, while there is none. It is called with the lock.

        Returns: An error if those who need it should not wait.
        """
        self._closed = False
        if self._dialling:
            if self._error is None:
                return None
            if not self._retry.is_set() and self.clock() - self._failed_at > _FRESH:
                # It pauses. One who asks is a reason to try at once.
                self._error = None
                self._retry.set()
                return None
            return self.unavailable()
        if self._error is not None and self.clock() - self._failed_at < _FRESH:
            return self.unavailable()
        self._start()
        return None

    def unavailable(self) -> LayerUnavailable:
        """Make the error that tells why there is no connection."""
        return LayerUnavailable(f"{self.host.target.name}: {self._error or 'no connection'}")

    def _start(self) -> None:
        self._dialling = True
        self._error = None
        self._retry.clear()
        name = f"wsredis-layer-{self._purpose}"
        Thread(target=self._connect, name=name, daemon=True).start()

    def _connect(self) -> None:
        """Connect, in a thread of its own, until it works or nobody wants it any more."""
        pause = _PAUSE
        while True:
            self._retry.clear()
            try:
                wire = Wire(self._dial(self.host), self.clock)
            except Exception as error:
                # Besides those of the system, errors of TLS and of a credential provider.
                if not self._pause(error, pause):
                    return
                pause = min(_MAX_PAUSE, pause * 2)
                continue
            with self.lock:
                self._dialling = False
                if self._closed:
                    wire.socket.close()
                    return
                self._error = None
                self.wire = wire
                self.connected(wire)
            with self._reading:
                if self.wire is wire:
                    self.home.add(self)
            return

    def _pause(self, error: Exception, pause: float) -> bool:
        """Take note of a failure, and pause. Returns whether to try again."""
        with self.lock:
            self._error = error
            self._failed_at = self.clock()
        self._warn("no connection to", error)
        self.failed(self.unavailable())
        with self.lock:
            if self._closed or not self.is_wanted():
                self._dialling = False
                return False
        self._retry.wait(pause * random.uniform(0.5, 1.0))
        return True

    def transmit(self, wire: Wire, data: bytes) -> None:
        """Write, and the rest later. It is called with the lock."""
        if not wire.send(data):
            self.home.wants_to_write(self)

    # -- For the home

    def fileno(self) -> int:
        """See `Readable`."""
        wire = self.wire
        return -1 if wire is None else wire.socket.fileno()

    def readable(self) -> None:
        """See `Readable`."""
        with self._reading:
            wire = self.wire
            if wire is None:
                return
            try:
                if wire.is_secure:
                    with self.lock:
                        data = wire.read()
                else:
                    data = wire.read()
                if not data:
                    return
                replies = wire.parse(data)
            except OSError as error:
                self._end(wire, error)
            else:
                self.replies(wire, replies)

    def writable(self) -> bool:
        """See `Readable`."""
        with self.lock:
            return self.wire is None or self.wire.flush()

    def tick(self) -> None:
        """See `Readable`."""
        with self._reading:
            # An answer may have been there for long, if the loop was busy.
            self.readable()
            wire = self.wire
            if wire is not None and self.overdue(wire):
                self._end(wire, TimeoutError("Redis does not answer"))

    def _end(self, wire: Wire, error: Exception, *, again: bool = True) -> None:
        with self.lock:
            self.wire = None
        self.home.remove(self)
        wire.socket.close()
        if again:
            self._warn("lost the connection to", error)
        self.lost(wire, error)
        with self.lock:
            if again and not self._closed and not self._dialling and self.is_wanted():
                self._start()

    def _warn(self, text: str, error: Exception) -> None:
        name = self.host.target.name
        _quiet.line(logging.WARNING, (text, name), f"{text} %s: %s", name, error)

    def close(self) -> None:
        """End the connection. The next use makes a new one."""
        with self._reading:
            with self.lock:
                self._closed = True
                self._retry.set()
                wire = self.wire
            if wire is not None:
                self._end(wire, ConnectionAbortedError("closed"), again=False)
        self.failed(LayerUnavailable("closed"))

    def abandon(self) -> None:
        """Drop the connection in a process that was forked: it is the parent's."""
        wire, self.wire = self.wire, None
        if wire is not None:
            os.close(wire.socket.detach())

    def full(self, wire: Wire) -> bool:
        """Tells whether Redis does not keep up."""
        return wire.unsent > _MAX_UNSENT


def guarded(function: Callable[[Any], None], result: Any) -> None:
    """Call somebody who must not hinder the others."""
    try:
        function(result)
    except Exception:
        _log.exception("a reply of Redis was not taken")
