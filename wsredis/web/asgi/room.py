"""The bound on what an application works on at a time."""

from __future__ import annotations

__all__ = ["Room"]


class Room:
    """
    Counts the requests and the undecided handshakes of an application.

    Args:
        limit: As many may be under way.

    Attributes:
        taken: The number of those that are under way.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.taken = 0

    def enter(self) -> bool:
        """Take a place. False if there is none."""
        if self.taken >= self._limit:
            return False
        self.taken += 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self.taken -= 1
