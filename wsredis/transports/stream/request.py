"""Requests of clients without WebSockets: told apart from pages, and their fields. All pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from urllib.parse import unquote_plus, urlsplit

from wsredis.errors import BadRequest
from wsredis.transports.websocket.head import Head

__all__ = [
    "Kind",
    "cursor_in",
    "cursor_of",
    "is_for_streams",
    "kind_of",
    "problem_of",
    "seconds_to_wait",
    "with_origin",
]

#: Seconds that a poll may wait. Proxies give up after a minute, as a rule.
_MAX_WAIT = 60.0

_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?")
_LENGTH = re.compile(r"[0-9]{1,18}")

#: A page that a browser names by the headers of Fetch Metadata only.
_OTHER_SITES = ("cross-site", "same-site")


class Kind(Enum):
    """What a request is for."""

    #: A stream of Server-Sent Events.
    EVENTS = 1
    #: The next messages, as soon as there are some.
    POLL = 2
    #: A message to publish.
    PUBLISH = 3
    #: The question of a browser whether a page may send a request (CORS).
    PREFLIGHT = 4


def kind_of(method: str, target: str, headers: Mapping[str, str]) -> Kind | None:
    """
    Tell what a request on the URL of a facility is for.

    Args:
        headers: Values by names in lower case.

    Returns:
        None if it is for nothing that a client without WebSockets asks for.
    """
    if method == "GET":
        if _names(headers.get("accept", ""), "text/event-stream"):
            return Kind.EVENTS
        return Kind.POLL if "wait" in dict(_fields(target)) else None
    if method == "POST":
        return Kind.PUBLISH
    if method == "OPTIONS" and "access-control-request-method" in headers and "origin" in headers:
        return Kind.PREFLIGHT
    return None


def is_for_streams(found: Head, prefixes: tuple[str, ...]) -> bool:
    """
    Tell whether a request is one of a client without WebSockets.

    Args:
        prefixes: The begins of all paths with facilities.
    """
    return (
        found.target.startswith(prefixes)
        and kind_of(found.method, found.target, found.headers) is not None
    )


def problem_of(found: Head, kind: Kind) -> tuple[int, str] | None:
    """
    Judge the head of a request, whose length has to be beyond doubt.

    Returns:
        The status and the reason with which it is refused. None if it is right.
    """
    headers = found.headers
    counts = {"host": 0, "origin": 0}
    for name, _ in found.pairs:
        if name.lower() in counts:
            counts[name.lower()] += 1
    if counts["host"] > 1 or counts["origin"] > 1:
        return 400, "there is more than one Host or Origin"
    if not counts["host"] and found.version != "HTTP/1.0":
        return 400, "there is no Host"
    if found.version not in ("HTTP/1.0", "HTTP/1.1"):
        return 505, "the version of HTTP must be 1.0 or 1.1"
    if "#" in found.target:
        return 400, "the target of the request has a fragment"
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers:
        if "content-length" in headers:
            return 400, "the length of the body is not clear"
        return 411, "the body needs a Content-Length"
    if not _LENGTH.fullmatch(length):
        return 400, "the length of the body is not clear"
    if kind is not Kind.PUBLISH and int(length):
        return 400, "this request has no body"
    return None


def cursor_of(found: Head) -> str:
    """Return the cursor that a client has sent. Empty if it has none."""
    # A browser that connects again by itself cannot change the URL.
    return found.headers.get("last-event-id", "") or cursor_in(found.target)


def cursor_in(target: str) -> str:
    """Return the cursor in the target of a request. Empty if there is none."""
    return dict(_fields(target)).get("cursor", "") if "cursor=" in target else ""


def seconds_to_wait(target: str) -> float:
    """
    Return the seconds that a poll may wait.

    Raises:
        BadRequest: It is not a number.
    """
    value = dict(_fields(target)).get("wait", "")
    if not _SECONDS.fullmatch(value):
        raise BadRequest("the field wait is not a number of seconds")
    return min(float(value), _MAX_WAIT)


def with_origin(headers: Mapping[str, str], is_secure: bool) -> Mapping[str, str]:
    """
    Name the origin of a page in a request whose browser did not.

    A browser sends Origin with each handshake of a WebSocket, but not with a GET by a page of the
    same origin, whose name may lead here by a trick (DNS rebinding), nor with one for an image or a
    script of a page of another site.

    Args:
        is_secure: Tells whether the browser speaks TLS with the gateway itself.

    Returns:
        *headers* if they name an origin, or if no browser sent them.
    """
    if "origin" in headers:
        return headers
    site = headers.get("sec-fetch-site", "")
    if site in _OTHER_SITES:
        return {**headers, "origin": "null"}
    # A page can have it left out, but cannot change what we need of it.
    origin = _origin_of(headers.get("referer", ""))
    if not origin and site == "same-origin":
        is_tls = is_secure or "https" in headers.get("x-forwarded-proto", "").lower()
        origin = f"{'https' if is_tls else 'http'}://{headers.get('host', '')}"
    return {**headers, "origin": origin} if origin else headers


def _origin_of(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}" if parts.scheme and parts.netloc else ""


def _names(header: str, wanted: str) -> bool:
    return any(each.partition(";")[0].strip().lower() == wanted for each in header.split(","))


def _fields(target: str) -> Iterator[tuple[str, str]]:
    for parameter in target.partition("?")[2].split("&"):
        name, sign, value = parameter.partition("=")
        if sign:
            yield unquote_plus(name), unquote_plus(value)
