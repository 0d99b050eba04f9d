"""
The line that ``--access-log`` logs for each answer of plain HTTP.

It is the combined format of web servers, without the date, which each line of the log has anyway.
Of queries, which carry tokens and searches, it tells only that there was one.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from twisted.logger import Logger

from wsredis.config.networks import Networks, shown_address
from wsredis.transports.websocket.head import loggable_target
from wsredis.transports.websocket.proxies import named_client

__all__ = ["log_answer"]

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
    peer, target = _client(request, trusted), _shown(request.uri)
    method, protocol = _text(request.method), _text(request.clientproto)
    referer, agent = _shown(_header(request, "referer")), _text(_header(request, "user-agent"))
    _log.info(
        '{peer} - - "{_request}" {status} {bytes} "{_referer}" "{_agent}"',
        event="page",
        peer=peer,
        method=method,
        path=target,
        protocol=protocol,
        status=request.code,
        bytes=request.sentLength,
        referer=referer,
        agent=agent,
        seconds=monotonic() - request.began,
        _request=_quoted(f"{method} {target} {protocol}"),
        _referer=_quoted(referer) or "-",
        _agent=_quoted(agent) or "-",
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


def _shown(url: bytes) -> str:
    """Return a URL without its query, and without a user in it."""
    shown = loggable_target(url)
    return f"{shown}?..." if b"?" in url else shown


def _text(raw: bytes) -> str:
    return raw[:_LOGGED].decode("latin-1")


def _quoted(text: str) -> str:
    """Escape all that would end a string in quotes, or a line."""
    return ascii(text)[1:-1].replace('"', '\\"')
