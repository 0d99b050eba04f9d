"""The choice of a project's own subscriber, for tests without a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed

__all__ = ["FakeEnrolment"]


class FakeEnrolment:
    """The choice of a project's subscriber, which records what it is asked."""

    def __init__(self, channels: Sequence[bytes], publishes: Sequence[bytes] = ()) -> None:
        self.channels = channels
        self.publishes = publishes
        self.chooses_first = self.takes_messages = False
        self.answer: Deferred[Any] = succeed([])
        self.taken: list[bytes] = []
        self.waiting: list[Deferred[Any]] = []
        self.released = 0

    def first(self) -> Deferred[Any]:
        """Answer."""
        return self.answer

    def take(self, payload: bytes) -> Deferred[Any]:
        """Wait for the test."""
        self.taken.append(payload)
        self.waiting.append(Deferred())
        return self.waiting[-1]

    def release(self) -> None:
        """Count."""
        self.released += 1
