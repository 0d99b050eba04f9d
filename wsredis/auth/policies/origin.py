"""
The origin policy: which web pages may open a WebSocket.

It prevents cross-site WebSocket hijacking (CWE-1385): a browser sends the cookies of a site with a
WebSocket that any other site opens, and names that other site in the Origin header (RFC 6454). So
a page of a foreign origin may only subscribe to broadcasts, as any stranger may. A request without
Origin does not come from a browser.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from wsredis.channels import Access
from wsredis.config.origins import (
    HOST_HEADER,
    ORIGIN,
    check_allowed_origin,
    default_port,
    written_out,
)
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["OriginPolicy"]

#: Pairs of Origin and Host whose verdict is remembered, and their length in characters.
_MAX_VERDICTS = 1024
_MAX_PAIR = 256


class OriginPolicy:
    """
    Grants the requested access, unless a page of a foreign origin asks for too much.

    Args:
        allowed: Origins that are not foreign, apart from that of the gateway itself.
            ``https://example.com`` allows this origin, ``https://*.example.com`` every host below
            it, ``*.example.com`` the same with any scheme and port, ``*`` every origin.
    Raises:
        ValueError: An entry of *allowed* has another form.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        entries = frozenset(check_allowed_origin(entry) for entry in allowed)
        self._everything = "*" in entries
        self._origins = entries
        self._suffixes = tuple(entry[1:] for entry in entries if entry.startswith("*."))
        self._below = [entry.split("*") for entry in entries if "://*." in entry]
        self._known = lru_cache(_MAX_VERDICTS)(self._judge)

    def is_foreign(self, handshake: Handshake) -> bool:
        """Tell whether *handshake* comes from a page of a foreign origin."""
        if self._everything or "origin" not in handshake.headers:
            return False
        origin, host = handshake.headers["origin"], handshake.headers.get("host", "")
        judge = self._known if len(origin) + len(host) <= _MAX_PAIR else self._judge
        return judge(origin, host)

    def allow(self, identity: Identity, handshake: Handshake) -> Access:
        """See `wsredis.gateway.identity.Policy.allow`."""
        if handshake.requested.only_listens_to_broadcast or not self.is_foreign(handshake):
            return handshake.requested
        # The header may hold anything: only a well-formed origin goes to the log.
        match = _match(handshake.headers["origin"])
        shown = match[0] if match is not None else "*"
        raise HandshakeRejected(
            "this page may not open this WebSocket",
            hint=f"--allow-origin {shown} would allow it",
        )

    def _judge(self, origin: str, host: str) -> bool:
        match = _match(origin)
        return match is None or not self._is_allowed(match, host)

    def _is_allowed(self, origin: re.Match[str], host: str) -> bool:
        scheme, name, port = origin.groups()
        port = port or default_port(scheme)
        own = HOST_HEADER.fullmatch(host.strip().lower())
        # After a TLS proxy, the gateway does not know its own scheme: host and port must do.
        if own and own[1] == name and (own[2] or default_port(scheme)) == port:
            return True
        shown = written_out(origin)
        return (
            shown in self._origins
            or name.endswith(self._suffixes)
            or any(shown.startswith(start) and shown.endswith(end) for start, end in self._below)
        )


def _match(header: str) -> re.Match[str] | None:
    """Match the Origin header. None if it is not an origin with a host, such as "null"."""
    match = ORIGIN.fullmatch(header.strip().lower())
    return match if match is not None and match[2] else None
