"""A queue in which no address keeps the others waiting: for checks of identities."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from wsredis.gateway.shares import SharedBound

__all__ = ["FairQueue"]

T = TypeVar("T", bound=Hashable)


class FairQueue(Generic[T]):
    """
    Items that are under way, and items that wait for that, in turns of the addresses they are from.

    An address has a share of both; see `wsredis.gateway.shares.SharedBound`. The next item is one
    of the address whose turn is longest ago, and the oldest of that address.

    Args:
        places: Number of items that may be under way.
        waiting: Number of items that may wait for a place.

    Items without an address, such as those of a UNIX socket, take turns with the others as if they
    were from one, and have no share: only the totals bound them.
    """

    __slots__ = ("_places", "_queues", "_waiting")

    def __init__(self, places: int, waiting: int) -> None:
        self._places = SharedBound(places)
        self._waiting = SharedBound(waiting)
        #: The items that wait, by address. The address whose turn is next is the first one.
        self._queues: dict[str, dict[T, None]] = {}

    def __len__(self) -> int:
        """Return the number of items that wait."""
        return self._waiting.held

    def begin(self, address: str, item: T) -> bool:
        """
        Take a place for a new item.

        Returns:
            False if there is none for this address now: see `wait`.
        """
        return address not in self._queues and self._places.take(address or item)

    def wait(self, address: str, item: T) -> bool:
        """
        Let an item wait until `next` returns it.

        Returns:
            False if too many wait already, of this address or in total. Nothing has changed.
        """
        if not self._waiting.take(address or item):
            return False
        self._queues.setdefault(address, {})[item] = None
        return True

    def next(self, address: str, item: T) -> tuple[str, T] | None:
        """
        Take note that an item is done, and give a place to one that waits.

        Args:
            address, item: The one that is done.
        Returns:
            The next address and item. None if there is none that may begin now; it gets its place
            when another item of its address is done.
        """
        self._places.release(address or item)
        for following, queue in self._queues.items():
            first = next(iter(queue))
            if self._places.take(following or first):
                self._remove(following, queue, first)
                if queue:
                    # To the end: the others come first now.
                    self._queues[following] = self._queues.pop(following)
                return following, first
        return None

    def cancel(self, address: str, item: T) -> None:
        """Give the place of an item back that did not begin."""
        self._places.release(address or item)

    def discard(self, address: str, item: T) -> None:
        """Drop an item that waits. Harmless if it does not."""
        queue = self._queues.get(address, {})
        if item in queue:
            self._remove(address, queue, item)

    def clear(self) -> None:
        """Drop all items that wait."""
        for address, queue in list(self._queues.items()):
            for item in list(queue):
                self._remove(address, queue, item)

    def _remove(self, address: str, queue: dict[T, None], item: T) -> None:
        del queue[item]
        self._waiting.release(address or item)
        if not queue:
            del self._queues[address]
