"""The worker channels that hear what clients say, each for a pattern of facilities."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from wsredis.channels import matches
from wsredis.config.values import string

__all__ = ["channel_for", "forward", "layer_prefix"]

#: The name of a channel as Channels takes it, but for the ``!`` of a channel of one process.
_CHANNEL = re.compile(r"[A-Za-z0-9_.\-]{1,99}")


def forward(value: Any) -> str:
    """
    Check one entry of the list of worker channels.

    Returns:
        PATTERN=CHANNEL.
    """
    entry = string(value)
    pattern, separator, channel = entry.rpartition("=")
    if not pattern or not separator:
        raise ValueError(f"{entry!r} is not of the form PATTERN=CHANNEL")
    if "!" in channel:
        raise ValueError(f"{entry!r}: {channel!r} is a channel of one process, not of workers")
    if not _CHANNEL.fullmatch(channel):
        raise ValueError(
            f"{entry!r}: {channel!r} is not the name of a worker channel: at most 99 letters, "
            "digits, '-', '_' and '.'"
        )
    return entry


def channel_for(entries: Iterable[str], facility: str) -> str | None:
    """
    Return the worker channel for clients of *facility*.

    Args:
        entries: Each as `forward` returns it. The first whose pattern fits decides. If there is
            none, it is None.
    """
    for entry in entries:
        pattern, _, channel = entry.rpartition("=")
        if matches(pattern, facility):
            return channel
    return None


def layer_prefix(value: Any) -> str:
    """Check the prefix of the keys of a channel layer."""
    text = string(value)
    if not text or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is empty, or has a blank or a control character")
    return text
