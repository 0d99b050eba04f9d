"""
Names of the channel layer in Redis, and the host of several that has a name.

========================================  ==========================================================
pub/sub ``asgi:group:G``                  messages to the group
pub/sub ``asgi:process:CLIENT``           messages to all channels ``x.CLIENT!y`` of one process
pub/sub ``asgi:everyone``                 orders to all processes
list ``asgi:queue:C``                     messages to a channel that any worker may read
pub/sub ``asgi:queue:C``                  the bell of the list: it is no longer empty
sorted set ``asgi:group:G:queues``        such channels in the group, by the time they came
========================================  ==========================================================

``asgi`` is the prefix. Publications of Redis know no databases; two projects that are told apart by
their databases would hear each other. So the names of publications in a database other than 0 are
``asgi@3:...``.
"""

from __future__ import annotations

from binascii import crc32
from dataclasses import dataclass

from wsredis.worker_queues import bell_name, queue_key

__all__ = ["Names", "client_of", "escape_pattern", "host_of"]

#: The parts into which the names are divided, as in channels_redis.
_PARTS = 4096


@dataclass(frozen=True, slots=True)
class Names:
    """
    The names on one host.

    Attributes:
        prefix: The first part of each name.
        database: The number of the database there.
    """

    prefix: str = "asgi"
    database: int = 0

    @property
    def _publications(self) -> str:
        return f"{self.prefix}@{self.database}" if self.database else self.prefix

    def group(self, group: str) -> bytes:
        """Name the publications to a group."""
        return f"{self._publications}:group:{group}".encode()

    def process(self, client: str) -> bytes:
        """Name the publications to the channels of one process."""
        return f"{self._publications}:process:{client}".encode()

    @property
    def everyone(self) -> bytes:
        """The name of the publications to all processes."""
        return f"{self._publications}:everyone".encode()

    def bell(self, channel: str) -> bytes:
        """Name the publications that tell of a message in a list."""
        return bell_name(self.prefix, self.database, channel)

    def queue(self, channel: str) -> bytes:
        """Name the key of the list of a channel that any worker may read."""
        return queue_key(self.prefix, channel)

    def group_queues(self, group: str) -> bytes:
        """Name the key of the set of such channels in a group."""
        return f"{self.prefix}:group:{group}:queues".encode()

    @property
    def key_patterns(self) -> tuple[bytes, bytes]:
        """The patterns of all keys, for SCAN."""
        prefix = escape_pattern(self.prefix)
        return f"{prefix}:queue:*".encode(), f"{prefix}:group:*:queues".encode()


def escape_pattern(text: str) -> str:
    """Write *text* so that a pattern of Redis takes it literally."""
    return "".join(f"\\{each}" if each in "\\*?[]^-" else each for each in text)


def client_of(channel: str) -> str | None:
    """
    Return the process that a channel belongs to.

    Returns: The part between the last dot and the "!". None for a channel of no process.
    """
    name, mark, _ = channel.partition("!")
    return name.rpartition(".")[2] if mark else None


def host_of(name: str, hosts: int) -> int:
    """
    Return the number of the host that has a name: of a group, a process or a queue.

    Args:
        hosts: The number of hosts.
    """
    if hosts == 1:
        return 0
    return (crc32(name.encode()) & (_PARTS - 1)) * hosts // _PARTS
