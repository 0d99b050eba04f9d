"""Dialects: what travels inside WebSocket messages."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Dialect"]


class Dialect(Protocol):
    """How publications look on the wire, and what a client's messages mean."""

    def frame(self, payload: bytes) -> bytes:
        """The wire bytes of one publication; made once for all connections of this dialect."""

    def is_heartbeat(self, payload: bytes) -> bool:
        """Whether a client's message is a sign of life and nothing else."""
