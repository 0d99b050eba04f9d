"""
The publications of the last minute, for clients without WebSockets that come back.

Such a client has a cursor: the number of the last publication that it has heard. It needs no state
here. Publications are numbered in the order in which they come, over all channels together; the
ring keeps those of each channel that such clients hear, or have heard within the last minute.
"""

from __future__ import annotations

import re
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import merge
from operator import attrgetter
from typing import Protocol, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from wsredis.gateway.client import Sink
from wsredis.gateway.hub import Hub, Listener
from wsredis.gateway.publication import Encoding, Publication
from wsredis.gateway.shares import SharedBound
from wsredis.gateway.timers import PeriodicTask, TimeoutQueue

__all__ = ["SLICE", "Ring", "size_of"]

#: Seconds until the next look at a hub that is behind: about the time of one of its slices.
SLICE = 0.01

#: Seconds for which publications are kept, and for which a channel is heard without a client.
_MEMORY = 60.0

#: Seconds between two looks for publications that are too old.
_SWEEP = 5.0

#: A publication costs this much memory beside its bytes, and its bytes so many times: it remembers
#: those of each encoding.
_ENTRY = 400
_COPIES = 3

#: Channels that are heard without a client. The addresses and users of clients share them.
_MAX_LEFT = 4096

_CURSOR = re.compile(r"([0-9a-f]{8})-([0-9]{1,15})")

_number = attrgetter("number")

_T = TypeVar("_T")


class _Source(Protocol):
    """The part of a `wsredis.gateway.connection.Connection` that says whose it is."""

    @property
    def origin(self) -> str:
        """See `wsredis.gateway.broker.PublishWaiter.origin`."""


class _Channel:
    """
    Attributes:
        entries: The publications that are kept, each with the time at which it came.
        floor: The number after which nothing is missing.
        size: The memory of the entries.
        clients: The number of clients without WebSockets that hear the channel.
    """

    __slots__ = ("clients", "entries", "floor", "size")

    def __init__(self, floor: int) -> None:
        self.entries: deque[tuple[float, Publication]] = deque()
        self.floor = floor
        self.size = 0
        self.clients = 0


