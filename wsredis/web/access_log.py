"""
The line that ``--access-log`` logs for each answer of plain HTTP.

It is the combined format of web servers, without the date, which each line of the log has anyway.
Of queries, which carry tokens and searches, it tells only that there was one.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Protocol

from twisted.logger import Logger

from wsredis.config.networks import Networks, shown_address
from wsredis.transports.websocket.head import loggable_target
from wsredis.transports.websocket.proxies import named_client

__all__ = ["AsgiHeaders", "AsgiRequest", "log_answer", "log_asgi_answer"]

#: Characters of a header, which the client has chosen.
_LOGGED = 200

#: The begins of paths that are asked every few seconds for ever.
_FREQUENT = (b"/health/", b"/metrics")

#: Headers that name the client of a trusted proxy.
_FORWARDED = ("x-forwarded-for", "forwarded")

_log = Logger()


def log_answer(request: Any, trusted: Networks) -> None:
    """
    Log an answer that has just been written, unless it is one about the health of the gateway.

    Args:
        request: A `wsredis.web.request.GatewayRequest`.
        trusted: The proxies that name the client.
    """
    if request.path.startswith(_FREQUENT):
        return
    headers = {
        name: b",".join(values).decode("latin-1")
        for name in _FORWARDED
        if (values := request.requestHeaders.getRawHeaders(name.encode()))
    }
    _log_line(
        named_client(request.getClientAddress().host, trusted, headers),
        (request.method, request.uri, request.clientproto),
        (_header(request, "referer"), _header(request, "user-agent")),
        (request.code, request.sentLength),
        request.began,
    )


class AsgiRequest(Protocol):
    """The part of a `wsredis.web.asgi.http_request.Request` that a line tells about."""

    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def headers(self) -> AsgiHeaders: ...


class AsgiHeaders(Protocol):
    """See `AsgiRequest`."""

    @property
    def version(self) -> str: ...
    @property
    def values(self) -> Mapping[str, str]: ...


def log_asgi_answer(
    peer: str, request: AsgiRequest, trusted: Networks, status: int, size: int, began: float
) -> None:
    """
    Log an answer of an ASGI application that has just been written.

    Args:
        peer: The host of the peer; "" if it has none.
        request: The request.
        trusted: The proxies that name the client.
        size: Bytes of the body.
        began: The time at which the head was whole, in seconds of the monotonic clock.
    """
    headers = request.headers
    get = headers.values.get
    _log_line(
        named_client(peer, trusted, headers.values),
        (request.method.encode(), request.target.encode(), headers.version.encode()),
        (get("referer", "").encode("latin-1"), get("user-agent", "").encode("latin-1")),
        (status, size),
        began,
    )


def _log_line(
    client: str,
    request: tuple[bytes, bytes, bytes],
    about: tuple[bytes, bytes],
    answer: tuple[int, int],
    began: float,
) -> None:
    peer, target = shown_address(client), _shown(request[1])
    method, protocol = _text(request[0]), _text(request[2])
    referer, agent = _shown(about[0]), _text(about[1])
    _log.info(
        '{peer} - - "{_request}" {status} {bytes} "{_referer}" "{_agent}"',
        event="page",
        peer=peer,
        method=method,
        path=target,
        protocol=protocol,
        status=answer[0],
        bytes=answer[1],
        referer=referer,
        agent=agent,
        seconds=monotonic() - began,
        _request=_quoted(f"{method} {target} {protocol}"),
        _referer=_quoted(referer) or "-",
        _agent=_quoted(agent) or "-",
    )


def _header(request: Any, name: str) -> bytes:
    values = request.requestHeaders.getRawHeaders(name.encode())
    return values[-1] if values else b""


def _shown(url: bytes) -> str:
    """Return a URL without its query, and without a user in it."""
    shown = loggable_target(url)
    return f"{shown}?..." if b"?" in url else shown


def _text(raw: bytes) -> str:
    return raw[:_LOGGED].decode("latin-1")


def _quoted(text: str) -> str:
    """Escape all that would end a string in quotes, or a line."""
    return ascii(text)[1:-1].replace('"', '\\"')
