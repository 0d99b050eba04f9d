"""
The WebSocket side: Autobahn's server protocol, hardened and made lean.

One class reads the head of every request on a port. A WebSocket handshake goes on to Autobahn, any
other request is handed, bytes and transport, to twisted.web. What Autobahn 26.10 leaves open is
closed here: a bound on the head, the smuggling of headers, a client that leaves or sends more while
it is being accepted, an error text that becomes a status line, and Nagle's algorithm.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from http import HTTPStatus
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.types import ConnectionRequest
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.internet import tcp, unix
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocolNegotiationFactory, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wsredis.auth.admission import Accepted, Admission
from wsredis.channels import Access
from wsredis.config import GatewayConfig
from wsredis.errors import (
    BadRequest,
    BrokerUnavailable,
    HandshakeRejected,
    LimitExceeded,
    PermissionDenied,
)
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection, Hooks
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Handshake
from wsredis.gateway.timers import StaggeredTimer, TimeoutQueue
from wsredis.transports.send_queue import SendQueue
from wsredis.transports.websocket import frames
from wsredis.transports.websocket.deflate import Inflater, negotiate
from wsredis.transports.websocket.encoding import Encodings

__all__ = ["GatewayFactory", "GatewayProtocol"]

#: Seconds that a client is asked to wait before it tries again.
RETRY_AFTER = 2

#: Bytes that a client may send before its handshake is answered.
_EARLY = 65536

#: So much of what a client says goes into one line of the log.
_LOGGED = 200

#: Bytes; longer messages are unmasked faster by Autobahn.
_SHORT = 1024

#: First byte of a frame that is a whole message, not compressed (RFC 6455, 5.2).
_WHOLE_TEXT = 0x81
_WHOLE_BINARY = 0x82
_WHOLE = (_WHOLE_TEXT, _WHOLE_BINARY)

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/[0-9]\.[0-9])")
# RFC 9112: no folded lines, no blank before the colon, no bare CR or LF. 0x85 is refused as well,
# because Autobahn takes it for the end of a line.
_HEADERS = re.compile(
    rb"(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\x84\x86-\xff]*)*\r\n\r\n"
)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UPGRADE = re.compile(rb"\r\nupgrade:([^\r]*,)?[\t ]*websocket[\t ]*[,\r]", re.IGNORECASE)


class _Phase(Enum):
    """The life of one TCP connection."""

    HEAD = 1  # the head of the request is being read
    PENDING = 2  # the handshake is understood, and being decided
    OPEN = 3  # WebSocket frames, until the socket is gone
    HTTP = 4  # twisted.web has it
    OVER = 5  # answered with an error; what still comes is thrown away


class _Silent:
    """Stands in for Autobahn's logger and its futures, which cost a third of a handshake."""

    def debug(self, *args: object, **kwargs: object) -> None:
        """Say nothing."""

    info = warn = error = critical = failure = trace = callback = debug


_silent = _Silent()


