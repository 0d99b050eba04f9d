"""The port to transports: one client, as the rest of the gateway sees it."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

__all__ = ["Client", "PauseReason"]


class PauseReason(IntEnum):
    """Why a client is not read. Several reasons are added up, each a power of two."""

    SEND_QUEUE = 1
    PUBLISH = 2
    HANDLER = 4


class Client(Protocol):
    """The part of a transport that a connection needs: one client's socket."""

    @property
    def peer(self) -> str:
        """The address of the client, for logs."""

    def write(self, data: bytes) -> None:
        """Send encoded messages."""

    def close(self, code: int, reason: str) -> None:
        """
        Close the connection. *code* is a WebSocket close code.

        A transport without close codes translates it.
        """

    def pause(self, why: PauseReason) -> None:
        """Take no further message from the client, not even one that was read already."""

    def resume(self, why: PauseReason) -> None:
        """Go on, unless there is another reason to pause."""
