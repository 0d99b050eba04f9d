"""A client without WebSockets: one request that is admitted as the handshake of a WebSocket is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ISSLTransport
from twisted.python.failure import Failure

from wsredis.auth import SessionMonitor
from wsredis.config import GatewayConfig
from wsredis.errors import HandshakeRejected
from wsredis.gateway.client import PauseReason, Sink
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.publication import Encoding
from wsredis.transports.applicant import Applicant
from wsredis.transports.stream.answers import Sharing
from wsredis.transports.stream.ring import Ring
from wsredis.transports.websocket.applications import Answer
from wsredis.transports.websocket.handshake import Handshaker, error_response
from wsredis.transports.websocket.head import Head
from wsredis.transports.websocket.lean import Request
from wsredis.transports.websocket.scheduler import Scheduler
from wsredis.transports.websocket.unfinished import UnfinishedInput

__all__ = ["Exchange", "State", "StreamClient"]


class State(Enum):
    """The life of a request."""

    #: It is being read, or decided.
    PENDING = 1
    #: It was accepted, and its answer is under way or being waited for.
    OPEN = 2
    #: It was answered, or the client is gone.
    ENDED = 3


class Exchange(Protocol):
    """
    The connection with a request, and the place for its answer.

    Attributes:
        transport: The transport of the connection.
        found: The head of the request.
        headers: Those of the head, with the origin of the page, as `request.with_origin` finds it.
        sharing: The pages that may read the answer.
        peer: The address of the client, for logs.
        address: See `wsredis.gateway.identity.Handshake.address`.
        host: The host of the TCP peer, which may be a proxy. Empty for a UNIX socket.
        is_named: Tells whether a trusted proxy has named the client.
    """

    @property
    def transport(self) -> Any: ...

    @property
    def found(self) -> Head: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def sharing(self) -> Sharing: ...

    @property
    def peer(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def is_named(self) -> bool: ...

    @property
    def keeps(self) -> bool:
        """Tells whether another request may follow."""

    def answered(self, data: bytes, status: int, *, keeps: bool) -> None:
        """
        Send the whole answer, and go on with the next request, or end the connection.

        Args:
            status: The status in the answer, for the log.
            keeps: Tells whether the answer says that another request may follow.
        """

    def settled(self) -> None:
        """Keep no more of the head than the log needs: a stream may last for hours."""

    def streamed(self, status: int, size: int) -> None:
        """
        Take note that a stream is over, for the log. The client has ended the connection.

        Args:
            size: The bytes of the body.
        """


class StreamClient(Applicant):
    """
    A request for messages, or with one.

    Attributes:
        is_read: Tells whether nothing of the request is still to come.
        pause_reasons: The reasons for which it waits, added up.
        closedByMe, wasClean, cause, localCloseCode, localCloseReason, remoteCloseCode,
            remoteCloseReason: See `wsredis.transports.websocket.life_log.Ending`.
    """

    # All clients of a gateway have these in common; `Streams` sets them on a subclass.
    config: GatewayConfig
    handshaker: Handshaker
    sessions: SessionMonitor
    scheduler: Scheduler
    inputs: UnfinishedInput
    ring: Ring

    queue: Sink | None = None
    is_read = True
    state = State.PENDING
    pause_reasons = 0
    closedByMe = False
    wasClean = False
    cause = ""
    localCloseCode: int | None = None
    localCloseReason: bytes | None = None
    remoteCloseCode: int | None = None
    remoteCloseReason: str | None = None

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.transport = exchange.transport
        self.address = exchange.address

    # -- For the subclass

    @abstractmethod
    def encoding_of(self, dialect: Dialect) -> Encoding:
        """Return the encoding of the client."""

    @abstractmethod
    def end(self, code: int, reason: str) -> None:
        """See `wsredis.gateway.client.Client.close`. Called only while the request is open."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """See `wsredis.gateway.client.Client.write`."""

    @abstractmethod
    def queue_overdue(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.queue_overdue`."""

    def tell_of_gap(self) -> None:
        """Tell an open client that publications may have been lost before this moment."""

    def received(self, data: bytes) -> bytes:
        """
        Take bytes that follow the head.

        Returns:
            Those that do not belong to the request.
        """
        return data

    # -- The request

    def begin(self) -> None:
        """Ask for admission."""
        refusal = self.registry.began(self)
        if refusal is not None:
            self.refuse(refusal)
            return
        exchange = self.exchange
        if not exchange.is_named and "x-forwarded-for" in exchange.headers:
            self.warn_of_proxy(exchange.host)
        request = Request(self.peer, exchange.headers, [], "")
        self.apply(request, exchange.host, is_counted=False)

    def ask(self, request: Request) -> Deferred[Answer]:
        """See `wsredis.transports.applicant.Applicant.ask`."""
        decided = self.handshaker.decide_request(
            self,
            request,
            self.exchange.found.target,
            self.encoding_of,
            only_publishes=not self.takes_place,
        )
        return decided.addCallback(self.ring.when_even) if self.takes_place else decided

    def refuse(self, rejection: HandshakeRejected) -> None:
        """Answer the request with an HTTP error, and end the connection."""
        if self.state is State.ENDED:
            return
        self.log_refused(self.exchange.found.target.encode("latin-1"), rejection)
        lines = [*self.exchange.sharing.lines, "Cache-Control: no-store"]
        data = error_response(rejection.status, rejection.told, lines)
        self.leave()
        self.exchange.answered(data, rejection.status, keeps=False)

    def answer(self, data: bytes, status: int, *, keeps: bool) -> None:
        """Send the whole answer; see `Exchange.answered`."""
        self.leave()
        self.exchange.answered(data, status, keeps=keeps)

    def leave(self) -> bool:
        """
        Let go of everything but the connection: the request is answered.

        Returns:
            Whether the client was open, and had the place of one.
        """
        self.detach()
        was_open = self.registry.gone(self)
        self.connection = None
        return was_open

    def detach(self) -> None:
        """Deliver nothing to this client any more."""
        self.state = State.ENDED
        self.stop_deciding()
        self.inputs.keep(self, 0, False)
        if self.connection is not None:
            self.connection.closed()
            self.sessions.connection_lost(self.connection)
        self.registry.detached(self)
        self.scheduler.forget(self)

    def connection_lost(self, reason: Failure) -> None:
        """The connection is gone, before the request was answered."""
        if self.is_pending():
            self.metrics.handshakes["abandoned,"] += 1
        self.leave()

    # -- wsredis.gateway.client.Client

    @property
    def peer(self) -> str:
        """The address of the client, for logs."""
        return self.exchange.peer

    @property
    def connection_id(self) -> str:
        """See `Connection.id`. Empty before there is a connection, and after it has ended."""
        return "" if self.connection is None else self.connection.id

    def close(self, code: int, reason: str) -> None:
        """See `wsredis.gateway.client.Client.close`."""
        if self.is_pending():
            self.refuse(HandshakeRejected("try again later", 503, reason))
        elif self.state is State.OPEN:
            self.end(code, reason)

    @property
    def is_paused(self) -> bool:
        """See `wsredis.gateway.client.Client.is_paused`."""
        return self.pause_reasons != 0

    def pause(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.pause`. It has nothing more to say anyway."""
        self.pause_reasons |= why

    def resume(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.resume`."""
        self.pause_reasons &= ~why

    takes_notices = False

    def tell_rights(self) -> None:
        """See `wsredis.gateway.client.Client.tell_rights`. By default it cannot be told."""

    def charge(self, work: int) -> None:
        """See `wsredis.gateway.client.Client.charge`."""
        self.scheduler.charge(self, work)

    # -- wsredis.transports.websocket.scheduler.Scheduled

    def take_turn(self) -> None:
        """See `wsredis.transports.websocket.scheduler.Scheduled.take_turn`."""

    def overdrawn(self) -> None:
        """See `wsredis.transports.websocket.scheduler.Scheduled.overdrawn`."""
        self.metrics.limits["max-rate"] += 1
        self.close(1008, "too many messages for too long")

    # -- wsredis.transports.websocket.applications.HandshakeClient

    def is_pending(self) -> bool:
        """See `wsredis.transports.websocket.applications.HandshakeClient.is_pending`."""
        return self.state is State.PENDING

    def is_secure(self) -> bool:
        """See `wsredis.transports.websocket.applications.HandshakeClient.is_secure`."""
        return ISSLTransport.providedBy(self.transport)

    # -- wsredis.transports.websocket.registry.Member

    def dropped(self, reason: str) -> None:
        """See `wsredis.transports.websocket.slots.Place.dropped`. It has said something."""
        self.transport.abortConnection()

    def check_alive(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.check_alive`."""

    def check_heartbeat(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.check_heartbeat`. It has none."""

    def send_heartbeat(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.send_heartbeat`. It has none."""

    def handshake_timed_out(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.handshake_timed_out`."""
        self.refuse(HandshakeRejected("try again later", 503, "the handshake took too long"))

    def close_timed_out(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.close_timed_out`."""
        self.metrics.limits["close-timeout"] += 1
        self.transport.abortConnection()

    # -- wsredis.transports.websocket.unfinished.InputOwner

    def message_growth(self) -> int | None:
        """See `wsredis.transports.websocket.unfinished.InputOwner.message_growth`."""
        return None

    def input_refused(self, reason: str) -> None:
        """See `wsredis.transports.websocket.unfinished.InputOwner.input_refused`."""
        self.log_shed(f"{reason}, connection reset")
        self.transport.abortConnection()
