"""A client that hears publications as Server-Sent Events, until one side ends the connection."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsredis.errors import CLOSE_CODES
from wsredis.gateway.connection import Connection
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.hello import hello
from wsredis.gateway.publication import Encoding
from wsredis.transports.queue_owner import QueueOwner
from wsredis.transports.send_queue import SendQueue
from wsredis.transports.sockets import acknowledged, traffic_of
from wsredis.transports.stream import events
from wsredis.transports.stream.answers import stream_head
from wsredis.transports.stream.client import Exchange, State, StreamClient
from wsredis.transports.stream.encoding import EventEncodings
from wsredis.transports.stream.request import cursor_of
from wsredis.transports.stream.ring import size_of
from wsredis.transports.websocket.applications import Answer
from wsredis.transports.websocket.frames import close_reason
from wsredis.transports.websocket.lean import Request
from wsredis.transports.websocket.life_log import ending_of, log_closed, log_opened
from wsredis.transports.websocket.registry import Step

__all__ = ["EventClient"]

#: Milliseconds after which a browser connects again.
_RETRY = b"retry: 2000\n\n"

#: Bytes that a client may send while it hears events. It has nothing to say.
_MAX_THROWN_AWAY = 131072


class EventClient(StreamClient, QueueOwner):
    """
    A stream of events.

    Everything after the head of the answer goes through the send queue, as with a WebSocket.
    """

    _log = Logger()

    # `Streams` sets it on a subclass.
    encodings: EventEncodings

    queue: SendQueue | None = None
    write = QueueOwner.write
    queue_overdue = QueueOwner.queue_overdue
    _thrown_away = 0

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._is_chunked = exchange.found.version != "HTTP/1.0"

    def encoding_of(self, dialect: Dialect) -> Encoding:
        """See `StreamClient.encoding_of`."""
        return self.encodings[dialect, self._is_chunked]

    def received(self, data: bytes) -> bytes:
        """See `StreamClient.received`. No other request can follow."""
        self._thrown_away += len(data)
        if self._thrown_away > _MAX_THROWN_AWAY:
            self.transport.abortConnection()
        return b""

    def go_live(self, answer: Answer, request: Request, began: float) -> None:
        """See `wsredis.transports.applicant.Applicant.go_live`."""
        refusal = self.registry.refusal(Step.OPEN, self)
        if refusal is not None:
            self.refuse(refusal)
            return
        connection = self.connection
        assert connection is not None and answer.accepted is not None
        self.make_queue(connection.granted.facility)
        self.state = State.OPEN
        self.registry.opened(self, None)
        self.metrics.event_streams += 1
        if self.config.verbose:
            connection.opened_at = self.registry.now()
            log_opened(connection, answer.accepted.handshake.requested, "sse")
        self.metrics.handshake_latency.observe(self.queued.now() - began)
        self._deciding = None
        self._greet(connection, answer)
        self.exchange.settled()
        if self.state is State.OPEN:
            self.sessions.connection_opened(connection, answer.accepted)

    def _greet(self, connection: Connection, answer: Answer) -> None:
        """Send the head, and all that the client has not heard."""
        head = stream_head(self.exchange.sharing.lines, is_chunked=self._is_chunked)
        cursor = cursor_of(self.exchange.found)
        missed = self.ring.missed(connection.channels, cursor) if cursor else None
        # A client that loses the connection now comes back with a cursor only if it has all that
        # the cursor stands for.
        now = self.ring.cursor()
        is_more = bool(missed)
        if missed is None:
            is_more = bool(answer.stored) or connection.holds_back
        first = [_RETRY, self._open_event(connection, None if is_more else now)]
        if cursor and missed is None:
            first.append(events.named("gap", {}))
        begin = head + self._wrap(b"".join(first))
        if missed is None:
            connection.opened(answer.stored, begin)
            if is_more and self.is_served():
                self.write(self._wrap(events.named("cursor", {"cursor": now}, events.mark(now))))
        else:
            self.registry.read_stored(self.address, size_of(missed))
            connection.resumed(answer.stored, missed, begin)

    def tell_of_gap(self) -> None:
        """See `StreamClient.tell_of_gap`."""
        if self.is_served():
            now = self.ring.cursor()
            self.write(self._wrap(events.named("gap", {"cursor": now}, events.mark(now))))

    def tell_rights(self) -> None:
        """See `wsredis.gateway.client.Client.tell_rights`."""
        if self.is_served() and self.connection is not None:
            self.write(self._wrap(events.named("hello", self._hello(self.connection))))

    def _open_event(self, connection: Connection, cursor: str | None) -> bytes:
        mark = b"" if cursor is None else events.mark(cursor)
        ping = self.config.ping_interval
        fields = {"cursor": cursor, "ping": ping, "hello": self._hello(connection)}
        return events.named("open", fields, mark)

    def _hello(self, connection: Connection) -> dict[str, object]:
        return hello(connection, self.config.ping_interval)

    @property
    def _wrap(self) -> Callable[[bytes], bytes]:
        return events.chunk if self._is_chunked else bytes

    # -- The life of the stream

    def is_served(self) -> bool:
        """See `wsredis.transports.queue_owner.QueueOwner.is_served`."""
        return self.state is State.OPEN

    def check_alive(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.check_alive`."""
        assert self.queue is not None
        if self.queue.is_stuck(acknowledged(self.transport)):
            if self.queue.is_waiting:
                self.log_slow("it took nothing for a ping interval, connection dropped")
                self.cut("slow consumer")
                return
            self.metrics.timeouts += 1
            self.losses.log(
                self._log,
                LogLevel.info,
                "no pong",
                "{peer} ({id}) took no sign of life: connection dropped",
                event="no-pong",
                peer=self.peer,
                id=self.connection_id,
            )
            self.cut("no pong")
        else:
            self.write(self._wrap(events.COMMENT))

    # -- The end

    def end(self, code: int, reason: str) -> None:
        """See `StreamClient.end`. The last event tells the code."""
        assert self.queue is not None
        text = close_reason(reason)
        self.closedByMe = True
        self.localCloseCode, self.localCloseReason = code, text
        known = CLOSE_CODES.get(code)
        fields = {"code": code, "reason": text.decode(), "retry": known is not None and known.retry}
        self.detach()
        last = events.LAST_CHUNK if self._is_chunked else b""
        self.queue.write(self._wrap(events.named("close", fields)) + last)
        self.registry.last_bytes(self)
        self.queue.close()

    def cut(self, cause: str) -> None:
        """See `wsredis.transports.queue_owner.QueueOwner.cut`."""
        self.cause = cause
        self.detach()
        assert self.queue is not None
        self.queue.stopProducing()
        self.transport.abortConnection()

    def connection_lost(self, reason: Failure) -> None:
        """See `StreamClient.connection_lost`."""
        if self.is_pending():
            super().connection_lost(reason)
            return
        if reason.check(ConnectionDone) and not (self.closedByMe or self.cause):
            # There is no other way to leave.
            self.wasClean = True
        connection = self.connection
        assert connection is not None and self.queue is not None
        self.leave()
        self.metrics.event_streams -= 1
        self.metrics.count_close(*ending_of(self, reason)[:2])
        traffic = traffic_of(self.transport)
        if self.config.verbose:
            seconds = self.registry.now() - connection.opened_at
            log_closed(connection, self, reason, seconds, traffic, "sse")
        # A transport may not have told it.
        self.queue.stopProducing()
        self.queue = None
        self.exchange.streamed(200, 0 if traffic is None else traffic.sent)
