"""
The line that ``--access-log`` logs for each answer of plain HTTP.

It is the combined format of web servers, without the date, which each line of the log has anyway.
Of queries, which carry tokens and searches, it tells only that there was one.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted.logger import Logger

from wsredis.transports.websocket.head import loggable_target

__all__ = ["Page", "log_page"]

#: Characters of a header, which the client has chosen.
_LOGGED = 200

_log = Logger()


class Page(NamedTuple):
    """
    An answer of plain HTTP, and what it answers.

    Attributes:
        peer: The address of the client, for logs.
        method, target, version: The line of the request.
        status: The status of the answer.
        size: Bytes of the body.
        referer, agent: Two headers of the request. Empty if there are none.
        seconds: Time from the request to the end of the answer.
    """

    peer: str
    method: str
    target: bytes
    version: str
    status: int
    size: int
    referer: bytes
    agent: str
    seconds: float


def log_page(page: Page) -> None:
    """Log an answer that has just been written."""
    target, referer = _shown(page.target), _shown(page.referer)
    method, version, agent = (each[:_LOGGED] for each in (page.method, page.version, page.agent))
    _log.info(
        '{peer} - - "{_request}" {status} {bytes} "{_referer}" "{_agent}"',
        event="page",
        peer=page.peer,
        method=method,
        path=target,
        protocol=version,
        status=page.status,
        bytes=page.size,
        referer=referer,
        agent=agent,
        seconds=page.seconds,
        _request=_quoted(f"{method} {target} {version}"),
        _referer=_quoted(referer) or "-",
        _agent=_quoted(agent) or "-",
    )


def _shown(url: bytes) -> str:
    """Return a URL without its query, and without a user in it."""
    shown = loggable_target(url)
    return f"{shown}?..." if b"?" in url else shown


def _quoted(text: str) -> str:
    """Escape all that would end a string in quotes, or a line."""
    return ascii(text)[1:-1].replace('"', '\\"')
