"""
One connection with a request of a client without WebSockets.

A channel serves one request. When it is answered and the connection stays, the next bytes go back
to the protocol that had the connection first, which reads the head of any request.

It is one module because a connection can be lost, drained or timed out in each of its phases, and
the code for that has to be read together.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from time import monotonic
from typing import Any, NamedTuple, Protocol

from twisted.internet.interfaces import IDelayedCall, ISSLTransport
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.channels import Access
from wsredis.errors import HandshakeRejected
from wsredis.gateway.client import PauseReason
from wsredis.gateway.identity import Handshake
from wsredis.transports.access_log import Page, log_page
from wsredis.transports.applicant import RefusalLog
from wsredis.transports.queue_owner import QueueOwner
from wsredis.transports.sockets import is_plain
from wsredis.transports.stream import answers
from wsredis.transports.stream.answers import Sharing
from wsredis.transports.stream.client import Exchange, StreamClient
from wsredis.transports.stream.request import Kind, problem_of, with_origin
from wsredis.transports.websocket.handshake import error_response
from wsredis.transports.websocket.head import Head
from wsredis.transports.websocket.http import GiveBack

__all__ = ["Caller", "ChannelOwner", "StreamChannel"]

#: Bytes of the next request that are read while one is being answered.
_EARLY = 16384

#: Bytes that are read, and dropped, after an answer that ends the connection.
_MAX_THROWN_AWAY = 131072


class Caller(NamedTuple):
    """
    The client of a request.

    Attributes:
        peer: Its address, for logs.
        host: The host of the TCP peer, which may be a proxy. Empty for a UNIX socket.
        is_named: Tells whether a trusted proxy has named it.
        is_guest: Tells whether the connection belongs to a foreign site, and serves this request
            only.
    """

    peer: str
    host: str
    is_named: bool = False
    is_guest: bool = False


class ChannelOwner(Protocol):
    """What all channels of a gateway have in common."""

    def is_foreign(self, handshake: Handshake) -> bool:
        """Tell whether a request comes from a page of a foreign origin."""

    def client_for(self, kind: Kind, exchange: Exchange) -> StreamClient:
        """Return the client of a request."""

    def later(self, function: Any) -> IDelayedCall:
        """Call a function in the next turn of the reactor."""

    def began(self, channel: StreamChannel) -> None:
        """Take note of a channel that has a connection."""

    def rests(self, channel: StreamChannel) -> None:
        """Limit the time until the client has read an answer, or sends another request."""

    def ended(self, channel: StreamChannel) -> None:
        """Forget a channel."""


class _Phase(Enum):
    #: Nothing was read.
    NEW = 1
    #: The request is being served.
    BUSY = 2
    #: The answer is on its way to the client.
    ANSWERED = 3
    #: All was sent, and the connection stays.
    IDLE = 4
    #: All was sent that ever will be.
    CLOSING = 5
    #: The connection is somebody else's, or gone.
    GONE = 6


class StreamChannel(RefusalLog, QueueOwner):
    """
    See `wsredis.transports.websocket.http.HttpChannel`, and `Exchange`.

    Args:
        found: The head of the request.
        kind: What the request is for.
    """

    _log = Logger()

    # All channels of a gateway have it in common; `Streams` sets it on a subclass.
    owner: ChannelOwner

    returned: GiveBack | None = None
    sharing = Sharing("", True)

    def __init__(self, found: Head, kind: Kind, caller: Caller) -> None:
        self.found = found
        self.headers: Mapping[str, str] = found.headers
        self._kind = kind
        self._caller = caller
        self._phase = _Phase.NEW
        self._client: StreamClient | None = None
        self._early = b""
        self._thrown_away = 0
        self._is_read = True
        self._turn: IDelayedCall | None = None
        self._began = monotonic()

    @property
    def peer(self) -> str:
        """See `Exchange.peer`."""
        return self._caller.peer

    @property
    def host(self) -> str:
        """See `Exchange.host`."""
        return self._caller.host

    @property
    def is_named(self) -> bool:
        """See `Exchange.is_named`."""
        return self._caller.is_named

    @property
    def connection_id(self) -> str:
        """See `QueueOwner.connection_id`."""
        return ""

    @property
    def keeps(self) -> bool:
        """See `Exchange.keeps`."""
        options = self.headers.get("connection", "").lower().split(",")
        return (
            self.returned is not None
            and self.found.version == "HTTP/1.1"
            and "close" not in map(str.strip, options)
            and not self._caller.is_guest
            and not self.registry.stopping
        )

    # -- wsredis.transports.websocket.http.HttpChannel

    def makeConnection(self, transport: Any) -> None:
        """See `wsredis.transports.websocket.http.HttpChannel.makeConnection`."""
        self.transport = transport
        self.owner.began(self)

    def dataReceived(self, data: bytes) -> None:
        """See `wsredis.transports.websocket.http.HttpChannel.dataReceived`."""
        if self._phase is _Phase.IDLE and self._turn is None:
            self._give_back(data)
            return
        if self._phase is _Phase.NEW:
            self._phase = _Phase.BUSY
            self._begin()
            data = data[self.found.size :]
        if self._client is not None and data:
            data = self._client.received(data)
        if self._phase is _Phase.CLOSING:
            self._thrown_away += len(data)
            if self._thrown_away > _MAX_THROWN_AWAY:
                self.transport.abortConnection()
        elif data:
            self._early += data
            if self._phase is _Phase.IDLE:
                if self._turn is None:
                    self._go_on_later()
            elif len(self._early) > _EARLY:
                self.transport.abortConnection()

    def connectionLost(self, reason: Failure) -> None:
        """See `wsredis.transports.websocket.http.HttpChannel.connectionLost`."""
        self._leave()
        client, self._client = self._client, None
        if client is not None:
            client.connection_lost(reason)
        if self.queue is not None:
            self.queue.stopProducing()
            self.queue = None

    # -- The request

    def _begin(self) -> None:
        """Judge the head, and serve the request."""
        is_secure = ISSLTransport.providedBy(self.transport)
        self.headers = with_origin(self.found.headers, is_secure)
        path, _, query = self.found.target.partition("?")
        asked = Handshake(Access(""), path, self.headers, self.peer, query, is_secure, self.address)
        origin = self.found.headers.get("origin", "")
        self.sharing = Sharing(origin, self.owner.is_foreign(asked))
        problem = problem_of(self.found, self._kind)
        if problem is not None:
            # Nobody knows where the next request begins.
            self._is_read = False
            self._refuse(HandshakeRejected(problem[1], problem[0]))
        elif self._kind is Kind.PREFLIGHT:
            keeps = self.keeps
            status = 403 if self.sharing.is_foreign else 204
            self.answered(answers.preflight(self.sharing, keeps=keeps), status, keeps=keeps)
        else:
            self._client = self.owner.client_for(self._kind, self)
            self._client.begin()

    def _refuse(self, rejection: HandshakeRejected) -> None:
        """Refuse a request that nobody has been asked about."""
        self.log_refused(self.found.target.encode("latin-1"), rejection)
        lines = [*self.sharing.lines, "Cache-Control: no-store"]
        data = error_response(rejection.status, rejection.reason, lines)
        self.answered(data, rejection.status, keeps=False)

    def answered(self, data: bytes, status: int, *, keeps: bool) -> None:
        """See `Exchange.answered`."""
        is_read = self._is_read if self._client is None else self._client.is_read
        self._client = None
        self._log_answer(status, len(data) - data.index(b"\r\n\r\n") - 4)
        self._phase = _Phase.ANSWERED if keeps else _Phase.CLOSING
        self.owner.rests(self)
        self.make_queue(None)
        queue = self.queue
        assert queue is not None
        queue.write(data)
        if keeps:
            if not queue.is_waiting:
                self._sent()
        elif not is_read and is_plain(self.transport) and not queue.is_waiting:
            # Closing a socket with unread input resets it, and the answer may be lost.
            self.transport.loseWriteConnection()
        else:
            queue.close()

    def settled(self) -> None:
        """See `Exchange.settled`."""
        names = ("referer", "user-agent") if self.config.access_log else ()
        headers = {name: self.headers[name] for name in names if name in self.headers}
        self.found = self.found._replace(headers=headers, pairs=())
        self.headers = headers
        del self.sharing

    def streamed(self, status: int, size: int) -> None:
        """See `Exchange.streamed`."""
        self._log_answer(status, size)

    def send_queue_drained(self) -> None:
        """See `wsredis.transports.send_queue.SendQueueOwner.send_queue_drained`."""
        if self._phase is _Phase.ANSWERED:
            self._sent()

    def _sent(self) -> None:
        """Wait for the next request. If it is here already, others have their turn first."""
        self._phase = _Phase.IDLE
        if self._early:
            self._go_on_later()

    def _go_on_later(self) -> None:
        # At once, many short requests in one read would call each other.
        self.transport.pauseProducing()
        self._turn = self.owner.later(self._go_on)

    def _go_on(self) -> None:
        self._turn = None
        data, self._early = self._early, b""
        self.transport.resumeProducing()
        self._give_back(data)

    def _give_back(self, data: bytes) -> None:
        """Let go of the connection; see `wsredis.transports.websocket.http.GiveBack`."""
        assert self.returned is not None and self.queue is not None
        data, self._early = self._early + data, b""
        self._leave()
        self.queue.stopProducing()
        self.transport.unregisterProducer()
        self.queue = None
        self.returned(data, b"", 0, "")

    def _leave(self) -> None:
        self._phase = _Phase.GONE
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self.owner.ended(self)

    def _log_answer(self, status: int, size: int) -> None:
        if not self.config.access_log:
            return
        found = self.found
        log_page(
            Page(
                self.peer,
                found.method,
                found.target.encode("latin-1"),
                found.version,
                status,
                size,
                found.headers.get("referer", "").encode("latin-1"),
                found.headers.get("user-agent", ""),
                monotonic() - self._began,
            )
        )

    # -- The end, as `Streams` says

    def drain(self) -> None:
        """Close the connection if it waits for another request."""
        if self._phase is _Phase.IDLE and self._turn is None:
            self._phase = _Phase.CLOSING
            self.transport.loseConnection()

    def time_out(self) -> None:
        """Close the connection: the client has not read the answer, or asks nothing more."""
        if self._phase is _Phase.IDLE:
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    # -- QueueOwner

    def is_served(self) -> bool:
        """See `QueueOwner.is_served`. There is no other farewell than the end."""
        return False

    def close(self, code: int, reason: str) -> None:
        """See `QueueOwner.close`. Nobody closes a channel that way."""

    def cut(self, cause: str) -> None:
        """See `QueueOwner.cut`."""
        self.transport.abortConnection()

    def pause(self, why: PauseReason) -> None:
        """See `QueueOwner.pause`. The next request waits anyway."""

    def resume(self, why: PauseReason) -> None:
        """See `QueueOwner.resume`."""
