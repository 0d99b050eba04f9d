"""
The HTTP channel: one connection with its timeouts, its limits and its way back.

All that builds on private names of twisted.web's HTTPChannel is in this module; `check_twisted`
tells at start whether the installed version still has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.error import UnsupportedMethod
from twisted.web.http import HTTPChannel
from twisted.web.server import NOT_DONE_YET, Request

from twisted import __version__ as twisted_version
from wsredis.errors import incompatible
from wsredis.gateway.connection_set import ConnectionSet
from wsredis.transports.websocket.http import GiveBack
from wsredis.web.handover import detach, request_head

__all__ = ["REQUEST_TIMEOUT", "ChannelOwner", "GatewayChannel", "GatewayRequest", "check_twisted"]

#: Seconds that a connection has for one request. Every _PROGRESS bytes of it start the time anew.
REQUEST_TIMEOUT = 15
_PROGRESS = 16384

#: Seconds that a connection is kept without a request. Proxies keep theirs for a shorter time; the
#: side that closes first should not be the one that answers.
_IDLE = 75

#: Seconds that the client has to read the end of an answer when the connection is being closed.
_LINGER = 75

_TEXT = "text/plain; charset=utf-8"

_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)([/?][^#]*)?", re.IGNORECASE)


class ChannelOwner(Protocol):
    """
    The part of a site that its channels use.

    Attributes:
        channels: The channels that have a connection.
        max_body: Bytes that the body of a request may have.
        has_application: An application answers requests: a body that is too large is answered with
            413. Without one no resource takes a body, and the connection is aborted.
    """

    channels: ConnectionSet[GatewayChannel]
    max_body: int
    has_application: bool

    def keeps_connections(self) -> bool:
        """Tell whether a connection stays open after an answer."""


class GatewayChannel(HTTPChannel):
    """
    One connection with plain HTTP requests.

    Attributes:
        returned: Called when the connection goes back to the protocol that had it first. If None,
            no protocol takes it back.
        address: See `wsredis.gateway.identity.Handshake.address`; that of the first request.
    """

    site: ChannelOwner
    requests: list[Any]
    returned: GiveBack | None = None
    address = ""
    _bytes = 0

    def connectionMade(self) -> None:
        """Count the connection."""
        super().connectionMade()
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        super().connectionLost(reason)
        self.site.channels.discard(self)

    def dataReceived(self, data: bytes) -> None:
        """Read bytes. Only many of them, or the end of the request, extend the timeout."""
        if self._abortingCall is not None:
            # The connection is being closed.
            return
        if not self.requests and self.timeOut == _IDLE:
            self.setTimeout(REQUEST_TIMEOUT)
        self._bytes += len(data)
        super().dataReceived(data)

    def resetTimeout(self) -> None:
        """Start the timeout anew, if enough bytes came since the last time."""
        if self._bytes >= _PROGRESS:
            self._bytes = 0
            super().resetTimeout()

    def requestDone(self, request: Any) -> None:
        """Wait for the next request."""
        self._bytes = 0
        self._savedTimeOut = _IDLE
        super().requestDone(request)

    def timeoutConnection(self) -> None:
        """Close the connection: a request took too long, or none came."""
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close the connection when the client has read everything, or had the time to."""
        if self._abortingCall is None:
            self._abortingCall = self.callLater(_LINGER, self.forceAbortClient)
        super().loseConnection()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Tell whether another request may follow this one."""
        if self.site.keeps_connections() and super().checkPersistence(request, version):
            return True
        request.responseHeaders.setRawHeaders("connection", ["close"])
        return False

    def allHeadersReceived(self) -> None:
        """Refuse a body whose announced length is over the limit, before it is read."""
        limit = self.site.max_body
        if self.site.has_application and self.length is not None and self.length > limit:
            self.requests[-1].gotLength(0)
            self.refuse_body()
        else:
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Answer the request, unless its body was refused."""
        if self.transport is not None:
            super().allContentReceived()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Malformed bytes after a refused body do not get an answer of their own.
        if self.transport is not None:
            super()._respondToBadRequestAndDisconnect()

    def refuse_body(self) -> None:
        """Refuse a request whose body is too large."""
        if self.returned is None or not self.site.has_application:
            cast(ITCPTransport, self.transport).abortConnection()
            return
        limit = self.site.max_body
        head = b"%s %s %s" % (self._command, self._path, self._version)
        self._give_back(head, 413, f"the body of the request is larger than {limit} bytes")

    def give_back_handshake(self, request: Any) -> None:
        """Give the connection back, since *request* is a WebSocket handshake."""
        self._give_back(request_head(request), 0, "")

    def _give_back(self, head: bytes, status: int, reason: str) -> None:
        """Let go of the connection; see `wsredis.transports.websocket.http.GiveBack`."""
        assert self.returned is not None
        self.site.channels.discard(self)
        transport = detach(self)
        rest = self.clearLineBuffer()
        for request in self.requests:
            request.content.close()
        transport.resumeProducing()
        self.returned(head, rest, status, reason)

    def drain(self) -> None:
        """Close the connection: at once if it is idle, else after the answer that is under way."""
        if not self.requests:
            self.loseConnection()
            return
        self.persistent = False
        if not self.requests[0].startedWriting:
            self.requests[0].responseHeaders.setRawHeaders("connection", ["close"])


