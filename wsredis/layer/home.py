"""
The one event loop that reads the connections of a layer.

A process may have several loops: that of the server, those of other threads, and those that
``async_to_sync`` makes for one call. The sockets belong to none of them. The loop that reads them
is the home; where it ends, the next one that waits for something takes its place, and no connection
is made for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from select import POLLIN, poll
from threading import Lock, RLock
from time import monotonic
from typing import Any, Protocol
from weakref import ref

__all__ = ["Home", "Readable"]

#: Seconds after which a loop that waits looks whether the home still runs.
_GUARD = 0.05

#: Seconds between two looks at the connections.
_TICK = 1.0


class Readable(Protocol):
    """A connection that the home reads."""

    def fileno(self) -> int:
        """Return the descriptor. -1 if it is closed."""

    def readable(self) -> None:
        """Read. It is called in the thread of the home, whenever something may be there."""

    def writable(self) -> bool:
        """Write what is left. Returns whether nothing is left any more."""

    def tick(self) -> None:
        """Look whether an answer is overdue. It is called about once a second."""


class Home:
    """
    Finds out which loop reads, and moves the connections to it.

    Attributes:
        loop: The loop that reads, if it runs. If None, there was none yet.
        receives: Whether consumers wait in it: such a loop lives long.
        strangers: Other loops in which something waits, and how much.
    """

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self.receives = False
        self._connections: dict[Readable, int] = {}
        self._writers: set[Readable] = set()
        self.strangers: dict[asyncio.AbstractEventLoop, int] = {}
        self._lock = RLock()
        # One thread at a time reads without a home.
        self._leading = Lock()
        # The loop that was served so last.
        self._served: ref[asyncio.AbstractEventLoop] | None = None

    def is_empty(self, loop: asyncio.AbstractEventLoop) -> bool:
        """
        Tell whether nobody reads, and *loop* may live for one call only.

        Then it is quicker to wait for the answer without the loop than to make it the home: that is
        what ``async_to_sync`` does hundreds of times. It is so for the first call of a loop.
        """
        home = self.loop
        if not self._connections or (home is not None and home.is_running()):
            return False
        if self._served is not None and self._served() is loop:
            return False
        self._served = ref(loop)
        # Nobody has noticed yet if Redis has gone.
        for connection in list(self._connections):
            connection.readable()
        return bool(self._connections)

    def read_until(self, is_done: Callable[[], bool]) -> None:
        """Read in this thread until something is done, for the twentieth part of a second."""
        end = monotonic() + _GUARD
        while not is_done() and self._leading.acquire(timeout=_GUARD):
            try:
                # Another thread may have read the answer while this one waited for its turn.
                if is_done() or not self._read_once(end):
                    return
            finally:
                self._leading.release()

    def _read_once(self, end: float) -> bool:
        """Read what comes first. Returns whether anything has come in time."""
        connections = {number: each for each, number in list(self._connections.items())}
        waiting = poll()
        for descriptor in connections:
            waiting.register(descriptor, POLLIN)
        ready = waiting.poll(max(0.0, end - monotonic()) * 1000)
        for descriptor, _ in ready:
            connections[descriptor].readable()
        return bool(ready)

    async def wait(self, future: asyncio.Future[Any], *, receives: bool = False) -> Any:
        """
        Wait for something that the connections bring, in any loop.

        Args:
            future: A future of the loop that runs.
            receives: Whether the loop has consumers. Such a loop is preferred as the home.
        """
        loop = future.get_loop()
        if loop is self.loop and (self.receives or not receives):
            if self.strangers and not self.receives:
                return await self._wait_as_guest(future)
            return await future
        with self._lock:
            self.strangers[loop] = self.strangers.get(loop, 0) + 1
            home = self.loop
            if home is None or not home.is_running() or (receives and not self.receives):
                self._move(loop, receives)
            elif self.strangers[loop] == 1:
                loop.call_later(_GUARD, self._guard, loop)
        try:
            return await future
        finally:
            with self._lock:
                left = self.strangers.pop(loop, 1) - 1
                if left:
                    self.strangers[loop] = left
            if loop is self.loop:
                self._hand_over()

    async def _wait_as_guest(self, future: asyncio.Future[Any]) -> Any:
        try:
            return await future
        finally:
            self._hand_over()

    def _hand_over(self) -> None:
        """Let another loop read if one waits: this one may have got all that it lived for."""
        if self.receives or not self.strangers:
            return
        with self._lock:
            for loop in self.strangers:
                if loop is not self.loop and loop.is_running():
                    try:
                        loop.call_soon_threadsafe(self._settle, loop)
                    except RuntimeError:
                        # Closed just now.
                        continue
                    return

    def _settle(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if loop in self.strangers and loop is not self.loop and not self.receives:
                self._move(loop, False)

    def _guard(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the place of a home that has ended while something waits here."""
        with self._lock:
            if loop not in self.strangers or loop is self.loop:
                return
            if self.loop is None or not self.loop.is_running():
                self._move(loop, False)
            else:
                loop.call_later(_GUARD, self._guard, loop)

    def _move(self, loop: asyncio.AbstractEventLoop, receives: bool) -> None:
        """Make *loop*, which runs in this thread, the home."""
        old, self.loop, self.receives = self.loop, loop, receives
        if loop is old:
            return
        for connection, descriptor in self._connections.items():
            if old is not None:
                self._leave(old, connection, descriptor)
            self._listen(connection, descriptor)
        loop.call_later(_TICK, self._tick, loop)
        for each in [each for each in self.strangers if each.is_closed()]:
            del self.strangers[each]
        if old is not None and old.is_running():
            # Something may still wait there that was not counted.
            self.strangers.setdefault(old, 1)
            self._later(old, self._guard, old)

    def add(self, connection: Readable) -> None:
        """Read *connection* from now on."""
        with self._lock:
            descriptor = connection.fileno()
            if descriptor >= 0:
                self._connections[connection] = descriptor
            self._in_home(self._listen_again, connection)

    def remove(self, connection: Readable) -> None:
        """Read *connection* no more. It can be closed then."""
        with self._lock:
            descriptor = self._connections.pop(connection, None)
            self._writers.discard(connection)
            if descriptor is not None and self.loop is not None:
                self._leave(self.loop, connection, descriptor)

    def wants_to_write(self, connection: Readable) -> None:
        """Call `Readable.writable` when there is room, until nothing is left."""
        with self._lock:
            self._writers.add(connection)
            self._in_home(self._listen_again, connection)

    def _in_home(self, function: Any, connection: Readable) -> None:
        if self.loop is None or not self.loop.is_running():
            # Whoever comes next takes all connections over.
            return
        if asyncio._get_running_loop() is self.loop:
            function(connection)
        else:
            self._later(self.loop, function, connection)

    def _listen_again(self, connection: Readable) -> None:
        with self._lock:
            descriptor = self._connections.get(connection)
            # Another loop may have become the home since this was asked for.
            if descriptor is not None and asyncio._get_running_loop() is self.loop:
                self._listen(connection, descriptor)

    def _listen(self, connection: Readable, descriptor: int) -> None:
        loop = self.loop
        assert loop is not None
        loop.add_reader(descriptor, self._readable, loop, connection, descriptor)
        if connection in self._writers:
            loop.add_writer(descriptor, self._writable, loop, connection, descriptor)

    def _leave(
        self, loop: asyncio.AbstractEventLoop, connection: Readable, descriptor: int
    ) -> None:
        """Take a connection from *loop*, which may run in another thread, or be closed."""
        if loop.is_closed():
            return
        if loop.is_running() and asyncio._get_running_loop() is not loop:
            # Until then it is called in vain at most.
            self._later(loop, self._forget, loop, connection, descriptor)
        else:
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)

    def _forget(
        self, loop: asyncio.AbstractEventLoop, connection: Readable, descriptor: int
    ) -> None:
        with self._lock:
            if loop is not self.loop or self._connections.get(connection) != descriptor:
                loop.remove_reader(descriptor)
                loop.remove_writer(descriptor)

    @staticmethod
    def _later(loop: asyncio.AbstractEventLoop, function: Any, *args: Any) -> None:
        try:
            loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # Closed just now.
            pass

    def _readable(
        self, loop: asyncio.AbstractEventLoop, connection: Readable, descriptor: int
    ) -> None:
        if loop is self.loop:
            connection.readable()
        else:
            self._forget(loop, connection, descriptor)

    def _writable(
        self, loop: asyncio.AbstractEventLoop, connection: Readable, descriptor: int
    ) -> None:
        if loop is self.loop and not connection.writable():
            return
        with self._lock:
            self._writers.discard(connection)
            loop.remove_writer(descriptor)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is not self.loop:
            return
        for connection in list(self._connections):
            connection.tick()
        loop.call_later(_TICK, self._tick, loop)
