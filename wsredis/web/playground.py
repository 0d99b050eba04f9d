"""
The playground: the page of ``demo``, and the answer to its question about its own socket.

The page is three files of ours and the browser script. Its policy (CSP) allows no other: no script
in the page itself, nothing from elsewhere, no place in the frame of another site.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any
from urllib.parse import parse_qs

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from wsredis.auth.open_sockets import OpenSockets
from wsredis.channels import Access
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.shares import RateLimit
from wsredis.transports.stream.request import with_origin
from wsredis.web.resources import AssetResource, PageResource

__all__ = ["SocketResource", "make_page", "playground"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
    "require-trusted-types-for 'script'"
)

_HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
}

#: Questions of one address, and of all, that are answered in a second, and at once after a pause.
#: Each may ask the application who it is.
_RATE, _BURST = 5, 20
_TOTAL_RATE, _TOTAL_BURST = 50, 200

#: Characters of the name of a connection in a question.
_MAX_NAME = 64


def playground(
    clock: IReactorTime, sockets: OpenSockets, settings: Mapping[str, Any]
) -> dict[str, Resource]:
    """
    Make the resources of the playground by their paths.

    Args:
        sockets: Knows the sockets of pages.
        settings: See `make_page`.
    """
    return {
        "/": PageResource(make_page(settings), _HEADERS),
        "/demo/playground.css": AssetResource(_read("playground.css"), "text/css"),
        "/demo/playground.js": AssetResource(_read("playground.js"), "text/javascript"),
        "/demo/socket": SocketResource(clock, sockets),
    }


def make_page(settings: Mapping[str, Any]) -> str:
    """
    Make the page.

    Args:
        settings: For the script of the page: the version, the place of the WebSockets, the
            heartbeat, the arguments that lead to Redis.

    Returns:
        HTML.
    """
    # "<" would end the element.
    text = json.dumps(settings).replace("<", "\\u003c")
    return _read("playground.html").decode().replace("{SETTINGS}", text)


def _read(name: str) -> bytes:
    return files("wsredis.web").joinpath("static", name).read_bytes()


class SocketResource(Resource):
    """
    The answer to ``/demo/socket?id=NAME``: all about the socket of that name, as JSON.

    Only a page of our own origin gets it, and only for a socket of its own visitor. Without such a
    socket in this process it is null.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, clock: IReactorTime, sockets: OpenSockets) -> None:
        super().__init__()
        self._sockets = sockets
        self._rate = RateLimit(clock, _RATE, _BURST)
        self._total = RateLimit(clock, _TOTAL_RATE, _TOTAL_BURST)
        self._throttle = LogThrottle(clock)

    def render_GET(self, request: Request) -> Any:
        """Answer, maybe later: an application may be asked who asks."""
        asking = _handshake_of(request)
        wait = self._wait(asking.address)
        if wait:
            request.setHeader("retry-after", str(int(wait) + 1))
            return _answer(request, 429, {"error": "too many questions"})
        if self._sockets.is_foreign(asking):
            return _answer(request, 403, {"error": "a page of another origin gets no answer"})
        name = parse_qs(asking.query[: 3 * _MAX_NAME]).get("id", [""])[0][:_MAX_NAME]
        answer: Deferred[Any] = Deferred.fromCoroutine(self._sockets.report(name, asking))
        answer.addCallback(self._reported, request)
        answer.addErrback(self._failed, request)
        if answer.called:
            return answer.result
        request.notifyFinish().addErrback(lambda _: answer.cancel())
        answer.addCallback(_send, request)
        answer.addErrback(lambda failure: failure.trap(CancelledError))
        return NOT_DONE_YET

    def _wait(self, address: str) -> float:
        """Count a question of an address. If it is too many, it is not counted, and has to wait."""
        wait = self._total.wait(None)
        if address:
            # Clients of a UNIX socket have none.
            wait = max(wait, self._rate.wait(address))
        if not wait:
            self._total.spend(None)
            if address:
                self._rate.spend(address)
        return wait

    def _reported(self, report: dict[str, Any] | None, request: Request) -> bytes:
        # No 404: a browser shows it as an error of the page, which may ask the wrong process.
        return _answer(request, 200, report)

    def _failed(self, failure: Failure, request: Request) -> bytes | Failure:
        error = failure.value
        if isinstance(error, CancelledError):
            return failure
        if isinstance(error, HandshakeRejected):
            return _answer(request, error.status, {"error": error.reason})
        if self._throttle.take("failed"):
            self._log.failure(
                "cannot tell who asks about a socket", event="socket-report-failed", failure=failure
            )
        return _answer(request, 500, {"error": "internal error"})


def _handshake_of(request: Request) -> Handshake:
    """Make a handshake of a request, which may be asked who sent it."""
    headers = {
        name.decode("latin-1").lower(): (b"; " if name.lower() == b"cookie" else b", ")
        .join(values)
        .decode("latin-1")
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    channel: Any = request.channel
    return Handshake(
        Access(""),
        request.path.decode("latin-1"),
        with_origin(headers, request.isSecure()),
        request.getClientAddress().host,
        request.uri.partition(b"?")[2].decode("latin-1"),
        request.isSecure(),
        channel.address,
    )


def _answer(request: Request, status: int, body: Mapping[str, Any] | None) -> bytes:
    """Set status and headers. Returns: The body."""
    request.setResponseCode(status)
    request.setHeader("content-type", "application/json")
    request.setHeader("cache-control", "no-store")
    request.setHeader("x-content-type-options", "nosniff")
    request.setHeader("cross-origin-resource-policy", "same-origin")
    return json.dumps(body).encode() + b"\n"


def _send(body: bytes, request: Request) -> None:
    """Send the answer of a request that had to wait."""
    request.setHeader("content-length", str(len(body)))
    request.write(body)
    request.finish()
