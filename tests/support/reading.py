"""Reading frames from a gateway that pings whenever it likes."""

from __future__ import annotations

from tests.support.raw import PING, Frame, RawClient

__all__ = ["receive_answer"]


def receive_answer(client: RawClient) -> Frame:
    """Read one frame, as `RawClient.receive` does, and skip the gateway's own pings."""
    while (got := client.receive()).opcode == PING:
        pass
    return got
