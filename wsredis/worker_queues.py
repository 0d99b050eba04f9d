"""
Lists of Redis in which messages wait for the workers of Django Channels, one for each channel.

A list is shared by all who speak to Redis for a channel layer: the layer in a program, and the
gateway. A worker hears of a message by a *bell*, a publication, and takes the first entry of the
list. One that finds it empty was too late; one that has taken an entry looks for the next.

An entry is the time in milliseconds at which it is dropped, by the clock of Redis, in 13 digits,
and the message.
"""

from __future__ import annotations

__all__ = ["BELL", "DIGITS", "PUSH", "bell_name", "queue_key"]

#: Length of the time in front of each entry.
DIGITS = 13

#: The payload of a publication that says that a list is no longer empty. It is not empty itself:
#: the hub of a gateway leaves empty messages out.
BELL = b"1"

#: Append messages to the list KEYS[1] while it has less than ARGV[1] of them. Each may wait for
#: ARGV[2] milliseconds. The bell is ARGV[3]; the messages follow. Returns the number of those that
#: were appended: the first ones. It rings before: a user of Redis who may not ring appends nothing,
#: and nobody looks before the end.
PUSH = """\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
while true do
  local head = redis.call('LINDEX', KEYS[1], 0)
  if not head or tonumber(string.sub(head, 1, 13)) > now then break end
  redis.call('LPOP', KEYS[1])
end
local length = redis.call('LLEN', KEYS[1])
local last = math.min(#ARGV, 3 + tonumber(ARGV[1]) - length)
if last < 4 then return 0 end
if length == 0 then redis.call('PUBLISH', ARGV[3], '1') end
local deadline = string.format('%013.0f', now + tonumber(ARGV[2]))
for i = 4, last do redis.call('RPUSH', KEYS[1], deadline .. ARGV[i]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return last - 3
"""


def queue_key(prefix: str, channel: str) -> bytes:
    """
    Name the list of a worker channel.

    Args:
        prefix: That of the channel layer.
    """
    return f"{prefix}:queue:{channel}".encode()


def bell_name(prefix: str, database: int, channel: str) -> bytes:
    """
    Name the publications that ring for a worker channel.

    Args:
        prefix: That of the channel layer.
        database: The number of the database with the list. Publications of Redis know no databases.
    """
    return queue_key(f"{prefix}@{database}" if database else prefix, channel)
