"""Bytes that have arrived at a socket and were not read: a busy gateway is not a silent server."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Any

__all__ = ["unread_bytes"]


def unread_bytes(transport: Any) -> int:
    """
    Ask the kernel for the bytes that a transport could read now.

    Returns:
        Their number. 0 also for a transport that has no descriptor, or none any more.
    """
    fileno = getattr(transport, "fileno", None)
    if fileno is None:
        return 0
    try:
        answer = fcntl.ioctl(fileno(), termios.FIONREAD, bytes(4))
    except (OSError, ValueError):
        return 0
    count: int = struct.unpack("i", answer)[0]
    return count
