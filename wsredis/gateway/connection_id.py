"""Names of connections, by which all lines of the log about one of them are found."""

from __future__ import annotations

import secrets
from itertools import count

__all__ = ["connection_id", "next_serial"]

#: Without vowels, so that no word can come out, and without what looks like something else.
_LETTERS = "23456789bcdfghjkmnpqrstvwxz"

#: Differs for each process: workers, and the same gateway after a restart.
_TAG = "".join(secrets.choice(_LETTERS) for _ in range(5))

_serials = count(1)


def next_serial() -> int:
    """Return the next number of this process. No other connection of it gets the same one."""
    return next(_serials)


def connection_id(serial: int) -> str:
    """Return the name of a connection, such as ``k7x2f-12``. It is made only where it is needed."""
    return f"{_TAG}-{serial}"
