"""
The scopes of calls: what the head of a request and its connection say, as ASGI has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote

from twisted.internet.interfaces import ISSLTransport

from wsredis.config.networks import Networks
from wsredis.transports.websocket.proxies import named_client
from wsredis.web.asgi.tls import tls_extension

__all__ = [
    "Place",
    "ScopeTemplate",
    "Whereabouts",
    "header_pairs",
    "http_scope",
    "websocket_scope",
    "whereabouts",
]

_NOBODY = Networks(())

#: The latest version of the specification of HTTP and WebSocket messages.
_SPEC = "2.5"


class Whereabouts(NamedTuple):
    """
    The two ends of a connection.

    Attributes:
        client: Host and port. None if they are not known.
        server: Host and port, or the path of a UNIX socket and None. None if it is not known.
        is_secure: Tells whether the client speaks TLS.
        tls: The extension ``tls``. None without TLS.
    """

    client: tuple[str, int] | None
    server: tuple[str, int | None] | None
    is_secure: bool
    tls: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Place:
    """
    What all scopes of an application have in common.

    Attributes:
        root_path: The path below which the application believes to be. It begins every path.
        state: The namespace that the lifespan has left; each scope gets a copy. If None, no scope
            has one.
        trusted: The proxies that name the client of each request.
    """

    root_path: str = ""
    state: Mapping[str, Any] | None = None
    trusted: Networks = _NOBODY


def whereabouts(transport: Any) -> Whereabouts:
    """Ask a transport for its two ends."""
    peer, host = transport.getPeer(), transport.getHost()
    client = (peer.host, peer.port) if hasattr(peer, "host") else None
    server: tuple[str, int | None] | None = None
    if hasattr(host, "host"):
        server = (host.host, host.port)
    elif getattr(host, "name", None):
        name = host.name
        server = (name.decode("utf-8", "replace") if isinstance(name, bytes) else name, None)
    is_secure = ISSLTransport.providedBy(transport)
    return Whereabouts(client, server, is_secure, tls_extension(transport) if is_secure else None)


class ScopeTemplate:
    """
    Makes scopes of requests, or of handshakes, with the same headers.

    Args:
        version: As in the request line.
        pairs, headers: See `wsredis.transports.websocket.head.Head`.
        where: See `whereabouts`.
        place: See `Place`.
        extensions: What the server can do beyond the specification.

    Attributes:
        is_secure: Tells whether the client speaks TLS, also with a trusted proxy.
        root_path: See `Place`.
    """

    __slots__ = (
        *("_client", "_extensions", "_headers", "_server", "_state", "_tls", "_version"),
        *("is_secure", "root_path"),
    )

    def __init__(
        self,
        version: str,
        pairs: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
        where: Whereabouts,
        place: Place,
        extensions: Iterable[str],
    ) -> None:
        client, is_secure, may_name_host = where.client, where.is_secure, True
        if place.trusted:
            client, is_secure, may_name_host = _named(headers, where, place.trusted)
        self.is_secure = is_secure
        self._version = version[5:]
        self.root_path = place.root_path
        self._headers = header_pairs(pairs, may_name_host)
        self._client, self._server = client, where.server
        self._extensions = (*extensions,)
        self._tls = where.tls
        self._state = place.state

    def split(self, target: str) -> tuple[str, bytes, bytes]:
        """Return path, raw path and query of a target, as scopes have them."""
        path, _, query = target.partition("?")
        path = self.root_path + path
        return unquote(path) if "%" in path else path, path.encode(), query.encode()

    def make(self, kind: str, scheme: str, parts: tuple[str, bytes, bytes]) -> dict[str, Any]:
        """
        Return a new scope: it shares nothing with others that an application could change.

        Args:
            kind: ``http`` or ``websocket``.
            scheme: Of the URL.
            parts: See `split`.
        """
        client, server = self._client, self._server
        extensions: dict[str, Any] = {}
        for name in self._extensions:
            extensions[name] = {}
        scope: dict[str, Any] = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": _SPEC},
            "http_version": self._version,
            "scheme": scheme,
            "path": parts[0],
            "raw_path": parts[1],
            "query_string": parts[2],
            "root_path": self.root_path,
            "headers": self._headers.copy(),
            "client": None if client is None else [*client],
            "server": None if server is None else [*server],
            "extensions": extensions,
        }
        if self._tls is not None:
            extensions["tls"] = {**self._tls}
        if self._state is not None:
            scope["state"] = {**self._state}
        return scope


def http_scope(
    template: ScopeTemplate, method: str, parts: tuple[str, bytes, bytes]
) -> dict[str, Any]:
    """Make the scope of a request; see `ScopeTemplate.make`."""
    scope = template.make("http", "https" if template.is_secure else "http", parts)
    scope["method"] = method
    return scope


def websocket_scope(
    target: str,
    subprotocols: list[str],
    pairs: Iterable[tuple[str, str]],
    headers: Mapping[str, str],
    where: Whereabouts,
    place: Place,
    extensions: Iterable[str] = (),
) -> dict[str, Any]:
    """
    Make the scope of a handshake; see `ScopeTemplate`.

    Args:
        target: Path and query.
        subprotocols: Those that the client offers.
    """
    template = ScopeTemplate("HTTP/1.1", pairs, headers, where, place, extensions)
    scheme = "wss" if template.is_secure else "ws"
    scope = template.make("websocket", scheme, template.split(target))
    scope["subprotocols"] = subprotocols
    return scope


def header_pairs(
    pairs: Iterable[tuple[str, str]], may_name_host: bool = True
) -> list[tuple[bytes, bytes]]:
    """
    Return headers as ASGI has them: names in lower case, in the order in which they came.

    Those with an underscore are left out: what makes the same name of ``X_Real_IP`` and
    ``X-Real-IP``, as CGI did, would take the client's for the proxy's.

    Args:
        may_name_host: Whether ``X-Forwarded-Host`` counts.
    """
    return [
        (lower.encode("latin-1"), value.strip(" \t").encode("latin-1"))
        for name, value in pairs
        if "_" not in (lower := name.lower()) and (may_name_host or lower != "x-forwarded-host")
    ]


def _named(
    headers: Mapping[str, str], where: Whereabouts, trusted: Networks
) -> tuple[tuple[str, int] | None, bool, bool]:
    """Return the client, and whether it speaks TLS, as a trusted proxy names them."""
    peer = "" if where.client is None else where.client[0]
    if peer not in trusted:
        return where.client, where.is_secure, False
    host = named_client(peer, trusted, headers)
    client = where.client if host == peer else (host, 0)
    # The proxy that is nearest has added the last one.
    scheme = headers.get("x-forwarded-proto", "").rpartition(",")[2].strip(" \t").lower()
    is_secure = scheme in ("https", "wss") if scheme else where.is_secure
    return client, is_secure, True
