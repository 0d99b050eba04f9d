"""
One WebSocket as an application sees it: its ``receive`` and its ``send``.

All of it runs in the thread of the application's loop. It tells the gateway by the link what is to
be done, and hears by the link what has happened; see `Socket` for the other side.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from wsredis.gateway.publication import Encoding
from wsredis.web.asgi.events import (
    ClientDisconnected,
    body_of,
    check_start,
    status_line,
    type_of,
)
from wsredis.web.asgi.link import Link
from wsredis.web.asgi.websocket_events import bytes_of, check_accept, check_close

__all__ = ["Socket", "WebSocketCycle"]

#: Bytes that are handed to the gateway before `send` waits until the client has taken them. A
#: message counts for a few more: an application that sends a thousand of them has had its turn.
_UNSENT = 65536
_MESSAGE = 64

# The steps of its life. Plain integers, which are found fastest.
_CONNECTING = 0
_OPEN = 1
#: The handshake is being refused with a page of the application.
_REFUSING = 2
#: The application has closed it.
_CLOSED = 3
#: The client has gone, or the gateway has closed it.
_GONE = 4

_NO_ANSWER = (
    "the handshake needs websocket.accept, websocket.close or websocket.http.response.start"
)

#: Answers that have no body.
_NO_BODY = (204, 304)


class Socket(Protocol):
    """The gateway's side of a WebSocket. Its methods are called by the link."""

    def accept(self, subprotocol: str | None, headers: Sequence[tuple[str, str]]) -> None:
        """Accept the handshake."""

    def reject(self) -> None:
        """Refuse the handshake with 403."""

    def respond(self, data: bytes, status: int, is_last: bool) -> None:
        """Refuse the handshake with a page; see `ApplicationClient.respond`."""

    def flush(self) -> None:
        """Send the frames that are ready; see `WebSocketCycle.frames`."""

    def close(self, code: int, reason: str) -> None:
        """Start the closing handshake."""

    def watch(self) -> None:
        """Call `WebSocketCycle.drained` as soon as nothing waits for the client."""

    def taken(self, units: int) -> None:
        """Take note that the application has taken what came before; see `WebSocketCycle.put`."""


class _Nobody:
    """The gateway's side of a WebSocket that has ended. Nothing is done."""

    def flush(self, *args: object) -> None:
        """Do nothing."""

    accept = reject = respond = close = watch = taken = flush


_nobody: Socket = _Nobody()


