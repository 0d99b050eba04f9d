"""The owner of a URL: a dialect, or the application."""

from __future__ import annotations

import re
from collections.abc import Sequence

from wsredis.channels import Access
from wsredis.errors import BadRequest
from wsredis.gateway.dialect import Dialect

__all__ = ["find_dialect", "find_dialect_or_application", "hint_for_application"]

#: What flags begin with, in a URL that cannot be read.
_ASKS = re.compile("subscribe|publish", re.IGNORECASE)


#: Applications have URLs below our prefix, too.
_NO_FLAG = "with a flag such as ?subscribe-broadcast the gateway would serve it"


def find_dialect(
    dialects: Sequence[Dialect], path: str, query: str
) -> tuple[Dialect, Access] | None:
    """
    Find the dialect that a URL belongs to, and the access that the URL asks for, if any.

    Args:
        dialects: Asked in this order.
        path, query: See `Dialect.parse`, which may raise BadRequest.
    """
    for dialect in dialects:
        requested = dialect.parse(path, query)
        if requested is not None:
            return dialect, requested
    return None


def find_dialect_or_application(
    dialects: Sequence[Dialect], path: str, query: str
) -> tuple[Dialect, Access] | None:
    """
    Find the dialect of a URL, as `find_dialect` does, unless the URL is the application's.

    It is if it asks for nothing: applications have URLs below our prefix, too, and a client that
    asks for nothing has nothing to hear here.
    """
    try:
        found = find_dialect(dialects, path, query)
    except BadRequest:
        if _ASKS.search(query):
            raise
        return None
    if found is None:
        return None
    requested = found[1]
    return found if requested.subscribe or requested.publish or requested.forward else None


def hint_for_application(
    dialects: Sequence[Dialect], url_prefixes: Sequence[str], target: str
) -> str:
    """
    Tell why the application got a URL that may have been meant for the gateway.

    Args:
        target: The URL, which the application has refused.

    Returns:
        A hint for the log. Empty if the URL is the application's own.
    """
    path, _, query = target.partition("?")
    if not path.startswith(tuple(url_prefixes)):
        below = " or ".join(url_prefixes)
        return f"sockets of the gateway are below {below}" if _ASKS.search(query) else ""
    try:
        found = find_dialect(dialects, path, query)
    except BadRequest:
        return ""
    hints = found[1].hints if found else ()
    return hints[0] if hints else _NO_FLAG
