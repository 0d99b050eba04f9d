"""The policies for clients that read too slowly, each for a pattern of facilities."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from wsredis.channels import matches
from wsredis.config.values import string

__all__ = ["SlowPolicy", "policy_for", "slow_policy"]


class SlowPolicy(Enum):
    """What becomes of a client that is slow, and of the messages that wait for it."""

    #: The client is closed with 1008.
    DISCONNECT = "disconnect"
    #: Only the newest message of each channel waits for it.
    CONFLATE = "conflate"
    #: The oldest messages are left out.
    DROP_OLDEST = "drop-oldest"


_NAMES = tuple(each.value for each in SlowPolicy)


def slow_policy(value: Any) -> str:
    """
    Check one entry of the list of policies.

    Returns:
        PATTERN=POLICY, also if only a policy was given: that is one for all facilities.
    """
    entry = string(value)
    if entry in _NAMES:
        return f"*={entry}"
    pattern, separator, policy = entry.rpartition("=")
    if not pattern or not separator:
        raise ValueError(
            f"{entry!r} is neither one of {', '.join(_NAMES)} nor of the form PATTERN=POLICY"
        )
    if policy not in _NAMES:
        raise ValueError(f"{entry!r}: {policy!r} is not one of {', '.join(_NAMES)}")
    return entry


def policy_for(entries: Iterable[str], facility: str) -> SlowPolicy:
    """
    Return the policy for clients of *facility*.

    Args:
        entries: Each as `slow_policy` returns it. The first whose pattern fits decides. If there
            is none, clients that are slow are closed.
    """
    for entry in entries:
        pattern, _, policy = entry.rpartition("=")
        if matches(pattern, facility):
            return SlowPolicy(policy)
    return SlowPolicy.DISCONNECT
