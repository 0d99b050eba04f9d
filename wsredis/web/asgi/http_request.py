"""
One request to an application, as far as its head tells.

Clients that keep a connection send the same headers again and again. What follows from them is
worked out once, and holds until others come.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsredis.transports.websocket.head import Head
from wsredis.web.asgi.bodies import BadBody, ChunkedBody, SizedBody, check_length
from wsredis.web.asgi.scopes import Place, ScopeTemplate, Whereabouts, http_scope

__all__ = ["Headers", "Request"]

#: What this server can do beyond the specification.
_EXTENSIONS = (
    "http.response.early_hint",
    "http.response.pathsend",
    "http.response.zerocopysend",
)
_WITH_TRAILERS = (*_EXTENSIONS, "http.response.trailers")

#: Characters of a name for the log.
_NAMED = 200


class Headers:
    """
    What follows from the headers of a request.

    Args:
        found: The head, which `wsredis.transports.websocket.head.check_plain` has judged.
        raw: The bytes after its first line.
        where: See `wsredis.web.asgi.scopes.whereabouts`.
        place: See `wsredis.web.asgi.scopes.Place`.
        max_body: Bytes that the body may have.

    Attributes:
        raw: As given.
        values: Values by names in lower case.
        version: That of the request.
        is_old: Tells whether the client speaks HTTP/1.0: its connection ends with the answer.
        keeps: Tells whether the client wants to go on after the answer.
        expects: Tells whether the client waits before it sends its body.
        takes_trailers: Tells whether the client understands trailers.
        has_body: Tells whether a body follows.
        template: Makes scopes.

    Raises:
        BadBody: The body cannot be read, or is too large.
    """

    __slots__ = (
        *("expects", "has_body", "is_old", "keeps", "raw", "takes_trailers", "template", "values"),
        *("version", "_length", "_max_body"),
    )

    def __init__(
        self, found: Head, raw: bytes, where: Whereabouts, place: Place, max_body: int
    ) -> None:
        self.values = headers = found.headers
        self.version = found.version
        self.raw = raw
        self.is_old = found.version != "HTTP/1.1"
        self.keeps = not self.is_old and not _has_option(headers, "connection", "close")
        self._length = check_length(headers, found.version, max_body)
        self._max_body = max_body
        self.has_body = self._length != 0
        self.expects = self.has_body and not self.is_old and _expects(headers)
        self.takes_trailers = not self.is_old and _has_option(headers, "te", "trailers")
        extensions = _WITH_TRAILERS if self.takes_trailers else _EXTENSIONS
        self.template = ScopeTemplate(found.version, found.pairs, headers, where, place, extensions)

    def make_body(self) -> SizedBody | ChunkedBody:
        """Return the reader of the body, if there is one."""
        length = self._length
        return ChunkedBody(self._max_body) if length is None else SizedBody(length)


class Request:
    """
    A request.

    Args:
        headers: What its headers say.
        raw: The bytes of its head.
        method: As it came.
        target: Path and query.

    Attributes:
        headers, raw, target: As given.
        method: In upper case.
        name: The begin of method and path, for those who read the log: a query may be a secret.
    """

    __slots__ = ("_parts", "headers", "method", "name", "raw", "target")

    def __init__(self, headers: Headers, raw: bytes, method: str, target: str) -> None:
        self.headers = headers
        self.raw = raw
        self.method = method.upper()
        self.target = target
        self._parts = headers.template.split(target)
        # Not decoded: what a client has written there must not look like a line of the log.
        self.name = f"{method} {self._parts[1].decode()}"[:_NAMED]

    def make_scope(self) -> dict[str, Any]:
        """Return a new scope."""
        return http_scope(self.headers.template, self.method, self._parts)


def _has_option(headers: Mapping[str, Any], name: str, option: str) -> bool:
    value = headers.get(name)
    return value is not None and option in [each.strip(" \t") for each in value.lower().split(",")]


def _expects(headers: Mapping[str, str]) -> bool:
    value = headers.get("expect")
    if value is None:
        return False
    if value.lower() != "100-continue":
        raise BadBody(417, "this expectation cannot be met")
    return True
