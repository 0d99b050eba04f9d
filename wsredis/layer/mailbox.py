"""
The messages that wait in this process for its consumers, within bounds.

A mailbox has a bound of messages, and all together have one of bytes: a message that goes to many
consumers counts once.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from threading import RLock
from time import monotonic
from typing import Any
from weakref import ref

from wsredis.layer.home import Home
from wsredis.layer.messages import Parcel

__all__ = ["Letter", "Mailbox", "Mailboxes"]

#: Bytes of messages that wait in the process.
_MAX_BYTES = 64 * 1024 * 1024

#: Seconds for which a mailbox that nobody reads is kept at least.
_KEPT = 60.0

#: Mailboxes that are looked at when a new one is made. With two, no old one stays for long.
_LOOKED_AT = 2


class _Store:
    """
    Counts the bytes that wait.

    Attributes:
        size: Their number.
    """

    __slots__ = ("clock", "limit", "size")

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self.limit = limit
        self.clock = clock
        self.size = 0

    def add(self, parcel: Parcel) -> bool:
        """Count a message for one more consumer. Returns whether there is room."""
        if not parcel.holders:
            if self.size + parcel.size > self.limit:
                return False
            self.size += parcel.size
        parcel.holders += 1
        return True

    def remove(self, parcel: Parcel) -> None:
        """Count a message for one consumer less."""
        parcel.holders -= 1
        if not parcel.holders:
            self.size -= parcel.size


#: A message, and the time at which it is dropped.
Letter = tuple[float, Parcel]


class Mailbox:
    """
    The messages to one channel of this process. It is used with the lock of the station.

    Attributes:
        channel: The name of the channel.
        capacity: Number of messages that may wait.
        groups: The groups that it is in.
        hears_gaps: Whether its consumer wants to know of gaps.
        consumer: Returns the consumer, None after its end. None if it is not known.
        used_at: The time at which it was used last.
        waiters: Those who wait for a message, in their loops.
    """

    __slots__ = (
        "_letters",
        "_lock",
        "_store",
        "capacity",
        "channel",
        "consumer",
        "groups",
        "hears_gaps",
        "used_at",
        "waiters",
    )

    def __init__(self, channel: str, capacity: int, store: _Store, lock: RLock) -> None:
        self.channel = channel
        self.capacity = capacity
        self.groups: set[str] = set()
        self.hears_gaps = False
        self.consumer: ref[Any] | None = None
        self.used_at = store.clock()
        self.waiters: deque[asyncio.Future[Letter]] = deque()
        self._letters: deque[Letter] = deque()
        self._store = store
        self._lock = lock

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, letter: Letter, loop: asyncio.AbstractEventLoop | None) -> bool:
        """
        Hand a message to the consumer that waits, or keep it.

        Args:
            loop: The loop that runs in this thread.
        Returns: Whether there was room.
        """
        if self.waiters and self._hand(letter, loop):
            return True
        if self.is_full() or not self._store.add(letter[1]):
            return False
        self._letters.append(letter)
        return True

    def is_full(self) -> bool:
        """Tells whether there is no room for another message."""
        if len(self._letters) >= self.capacity:
            self.drop_old(self._store.clock())
        return len(self._letters) >= self.capacity

    def tell(self, parcel: Parcel) -> None:
        """Put a message that needs no room. If the last one is such a message, that is enough."""
        letter = (float("inf"), parcel)
        if not self._hand(letter, asyncio._get_running_loop()):
            if self._letters and self._letters[-1][0] == letter[0]:
                return
            self._store.add(parcel)
            self._letters.append(letter)

    def put_back(self, letter: Letter) -> None:
        """Return a message that was handed out and not taken."""
        loop = asyncio._get_running_loop()
        if not self._hand(letter, loop) and self._store.add(letter[1]):
            self._letters.appendleft(letter)

    def _hand(self, letter: Letter, loop: asyncio.AbstractEventLoop | None) -> bool:
        waiters = self.waiters
        while waiters:
            waiter = waiters.popleft()
            if waiter.done():
                continue
            other = waiter.get_loop()
            if other is loop:
                waiter.set_result(letter)
                return True
            try:
                other.call_soon_threadsafe(self._hand_there, waiter, letter)
            except RuntimeError:
                # That loop is closed.
                continue
            return True
        return False

    def _hand_there(self, waiter: asyncio.Future[Letter], letter: Letter) -> None:
        if waiter.done():
            with self._lock:
                self.put_back(letter)
        else:
            waiter.set_result(letter)

    async def receive(self, home: Home | None) -> Parcel:
        """Wait for a message."""
        with self._lock:
            now = self.used_at = self._store.clock()
            parcel = self.take(now) if self._letters else None
            if parcel is not None:
                return parcel
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Letter] = loop.create_future()
            self.waiters.append(future)
        try:
            if home is None or (home.loop is loop and home.receives):
                letter = await future
            else:
                letter = await home.wait(future, receives=True)
        except BaseException:
            with self._lock:
                if future.done() and not future.cancelled():
                    # It came together with the end of the one who waits.
                    self.put_back(future.result())
                elif future in self.waiters:
                    self.waiters.remove(future)
            raise
        return letter[1]

    def take(self, now: float) -> Parcel | None:
        """Return the oldest message that is not too old. If None, there is none."""
        while self._letters:
            deadline, parcel = self._letters.popleft()
            self._store.remove(parcel)
            if deadline > now:
                return parcel
        return None

    def drop_old(self, now: float) -> None:
        """Drop messages that are too old."""
        while self._letters and self._letters[0][0] <= now:
            self._store.remove(self._letters.popleft()[1])

    def clear(self) -> None:
        """Drop all messages."""
        while self._letters:
            self._store.remove(self._letters.popleft()[1])

    def is_used(self, now: float) -> bool:
        """Tells whether somebody reads it, or may do so again."""
        if any(not waiter.done() for waiter in self.waiters):
            return True
        if self.consumer is not None:
            return self.consumer() is not None
        return now - self.used_at < _KEPT


class Mailboxes:
    """
    All mailboxes of the process. It is used with the lock of the station.

    Args:
        capacity: Returns the number of messages that may wait for a channel.
        removed: Takes a mailbox that was removed.
        lock: That of the station.
        limit: Bytes of messages that may wait.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        capacity: Callable[[str], int],
        removed: Callable[[Mailbox], None],
        lock: RLock,
        limit: int = _MAX_BYTES,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._capacity = capacity
        self._removed = removed
        self._lock = lock
        self._store = _Store(limit, clock)
        self.clock = clock
        self._mailboxes: OrderedDict[str, Mailbox] = OrderedDict()
        # Channels whose consumer has ended. It is filled at any moment, by the garbage collection.
        self._ended: deque[str] = deque()
        self._swept_at = 0.0

    def __len__(self) -> int:
        return len(self._mailboxes)

    def __iter__(self) -> Iterator[Mailbox]:
        return iter(list(self._mailboxes.values()))

    @property
    def size(self) -> int:
        """Bytes of messages that wait."""
        return self._store.size

    def get(self, channel: str) -> Mailbox | None:
        """Return the mailbox of a channel. If None, there is none."""
        return self._mailboxes.get(channel)

    def make(self, channel: str, consumer: object = None) -> Mailbox:
        """
        Return the mailbox of a channel, a new one if there is none.

        Args:
            consumer: The one that reads it: it is removed when that has ended. If None, it is
                not known; then it is removed when it is not used any more.
        """
        mailbox = self._mailboxes.get(channel)
        if mailbox is None:
            self._clean()
            mailbox = Mailbox(channel, self._capacity(channel), self._store, self._lock)
            self._mailboxes[channel] = mailbox
        if consumer is not None:
            ended = self._ended
            try:
                mailbox.consumer = ref(consumer, lambda _: ended.append(channel))
            except TypeError:
                # Its class allows no weak references.
                pass
        return mailbox

    def _clean(self) -> None:
        self.forget_ended()
        now = self.clock()
        for _ in range(min(_LOOKED_AT, len(self._mailboxes))):
            channel, mailbox = next(iter(self._mailboxes.items()))
            mailbox.drop_old(now)
            if mailbox.is_used(now):
                self._mailboxes.move_to_end(channel)
            else:
                self._remove(channel)

    def _remove(self, channel: str) -> None:
        mailbox = self._mailboxes.pop(channel, None)
        if mailbox is not None:
            mailbox.clear()
            self._removed(mailbox)

    def forget_ended(self) -> None:
        """Remove the mailboxes of consumers that have ended."""
        while self._ended:
            self._remove(self._ended.popleft())

    def prepare(self, parcel: Parcel) -> None:
        """Make room for a message: drop the mailboxes of consumers that ended, and old messages."""
        self.forget_ended()
        if self._store.size + parcel.size > self._store.limit:
            now = self.clock()
            # All are looked at, so not for each message.
            if now - self._swept_at > 1.0:
                self._swept_at = now
                for mailbox in self._mailboxes.values():
                    mailbox.drop_old(now)

    def clear(self) -> None:
        """Drop all messages. The mailboxes stay, since their consumers do."""
        for mailbox in self._mailboxes.values():
            mailbox.clear()
