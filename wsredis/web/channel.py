"""
The HTTP channel: one connection with its timeouts, its limits and its way back.

It is one module because all of that builds on private names of twisted.web's HTTPChannel;
`check_twisted` tells at start whether the installed version still has them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from io import BytesIO
from typing import Any, Protocol, cast

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, Request

from twisted import __version__ as twisted_version
from wsredis.config.networks import Networks
from wsredis.errors import incompatible
from wsredis.gateway.connection_set import ConnectionSet
from wsredis.gateway.shares import SharedBound, address_key
from wsredis.transports.websocket import head
from wsredis.transports.websocket.handshake import error_response
from wsredis.transports.websocket.http import GiveBack
from wsredis.transports.websocket.proxies import named_client
from wsredis.web.handover import detach
from wsredis.web.spool import Spool

__all__ = ["REQUEST_TIMEOUT", "ChannelOwner", "GatewayChannel", "check_twisted"]

#: Seconds that a connection has for one request. Every _PROGRESS bytes of it start the time anew.
REQUEST_TIMEOUT = 15
_PROGRESS = 16384

#: Seconds that a connection is kept without a request. Proxies keep theirs for a shorter time; the
#: side that closes first should not be the one that answers.
_IDLE = 75

#: Seconds that the client has to read the end of an answer when the connection is being closed.
_LINGER = 75

#: Bytes of further requests that are read while one is being answered.
_AHEAD = 16384

#: Bytes of a body in tiny chunks that are worked off in one turn of the reactor.
_SLICE = 2048

#: Bytes that are read, and dropped, of a client that sends on after the end of its answer.
_AFTER_END = 65536


class ChannelOwner(Protocol):
    """
    The part of a site that its channels use.

    Attributes:
        channels: The channels that have a connection.
        places: Their number by address. None without an application.
        trusted: The proxies that name the client of each request, and its host.
        max_head: Bytes that the head of a request may have.
        max_body: Bytes that the body of a request may have.
        has_application: An application answers requests: a body that is too large is answered with
            413. Without one no resource takes a body, and the connection is aborted.
        spool: Where bodies wait.
    """

    channels: ConnectionSet[GatewayChannel]
    places: SharedBound | None
    trusted: Networks
    max_head: int
    max_body: int
    has_application: bool
    spool: Spool

    def keeps_connections(self) -> bool:
        """Tell whether a connection stays open after an answer."""

    def serves(self, found: head.Head) -> bool:
        """Tell whether its resources answer a request. Else the connection is given back."""

    def call_in_turn(self, function: Callable[[], None]) -> None:
        """Call a function when those that wait were called, a few in a turn of the reactor."""


class GatewayChannel(HTTPChannel):
    """
    One connection with plain HTTP requests.

    Attributes:
        returned: Called when the connection goes back to the protocol that had it first. If None,
            no protocol takes it back.
        address: See `wsredis.gateway.identity.Handshake.address`; that of the latest request.
    """

    site: ChannelOwner
    requests: list[Any]
    returned: GiveBack | None = None
    address = ""
    _bytes = 0
    _size = 0
    _head = b""
    _host = ""
    _has_place = False
    _is_waiting = False
    _postponed = b""

    def __init__(self) -> None:
        super().__init__()
        # The lines of a head that is not whole yet.
        self._lines: list[bytes] = []

    @property
    def key(self) -> Hashable:
        """The key by which shares are counted: clients without an address have one each."""
        return self.address or self

    @property
    def may_name_host(self) -> bool:
        """Tell whether X-Forwarded-Host of the peer counts: if proxies are named, only theirs."""
        trusted = self.site.trusted
        return not trusted or self._host in trusted

    def connectionMade(self) -> None:
        """Count the connection."""
        super().connectionMade()
        self._host = getattr(self.getPeer(), "host", "")
        self.address = self.address or address_key(self._host)
        # A longer line is a longer head.
        self.MAX_LENGTH = self.maxHeaders = self.totalHeadersSize = self.site.max_head
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection."""
        super().connectionLost(reason)
        self._leave()

    def _leave(self) -> None:
        self._is_waiting = False
        self.site.channels.discard(self)
        self._leave_place()

    def _leave_place(self) -> None:
        if self._has_place and self.site.places is not None:
            self._has_place = False
            self.site.places.release(self.key)

    def dataReceived(self, data: bytes) -> None:
        """Read bytes. Only many of them, or the end of the request, extend the timeout."""
        self._bytes += len(data)
        if self._abortingCall is not None:
            # The connection is being closed. A client that sends on does not wait for the answer.
            if self._bytes > _AFTER_END:
                cast(ITCPTransport, self.transport).abortConnection()
        elif self._is_waiting:
            self._postponed += data
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        if not self.requests and self.timeOut == _IDLE:
            self.setTimeout(REQUEST_TIMEOUT)
        super().dataReceived(data)

    def rawDataReceived(self, data: bytes) -> None:
        """Read a part of a body, or keep what came after a request that is being answered."""
        if self._handlingRequest:
            super().rawDataReceived(data)
            # Twisted reads on while the client does not take the answer.
            if sum(map(len, self._dataBuffer)) > _AHEAD:
                self._networkProducer.pauseProducing()
            return
        size = len(data)
        if self.length is None:
            # Chunks may be tiny. A large one, of which bytes are missing, is taken at once.
            decoder: Any = self._transferDecoder
            size = _SLICE + (decoder.length if decoder.state == "BODY" else 0)
        super().rawDataReceived(data[:size])
        if len(data) > size and self.transport is not None and self._abortingCall is None:
            if self._handlingRequest:
                super().rawDataReceived(data[size:])
            else:
                self._postpone(data[size:])

    def _postpone(self, data: bytes) -> None:
        """Read bytes in a later turn of the reactor, after those that already wait for it."""
        self._postponed += data
        self._networkProducer.pauseProducing()
        if not self._is_waiting:
            self._is_waiting = True
            self.site.call_in_turn(self.take_turn)

    def take_turn(self) -> None:
        """Read the bytes that waited."""
        if not self._is_waiting:
            # The connection is gone.
            return
        self._is_waiting = False
        data, self._postponed = self._postponed, b""
        if self._abortingCall is None:
            self._networkProducer.resumeProducing()
            self._read(data)

    def lineReceived(self, line: bytes) -> None:
        """Collect the lines of a head, and judge it as that of a first request is judged."""
        self._size += len(line) + 2
        if self._size > self.site.max_head:
            self.lineLengthExceeded(line)
            return
        if not line and not self._lines:
            # An empty line before a request (RFC 9112, 2.2). It counts as a part of its head.
            return
        self._lines.append(line)
        if line:
            return
        lines, self._lines, self._size = self._lines, [], 0
        request = self._head = b"\r\n".join(lines) + b"\r\n"
        found = head.parse(request, self.site.max_head)
        if found.status:
            self._refuse(found.status, found.reason)
        elif self.returned is not None and (
            found.kind is head.Kind.HANDSHAKE or not self.site.serves(found)
        ):
            self._give_back(0, "")
        elif not self._take_place(found):
            if self.site.places is not None and self.site.places.is_full():
                self._refuse(503, "too many connections")
            else:
                self._refuse(429, "too many connections of one client")
        else:
            for each in lines:
                if self.transport is not None and self._abortingCall is None:
                    super().lineReceived(each)

    def lineLengthExceeded(self, line: bytes) -> None:
        """Refuse a request whose head is too large."""
        self._head = (self._lines or [line])[0]
        self._refuse(431, f"the head of the request is larger than {self.site.max_head} bytes")

    def _take_place(self, found: head.Head) -> bool:
        """Take a place for pages, if the client of this request has none yet."""
        trusted, places = self.site.trusted, self.site.places
        if trusted and self._host in trusted:
            address = address_key(named_client(self._host, trusted, found.headers))
            if address != self.address:
                self._leave_place()
                self.address = address
        if places is not None and not self._has_place:
            self._has_place = places.take(self.key)
            return self._has_place
        return True

    def resetTimeout(self) -> None:
        """Start the timeout anew, if enough bytes came since the last time."""
        if self._bytes >= _PROGRESS:
            self._bytes = 0
            super().resetTimeout()

    def requestDone(self, request: Any) -> None:
        """Wait for the next request. One that is already here has its turn after other clients."""
        self._bytes = 0
        self._head = b""
        self._savedTimeOut = _IDLE
        data, self._dataBuffer = b"".join(self._dataBuffer) + self.clearLineBuffer(), []
        super().requestDone(request)
        if data and self.persistent:
            self._postpone(data)

    def timeoutConnection(self) -> None:
        """Close the connection: a request took too long, or none came."""
        self.loseConnection()

    def loseConnection(self) -> None:
        """Close the connection when the client has read everything, or had the time to."""
        if self._abortingCall is None:
            self._bytes = 0
            self._abortingCall = self.callLater(_LINGER, self.forceAbortClient)
        super().loseConnection()

    def forceAbortClient(self) -> None:
        """Abort the connection: the client did not read the answer in time."""
        self._abortingCall = None
        cast(ITCPTransport, self.transport).abortConnection()

    def checkPersistence(self, request: Any, version: bytes) -> bool:
        """Tell whether another request may follow this one."""
        values = request.requestHeaders.getRawHeaders(b"connection", [])
        options = [each.strip(b" \t").lower() for value in values for each in value.split(b",")]
        if version == b"HTTP/1.1" and b"close" not in options and self.site.keeps_connections():
            return True
        request.responseHeaders.setRawHeaders("connection", ["close"])
        return False

    def allHeadersReceived(self) -> None:
        """Refuse a body that cannot be taken, before it is read."""
        codings = self.requests[-1].requestHeaders.getRawHeaders(b"transfer-encoding")
        if codings is not None and (
            # RFC 9112, 6.1 and 6.3. Whoever reads it in another way sees another request.
            [each.lower() for each in codings] != [b"chunked"] or self.length is not None
        ):
            self._refuse(400, "the length of the body is not clear")
        elif not self.site.has_application or self.length is None:
            super().allHeadersReceived()
        elif self.length > self.site.max_body:
            self.refuse_body()
        elif self.length and not self.site.spool.has_room(self.key, self.length):
            self.refuse_for_now(self.length)
        else:
            super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Answer the request, unless its body was refused."""
        if self.transport is not None and self._abortingCall is None:
            super().allContentReceived()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Malformed bytes after a refused body do not get an answer of their own.
        if self.transport is not None:
            self._refuse(400, "the request is malformed")

    def refuse_body(self) -> None:
        """Refuse a request whose body is too large."""
        if self.site.has_application:
            limit = self.site.max_body
            self._refuse(413, f"the body of the request is larger than {limit} bytes")
        else:
            cast(ITCPTransport, self.transport).abortConnection()

    def refuse_for_now(self, size: int) -> None:
        """Refuse a request for whose body, or *size* more bytes of it, there is no room."""
        if self.site.spool.is_full(size):
            self._refuse(503, "too many bytes of requests wait")
        else:
            self._refuse(429, "too many bytes of one client wait")

    def body_failed(self) -> None:
        """Refuse a request whose body cannot be written to a file."""
        self._log.failure("the body of a request cannot be kept", event="body-failed")
        self._refuse(503, "the body cannot be kept now")

    def _refuse(self, status: int, reason: str) -> None:
        """Refuse a request, and end the connection."""
        if self.returned is not None:
            self._give_back(status, reason)
            return
        cast(ITCPTransport, self.transport).write(error_response(status, reason))
        self.loseConnection()

    def _give_back(self, status: int, reason: str) -> None:
        """Let go of the connection; see `wsredis.transports.websocket.http.GiveBack`."""
        assert self.returned is not None
        self._leave()
        transport = detach(self)
        rest = self.clearLineBuffer() + self._postponed
        for request in self.requests:
            if request.content is not None:
                request.content.close()
        transport.resumeProducing()
        self.returned(self._head, rest, status, reason)

    def drain(self) -> None:
        """Close the connection: at once if it is idle, else after the answer that is under way."""
        if not self.requests:
            self.loseConnection()
            return
        self.persistent = False
        if not self.requests[0].startedWriting:
            self.requests[0].responseHeaders.setRawHeaders("connection", ["close"])


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


def _keeps_what_came_early(base: type[HTTPChannel]) -> bool:
    channel, _ = _connected(base, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\nearly")
    kept: bool = channel._handlingRequest and b"".join(channel._dataBuffer) == b"early"
    channel.connectionLost(Failure(ConnectionDone()))
    return kept


class _RequestWithoutFile(Request):
    """A request that needs no folder for temporary files: in a container there may be none."""

    def gotLength(self, length: int | None) -> None:
        """Make no file for the body."""
        self.content = BytesIO()


def _tells_of_chunks(base: type[HTTPChannel]) -> bool:
    class Probe(base):  # type: ignore[misc, valid-type]
        requestFactory = _RequestWithoutFile

    channel, _ = _connected(
        Probe, b"POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nx"
    )
    decoder = channel._transferDecoder
    told: bool = (decoder.state, decoder.length) == ("BODY", 99) and channel.length is None
    channel.connectionLost(Failure(ConnectionDone()))
    return told


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
    "_dataBuffer": _keeps_what_came_early,
    "_transferDecoder": _tells_of_chunks,
    "_savedTimeOut": _restores_timeout,
    "_respondToBadRequestAndDisconnect": _responds_to_bad_request,
}
