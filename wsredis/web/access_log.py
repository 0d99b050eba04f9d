"""The answers of pages and ASGI applications that ``--access-log`` logs."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import Any, Protocol

from wsredis.config.networks import Networks, shown_address
from wsredis.transports.access_log import Page, log_page
from wsredis.transports.websocket.proxies import named_client

__all__ = ["AsgiHeaders", "AsgiRequest", "log_answer", "log_asgi_answer"]

#: The begins of paths that are asked every few seconds for ever.
_FREQUENT = (b"/health/", b"/metrics")

#: Headers that name the client of a trusted proxy.
_FORWARDED = ("x-forwarded-for", "forwarded")


def log_answer(request: Any, trusted: Networks) -> None:
    """
    Log an answer that has just been written, unless it is one about the health of the gateway.

    Args:
        request: A `wsredis.web.request.GatewayRequest`.
        trusted: The proxies that name the client.
    """
    if request.path.startswith(_FREQUENT):
        return
    log_page(
        Page(
            _client(request, trusted),
            request.method.decode("latin-1"),
            request.uri,
            request.clientproto.decode("latin-1"),
            request.code,
            request.sentLength,
            _header(request, "referer"),
            _header(request, "user-agent").decode("latin-1"),
            monotonic() - request.began,
        )
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
    log_page(
        Page(
            shown_address(named_client(peer, trusted, headers.values)),
            request.method,
            request.target.encode(),
            headers.version,
            status,
            size,
            get("referer", "").encode("latin-1"),
            get("user-agent", ""),
            monotonic() - began,
        )
    )


def _client(request: Any, trusted: Networks) -> str:
    headers = {
        name: b",".join(values).decode("latin-1")
        for name in _FORWARDED
        if (values := request.requestHeaders.getRawHeaders(name.encode()))
    }
    return shown_address(named_client(request.getClientAddress().host, trusted, headers))


def _header(request: Any, name: str) -> bytes:
    values = request.requestHeaders.getRawHeaders(name.encode())
    return values[-1] if values else b""