class GatewayProtocol(WebSocketServerProtocol):  # type: ignore[misc]
    """One TCP connection, and the WebSocket that it may become."""

    _log = Logger()

    factory: GatewayFactory

    # What Autobahn sets on each instance and never changes, or changes for few, stands here once.
    log = _silent
    is_open = _silent
    is_closed = _silent
    tcpNoDelay = True
    trafficStats = TrafficStats()
    trackedTimings = None
    send_queue: tuple[()] = ()
    triggered = False
    send_state = WebSocketServerProtocol.SEND_STATE_GROUND
    wasMaxFramePayloadSizeExceeded = False
    wasMaxMessagePayloadSizeExceeded = False
    closedByMe = False
    failedByMe = False
    droppedByMe = False
    wasClean = False
    wasNotCleanReason: str | None = None
    wasServerConnectionDropTimeout = False
    wasOpenHandshakeTimeout = False
    wasCloseHandshakeTimeout = False
    wasServingFlashSocketPolicyFile = False
    localCloseCode: int | None = None
    localCloseReason: bytes | None = None
    remoteCloseCode: int | None = None
    remoteCloseReason: str | None = None
    openHandshakeTimeoutCall = None
    closeHandshakeTimeoutCall = None
    autoPingTimeoutCall = None
    autoPingPending = None
    autoPingPendingCall = None
    autoPingPendingSeq = 0
    autoPingPendingSent = None
    _perMessageCompress: Inflater | None = None
    _transport_details = None

    peer = ""
    http_request_uri = ""
    heard = True
    connection: Connection | None = None
    queue: SendQueue | None = None
    _phase = _Phase.HEAD
    _deciding: Deferred[Any] | None = None
    #: The decision, the stored messages and the extension, until it is open. One attribute:
    #: Python shares the table of thirty among all instances, and of one more it gives each its own.
    _opening: tuple[Accepted, Mapping[bytes, bytes], str] | None = None
    _pause_reasons = PauseReason(0)

    def __init__(self) -> None:
        # Autobahn's makes two futures and a table of listeners that nobody uses here.
        pass

    # -- The TCP connection

    def connectionMade(self) -> None:
        """Set the socket's options, and wait for the head of a request."""
        self.state = self.STATE_CONNECTING
        self.data = b""
        transport = self.transport
        self.peer = _address(transport)
        _tune(transport, self.factory.config.limits.send_buffer)
        if not self.factory.arrived(self):
            self._refuse(503, "too many connections", "--max-connections, --max-handshakes")

    def dataReceived(self, data: bytes) -> None:
        """Frames, or parts of a head."""
        if self._phase is _Phase.OPEN:
            self.heard = True
            if self.state != self.STATE_CLOSED:
                self._dataReceived(data)
        elif self._phase is _Phase.HEAD:
            self._read_head(data)
        elif self._phase is _Phase.PENDING:
            if len(self.data) + len(data) > _EARLY:
                self.transport.abortConnection()
            else:
                self.data += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The socket is gone."""
        self.state = self.STATE_CLOSED
        phase, self._phase = self._phase, _Phase.OVER
        if self._deciding is not None:
            self._deciding.cancel()
        self._detach()
        self.factory.connection_lost(self)
        if phase is _Phase.OPEN and self.factory.config.verbose:
            self._log.info(
                "closed {peer}: received {received}, sent {sent}",
                peer=self.peer,
                received=self.remoteCloseCode,
                sent=self.localCloseCode,
            )

    # -- The head of a request

    def _read_head(self, data: bytes) -> None:
        start = max(0, len(self.data) - 3)
        self.data += data
        end = self.data.find(b"\r\n\r\n", start) + 4
        limit = self.factory.config.limits.max_head
        if end == 3 and len(self.data) <= limit:
            if not self.data[:1].isalpha():
                self._refuse(400, "this is not HTTP")
            return
        if end == 3 or end > limit:
            self._refuse(431, f"the head of the request is larger than {limit} bytes")
            return
        head = self.data[:end]
        line_end = head.index(b"\r\n")
        line = _REQUEST_LINE.fullmatch(head, 0, line_end)
        if line is None or _HEADERS.fullmatch(head, line_end) is None:
            self._refuse(400, "the head of the request is malformed")
        elif _UPGRADE.search(head, line_end) is None:
            self._serve_http()
        elif line[1] != b"GET":
            self._refuse(400, "HTTP method must be a GET")
        elif line[3] != b"HTTP/1.1":
            self._refuse(400, "HTTP server protocol must be 1.1")
        else:
            self._phase = _Phase.PENDING
            self.processHandshake()

    def _serve_http(self) -> None:
        """Hand the connection over, with what was read of it."""
        site = self.factory.site
        if site.is_full():
            self._refuse(503, "too many connections", "--max-handshakes, for pages")
            return
        self._phase = _Phase.HTTP
        self.factory.handshakes.discard(self)
        self.state = self.STATE_CLOSED
        channel: Any = site.buildProtocol(self.transport.getPeer())
        channel.returned = self._take_back

        def lost(reason: Failure = connectionDone) -> None:
            self.factory.connection_lost(self)
            channel.connectionLost(reason)

        self.dataReceived = channel.dataReceived  # type: ignore[method-assign]
        self.connectionLost = lost  # type: ignore[method-assign]
        data, self.data = self.data, b""
        channel.makeConnection(self.transport)
        channel.dataReceived(data)

    def _take_back(self, head: bytes, rest: bytes, status: int, reason: str) -> None:
        """twisted.web gives the connection back: for a handshake, or to refuse a request."""
        del self.dataReceived, self.connectionLost
        self._phase = _Phase.HEAD
        self.state = self.STATE_CONNECTING
        if status:
            self.data = head
            self._refuse(status, reason)
        elif self.factory.returned(self):
            self.dataReceived(head + rest)
        else:
            self.data = head
            self._refuse(503, "too many connections", "--max-handshakes")

    # -- The handshake

    def onConnect(self, request: ConnectionRequest) -> Deferred[str | None]:
        """Autobahn found the handshake well-formed: decide on it."""
        admission = Deferred.fromCoroutine(self._admit(request))
        self._deciding = admission
        return admission.addErrback(self._not_admitted)

    async def _admit(self, request: ConnectionRequest) -> str | None:
        factory = self.factory
        # Behind a proxy that speaks the PROXY protocol it is only known now.
        self.peer = _address(self.transport)
        path, _, query = self.http_request_uri.partition("?")
        dialect, access = factory.parse(path, query)
        secure = ISSLTransport.providedBy(self.transport)
        handshake = Handshake(access, path, request.headers, self.peer, query, secure)
        if factory.stopping or not factory.hub.broker.up:
            raise BrokerUnavailable("Redis is away")
        if factory.is_full():
            raise HandshakeRejected("too many connections", 503, "--max-connections")
        subprotocol = dialect.choose_subprotocol(request.protocols)
        if subprotocol is not None and not _TOKEN.fullmatch(subprotocol):
            raise BadRequest("the subprotocol is no token")
        accepted = await factory.admission.admit(handshake)
        if self._phase is not _Phase.PENDING:
            # The client left, and a seam took no notice of being cancelled.
            raise CancelledError
        window, extension = 0, ""
        if factory.config.compress:
            window, extension = negotiate(self.websocket_extensions) or (0, "")
        self.connection = dialect.connection(
            factory.hub,
            factory.config.limits,
            factory.handler,
            self,
            factory.encodings[dialect, window],
            accepted.identity,
            accepted.granted,
        )
        self._opening = accepted, await self.connection.open(), extension
        return subprotocol

    def _not_admitted(self, failure: Failure) -> None:
        error = failure.value
        if self._phase is not _Phase.PENDING or isinstance(error, CancelledError):
            return
        if isinstance(error, HandshakeRejected):
            self._refuse(error.status, error.reason, error.hint)
        elif isinstance(error, BadRequest):
            self._refuse(400, str(error))
        elif isinstance(error, BrokerUnavailable):
            self._refuse(503, "try again later", str(error))
        elif isinstance(error, (PermissionDenied, LimitExceeded)):
            self._refuse(403, error.reason)
        else:
            self._log.failure("the handshake of {peer} failed", failure=failure, peer=self.peer)
            self._refuse(500, "internal error")

    def succeedHandshake(self, res: str | None) -> None:
        """Autobahn's answer, if somebody is still there to read it."""
        if self._phase is not _Phase.PENDING:
            return
        if self.factory.stopping:
            self._refuse(503, "try again later", "the gateway stops")
            return
        if self.factory.is_full():
            self._refuse(503, "too many connections", "--max-connections")
            return
        assert self.connection is not None and self._opening is not None
        self._deciding = None
        self.queue = SendQueue(self.transport, self.factory.config.limits.max_queue, self)
        self.connection.write = self.queue.write
        # Autobahn would refuse the whole handshake for an offer that it does not understand.
        self.websocket_extensions: list[Any] = []
        headers = {}
        if self._opening[2]:
            headers["Sec-WebSocket-Extensions"] = self._opening[2]
            self._perMessageCompress = Inflater()
        try:
            super().succeedHandshake((res, headers))
        except Exception:
            self._log.failure("the handshake of {peer} failed", peer=self.peer)
            self.transport.abortConnection()

    def _onOpen(self) -> None:
        # Autobahn's looks for TLS channel bindings, which only WAMP has use for.
        self.onOpen()

    def onOpen(self) -> None:
        """The answer is on its way."""
        assert self.connection is not None and self._opening is not None
        self._phase = _Phase.OPEN
        accepted, stored, _ = self._opening
        for leftover in _LEFTOVERS:
            self.__dict__.pop(leftover, None)
        self.utf8validator = Utf8Validator()
        self.factory.opened(self)
        if self.factory.config.verbose:
            self._log.info(
                "opened {peer} on {facility!r}",
                peer=self.peer,
                facility=self.connection.granted.facility,
            )
        self.connection.opened(stored)
        if self.state == self.STATE_OPEN:
            self.factory.admission.opened(self.connection, accepted)

    def failHandshake(
        self, reason: str, code: int = 400, responseHeaders: list[tuple[str, str]] | None = None
    ) -> None:
        """Autobahn found something wrong with the handshake."""
        if self._phase is _Phase.PENDING:
            if reason.startswith("duplicate protocol"):
                # Autobahn repeats it, and it may carry a token.
                reason = "a subprotocol is offered twice"
            # The versions that are spoken are named with 426 (RFC 6455, 4.2.2).
            self._refuse(426 if responseHeaders else code, reason)

    def handshake_timed_out(self) -> None:
        """The time for the handshake is over."""
        if self._phase is _Phase.PENDING:
            self._refuse(503, "try again later", "the handshake took too long")
        elif self._phase is _Phase.HEAD:
            self._refuse(408, "the request did not come")

    def _refuse(self, status: int, reason: str, hint: str = "") -> None:
        target = self.data if self._phase is _Phase.HEAD else self.http_request_uri.encode()
        self.factory.hub.metrics.refused += 1
        self._log.info(
            "refused {peer} {path!r}: {status} {reason!r}{hint}",
            peer=self.peer,
            path=_loggable(target),
            status=status,
            reason=reason[:_LOGGED],
            hint=f" ({hint[:_LOGGED]})" if hint else "",
        )
        headers = []
        if status == 401:
            # RFC 9110, 15.5.2 asks for a challenge; no browser opens a window for this one.
            headers.append(("WWW-Authenticate", "Bearer"))
        if status in (400, 426):
            headers.append(("Sec-WebSocket-Version", "13"))
        if status == 503:
            headers.append(("Retry-After", str(RETRY_AFTER)))
        self._answer(status, reason, headers)

    def _answer(self, status: int, reason: str, headers: list[tuple[str, str]]) -> None:
        """Send an HTTP error and be done with this connection."""
        body = reason.encode("utf-8", "replace")
        head = [
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            "X-Content-Type-Options: nosniff",
            "Connection: close",
            *(f"{name}: {value}" for name, value in headers),
        ]
        self.transport.write("\r\n".join(head).encode("ascii") + b"\r\n\r\n" + body)
        unread = self._phase is _Phase.HEAD
        self._phase = _Phase.OVER
        self.state = self.STATE_CLOSED
        self.data = b""
        self.factory.handshakes.discard(self)
        if self._deciding is not None:
            self._deciding.cancel()
        self._detach()
        # Who never ends the TLS handshake cannot be sent the answer, and would stay for ever.
        self.factory.closing.add(self)
        if unread and type(self.transport) in (tcp.Server, unix.Server):
            # Closing a socket with unread input resets it, and the answer may be lost. Under TLS
            # the method is that of the TCP transport, and overtakes what is not encrypted yet.
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    # -- The open WebSocket

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """One whole message of the client."""
        if self.connection is not None:
            self.connection.receive(payload, isBinary)

    def onMessageEnd(self) -> None:
        """Autobahn's, without the signal that nobody listens to."""
        if not self.failedByMe:
            self.onMessage(b"".join(self.message_data), self.message_is_binary)
        self.message_data: list[bytes] = []

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Everything that Autobahn sends takes the same way as publications."""
        if self.queue is not None:
            self.queue.write(data)

    def sendCloseFrame(
        self, code: int | None = None, reasonUtf8: bytes | None = None, isReply: bool = False
    ) -> None:
        """A close frame is the last: nothing is delivered after it."""
        if self.state != self.STATE_OPEN:
            return
        self._detach()
        super().sendCloseFrame(code, reasonUtf8, isReply)
        self.factory.closing.add(self)

    def _closeConnection(self, abort: bool = False) -> None:
        # Autobahn resets the connection even after a clean closing handshake.
        self.factory.closing.add(self)
        if abort and not self.wasClean:
            self.transport.abortConnection()
        elif self.queue is not None:
            self.queue.close()
        else:
            self.transport.loseConnection()

    def unregisterProducer(self) -> None:
        """The send_queue is the producer, and has to go on until all is sent."""

    def close_timed_out(self) -> None:
        """The client did not answer the close frame, or did not take the last bytes."""
        self.transport.abortConnection()

    def sweep(self) -> None:
        """Ping the client; drop it if it gave no sign of life since the last time."""
        if self.heard or self._pause_reasons & ~PauseReason.SEND_QUEUE:
            self.heard = False
            assert self.queue is not None
            self.queue.write(frames.PING)
            return
        self.factory.hub.metrics.timeouts += 1
        self._log.info("no pong from {peer}: connection dropped", peer=self.peer)
        self._detach()
        self.transport.abortConnection()

    def send_heartbeat(self) -> None:
        """Send the heartbeat of the dialect."""
        assert self.connection is not None and self.connection.encoding.heartbeat is not None
        self.write(self.connection.encoding.heartbeat)

    def _detach(self) -> None:
        """Nothing is delivered to this socket any more."""
        if self.connection is not None:
            self.connection.closed()
            self.factory.admission.connection_lost(self.connection)
        self.factory.pings.discard(self)
        for timer in self.factory.heartbeats.values():
            timer.discard(self)

    # -- wsredis.gateway.client.Client

    def write(self, data: bytes) -> None:
        """See `wsredis.gateway.client.Client.write`."""
        if self.queue is not None:
            self.queue.write(data)

    def close(self, code: int, reason: str) -> None:
        """See `wsredis.gateway.client.Client.close`."""
        if self._phase is _Phase.PENDING:
            self._refuse(503, "try again later", reason)
        elif self._phase is _Phase.OPEN:
            self.sendCloseFrame(code, reason.encode()[:123])

    def consumeData(self) -> None:
        """
        Autobahn's, with two differences.

        A client that is held has no further frame taken from it. And what nearly every frame of
        a client is, a whole short message, is read here, at a fraction of the cost.
        """
        while not self._pause_reasons and self.state != self.STATE_CLOSED:
            if not (self._take_short_message() or self.processData()):
                return

    def _take_short_message(self) -> bool:
        """Whether the next frame was a short, whole, valid message; any other is left alone."""
        data = self.data
        if (
            len(data) < 6
            or data[0] not in _WHOLE
            or self.current_frame is not None
            or self.inside_message
            or self.state != self.STATE_OPEN
        ):
            return False
        # RFC 6455, 5.2: the length in seven bits, or in two bytes more if it needs them; the mask.
        size = data[1] - 0x80
        start = 6
        if size == 126:
            size = int.from_bytes(data[2:4], "big")
            start = 8
            if size < 126:
                return False
        elif not 0 <= size < 126:
            return False
        end = start + size
        if size > self.factory.short_message or len(data) < end:
            return False
        # RFC 6455, 5.3. For short messages numbers are the fastest way to it.
        mask = (data[start - 4 : start] * (size // 4 + 1))[:size]
        payload = (
            int.from_bytes(data[start:end], "little") ^ int.from_bytes(mask, "little")
        ).to_bytes(size, "little")
        is_binary = data[0] == _WHOLE_BINARY
        if not is_binary:
            try:
                payload.decode()
            except UnicodeDecodeError:
                return False
        self.data = data[end:]
        self.onMessage(payload, is_binary)
        return True

    def pause(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.pause`."""
        if not self._pause_reasons:
            self.transport.pauseProducing()
        self._pause_reasons |= why

    def resume(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.resume`."""
        if self._pause_reasons & why:
            self._pause_reasons &= ~why
            if not self._pause_reasons and self._phase is _Phase.OPEN:
                self.consumeData()
            if not self._pause_reasons and self._phase is _Phase.OPEN:
                self.transport.resumeProducing()

    # -- wsredis.transports.send_queue.SendQueueOwner

    def send_queue_overflowed(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_overflowed`."""
        if self.state != self.STATE_OPEN:
            return
        self.factory.hub.metrics.slow_consumers += 1
        self._log.warn("slow consumer {peer}: its queue is full, closing", peer=self.peer)
        self.sendCloseFrame(1008, b"slow consumer")

    def send_queue_congested(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_congested`."""
        if not self._pause_reasons & PauseReason.SEND_QUEUE:
            self.pause(PauseReason.SEND_QUEUE)

    def send_queue_advanced(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_advanced`."""
        self.heard = True

    def send_queue_drained(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_drained`."""
        self.resume(PauseReason.SEND_QUEUE)


#: What Autobahn keeps of a handshake, and nobody reads again.
_LEFTOVERS = (
    "_deciding",
    "_opening",
    "_wskey",
    "http_headers",
    "http_request_data",
    "http_request_host",
    "http_request_params",
    "http_request_path",
    "http_request_uri",
    "http_response_data",
    "http_status_line",
    "websocket_extensions",
    "websocket_extensions_in_use",
    "websocket_origin",
    "websocket_protocols",
)


@implementer(IProtocolNegotiationFactory)
class GatewayFactory(WebSocketServerFactory):  # type: ignore[misc]
    """
    Makes a protocol for each TCP connection, and keeps what belongs to all of them.

    Args:
        admission: Decides who is let in.
        site: The `wsredis.web.site.GatewaySite` for requests that are no WebSocket handshakes.

    Attributes:
        connections: The open WebSockets.
        handshakes: Connections that have not been answered yet.
        closing: Connections that are being closed.
        stopping: No handshake is accepted any more.
    """

    noisy = False

    def __init__(
        self,
        reactor: Any,
        config: GatewayConfig,
        hub: Hub,
        dialects: Sequence[Dialect],
        admission: Admission,
        site: Any,
        handler: Hooks | None = None,
    ) -> None:
        super().__init__(reactor=reactor, server="")
        self.config = config
        self.hub = hub
        self.dialects = dialects
        self.handler = handler
        self.encodings = Encodings(config.compress_threshold)
        self.admission = admission
        self.site = site
        limits = config.limits
        self.setProtocolOptions(
            versions=[13],
            webStatus=False,
            maxFramePayloadSize=limits.max_frame,
            maxMessagePayloadSize=limits.max_message,
            failByDrop=False,
            echoCloseCodeReason=True,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            allowNullOrigin=True,
        )
        self.protocol = self._lean_class()
        #: Bytes; up to there a whole message is read without Autobahn.
        self.short_message = min(_SHORT, limits.max_message, limits.max_frame)
        self.stopping = False
        self.connections: set[GatewayProtocol] = set()
        self._sockets = 0
        self._max_sockets = limits.max_connections + limits.max_handshakes + site.max_channels
        self.handshakes: TimeoutQueue[GatewayProtocol] = TimeoutQueue(
            reactor, limits.handshake_timeout, GatewayProtocol.handshake_timed_out
        )
        self.closing: TimeoutQueue[GatewayProtocol] = TimeoutQueue(
            reactor, limits.close_timeout, GatewayProtocol.close_timed_out
        )
        self.pings: StaggeredTimer[GatewayProtocol] = StaggeredTimer(
            reactor, config.ping_interval, GatewayProtocol.sweep
        )
        #: A timer for each interval at which a dialect has heartbeats.
        self.heartbeats: dict[float, StaggeredTimer[GatewayProtocol]] = {
            each.heartbeat_interval: StaggeredTimer(
                reactor, each.heartbeat_interval, GatewayProtocol.send_heartbeat
            )
            for each in dialects
            if each.heartbeat is not None
        }
        self._gone: list[Callable[[], None]] = []

    def _lean_class(self) -> type[GatewayProtocol]:
        """
        A class that carries the options, so that Autobahn copies none to each instance.

        Worth 40 % of a handshake and a third of the memory of a connection.
        """
        options: dict[str, Any] = {}
        for name in GatewayProtocol.CONFIG_ATTRS:
            value = getattr(self, name)
            # A function would become a method.
            options[name] = staticmethod(value) if callable(value) else value
        options.update(CONFIG_ATTRS=(), tcpNoDelay=True)
        return type("GatewayProtocol", (GatewayProtocol,), options)

    def acceptableProtocols(self) -> list[bytes]:
        """
        What is spoken on TLS, for ALPN: browsers and curl always offer a list.

        Without an answer from it Twisted selects an empty name, which OpenSSL takes for a mistake
        of ours: the TLS handshake would fail.
        """
        return [b"http/1.1"]

    def start(self) -> None:
        """Start the sweeps."""
        for each in (self.handshakes, self.closing, self.pings, self.admission):
            each.start()
        for timer in self.heartbeats.values():
            timer.start()

    def stop(self) -> None:
        """End the sweeps, and what is left of connections."""
        for each in (self.handshakes, self.closing, self.pings, self.admission):
            each.stop()
        for timer in self.heartbeats.values():
            timer.stop()
        for protocol in [*self.connections, *self.handshakes, *self.closing]:
            protocol.transport.abortConnection()

    def drain(self) -> Deferred[None]:
        """
        Say goodbye to all clients with 1001, behind what is already on its way to them.

        Returns: Fires when the last one is gone. Cancelling it changes nothing.
        """
        self.stopping = True
        for protocol in list(self.connections):
            protocol.close(1001, "the gateway stops")
        done: Deferred[None] = Deferred()

        def gone() -> None:
            if not self.connections and not done.called:
                done.callback(None)

        self._gone.append(gone)
        gone()
        return done

    def arrived(self, protocol: GatewayProtocol) -> bool:
        """Count a new TCP connection. Returns: Whether there is room for it."""
        limits = self.config.limits
        self._sockets += 1
        room = len(self.handshakes) < limits.max_handshakes and self._sockets <= self._max_sockets
        self.handshakes.add(protocol)
        return room

    def returned(self, protocol: GatewayProtocol) -> bool:
        """A connection comes back with a handshake. Returns: Whether there is room for it."""
        room = len(self.handshakes) < self.config.limits.max_handshakes
        self.handshakes.add(protocol)
        return room

    def is_full(self) -> bool:
        """Whether there are as many WebSockets as are allowed."""
        return len(self.connections) >= self.config.limits.max_connections

    def opened(self, protocol: GatewayProtocol) -> None:
        """A handshake succeeded."""
        self.handshakes.discard(protocol)
        self.connections.add(protocol)
        self.hub.metrics.opened += 1
        self.hub.metrics.connections += 1
        self.pings.add(protocol)
        assert protocol.connection is not None
        encoding = protocol.connection.encoding
        if encoding.heartbeat is not None:
            self.heartbeats[encoding.heartbeat_interval].add(protocol)

    def connection_lost(self, protocol: GatewayProtocol) -> None:
        """A TCP connection is gone."""
        self._sockets -= 1
        self.handshakes.discard(protocol)
        self.closing.discard(protocol)
        if protocol in self.connections:
            self.connections.discard(protocol)
            self.hub.metrics.connections -= 1
            for gone in self._gone:
                gone()

    def parse(self, path: str, query: str) -> tuple[Dialect, Access]:
        """
        Find the dialect that a URL belongs to.

        Raises:
            HandshakeRejected: With 404: no dialect knows the URL.
            BadRequest: The URL is malformed.
        """
        for dialect in self.dialects:
            access = dialect.parse(path, query)
            if access is not None:
                return dialect, access
        raise HandshakeRejected("there is nothing here", 404)


def _tune(transport: Any, send_buffer: int) -> None:
    """Without Nagle's delay, and with a kernel buffer that hides no megabytes."""
    try:
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        transport.setTcpNoDelay(True)
    except (AttributeError, OSError):
        # A UNIX socket knows no Nagle; a transport in memory has no socket.
        pass


def _address(transport: Any) -> str:
    peer = transport.getPeer()
    host = getattr(peer, "host", None)
    return f"{host}:{peer.port}" if host is not None else "unix"


def _loggable(target: bytes) -> str:
    """No query and no header: they carry secrets, and logs are read by many."""
    return re.split(rb"[?\r\n]", target, maxsplit=1)[0][:_LOGGED].decode("latin-1")
