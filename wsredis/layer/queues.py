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
from functools import partial
from threading import RLock
from typing import Any

from channels.exceptions import ChannelFull

from wsredis.config.redis_url import error_text
from wsredis.layer.answers import ask
from wsredis.layer.carrier import Carrier
from wsredis.layer.errors import LayerUnavailable
from wsredis.layer.home import Home
from wsredis.layer.members import Handlers
from wsredis.layer.messages import BadPayload, Codec, Message
from wsredis.layer.names import Names, host_of
from wsredis.layer.scripts import PUSH, PUT_BACK, Popped, popped, popping

__all__ = ["Queue", "Queues"]

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
        # Whether Redis was away at the last question: the next one waits a little.
        self._pauses = False

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
            if not self._waiters:
                # Its timer may have been in a loop that has ended.
                self._pauses = False
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
            self._pauses = False
        self.look()

    def look(self) -> None:
        """Ask for as many messages as are waited for, if there may be any."""
        while True:
            with self._lock:
                waiting = sum(not waiter.done() for waiter in self._waiters)
                if self._pauses or not self._may_have_more or self._asking >= waiting:
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
            loops = {each.get_loop() for each in self._waiters if not each.done()}
            if self._pauses or not loops:
                return
            self._pauses = True
        for loop in loops:
            try:
                loop.call_soon_threadsafe(loop.call_later, _PAUSE, self._look_again)
            except RuntimeError:
                # That loop is closed, and its waiters with it.
                pass

    def _look_again(self) -> None:
        self._pauses = False
        self.look()


class Queues:
    """
    All worker channels, for this process.

    Args:
        names: The names on each host.
        carriers: The way to each host.
        handlers: Where it puts what hears the bells.
        expiry: Seconds that a message is kept.
        capacity: Returns the number of messages that may wait for a channel.
        lock: That of the station.
    """

    def __init__(
        self,
        names: Sequence[Names],
        carriers: Sequence[Carrier],
        handlers: Handlers,
        codec: Codec,
        expiry: float,
        capacity: Callable[[str], int],
        lock: RLock,
    ) -> None:
        self._names = names
        self._carriers = carriers
        self._handlers = handlers
        self._codec = codec
        self._expiry = expiry
        self._capacity = capacity
        self._lock = lock
        self._queues: dict[str, Queue] = {}

    async def receive(self, home: Home | None, channel: str) -> Message:
        """Wait for a message to a worker channel."""
        queue = self._queues.get(channel)
        if queue is None:
            queue = self._make(channel)
        return await queue.receive(home)

    def _make(self, channel: str) -> Queue:
        number = host_of(channel, len(self._carriers))
        carrier, names = self._carriers[number], self._names[number]
        with self._lock:
            queue = self._queues.get(channel)
            if queue is not None:
                return queue
            key, bell = names.queue(channel), names.bell(channel)
            queue = Queue(carrier, key, bell, self._codec, self._expiry, self._lock)
            self._queues[channel] = queue
        self._handlers[number][bell] = lambda _: queue.ring()
        # What came before the bell is heard is found then.
        carrier.subscribe(bell, lambda _: queue.ring())
        return queue

    async def send(self, home: Home | None, channel: str, payload: bytes) -> None:
        """
        Send to a worker channel.

        Args:
            payload: The encoded message.

        Raises:
            ChannelFull: Too many messages wait for it.
            LayerUnavailable, LayerOutcomeUnknown: Redis is away.
        """
        number = host_of(channel, len(self._carriers))
        names = self._names[number]
        lifetime = int(self._expiry * 1000)
        args = (self._capacity(channel), lifetime, names.bell(channel), payload)
        push = partial(PUSH.run, self._carriers[number], names.queue(channel), args)
        reply = (await ask(home, push))[0]
        if isinstance(reply, Exception):
            raise LayerUnavailable(error_text(reply))
        if not reply:
            raise ChannelFull(channel)

    async def send_to_all(self, home: Home | None, channels: list[bytes], payload: bytes) -> int:
        """Send to several worker channels. Returns: The number of those that are full."""
        full = 0
        for channel in channels:
            try:
                await self.send(home, channel.decode(), payload)
            except ChannelFull:
                full += 1
        return full

    def ring(self) -> None:
        """Look for messages whose bell was not heard."""
        for queue in list(self._queues.values()):
            queue.ring()

    def clear(self) -> None:
        """Forget all."""
        self._queues.clear()
