"""
One WebSocket of an application, as the gateway sees it.

All of it runs in the reactor's thread. `wsredis.web.asgi.websocket_cycle` is the other side.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from wsredis.errors import HandshakeRejected
from wsredis.gateway.client import PauseReason
from wsredis.gateway.connection import Connection, ConnectionParts
from wsredis.transports.websocket.applications import Answer, ApplicationClient
from wsredis.transports.websocket.unfinished import UnfinishedInput
from wsredis.web.asgi.failures import FailureLog
from wsredis.web.asgi.link import Link, Running
from wsredis.web.asgi.room import Room
from wsredis.web.asgi.websocket_cycle import WebSocketCycle

__all__ = ["AsgiConnection"]

#: What a client may send that the application has not taken, in units: one for a message, and one
#: more for each KiB of it. A client that has used it up is not read.
_CREDIT = 256

#: The application is asked what it has taken when less than this is left.
_LOW = 128

_UNIT = 1024

#: Frames of at least so many bytes are written by themselves; others are copied together.
_LARGE = 4096

# A member of an Enum is looked up slowly, and this is needed for every message.
_APPLICATION = PauseReason.APPLICATION


class Serving(Protocol):
    """
    What all WebSockets of an application have in common.

    Attributes:
        link: Leads to the application.
        waiting: Bounds the messages that the application has not taken.
        room: Counts handshakes that are not decided.
        failures: Logs what goes wrong in the application.
    """

    link: Link
    waiting: UnfinishedInput
    room: Room
    failures: FailureLog


class AsgiConnection(Connection):
    """
    A client of an application. It hears no channels, and is nobody for the gateway.

    Args:
        client: The transport's side.
        serving: The server. The connection has a place in its room.
        offered: The subprotocols that the client offers.
        name: The name of the call, for the log.

    Attributes:
        answer: Fires with the decision of the application.
        cycle: The other side.
        running: The call of the application. None before it begins, and when it has ended.
    """

    #: The application learns that the gateway restarts: its clients come back.
    stop_code = 1012

    __slots__ = (
        "_asked",
        "_credit",
        "_has_ended",
        "_has_place",
        "_is_responding",
        "_is_watched",
        "_link",
        "_name",
        "_serving",
        "_socket",
        "_waiting",
        "_wake",
        "answer",
        "cycle",
        "running",
    )

    def __init__(
        self,
        parts: ConnectionParts,
        client: ApplicationClient,
        serving: Serving,
        offered: Sequence[str],
        name: str,
    ) -> None:
        super().__init__(parts)
        self._socket = client
        self._serving = serving
        self._link = link = serving.link
        self._waiting = serving.waiting
        self._has_place = True
        self._name = name
        self._credit = _CREDIT
        #: The units of messages that the application has been asked about. 0 if of none.
        self._asked = 0
        self._is_watched = self._is_responding = self._has_ended = False
        self.answer: Deferred[Answer] = Deferred()
        self.cycle = WebSocketCycle(link, self, parts.encoding, offered)
        self._wake = link.at_once(self.cycle.wake)
        self.running: Running | None = None

    # -- wsredis.gateway.connection.Connection

    def receive(self, payload: bytes, is_binary: bool) -> None:
        """See `Connection.receive`."""
        # All of it stands here: a call more would cost as much as half of this.
        if self._has_ended:
            return
        self._hub.metrics.received += 1
        self.messages += 1
        cycle = self.cycle
        cycle.events.append(
            {"type": "websocket.receive", "bytes": payload}
            if is_binary
            else {"type": "websocket.receive", "text": payload.decode()}
        )
        if cycle.waiting:
            self._wake()
        self._credit -= 1 + (len(payload) >> 10)
        if self._credit < _LOW:
            self._ask()

    def received(self, payload: bytes, is_binary: bool) -> None:
        """See `Connection.received`. Not called: `receive` does it."""

    def publish(self, payload: bytes) -> None:
        """See `Connection.publish`. There is no channel to publish on."""

    def publish_failed(self, error: Exception, size: int) -> None:
        """See `Connection.publish_failed`. Nothing is published."""

    def ended(self, code: int, reason: str) -> None:
        """See `Connection.ended`."""
        self._end(code, reason)

    def closed(self) -> None:
        """See `Connection.closed`."""
        super().closed()
        self._end(1006, "")

    def drained(self) -> None:
        """See `Connection.drained`."""
        if self._is_watched:
            self._is_watched = False
            self._link.to_application(self.cycle.drained)

    def _end(self, code: int, reason: str, is_hurried: bool = False) -> None:
        if self._has_ended:
            return
        self._has_ended = True
        self._decided()
        self._waiting.keep(self, 0, False)
        if self.running is not None:
            self._link.to_application(self.cycle.gone, code, reason, is_hurried)
            self.running.leave()
        else:
            self.cycle.release()

    def _decided(self) -> None:
        """Give the place of an undecided handshake back. Repeating it is harmless."""
        if self._has_place:
            self._has_place = False
            self._serving.room.leave()

    # -- wsredis.web.asgi.websocket_cycle.Socket

    def accept(self, subprotocol: str | None, headers: Sequence[tuple[str, str]]) -> None:
        """See `Socket.accept`."""
        if not self.answer.called:
            self._decided()
            self.answer.callback(Answer(None, {}, subprotocol, headers, False))

    def reject(self) -> None:
        """See `Socket.reject`."""
        if not self.answer.called:
            self._decided()
            self.answer.errback(
                HandshakeRejected("forbidden", 403, "by the application", cause="application")
            )

    def respond(self, data: bytes, status: int, is_last: bool) -> None:
        """See `Socket.respond`."""
        self._decided()
        self._is_responding = True
        self._socket.respond(data, status, is_last)

    def flush(self) -> None:
        """See `Socket.flush`."""
        cycle = self.cycle
        frames = cycle.frames
        # Cleared first: a frame that comes from now on is taken here, or in another call.
        cycle.is_due = False
        queue = self._client.queue
        if queue is None or self._has_ended:
            frames.clear()
            return
        small: list[bytes] = []
        while frames:
            frame = frames.popleft()
            if not frames and not small:
                queue.write(frame)
            elif len(frame) < _LARGE:
                small.append(frame)
            else:
                if small:
                    queue.write(b"".join(small))
                    small.clear()
                queue.write(frame)
        if small:
            queue.write(b"".join(small))

    def watch(self) -> None:
        """See `Socket.watch`."""
        self._is_watched = True
        if not self._socket.has_waiting:
            self.drained()

    def taken(self, units: int) -> None:
        """See `Socket.taken`."""
        self._credit += units
        self._asked = 0
        if self._has_ended:
            return
        if self._credit > 0:
            self._client.resume(_APPLICATION)
        if self._credit < _LOW:
            self._ask()
        else:
            self._waiting.keep(self, 0, False)

    def _ask(self) -> None:
        """Ask what the application has taken, and do not read a client that is far ahead of it."""
        spent = _CREDIT - self._credit
        if not self._asked:
            self._asked = spent
            self.cycle.events.append(spent)
            if self.cycle.waiting:
                self._wake()
        if self._credit <= 0:
            self._client.pause(_APPLICATION)
        # It may be cut.
        self._waiting.keep(self, spent * _UNIT, False)

    # -- wsredis.transports.websocket.unfinished.InputOwner

    @property
    def address(self) -> str:
        """See `InputOwner.address`."""
        return self._client.address

    def message_growth(self) -> int | None:
        """See `InputOwner.message_growth`. No message is unfinished here."""
        return None

    def input_refused(self, reason: str) -> None:
        """See `InputOwner.input_refused`."""
        self._hub.metrics.shed += 1
        self._hub.log_loss(
            self._log,
            "connection-shed",
            "{peer} ({id}): {problem}",
            peer=self.peer,
            id=self.id,
            problem="too much waits for the application, closing",
        )
        self._end(1013, "", is_hurried=True)
        self._client.close(1013, "too much waits for the application")

    # -- The call of the application

    def start(self, call: Coroutine[Any, Any, None]) -> None:
        """Begin the call, which has the cycle's `receive` and `send`."""
        self.running = self._link.spawn(self._name, call, self.call_ended)

    def call_ended(self, error: BaseException | None) -> None:
        """Act on the end of the call: a client does not stay without an application."""
        self.running = None
        if error is not None:
            self._serving.failures.failed(self._name, error)
        if self._has_ended:
            # Without a reference cycle no garbage collection is needed.
            self.cycle.release()
            return
        if self._is_responding:
            # Never an answer that looks complete.
            self._socket.cut("the application did not end its answer")
        elif self.is_open:
            code, reason = (1000, "") if error is None else (1011, "internal error")
            self._client.close(code, reason)
        elif not self.answer.called:
            if error is None:
                self._serving.failures.failed(self._name, None)
            self.answer.errback(HandshakeRejected("internal error", 500, "the application failed"))
            self._decided()
