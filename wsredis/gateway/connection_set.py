"""The connections of one kind that are open, and the moment when the last one is gone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, succeed

from wsredis.gateway.signal import Signal

__all__ = ["ConnectionSet"]

T = TypeVar("T")


class ConnectionSet(Generic[T]):
    """A set that tells when it has become empty."""

    __slots__ = ("_empty", "_members")

    def __init__(self) -> None:
        # A dictionary needs half the memory of a set.
        self._members: dict[T, None] = {}
        self._empty: Signal[None] = Signal()

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[T]:
        """Iterate over a copy: members may come and go meanwhile."""
        return iter(list(self._members))

    def __contains__(self, member: T) -> bool:
        return member in self._members

    def add(self, member: T) -> None:
        """Add a connection."""
        self._members[member] = None

    def discard(self, member: T) -> None:
        """Remove a connection. Harmless if it is not in the set."""
        if member in self._members:
            del self._members[member]
            if not self._members:
                self._empty.fire(None)

    def when_empty(self) -> Deferred[None]:
        """
        Wait until no connection is left.

        Returns: Fires at once if the set is empty. Cancelling it changes nothing.
        """
        return self._empty.wait() if self._members else succeed(None)
