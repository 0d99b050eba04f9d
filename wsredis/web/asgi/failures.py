"""The errors that come out of applications."""

from __future__ import annotations

from wsredis.web.asgi.events import ClientDisconnected

__all__ = ["is_leaving"]

#: Errors in a row that were raised in place of each other.
_MAX_CHAIN = 10


def is_leaving(error: BaseException) -> bool:
    """
    Tell whether an error is about nothing but a client that has gone.

    The specification forbids to log such an error.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_leaving, error.exceptions))
    # Frameworks raise another one in its place.
    for _ in range(_MAX_CHAIN):
        if isinstance(error, ClientDisconnected):
            return True
        before = error.__cause__ or error.__context__
        if before is None:
            break
        error = before
    return False