class Ring:
    """
    Numbers publications, and keeps them for a while.

    It is the `wsredis.gateway.hub.Recorder` of a hub, and one of its listeners, for the channels
    that clients have left.

    Args:
        limit: Bytes of memory of all that is kept. A channel may have twice as much as is free, so
            that a busy one leaves room for the others.
        is_recorded: Tells whether clients with this encoding come back with a cursor.
        most: Bytes of payloads that a client that comes back may be sent at once. If None, it is
            *limit*.

    Attributes:
        number: The number of the newest publication, or of a later event after which older cursors
            may lack something.
        prefix: The begin of all cursors of this process.
        size: Bytes of memory of all that is kept.
    """

    direct: Sink | None = None
    encoding = None
    #: Which ones does not matter to the hub: nothing is written anywhere.
    channels: Sequence[bytes] = ()

    def __init__(
        self,
        clock: IReactorTime,
        hub: Hub,
        limit: int,
        is_recorded: Callable[[Encoding | None], bool],
        most: int | None = None,
    ) -> None:
        self._clock = clock
        self._hub = hub
        self._limit = limit
        self._most = limit if most is None else most
        self._is_recorded = is_recorded
        self.number = 0
        self.prefix = f"{secrets.token_hex(4)}-"
        self.size = 0
        self._channels: dict[bytes, _Channel] = {}
        #: The channels with entries.
        self._filled: dict[_Channel, None] = {}
        #: The channels without a client, and whose they are.
        self._left: TimeoutQueue[bytes] = TimeoutQueue(clock, _MEMORY, self._forget)
        self._owners: dict[bytes, str] = {}
        self._places = SharedBound(_MAX_LEFT)
        self._sweeps = PeriodicTask(clock, _SWEEP, self._sweep)
        self._is_stopped = False

    def start(self) -> None:
        """Begin to forget what is too old."""
        self._left.start()
        self._sweeps.start()

    def stop(self) -> None:
        """Forget everything, and hear nothing any more."""
        self._is_stopped = True
        self._left.stop()
        self._sweeps.stop()
        for name in [*self._left]:
            self._left.discard(name)
            self._forget(name)

    # -- Cursors

    def cursor(self) -> str:
        """Return the cursor of a client that has heard everything until now."""
        return f"{self.prefix}{self.number}"

    @property
    def worthless(self) -> str:
        """A cursor of a client that may have missed anything."""
        return f"{self.prefix}0"

    def when_even(self, result: _T) -> _T | Deferred[_T]:
        """
        Wait until the hub has delivered all that it has, and return *result*.

        All of it is here already: a client would hear it twice, or get a cursor behind it.
        """
        if not self._hub.is_behind:
            return result
        return deferLater(self._clock, SLICE).addCallback(lambda _: self.when_even(result))

    def missed(self, names: Sequence[bytes], cursor: str) -> list[Publication] | None:
        """
        Return what a client has missed, in the order in which it came.

        Args:
            names: The channels that it hears from now on.
            cursor: As it sent it; it may be anything.

        Returns:
            The publications after the cursor on these channels. None if there is no telling, since
            one may be missing, and if they are more than a client may be sent at once.
        """
        match = _CURSOR.fullmatch(cursor)
        if match is None or f"{match[1]}-" != self.prefix:
            return None
        number = int(match[2])
        rows = []
        for name in names:
            channel = self._channels.get(name)
            if channel is None or number < channel.floor:
                return None
            row: deque[Publication] = deque()
            for _, publication in reversed(channel.entries):
                if publication.number <= number:
                    break
                row.appendleft(publication)
            rows.append(row)
        if number > self.number or sum(map(size_of, rows)) > self._most:
            return None
        return [*merge(*rows, key=_number)]

    def lose(self) -> None:
        """Take note that publications may have been lost on any channel until now."""
        self.number += 1
        for channel in [*self._filled]:
            self._clear(channel)
        for channel in self._channels.values():
            channel.floor = self.number

    # -- wsredis.gateway.hub.Recorder

    def record(self, batch: Sequence[Publication]) -> None:
        """See `wsredis.gateway.hub.Recorder.record`."""
        channels = self._channels
        if not channels:
            return
        now = self._clock.seconds()
        for publication in batch:
            channel = channels.get(publication.channel)
            if channel is not None:
                self.number += 1
                publication.number = self.number
                self._keep(channel, now, publication)

    def joined(self, listener: Listener, name: bytes) -> None:
        """See `wsredis.gateway.hub.Recorder.joined`."""
        if not self._is_recorded(listener.encoding):
            return
        channel = self._channels.get(name)
        if channel is None:
            # A client with the newest number may have missed what came before.
            self.number += 1
            channel = self._channels[name] = _Channel(self.number)
        elif not channel.clients:
            self._left.discard(name)
            self._leave(name)
        channel.clients += 1

    def left(self, listener: Listener, name: bytes) -> None:
        """See `wsredis.gateway.hub.Recorder.left`."""
        if not self._is_recorded(listener.encoding):
            return
        channel = self._channels[name]
        channel.clients -= 1
        if channel.clients:
            return
        owner = cast(_Source, listener).origin
        if self._is_stopped or not self._places.take(owner):
            self._drop(name)
            return
        self._owners[name] = owner
        self._left.add(name)
        # Whatever becomes of it: if Redis is away, all channels lose something.
        self._hub.extend(self, [name]).addErrback(lambda _: None)

    # -- wsredis.gateway.hub.Listener

    def deliver(self, items: Sequence[Publication]) -> None:
        """Do nothing: `record` has them."""

    def restore(self, item: Publication) -> None:
        """Do nothing: after a loss clients begin anew."""

    def forbid(self) -> None:
        """Do nothing: a client that comes back is refused."""

    # -- What is kept

    def _keep(self, channel: _Channel, now: float, publication: Publication) -> None:
        cost = _cost(publication)
        channel.entries.append((now, publication))
        channel.size += cost
        self.size += cost
        self._filled[channel] = None
        while channel.size > 2 * (self._limit - self.size):
            self._pop(channel)
            if not channel.entries:
                break

    def _pop(self, channel: _Channel) -> None:
        """Forget the oldest publication of a channel."""
        _, publication = channel.entries.popleft()
        cost = _cost(publication)
        channel.floor = publication.number
        channel.size -= cost
        self.size -= cost
        if not channel.entries:
            del self._filled[channel]

    def _clear(self, channel: _Channel) -> None:
        while channel.entries:
            self._pop(channel)

    def _sweep(self, count: int) -> None:
        oldest = self._clock.seconds() - _MEMORY
        for channel in [*self._filled]:
            while channel.entries and channel.entries[0][0] < oldest:
                self._pop(channel)

    # -- Channels without a client

    def _forget(self, name: bytes) -> None:
        """Nobody came back to a channel."""
        self._drop(name)
        self._leave(name)

    def _leave(self, name: bytes) -> None:
        """Hear a channel no more: it has a client again, or is forgotten."""
        self._places.release(self._owners.pop(name))
        self._hub.retract(self, [name])

    def _drop(self, name: bytes) -> None:
        self._clear(self._channels.pop(name))


def size_of(publications: Iterable[Publication]) -> int:
    """Return the bytes of the payloads of publications."""
    return sum(len(each.payload) for each in publications)


def _cost(publication: Publication) -> int:
    return _ENTRY + _COPIES * len(publication.payload)