class GatewayRequest(Request):
    """
    A request with a limited body.

    Neither an answer nor a line of the log repeats the target, which twisted.web does in both.
    """

    _log = Logger()

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body."""
        channel = cast(GatewayChannel | None, self.channel)
        if channel is None or channel.transport is None:
            return
        assert self.content is not None
        if self.content.tell() + len(data) > channel.site.max_body:
            channel.refuse_body()
        else:
            super().handleContentChunk(data)

    def process(self) -> None:
        """Answer. A target with scheme and host (RFC 9112, 3.2.2) becomes a path and a Host."""
        absolute = _ABSOLUTE.fullmatch(self.uri)
        if absolute is not None:
            self.requestHeaders.setRawHeaders("host", [absolute[1]])
            rest = absolute[2] or b"/"
            self.uri = rest if rest.startswith(b"/") else b"/" + rest
            self.path = self.uri.partition(b"?")[0]
        super().process()

    def render(self, resrc: Any) -> None:
        """Answer with the body that a resource returns, which `write` leaves out for HEAD."""
        try:
            body = resrc.render(self)
        except UnsupportedMethod:
            self.setResponseCode(405)
            self.setHeader("allow", "GET, HEAD")
            self.setHeader("content-type", _TEXT)
            body = b"the method must be GET or HEAD\n"
        if body is not NOT_DONE_YET:
            self._answer(body)

    def processingFailed(self, reason: Failure) -> None:
        """Answer a request with 500 that failed before the application had it."""
        self._log.failure("a request failed", failure=reason)
        if self.producer is not None:
            self.unregisterProducer()
        if self.startedWriting:
            self.loseConnection()
        else:
            self.setResponseCode(500)
            self.setHeader("content-type", _TEXT)
            self._answer(b"internal error\n")

    def _answer(self, body: bytes) -> None:
        self.setHeader("content-length", str(len(body)))
        self.write(body)
        self.finish()

    def getClientAddress(self) -> IAddress:
        """
        Tell the address of the client.

        Returns:
            An address with a host. Clients of a UNIX socket have none; their host is empty.
        """
        address: Any = super().getClientAddress()
        return address if hasattr(address, "host") else IPv4Address("TCP", "", 0)

    def getHost(self) -> IAddress:
        """
        Tell the address at which the request arrived.

        Returns:
            An address with a host. A UNIX socket has no address that a client could use, and is
            shown as localhost.
        """
        address: Any = super().getHost()
        port = 443 if self.isSecure() else 80
        return address if hasattr(address, "host") else IPv4Address("TCP", "localhost", port)


def check_twisted(base: type[HTTPChannel] = HTTPChannel) -> None:
    """
    Check that the private names of twisted.web that this module uses still work as they did.

    Args:
        base: The class to check.

    Raises:
        ConfigError: One of them does not. The text names the version of Twisted, and the name.
    """
    for name, works in _SELF_TESTS.items():
        try:
            is_usable = works(base)
        except Exception:
            # A name that is missing shows itself in many ways.
            is_usable = False
        if not is_usable:
            raise incompatible("Twisted", twisted_version, f"HTTPChannel.{name} has changed")


def _connected(base: type[HTTPChannel], data: bytes) -> tuple[Any, Clock]:
    """Make a channel in memory that has read *data*."""
    # Twisted's own: it has all that this version of the channel may ask of a transport.
    from twisted.internet.testing import StringTransport

    clock = Clock()
    channel: Any = base()
    channel.callLater = clock.callLater
    channel.makeConnection(StringTransport())
    channel.dataReceived(data)
    return channel, clock


def _keeps_request_line(base: type[HTTPChannel]) -> bool:
    channel, _ = _connected(base, b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n")
    line = channel._command, channel._path, channel._version
    channel.connectionLost(Failure(ConnectionDone()))
    return line == (b"POST", b"/x", b"HTTP/1.1")


def _cancels_aborting_call(base: type[HTTPChannel]) -> bool:
    channel, clock = _connected(base, b"")
    if channel._abortingCall is not None:
        return False
    channel._abortingCall = clock.callLater(1, channel.forceAbortClient)
    channel.connectionLost(Failure(ConnectionDone()))
    return not clock.getDelayedCalls()


def _restores_timeout(base: type[HTTPChannel]) -> bool:
    channel, _ = _connected(base, b"GET /x HTTP/1.1\r\nHost: x\r\n")
    channel._savedTimeOut = _IDLE
    channel.persistent = True
    channel.requestDone(channel.requests[0])
    is_restored: bool = channel.timeOut == _IDLE
    channel.connectionLost(Failure(ConnectionDone()))
    return is_restored


def _responds_to_bad_request(base: type[HTTPChannel]) -> bool:
    class Probe(base):  # type: ignore[misc, valid-type]
        responded = False

        def _respondToBadRequestAndDisconnect(self) -> None:
            self.responded = True

    channel, _ = _connected(Probe, b"this is not HTTP\r\n")
    responded: bool = channel.responded
    channel.connectionLost(Failure(ConnectionDone()))
    return responded


#: Checks of the behaviour that this module needs, by the private name that each is about.
_SELF_TESTS: dict[str, Callable[[type[HTTPChannel]], bool]] = {
    "_abortingCall": _cancels_aborting_call,
    "_command": _keeps_request_line,
    "_savedTimeOut": _restores_timeout,
    "_respondToBadRequestAndDisconnect": _responds_to_bad_request,
}
