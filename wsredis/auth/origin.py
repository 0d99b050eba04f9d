"""
Which web pages may open a socket (cross-site WebSocket hijacking, CWE-1385).

A browser sends the cookies of a site with a WebSocket that any other site opens, and names that
other site in the Origin header (RFC 6454). So a page from elsewhere may hear what everybody may
hear, and nothing more. A request without Origin does not come from a browser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from wsredis.auth import Handshake, Identity, Refused
from wsredis.channels import Wish
from wsredis.origins import HOST_HEADER, ORIGIN, check_allowed_origin, default_port, written_out

__all__ = ["OriginPolicy"]


class OriginPolicy:
    """
    Grants what was asked for, if the page that asks may.

    Args:
        allowed: ``https://example.com`` allows this origin, ``https://*.example.com`` every host
            below it, ``*.example.com`` so under any scheme and port, ``*`` everything.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        entries = frozenset(check_allowed_origin(entry) for entry in allowed)
        self._everything = "*" in entries
        self._origins = entries
        self._suffixes = tuple(entry[1:] for entry in entries if entry.startswith("*."))
        self._below = [entry.split("*") for entry in entries if "://*." in entry]

    def allow(self, identity: Identity, handshake: Handshake) -> Wish:
        """See `wsredis.auth.Policy.allow`."""
        origin = handshake.headers.get("origin")
        if origin is None or self._everything or handshake.wish.only_listens_to_broadcast:
            return handshake.wish
        match = ORIGIN.fullmatch(origin.strip().lower())
        if match is not None and match[2] and self._may(match, handshake.headers.get("host", "")):
            return handshake.wish
        # Only what is an origin is repeated in the log.
        shown = match[0] if match is not None and match[2] else "*"
        raise Refused(
            "this page may not open this WebSocket",
            hint=f"--allow-origin {shown} would allow it",
        )

    def _may(self, origin: re.Match[str], host: str) -> bool:
        scheme, name, port = origin.groups()
        port = port or default_port(scheme)
        own = HOST_HEADER.fullmatch(host.strip().lower())
        # A gateway behind a TLS proxy does not know its own scheme; host and port must do.
        if own and own[1] == name and (own[2] or default_port(scheme)) == port:
            return True
        shown = written_out(origin)
        return (
            shown in self._origins
            or name.endswith(self._suffixes)
            or any(shown.startswith(start) and shown.endswith(end) for start, end in self._below)
        )
