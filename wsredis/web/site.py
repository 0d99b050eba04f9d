"""
Plain HTTP on the port of the WebSockets: pages, scripts, health, and a word for lost browsers.

Without pages a connection serves one request. With pages it is kept; a WebSocket handshake that
comes as a later request, as from a proxy that keeps connections, is given back to the protocol in
front.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import CACHED, HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

if TYPE_CHECKING:
    from wsredis.transports.websocket.factory import GatewayFactory

__all__ = ["GatewayResource", "GatewaySite", "demo_page"]

#: Nothing but pages takes a body; more than this is not even read.
_MAX_BODY = 65536

#: Seconds that a connection has for its request, or for so many bytes of it.
_TIMEOUT = 15
_PROGRESS = 16384

#: Seconds that a connection is kept without a request: longer than proxies keep theirs, since who
#: closes first should not be the one that answers.
_IDLE = 75

#: Seconds that the client has for the end of an answer, when the connection is to be closed.
_LINGER = 75

_TEXT = "text/plain; charset=utf-8"

#: The browser script, and the file for those who import it.
_SCRIPTS = ("wsredis.js", "wsredis.mjs")

_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)([/?][^#]*)?", re.IGNORECASE)


#: Gives a connection back: the head of a request, what came behind it, and the status and the
#: reason that the request is refused with (0: it is a handshake).
Returned = Callable[[bytes, bytes, int, str], None]


class _Channel(HTTPChannel):
    """
    One connection: how long it may take, and who gets it back.

    Attributes:
        returned: None: nobody takes it back.
    """

    site: GatewaySite
    requests: list[Any]
    returned: Returned | None = None
    _bytes = 0

    def connectionMade(self) -> None:
        """Count it."""
        super().connectionMade()
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Count it no more."""
        super().connectionLost(reason)
        self.site.connection_lost(self)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; only many of them, or the end of the request, are worth more time."""
        if self._abortingCall is not None:
            # It is being closed.
            return
        if not self.requests and self.timeOut == _IDLE:
            self.setTimeout(_TIMEOUT)
        self._bytes += len(data)
        super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Wait longer, if enough came."""
        if self._bytes >= _PROGRESS:
            self._bytes = 0
            super().resetTimeout()

    def requestDone(self, request: Any) -> None:
        """Wait for the next request."""
        self._bytes = 0
        self._savedTimeOut = _IDLE
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        """The time is over."""
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close when the client has read everything, or had the time to."""
        if self._abortingCall is None:
            self._abortingCall = self.callLater(_LINGER, self.forceAbortClient)
        super().loseConnection()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Whether another request may follow this one."""
        if self.site.keeps_connections() and super().checkPersistence(request, version):
            return True
        request.responseHeaders.setRawHeaders("connection", ["close"])
        return False

    def allHeadersReceived(self) -> None:
        """Look at the length of the body."""
        limit = self.site.max_body
        if self.site.pages is not None and self.length is not None and self.length > limit:
            self.requests[-1].gotLength(0)
            self.refuse_body()
        else:
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """The request is complete."""
        if self.transport is not None:
            super().allContentReceived()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Rubbish behind a body that was refused is not worth an answer of its own.
        if self.transport is not None:
            super()._respondToBadRequestAndDisconnect()

    def refuse_body(self) -> None:
        """The body is too large."""
        if self.returned is None or self.site.pages is None:
            cast(ITCPTransport, self.transport).abortConnection()
            return
        limit = self.site.max_body
        head = b"%s %s %s" % (self._command, self._path, self._version)
        self.give_back(head, 413, f"the body of the request is larger than {limit} bytes")

    def give_back(self, head: bytes, status: int = 0, reason: str = "") -> None:
        """Let go of the connection; see `Returned`."""
        assert self.returned is not None
        self.site.connection_lost(self)
        transport = _detach(self)
        rest = self.clearLineBuffer()
        for request in self.requests:
            request.content.close()
        transport.resumeProducing()
        self.returned(head, rest, status, reason)

    def leave(self) -> None:
        """Close the connection behind the answer that is under way."""
        if not self.requests:
            self.loseConnection()
            return
        self.persistent = False
        if not self.requests[0].startedWriting:
            self.requests[0].responseHeaders.setRawHeaders("connection", ["close"])


class _Request(Request):
    """A request whose body is bounded."""

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body."""
        channel = cast(_Channel | None, self.channel)
        if channel is None or channel.transport is None:
            return
        assert self.content is not None
        if self.content.tell() + len(data) > channel.site.max_body:
            channel.refuse_body()
        else:
            super().handleContentChunk(data)

    def process(self) -> None:
        """Answer, also if the path comes with scheme and host (RFC 9112, 3.2.2)."""
        absolute = _ABSOLUTE.fullmatch(self.uri)
        if absolute is not None:
            self.requestHeaders.setRawHeaders("host", [absolute[1]])
            rest = absolute[2] or b"/"
            self.uri = rest if rest.startswith(b"/") else b"/" + rest
            self.path = self.uri.partition(b"?")[0]
        super().process()

    def getClientAddress(self) -> IAddress:
        """The address of the client; a UNIX socket has none, which is shown as an empty one."""
        address: Any = super().getClientAddress()
        return address if hasattr(address, "host") else IPv4Address("TCP", "", 0)

    def getHost(self) -> IAddress:
        """Where the request arrived; a UNIX socket has no name that a client could use."""
        address: Any = super().getHost()
        port = 443 if self.isSecure() else 80
        return address if hasattr(address, "host") else IPv4Address("TCP", "localhost", port)


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
        factory: That of a `wsredis.service.service.GatewayService`. None: there is none yet.
    """

    isLeaf = True

    def __init__(self, factory: GatewayFactory | None = None) -> None:
        super().__init__()
        self._factory = factory

    def render(self, request: Any) -> Any:
        """Hand the connection over, or explain."""
        if self._factory is not None and _wants_websocket(request):
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
        head = _head(request)
        rest = request.channel.clearLineBuffer()
        transport = _detach(request.channel)
        protocol = factory.buildProtocol(transport.getPeer())
        if hasattr(transport, "wrappedProtocol"):
            transport.wrappedProtocol = protocol
        else:
            transport.protocol = protocol
        protocol.makeConnection(transport)
        transport.resumeProducing()
        protocol.dataReceived(head + rest)


