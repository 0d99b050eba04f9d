"""
Lists of Redis in which messages wait for the workers of Django Channels, one for each channel.

A list is shared by all who speak to Redis for a channel layer: the layer in a program, and the
gateway. A worker hears of a message by a *bell*, a publication on the channel of the same name, and
takes the first entry of the list. Workers that find it empty were too late.
"""

from __future__ import annotations

__all__ = ["BELL", "PUSH", "queue_key"]

#: The payload of a publication that says that a list is not empty.
BELL = b"1"

#: Append entries to the list KEYS[1] while it has less than ARGV[1] of them, keep it for ARGV[2]
#: milliseconds from now, and ring. Returns the number of those that were appended: the first ones.
#: It rings first: a user of Redis who may not ring appends nothing. Nobody looks before the end.
PUSH = b"""\
local room = tonumber(ARGV[1]) - redis.call('LLEN', KEYS[1])
local last = math.min(#ARGV, room + 2)
if last < 3 then return 0 end
redis.call('PUBLISH', KEYS[1], '1')
for i = 3, last do redis.call('RPUSH', KEYS[1], ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return last - 2
"""


def queue_key(prefix: str, channel: str) -> bytes:
    """
    Name the list of a worker channel, and its bell.

    Args:
        prefix: That of the channel layer.
    """
    return f"{prefix}:queue:{channel}".encode()
