"""
The client behind a proxy: the address that the headers of a trusted proxy name.

A proxy appends the address that it sees, and passes on what came before, which the client may have
made up. So the entries are read from the right, and the first one that is not a trusted proxy is
the client.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from wsredis.config.networks import Networks, parse_address

__all__ = ["named_client"]

#: The parameter ``for`` of one element of Forwarded (RFC 7239, 4). Elements have no commas inside
#: of quotes: no address has one.
_FOR = re.compile(r'(?:^|;)[ \t]*for=(?:"([^"]*)"|([^;"]*))', re.IGNORECASE)


def named_client(peer: str, trusted: Networks, headers: Mapping[str, str]) -> str:
    """
    Return the IP address of the client whose request came from *peer*.

    Args:
        peer: The host of the TCP peer; "" for a UNIX socket.
        trusted: The proxies whose headers count.
        headers: Values by names in lower case. A header that came several times is joined by
            commas, in the order in which it came.

    Returns:
        The address that X-Forwarded-For or Forwarded name; *peer* if it is not trusted, if it names
        nobody, or if the two headers name different clients: one of them may then be the client's
        own. A proxy that hides its client stands for it.
    """
    if peer not in trusted:
        return peer
    found = set()
    passed = headers.get("x-forwarded-for")
    if passed is not None:
        found.add(_from_right(peer, trusted, passed.split(",")))
    passed = headers.get("forwarded")
    if passed is not None:
        found.add(_from_right(peer, trusted, map(_forwarded_for, passed.split(","))))
    return found.pop() if len(found) == 1 else peer


def _from_right(peer: str, trusted: Networks, entries: Iterable[str]) -> str:
    client = peer
    for entry in reversed([*entries]):
        text = entry.strip()
        if not text:
            continue
        address = parse_address(text)
        if address is None:
            break
        client = address
        if client not in trusted:
            break
    return client


def _forwarded_for(element: str) -> str:
    found = _FOR.search(element)
    # An element that names no client hides it.
    return (found[1] or found[2] or "unknown") if found else "unknown" if element.strip() else ""
