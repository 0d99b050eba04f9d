"""
Worker channels: each message goes to exactly one of those who wait, in any process.

A message stands in a list of Redis. The bell, a publication, tells that the list is not empty now;
whoever hears it takes the next message. One who has got a message looks for another before it waits
for the bell again. So no command blocks, and a message that rings no bell is found as well.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from threading import RLock
from typing import Any

from wsredis.layer.carrier import Carrier
from wsredis.layer.home import Home
from wsredis.layer.messages import BadPayload, Codec, Message
from wsredis.layer.scripts import PUT_BACK, Popped, popped, popping

__all__ = ["Queue"]

_log = logging.getLogger("wsredis.layer")

#: Seconds between two attempts while Redis is away.
_PAUSE = 0.5


class Queue:
    """
    One worker channel, for those who receive from it in this process.

    Args:
        key: The list in Redis.
        bell: The name of its publications.
        expiry: Seconds that a message is kept which is put back.
        lock: That of the station.
    """

    def __init__(
        self, carrier: Carrier, key: bytes, bell: bytes, codec: Codec, expiry: float, lock: RLock
    ) -> None:
        self.bell = bell
        self._carrier = carrier
        self._key = key
        self._codec = codec
        self._expiry = expiry
        self._lock = lock
        self._waiters: deque[asyncio.Future[Popped]] = deque()
        # Requests on their way.
        self._asking = 0
        # Whether the list may have something, and how often that was told.
        self._may_have_more = True
        self._rings = 0

    async def receive(self, home: Home | None) -> Message:
        """Wait for a message that nobody else gets."""
        while True:
            taken = await self._next(home)
            assert taken.payload is not None
            try:
                message: Message = self._codec.decode(taken.payload)
            except BadPayload as error:
                _log.warning("dropped a message on %s: %s", self._key.decode(), error)
            else:
                return message

    async def _next(self, home: Home | None) -> Popped:
        future: asyncio.Future[Popped] = asyncio.get_running_loop().create_future()
        with self._lock:
            self._waiters.append(future)
        self.look()
        try:
            if home is not None:
                await home.wait(future, receives=True)
            return await future
        except BaseException:
            if future.done() and not future.cancelled():
                self._put_back(future.result())
            with self._lock:
                if future in self._waiters:
                    self._waiters.remove(future)
            raise

    def ring(self) -> None:
        """Hear the bell."""
        with self._lock:
            self._rings += 1
            self._may_have_more = True
        self.look()

    def look(self) -> None:
        """Ask for as many messages as are waited for, if there may be any."""
        while True:
            with self._lock:
                waiting = sum(not waiter.done() for waiter in self._waiters)
                if not self._may_have_more or self._asking >= waiting:
                    return
                self._asking += 1
                rings = self._rings
            self._carrier.call(popping(self._key), self._taker(rings))

    def _taker(self, rings: int) -> Callable[[Sequence[Any] | Exception], None]:
        def taken(replies: Sequence[Any] | Exception) -> None:
            error: Exception | None = None
            found = Popped(None, None, 1)
            try:
                if isinstance(replies, Exception):
                    raise replies
                found = popped(replies)
            except Exception as problem:
                error = problem
            with self._lock:
                self._asking -= 1
                # A bell that rang since then may have been for a later message.
                if not found.left and rings == self._rings:
                    self._may_have_more = False
            if error is not None:
                self._try_later()
                return
            if found.payload is not None:
                self._hand(found)
            self.look()

        return taken

    def _hand(self, entry: Popped) -> None:
        while True:
            with self._lock:
                waiter = self._waiters.popleft() if self._waiters else None
            if waiter is None:
                self._put_back(entry)
                return
            if waiter.done():
                continue
            loop = waiter.get_loop()
            if loop is asyncio._get_running_loop():
                waiter.set_result(entry)
                return
            try:
                loop.call_soon_threadsafe(self._hand_there, waiter, entry)
            except RuntimeError:
                # That loop is closed.
                continue
            return

    def _hand_there(self, waiter: asyncio.Future[Popped], entry: Popped) -> None:
        if waiter.done():
            self._hand(entry)
        else:
            waiter.set_result(entry)

    def _put_back(self, taken: Popped) -> None:
        """Return a message to Redis whose receiver has gone."""
        assert taken.entry is not None
        args = (taken.entry, int(self._expiry * 1000), self.bell)
        PUT_BACK.run(self._carrier, self._key, args, self._returned)

    def _returned(self, replies: Sequence[Any] | Exception) -> None:
        reply = replies if isinstance(replies, Exception) else replies[0]
        if isinstance(reply, Exception):
            _log.warning("lost a message of %s: %s", self._key.decode(), reply)

    def _try_later(self) -> None:
        with self._lock:
            waiter = next((each for each in self._waiters if not each.done()), None)
        if waiter is None:
            return
        loop = waiter.get_loop()
        try:
            loop.call_soon_threadsafe(loop.call_later, _PAUSE, self.look)
        except RuntimeError:
            # That loop is closed, and its waiters with it.
            pass