def _wants_websocket(request: Any) -> bool:
    values = request.requestHeaders.getRawHeaders(b"upgrade", [])
    words = [word.strip(b" \t").lower() for value in values for word in value.split(b",")]
    return b"websocket" in words


def _head(request: Any) -> bytes:
    """The head of a request, as it may have been."""
    lines = [b"%s %s %s" % (request.method, request.uri, request.clientproto)]
    for name, values in request.requestHeaders.getAllRawHeaders():
        lines += [b"%s: %s" % (name, value) for value in values]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _detach(channel: Any) -> Any:
    """Take the transport from a channel, as the channel does for a protocol that it upgraded to."""
    transport = channel.transport
    channel.setTimeout(None)
    transport.unregisterProducer()
    channel.transport = None
    return transport


class _Root(Resource):
    """What a gateway's own port serves: exact paths, facilities below the prefix, other pages."""

    isLeaf = True

    def __init__(
        self,
        url_prefix: str,
        ready: Callable[[], bool],
        page: str | None,
        pages: Resource | None,
    ) -> None:
        super().__init__()
        self._others = pages
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
            return self._render_facility(request)
        if self._others is None:
            status, reason = 404, b"there is nothing here\n"
        elif not request.path.startswith(b"/"):
            status, reason = 400, b"the request target is malformed\n"
        elif len(request.requestHeaders.getRawHeaders(b"host", [])) > 1:
            # RFC 9112, 3.2. An application would see them as one.
            status, reason = 400, b"there is more than one Host\n"
        else:
            return self._others.render(request)
        request.setResponseCode(status)
        request.setHeader("content-type", _TEXT)
        return reason

    def _render_facility(self, request: Any) -> Any:
        channel = request.channel
        # With a body it is no handshake: who is in front may see the end of it elsewhere.
        has_body = request.requestHeaders.hasHeader("transfer-encoding") or request.getHeader(
            "content-length"
        ) not in (None, "0")
        may_return = self._others is not None and channel.returned is not None
        if may_return and not has_body and _wants_websocket(request):
            channel.give_back(_head(request))
            return NOT_DONE_YET
        return self._gateway.render(request)


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
    page = files("wsredis.web").joinpath("demo.html").read_text("utf-8")
    return page.replace("/*SETTINGS*/ null", text)


class GatewaySite(Site):
    """
    The site behind a gateway's port.

    Args:
        ready: Whether ``/health/ready`` says so.
        page: What is at ``/``. None: nothing.
        pages: Answers for all other paths, on connections that are kept. None: nothing does.
        max_body: Bytes of the body of a request to *pages*.
        max_channels: Connections for *pages*. When half of them are taken, none is kept.

    Attributes:
        channels: The connections that it has.
        pages, max_body, max_channels: As given, or what they are without pages.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        url_prefix: str,
        ready: Callable[[], bool],
        page: str | None,
        pages: Resource | None = None,
        *,
        max_body: int = _MAX_BODY,
        max_channels: int = 1000,
    ) -> None:
        super().__init__(
            _Root(url_prefix, ready, page, pages),
            requestFactory=_Request,
            reactor=reactor,
            timeout=_TIMEOUT,
            parsePOSTFormSubmission=False,
        )
        self.protocol = _Channel  # type: ignore[assignment]
        self.pages = pages
        self.max_body = _MAX_BODY if pages is None else max_body
        self.max_channels = 0 if pages is None else max_channels
        self.channels: set[_Channel] = set()
        self._gone: Deferred[None] | None = None

    def is_full(self) -> bool:
        """Whether no further connection is taken. Without pages it is short of none."""
        return self.pages is not None and len(self.channels) >= self.max_channels

    def keeps_connections(self) -> bool:
        """Whether a connection is kept behind an answer: not when they become scarce."""
        return (
            self.pages is not None
            and self._gone is None
            and len(self.channels) <= self.max_channels // 2
        )

    def drain(self) -> Deferred[None]:
        """
        Close connections, behind the answers that are under way.

        Returns: Fires when the last one is gone. Cancelling it changes nothing.
        """
        self._gone = Deferred()
        for channel in list(self.channels):
            channel.leave()
        self._tell_gone()
        return self._gone

    def connection_lost(self, channel: _Channel) -> None:
        """A connection is gone, or somebody else's."""
        self.channels.discard(channel)
        self._tell_gone()

    def _tell_gone(self) -> None:
        if self._gone is not None and not self.channels and not self._gone.called:
            self._gone.callback(None)

    def stop(self) -> None:
        """End what is left of connections."""
        for channel in list(self.channels):
            cast(ITCPTransport, channel.transport).abortConnection()
