"""One connection to Redis that comes back, read by the loop that is home."""

from __future__ import annotations

import logging
import os
import random
import socket
import ssl
from collections.abc import Callable, Sequence
from threading import Event, Lock, RLock, Thread
from time import monotonic
from typing import Any

import hiredis

from wsredis.layer.carrier import Command
from wsredis.layer.dial import Dial
from wsredis.layer.errors import LayerUnavailable
from wsredis.layer.home import Home
from wsredis.layer.hosts import Host
from wsredis.layer.quiet import Quiet

__all__ = ["Link", "Wire", "pack"]

_quiet = Quiet(logging.getLogger("wsredis.layer"))

#: Seconds between two attempts to connect, at first and at most.
_PAUSE = 0.1
_MAX_PAUSE = 2.0

#: Seconds for which the failure of an attempt is an answer for those who come after it.
_FRESH = 0.5

#: Bytes that wait to be written, above which a connection takes no more.
_MAX_UNSENT = 16 * 1024 * 1024

_READ = 256 * 1024

_AGAIN = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


def pack(commands: Sequence[Command]) -> bytes:
    """Write commands as Redis reads them."""
    return b"".join([hiredis.pack_command(command) for command in commands])


class Wire:
    """
    A socket with what is not written yet, and not understood yet.

    Attributes:
        is_secure: Whether it has TLS: then only one thread may use it at a time.
        pending: What the owner expects answers for, the oldest first.
        heard_at: The time at which something was read last.
    """

    def __init__(self, connection: socket.socket, clock: Callable[[], float]) -> None:
        self.socket = connection
        self.is_secure = isinstance(connection, ssl.SSLSocket)
        self.pending: Any = None
        self.heard_at = clock()
        self._clock = clock
        self._reader = hiredis.Reader()
        self._unsent = bytearray()

    @property
    def unsent(self) -> int:
        """Bytes that are not written yet."""
        return len(self._unsent)

    def hold(self, data: bytes) -> None:
        """Write *data* with the next `flush`."""
        self._unsent += data

    def send(self, data: bytes) -> bool:
        """
        Write as much as there is room for.

        Returns: Whether nothing is left.
        """
        if self._unsent:
            self._unsent += data
            return self.flush()
        try:
            sent = self.socket.send(data)
        except _AGAIN:
            sent = 0
        except OSError:
            # The reader finds out, and tells all who wait.
            self.hang_up()
            return True
        if sent < len(data):
            self._unsent += data[sent:]
        return not self._unsent

    def flush(self) -> bool:
        """Write what is left. Returns whether nothing is left any more."""
        while self._unsent:
            try:
                sent = self.socket.send(self._unsent)
            except _AGAIN:
                return False
            except OSError:
                self.hang_up()
                self._unsent.clear()
                return True
            del self._unsent[:sent]
        return True

    def read(self) -> bytes:
        """
        Read what has come. If it is empty, nothing has.

        Raises:
            OSError: The connection has ended.
        """
        data = b""
        try:
            while True:
                more = self.socket.recv(_READ)
                if not more and not data:
                    raise ConnectionResetError("Redis has closed the connection")
                data += more
                # The loop does not know of what TLS has read ahead.
                if not (more and isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()):
                    break
        except _AGAIN:
            pass
        return data

    def parse(self, data: bytes) -> list[Any]:
        """
        Return the replies that are complete with *data*.

        Raises:
            OSError: Redis does not speak its protocol.
        """
        self.heard_at = self._clock()
        self._reader.feed(data)
        replies = []
        try:
            while (reply := self._reader.gets()) is not False:
                replies.append(reply)
        except hiredis.ProtocolError as error:
            raise ConnectionAbortedError(f"not the protocol of Redis: {error}") from error
        return replies

    def hang_up(self) -> None:
        """End the connection so that the one that reads it notices."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


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
                replies = wire.parse(data) if data else []
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
