"""A client that polls: its request waits for messages, and is answered with them."""

from __future__ import annotations

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from wsredis.errors import BadRequest, HandshakeRejected
from wsredis.gateway.client import PauseReason
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.hello import hello
from wsredis.gateway.hub import Hub
from wsredis.gateway.publication import Encoding
from wsredis.transports.stream import answers, messages
from wsredis.transports.stream.client import Exchange, State, StreamClient
from wsredis.transports.stream.encoding import PollEncodings
from wsredis.transports.stream.request import cursor_of, seconds_to_wait
from wsredis.transports.stream.ring import SLICE, size_of
from wsredis.transports.websocket.applications import Answer
from wsredis.transports.websocket.lean import Request
from wsredis.transports.websocket.registry import Step

__all__ = ["PollClient"]

#: The errors for the close codes with which a WebSocket would lose its connection. A client that
#: may come back at once is answered as if nothing had come.
_STATUSES = {
    1008: 403,
    1011: 500,
    4401: 401,
    4403: 403,
}
_COME_BACK = (1001, 1012)

_JSON = ("Content-Type: application/json", "X-Content-Type-Options: nosniff")


class PollClient(StreamClient):
    """
    A poll.

    The cursor of its answer stands for everything that was published until then. So it is answered
    only when the hub has delivered all that it has.
    """

    # `Streams` sets these on a subclass.
    clock: IReactorTime
    hub: Hub
    encodings: PollEncodings

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        #: That of the request. Empty if there is none, or if it is worth nothing.
        self._cursor = ""
        self._is_gap = False
        #: Tells whether it is answered also if there is no message.
        self._is_due = False
        self._pieces: list[bytes] = []
        self._size = 0
        self._seconds = 0.0
        self._timer: IDelayedCall | None = None
        self._turn: IDelayedCall | None = None
        #: The side that ends it, and the close code that says why.
        self._ending = ("client", 1006)

    def encoding_of(self, dialect: Dialect) -> Encoding:
        """See `StreamClient.encoding_of`."""
        return self.encodings[dialect]

    def begin(self) -> None:
        """See `StreamClient.begin`."""
        try:
            self._seconds = seconds_to_wait(self.exchange.found.target)
        except BadRequest as error:
            self.refuse(HandshakeRejected(str(error), 400))
        else:
            super().begin()

    def go_live(self, answer: Answer, request: Request, began: float) -> None:
        """See `wsredis.transports.applicant.Applicant.go_live`."""
        refusal = self.registry.refusal(Step.OPEN, self)
        if refusal is not None:
            self.refuse(refusal)
            return
        connection = self.connection
        assert connection is not None and answer.accepted is not None
        self.state = State.OPEN
        self.registry.opened(self, None)
        self.metrics.handshake_latency.observe(self.queued.now() - began)
        cursor = cursor_of(self.exchange.found)
        missed = self.ring.missed(connection.channels, cursor) if cursor else None
        if missed is None:
            self._is_gap = bool(cursor)
            connection.opened(answer.stored)
        else:
            self._cursor = cursor
            self.registry.read_stored(self.address, size_of(missed))
            connection.resumed(answer.stored, missed, b"")
        if self.state is State.OPEN:
            self.sessions.connection_opened(connection, answer.accepted)
        if self.state is not State.OPEN:
            return
        self._timer = self.clock.callLater(self._seconds, self._time_is_up)
        self._is_due = missed is None or not self._seconds
        if self._is_due or self._pieces:
            self._go_on()

    # -- The answer

    def write(self, data: bytes) -> None:
        """See `wsredis.gateway.client.Client.write`."""
        self._pieces.append(data)
        self._size += len(data)
        if self._timer is not None:
            self._wake()

    def resume(self, why: PauseReason) -> None:
        """See `wsredis.gateway.client.Client.resume`."""
        super().resume(why)
        if self.state is State.OPEN and (self._is_due or self._pieces):
            self._wake()

    def _time_is_up(self) -> None:
        self._timer = None
        self._is_due = True
        self.pause_reasons = 0
        self._wake()

    def _wake(self, seconds: float = 0.0) -> None:
        """Answer in the next turn, or later: more may come until then."""
        if self._turn is None:
            self._turn = self.clock.callLater(seconds, self._go_on)

    def _go_on(self) -> None:
        self._turn = None
        if self.hub.is_behind:
            # The cursor would stand for publications that are still to come.
            self._wake(SLICE)
        elif not self.pause_reasons or self._size > self.config.limits.max_queue:
            # Else a handler still works on its greeting.
            self._reply(self.ring.cursor())

    def _reply(self, cursor: str) -> None:
        """Answer with all that has come. *cursor* is for the next poll."""
        exchange = self.exchange
        keeps = exchange.keeps
        self._ending = ("gateway", 1000)
        self.metrics.polls += 1
        if self._pieces or not self._cursor:
            told = None
            if not self._cursor and self.connection is not None:
                told = hello(self.connection, None)
            pieces = b"".join(self._pieces)
            data = messages.body(cursor, pieces, is_gap=self._is_gap, hello=told)
            lines = [*exchange.sharing.lines, *_JSON]
            self.answer(answers.answer(200, lines, data, keeps=keeps), 200, keeps=keeps)
        else:
            lines = [*exchange.sharing.lines, f"Wsredis-Cursor: {cursor}"]
            self.answer(answers.answer(204, lines, b"", keeps=keeps), 204, keeps=keeps)

    def tell_of_gap(self) -> None:
        """See `StreamClient.tell_of_gap`. The next poll tells it, with the stored messages."""
        self._reply(self.ring.worthless)

    # -- The end

    def detach(self) -> None:
        """See `StreamClient.detach`."""
        for call in (self._timer, self._turn):
            if call is not None:
                call.cancel()
        self._timer = self._turn = None
        super().detach()

    def leave(self) -> bool:
        """See `StreamClient.leave`."""
        was_open = super().leave()
        if was_open:
            self.metrics.count_close(*self._ending)
        return was_open

    def end(self, code: int, reason: str) -> None:
        """See `StreamClient.end`. A status has to do for the code."""
        if code in _COME_BACK:
            is_exact = not self.hub.is_behind
            self._reply(self.ring.cursor() if is_exact else self._cursor or self.ring.worthless)
        else:
            self._ending = ("gateway", code)
            status = _STATUSES.get(code, 503)
            self.refuse(HandshakeRejected(reason or "try again later", status))

    def queue_overdue(self) -> None:
        """See `wsredis.transports.websocket.registry.Member.queue_overdue`. It has no queue."""
