"""
The scripts that Redis executes for worker channels.

Each has one key; `wsredis.worker_queues` tells how the list looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from wsredis import worker_queues
from wsredis.layer.carrier import Carrier, Command, Done

__all__ = ["PUSH", "PUT_BACK", "Popped", "Script", "popped", "popping"]


class Script:
    """
    A script.

    Attributes:
        text: Its source.
        digest: The name by which Redis knows it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def run(self, carrier: Carrier, key: bytes, args: Sequence[bytes | int], done: Done) -> None:
        """
        Let Redis execute it.

        Args:
            done: Takes a list with the reply, or an exception.
        """

        def answered(replies: Sequence[Any] | Exception) -> None:
            if isinstance(replies, Exception):
                done(replies)
            elif str(replies[0]).startswith("NOSCRIPT") and isinstance(replies[0], Exception):
                # A Redis that was started anew.
                carrier.call([("EVAL", self.text, 1, key, *args)], done)
            else:
                done(replies)

        command: Command = ("EVALSHA", self.digest, 1, key, *args)
        carrier.call([command], answered)


#: Appends messages: ARGV are the capacity, milliseconds to live, the bell and the messages. Returns
#: the number of those for which there was room.
PUSH = Script(worker_queues.PUSH)

#: Puts an entry back to the front: ARGV are the entry, milliseconds to live and the bell.
PUT_BACK = Script(
    """
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], '1')
return 1
"""
)


def popping(key: bytes) -> list[Command]:
    """List the commands that take the oldest entry; `popped` reads the replies."""
    return [(b"LPOP", key), (b"LLEN", key), (b"TIME",)]


@dataclass(frozen=True, slots=True)
class Popped:
    """
    What was taken from a list.

    Attributes:
        entry: The entry, to be put back as it is. If None, there was none.
        payload: The message. If None, there was none, or it was too old.
        left: Number of entries that are left.
    """

    entry: bytes | None
    payload: bytes | None
    left: int


def popped(replies: Sequence[Any]) -> Popped:
    """
    Read the replies to `popping`.

    Raises:
        Exception: The error of Redis, if it refused.
    """
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    entry, left, (seconds, fraction) = replies
    if entry is None:
        return Popped(None, None, left)
    now = int(seconds) * 1000 + int(fraction) // 1000
    digits = entry[: worker_queues.DIGITS]
    is_fresh = digits.isdigit() and int(digits) > now
    return Popped(entry, entry[worker_queues.DIGITS :] if is_fresh else None, left)
