"""Plain HTTP on the port of the WebSockets: pages, scripts, health, a word for lost browsers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.interfaces import ITCPTransport
from twisted.web.http import CACHED
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

if TYPE_CHECKING:
    from wsredis.protocol import GatewayFactory

__all__ = ["GatewayResource", "demo_page", "make_site"]

#: Nothing here takes a body; more than this is not even read.
_MAX_BODY = 65536

#: Seconds that a connection has for its request.
_TIMEOUT = 15

_TEXT = "text/plain; charset=utf-8"

#: The browser script, and the file for those who import it.
_SCRIPTS = ("wsredis.js", "wsredis.mjs")


class _Request(Request):
    """A request whose body is bounded, and whose connection serves no second one."""

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body."""
        assert self.content is not None
        if self.content.tell() + len(data) > _MAX_BODY:
            cast(ITCPTransport, self.channel.transport).abortConnection()
        else:
            super().handleContentChunk(data)

    def process(self) -> None:
        """Answer, and let the connection go: its next request might be a WebSocket handshake."""
        self.channel.persistent = False
        self.setHeader("connection", "close")
        super().process()


class _Page(Resource):
    """A resource with one text."""

    isLeaf = True

    def __init__(self, content_type: str, body: Callable[[], tuple[int, str]]) -> None:
        super().__init__()
        self._content_type = content_type
        self._body = body

    def render_GET(self, request: Request) -> bytes:
        """Answer with the text of the moment."""
        status, body = self._body()
        request.setResponseCode(status)
        request.setHeader("content-type", self._content_type)
        request.setHeader("cache-control", "no-store")
        request.setHeader("x-content-type-options", "nosniff")
        return body.encode()


class _Script(Resource):
    """A file for browsers, which may keep it as long as it is the same."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._body = files("wsredis").joinpath("django", "static", "wsredis", name).read_bytes()
        self._tag = f'"{hashlib.sha256(self._body).hexdigest()[:16]}"'.encode()

    def render_GET(self, request: Request) -> bytes:
        """Answer with the file, or that it is still the same."""
        request.setHeader("content-type", "text/javascript; charset=utf-8")
        request.setHeader("cache-control", "no-cache")
        request.setHeader("x-content-type-options", "nosniff")
        # Without this, pages of another origin could load it, but not import it.
        request.setHeader("access-control-allow-origin", "*")
        return b"" if request.setETag(self._tag) is CACHED else self._body


class GatewayResource(Resource):
    """
    The gateway as a part of a twisted.web site.

    Put it where ``url_prefix`` of the configuration says, ``site.putChild(b"ws", ...)`` for
    ``/ws/``. It takes WebSocket handshakes out of the hands of twisted.web, and answers any other
    request with 400, as django-websocket-redis does.

    Args:
        factory: That of a `wsredis.service.GatewayService`. None: there is none yet.
    """

    isLeaf = True

    def __init__(self, factory: GatewayFactory | None = None) -> None:
        super().__init__()
        self._factory = factory

    def render(self, request: Any) -> Any:
        """Hand the connection over, or explain."""
        upgrade = request.requestHeaders.getRawHeaders("upgrade", [])
        if self._factory is not None and any("websocket" in each.lower() for each in upgrade):
            self._take_over(request, self._factory)
            return NOT_DONE_YET
        request.setResponseCode(400)
        request.setHeader("content-type", _TEXT)
        request.setHeader("sec-websocket-version", "13")
        reason = "Client does not wish to upgrade to a websocket"
        if request.method not in (b"GET", b"HEAD"):
            reason = f"HTTP method must be a GET. {reason}"
        return reason.encode()

    def _take_over(self, request: Any, factory: GatewayFactory) -> None:
        """Give the transport to a protocol of ours, which reads the head of the request again."""
        lines = [b"%s %s %s" % (request.method, request.uri, request.clientproto)]
        for name, values in request.requestHeaders.getAllRawHeaders():
            lines += [b"%s: %s" % (name, value) for value in values]
        channel = request.channel
        transport = channel.transport
        channel.setTimeout(None)
        # As the channel does for a protocol that it has upgraded to.
        transport.unregisterProducer()
        channel.transport = None
        protocol = factory.buildProtocol(transport.getPeer())
        if hasattr(transport, "wrappedProtocol"):
            transport.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        protocol.makeConnection(transport)
        transport.resumeProducing()
        protocol.dataReceived(b"\r\n".join(lines) + b"\r\n\r\n")


class _Root(Resource):
    """What a gateway's own port serves: exact paths, and facilities below the prefix."""

    isLeaf = True

    def __init__(self, url_prefix: str, ready: Callable[[], bool], page: str | None) -> None:
        super().__init__()
        self._url_prefix = url_prefix.encode()
        self._gateway = GatewayResource()
        self._pages: dict[bytes, Resource] = {
            **{f"/{name}".encode(): _Script(name) for name in _SCRIPTS},
            b"/health/live": _Page(_TEXT, lambda: (200, "ok\n")),
            b"/health/ready": _Page(
                _TEXT, lambda: (200, "ok\n") if ready() else (503, "not ready\n")
            ),
        }
        if page is not None:
            self._pages[b"/"] = _Page("text/html; charset=utf-8", lambda: (200, page))

    def render(self, request: Request) -> Any:
        """Answer 404, without twisted.web's page, for all that is not here."""
        page = self._pages.get(request.path)
        if page is not None:
            return page.render(request)
        if request.path.startswith(self._url_prefix):
            return self._gateway.render(request)
        request.setResponseCode(404)
        request.setHeader("content-type", _TEXT)
        return b"there is nothing here\n"


def demo_page(url_prefix: str, channel: str, redis: str, heartbeat: str | None) -> str:
    """
    The demo page.

    Args:
        channel: The channel that the page listens to.
        redis: Arguments of redis-cli that lead to the Redis of this gateway.
    """
    told = {"urlPrefix": url_prefix, "channel": channel, "redis": redis, "heartbeat": heartbeat}
    # "<" would end the script element.
    text = json.dumps(told).replace("<", "\\u003c")
    page = files("wsredis").joinpath("demo.html").read_text("utf-8")
    return page.replace("/*SETTINGS*/ null", text)


def make_site(reactor: Any, url_prefix: str, ready: Callable[[], bool], page: str | None) -> Site:
    """
    The site behind a gateway's port.

    Args:
        ready: Whether ``/health/ready`` says so.
        page: What is at ``/``. None: nothing.
    """
    site = Site(_Root(url_prefix, ready, page), requestFactory=_Request, reactor=reactor)
    site.displayTracebacks = False
    site.timeOut = _TIMEOUT
    return site
