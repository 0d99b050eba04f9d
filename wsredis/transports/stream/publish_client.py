"""A client that publishes one message by POST."""

from __future__ import annotations

from wsredis.errors import HandshakeRejected
from wsredis.gateway.client import PauseReason
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.publication import Encoding
from wsredis.transports.stream import answers
from wsredis.transports.stream.client import Exchange, State, StreamClient
from wsredis.transports.stream.encoding import Mute
from wsredis.transports.websocket.applications import Answer
from wsredis.transports.websocket.lean import Request
from wsredis.transports.websocket.registry import Step

__all__ = ["PublishClient"]

#: The errors for the close codes with which a WebSocket would lose its connection.
_STATUSES = {
    1008: 403,
    1009: 413,
    1011: 500,
    4401: 401,
    4403: 403,
}

_BINARY = "application/octet-stream"

#: Bytes of a message whose reading costs as much as a delivery, as a power of two.
_READ = 10


class PublishClient(StreamClient):
    """
    A message, and its answer, which says whether Redis has taken it.

    It means what a message on a WebSocket with the same URL would mean.
    """

    takes_place = False
    is_read = False
    _is_speaking = False

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._body = bytearray()
        self._size = int(exchange.found.headers.get("content-length", "0"))
        self._checked = 0

    def encoding_of(self, dialect: Dialect) -> Encoding:
        """See `StreamClient.encoding_of`."""
        return Mute()

    def write(self, data: bytes) -> None:
        """See `wsredis.gateway.client.Client.write`. A POST is not answered with messages."""

    def queue_overdue(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.queue_overdue`. It has no queue."""

    # -- The message

    def begin(self) -> None:
        """Read the message, if it may be one."""
        limit = self.config.limits.max_message
        if not self._size:
            self.refuse(HandshakeRejected("the message is empty", 400))
        elif self._size > limit:
            self.metrics.limits["max-message"] += 1
            self.refuse(HandshakeRejected(f"the message is larger than {limit} bytes", 413))
        elif self.registry.stopping:
            self.refuse(HandshakeRejected("try again later", 503, "the gateway stops"))
        else:
            self.inputs.keep(self, 0, True)
            if self.exchange.headers.get("expect", "").lower() == "100-continue":
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def received(self, data: bytes) -> bytes:
        """See `StreamClient.received`."""
        missing = self._size - len(self._body)
        if self.state is not State.PENDING or not missing:
            return data
        self._body += data[:missing]
        if len(data) < missing:
            self.inputs.keep(self, len(self._body), True)
        else:
            self.is_read = True
            self.inputs.keep(self, 0, False)
            self.metrics.received_bytes += self._size
            super().begin()
        return data[missing:]

    def message_growth(self) -> int | None:
        """See `wsredis.transports.websocket.unfinished.InputOwner.message_growth`."""
        before, self._checked = self._checked, len(self._body)
        return self._checked - before

    # -- The answer

    def go_live(self, answer: Answer, request: Request, began: float) -> None:
        """Publish the message."""
        refusal = self.registry.refusal(Step.OPEN, self)
        connection = self.connection
        assert connection is not None
        if refusal is None and not connection.may_speak:
            refusal = HandshakeRejected(
                "this client may publish nowhere", 403, advice=connection.publish_hints
            )
        if refusal is not None:
            self.refuse(refusal)
            return
        self.state = State.OPEN
        self._is_speaking = True
        connection.opened({})
        self.charge(1 + (self._size >> _READ))
        content = self.exchange.headers.get("content-type", "").partition(";")[0]
        connection.receive(bytes(self._body), content.strip().lower() == _BINARY)
        self._is_speaking = False
        self._go_on()

    def resume(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.resume`."""
        super().resume(why)
        self._go_on()

    def _go_on(self) -> None:
        """Answer, if there is nothing left to wait for."""
        connection = self.connection
        if self.state is not State.OPEN or self._is_speaking or connection is None:
            return
        if not self.pause_reasons and connection.is_settled():
            self.metrics.posts += 1
            exchange = self.exchange
            keeps = exchange.keeps
            data = answers.answer(202, exchange.sharing.lines, b"", keeps=keeps)
            self.answer(data, 202, keeps=keeps)

    def end(self, code: int, reason: str) -> None:
        """See `StreamClient.end`: something has gone wrong."""
        status = _STATUSES.get(code, 503)
        self.refuse(HandshakeRejected(reason or "try again later", status))

    def overdrawn(self) -> None:
        """See `wsredis.transports.websocket.scheduler.Scheduled.overdrawn`."""
        self.metrics.limits["max-rate"] += 1
        self.refuse(HandshakeRejected("too many messages for too long", 429))