class WebSocketCycle:
    """
    One WebSocket of an application.

    Args:
        link: Leads to the gateway.
        socket: The gateway's side.
        encoding: Makes frames of messages.
        offered: The subprotocols that the client offers.

    Attributes:
        events: Events for the application, which the gateway appends; see `wake`. A number is not
            for the application: it goes back to `Socket.taken` as soon as the application has asked
            for something after all that came before it.
        waiting: Tells, if it is not empty, that `wake` has to follow an event.
        frames: Frames that the gateway has to send. It takes them out.
        is_due: Tells that `Socket.flush` will come. The gateway clears it before it takes frames.
        has_answered: Tells whether the application has decided on the handshake.
    """

    __slots__ = (
        "_encoding",
        "_flush",
        "_future",
        "_link",
        "_missing",
        "_offered",
        "_response",
        "_socket",
        "_state",
        "_to_gateway",
        "_unsent",
        "_writers",
        "events",
        "frames",
        "is_due",
        "waiting",
    )

    def __init__(
        self, link: Link, socket: Socket, encoding: Encoding, offered: Sequence[str]
    ) -> None:
        self._link = link
        # Looked up once: these are needed for every message.
        self._to_gateway, self._flush = link.to_gateway, socket.flush
        self._socket = socket
        self._encoding = encoding.message
        self._future: Callable[[], asyncio.Future[None]] = partial(asyncio.Future, loop=link.loop)
        self._offered = offered
        self.events: deque[dict[str, Any] | int] = deque(({"type": "websocket.connect"},))
        self.waiting: list[asyncio.Future[None]] = []
        self._writers: list[asyncio.Future[None]] = []
        self._state = _CONNECTING
        self._unsent = 0
        #: The head of a page, until its body comes: its status, its lines, and whether they tell a
        #: length.
        self._response: tuple[int, bytes, bool] | None = None
        #: Bytes that are missing of that length. None if there is none.
        self._missing: int | None = None
        self.frames: deque[bytes] = deque()
        self.is_due = False

    @property
    def has_answered(self) -> bool:
        """See above."""
        return self._state not in (_CONNECTING, _REFUSING)

    # -- For the application

    async def receive(self) -> dict[str, Any]:
        """
        Return the next event.

        After ``websocket.disconnect`` there is none, and it waits until the call is cancelled.
        """
        events = self.events
        while True:
            while events:
                event = events.popleft()
                if type(event) is dict:
                    return event
                self._to_gateway(self._socket.taken, event)
            waiter = self._future()
            self.waiting.append(waiter)
            # In another thread, an event may have come before it could be seen that this waits.
            if events:
                self.waiting.remove(waiter)
            else:
                await waiter

    async def send(self, event: Mapping[str, Any]) -> None:
        """
        Take an event of the application. It waits while the client takes nothing.

        Raises:
            ClientDisconnected: The client has gone.
            RuntimeError: Such an event may not come now.
            TypeError, ValueError: It is malformed. Nothing was sent.
        """
        state = self._state
        kind = event.get("type") if type(event) is dict else type_of(event)
        if state == _OPEN and kind == "websocket.send":
            text = event.get("text")
            if text is None or event.get("bytes") is not None or not isinstance(text, str):
                frame = self._encoding(bytes_of(event))
            else:
                frame = self._encoding(text)
            self._unsent += len(frame) + _MESSAGE
            self.frames.append(frame)
            if not self.is_due:
                self.is_due = True
                self._to_gateway(self._flush)
        elif state == _GONE:
            raise ClientDisconnected("the client has gone")
        elif state == _CONNECTING:
            self._answer(type_of(event), event)
        elif state == _REFUSING and kind == "websocket.http.response.body":
            self._send_body(event)
        elif state == _OPEN and kind == "websocket.close":
            self._close(event)
        else:
            raise RuntimeError(f"unexpected event {type_of(event)!r}, {_situation(state)}")
        if self._unsent > _UNSENT:
            await self._until_drained()

    def _answer(self, kind: str, event: Mapping[str, Any]) -> None:
        """Decide on the handshake as the application wants it."""
        if kind == "websocket.accept":
            subprotocol, headers = check_accept(event, self._offered)
            self._state = _OPEN
            self._link.to_gateway(self._socket.accept, subprotocol, headers)
        elif kind == "websocket.close":
            self._state = _CLOSED
            self._link.to_gateway(self._socket.reject)
        elif kind == "websocket.http.response.start":
            start = check_start(event)
            head = b"".join((status_line(start.status), *start.lines, b"Connection: close\r\n"))
            length = start.length
            if start.status in _NO_BODY:
                length = 0
            elif length is not None:
                head += b"Content-Length: %d\r\n" % length
            self._missing = length
            self._response = start.status, head, length is not None
            self._state = _REFUSING
        else:
            raise RuntimeError(f"{_NO_ANSWER}, not {kind!r}")

    def _send_body(self, event: Mapping[str, Any]) -> None:
        """Send a part of a page that refuses the handshake."""
        data = body_of(event)
        is_last = not event.get("more_body", False)
        if self._missing is not None:
            # What is beyond it would look like another answer.
            if len(data) > self._missing:
                raise RuntimeError("the body is longer than its content-length")
            if is_last and len(data) < self._missing:
                raise RuntimeError("the body is shorter than its content-length")
            self._missing -= len(data)
        status = 0
        if self._response is not None:
            # The head goes with the first bytes. It ends with the connection, if it has no length.
            (status, head, has_length), self._response = self._response, None
            if is_last and not has_length:
                head += b"Content-Length: %d\r\n" % len(data)
            data = b"%b\r\n%b" % (head, data)
        if is_last:
            self._state = _CLOSED
        self._unsent += len(data)
        self._link.to_gateway(self._socket.respond, data, status, is_last)

    def _close(self, event: Mapping[str, Any]) -> None:
        code, reason = check_close(event)
        self._state = _CLOSED
        self._link.to_gateway(self._socket.close, code, reason)

    async def _until_drained(self) -> None:
        """Wait until the client has taken what was sent, or has gone."""
        if self._state == _GONE:
            return
        if not self._writers:
            self._link.to_gateway(self._socket.watch)
        waiter = self._future()
        self._writers.append(waiter)
        await waiter

    # -- For the gateway

    def wake(self) -> None:
        """Let the application take what is in `events`."""
        # All of them: one that is cancelled at the same time takes nothing.
        waiting = self.waiting
        for each in waiting:
            if not each.done():
                each.set_result(None)
        waiting.clear()

    def drained(self) -> None:
        """Go on sending: the client has taken all."""
        self._unsent = 0
        self._wake_writers()

    def gone(self, code: int, reason: str, is_hurried: bool = False) -> None:
        """
        Tell the application that the WebSocket has ended.

        Args:
            code, reason: See `wsredis.gateway.connection.Connection.ended`.
            is_hurried: Tells that the application does not get what came before.
        """
        if self._state != _CLOSED:
            self._state = _GONE
        if is_hurried:
            self.events.clear()
        self.frames.clear()
        self.events.append({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.wake()
        self._wake_writers()

    def release(self) -> None:
        """
        Let go of the gateway: the call and the WebSocket have ended.

        It may be called in any thread. A task that the application has left may still come.
        """
        self._state = _GONE
        self._socket = _nobody
        self._flush = _nobody.flush

    def _wake_writers(self) -> None:
        for each in self._writers:
            if not each.done():
                each.set_result(None)
        self._writers.clear()


def _situation(state: int) -> str:
    if state == _OPEN:
        return "the WebSocket is open"
    if state == _REFUSING:
        return "the handshake is being refused"
    return "the WebSocket is closed"
