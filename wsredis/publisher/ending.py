"""The commands of Redis that end the sessions of clients, now and for gateways that are away."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from wsredis.channels import control_channel, ended_log
from wsredis.publisher.base import Command

__all__ = ["ending_commands", "first_refusal"]

#: Seconds for which an order is kept at least. A token should not live for longer.
_KEPT = 86400

#: Orders that are kept, about.
_MAX_KEPT = 10000


def ending_commands(
    prefix: str, selector: str, names: Iterable[str], session_age: float = 0
) -> list[Command]:
    """
    List the commands that end sessions, or all sessions of users or groups.

    Args:
        prefix: That of all channels, without the colon.
        selector: "session", "user" or "group".
        names: Keys of sessions, or names.
        session_age: Seconds for which sessions live: orders are kept for as long, and for a day at
            least.
    """
    log = ended_log(prefix)
    orders = [json.dumps({"end": {selector: name}}) for name in names]
    if not orders:
        return []
    # Kept first: a gateway that reads the log then cannot miss both.
    kept: list[Command] = [
        ("XADD", log, "MAXLEN", "~", str(_MAX_KEPT), "*", "command", order) for order in orders
    ]
    published: list[Command] = [("PUBLISH", control_channel(prefix), order) for order in orders]
    return [*kept, ("EXPIRE", log, str(max(_KEPT, int(session_age)))), *published]


def first_refusal(commands: Sequence[Command], replies: Sequence[object]) -> Exception | None:
    """Return the first error of Redis that keeps an order from being kept. None if all are kept."""
    for command, reply in zip(commands, replies, strict=True):
        if command[0] != "PUBLISH" and isinstance(reply, Exception):
            return reply
    return None
