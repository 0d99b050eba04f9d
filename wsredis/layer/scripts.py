"""
The scripts that Redis executes for worker channels.

Each has one key. An entry of the list is the time in milliseconds at which it is dropped, by the
clock of Redis, in 13 digits, and the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from typing import Any

from wsredis.layer.carrier import Carrier, Command, Done

__all__ = ["PUSH", "PUT_BACK", "Popped", "Script", "popped", "popping"]

#: Length of the time in front of each entry.
_DIGITS = 13


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


#: Appends a message: ARGV are the message, the capacity, milliseconds to live and the bell. Returns
#: the number of messages, or -1 if there is no room. The bell rings when the list was empty.
PUSH = Script(
    """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
while true do
  local head = redis.call('LINDEX', KEYS[1], 0)
  if not head or tonumber(string.sub(head, 1, 13)) > now then break end
  redis.call('LPOP', KEYS[1])
end
local length = redis.call('LLEN', KEYS[1])
if length >= tonumber(ARGV[2]) then return -1 end
local entry = string.format('%013.0f', now + tonumber(ARGV[3])) .. ARGV[1]
redis.call('RPUSH', KEYS[1], entry)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
if length == 0 then redis.call('PUBLISH', ARGV[4], '') end
return length + 1
"""
)

#: Puts an entry back to the front: ARGV are the entry, milliseconds to live and the bell.
PUT_BACK = Script(
    """
redis.call('LPUSH', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', ARGV[3], '')
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
    digits = entry[:_DIGITS]
    is_fresh = digits.isdigit() and int(digits) > now
    return Popped(entry, entry[_DIGITS:] if is_fresh else None, left)
