"""
One call of an application for one HTTP request: its events in, the bytes of the answer out.

It lives in the thread of the application's loop, and knows neither the connection nor the reactor.
What it makes goes to the `Answering` side by the link, and so comes what it hears.

It is one module because what an event means, and which bytes it becomes, depends on all events
before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import IntEnum
from typing import Any, Protocol

from wsredis.web.asgi import events
from wsredis.web.asgi.events import ClientDisconnected
from wsredis.web.asgi.files import FilePart, open_part, open_path
from wsredis.web.asgi.http_request import Request
from wsredis.web.asgi.link import Link

__all__ = ["Answering", "Application", "HttpCycle", "Step"]

#: An ASGI application, which is a coroutine function.
Application = Callable[..., Coroutine[Any, Any, None]]

#: Bytes of the answer that may be on their way before ``send`` waits.
WINDOW = 65536

#: Bytes of a body that are taken before the other side is told that it may send as many more.
_TAKEN = 16384

#: How often an application is told of the end at once. Then the loop has a turn before each time.
_PATIENCE = 100

#: Bytes of a file that are read at a time.
_BLOCK = 65536

_NO_BODY = (204, 304)


class Answering(Protocol):
    """
    The gateway's side of a cycle. All methods are called in the reactor's thread.

    Attributes:
        keeps: Tells whether another request may follow. It may be read in any thread.
        date: The line of the header Date. It may be read in any thread.
    """

    keeps: bool

    @property
    def date(self) -> bytes: ...

    def go_on(self, cycle: HttpCycle) -> None:
        """Tell a client that waits for it that its body is wanted."""

    def body_taken(self, cycle: HttpCycle, size: int) -> None:
        """Take note that the application has so many bytes of the body."""

    def write(self, cycle: HttpCycle) -> None:
        """Send the part of the answer that `HttpCycle.take` returns."""

    def ended(self, cycle: HttpCycle, error: BaseException | None) -> None:
        """Take note that the application has ended, with the exception that came out of it."""

    def finish(self, cycle: HttpCycle, data: bytes, is_last: bool) -> None:
        """
        Send the end of the answer.

        Args:
            is_last: Whether the connection ends with it.
        """


class Step(IntEnum):
    """What the application has sent: each step follows the one before it."""

    NOTHING = 0
    START = 1
    HEAD = 2
    TRAILERS = 3
    ALL = 4


_NOTHING, _START, _HEAD, _TRAILERS, _ALL = Step


class HttpCycle:
    """
    One call.

    Args:
        link: Leads to *side*.
        request: The request.
        body: The part of its body that is there.
        has_more: Whether more of it will come.

    Attributes:
        request: As given.
        step: What the application has sent.
        status: The status of the answer. 0 before it is known.
        size: Bytes of the answer's body so far.
    """

    # Most calls need few of these attributes: the others are in the class until they change.

    step: Step = _NOTHING
    status = 0
    size = 0
    #: Whether the application knows the end of the body.
    _given = False
    _taken = 0
    #: How often the application was told of the end.
    _ends = 0
    _left = False
    _in_flight = 0
    _is_last = False
    _chunked = False
    _has_body = True
    #: Bytes that are missing of the length that was promised. None if none was.
    _missing: int | None = None
    _trailers: list[bytes] | None = None
    _parts: deque[bytes] | None = None
    _is_announced = False
    _readers: list[asyncio.Future[None]] | None = None
    _writers: list[asyncio.Future[None]] | None = None
    _start: tuple[int, list[bytes], int | None, bool, bool, bool]

    def __init__(
        self, link: Link, side: Answering, request: Request, body: bytes, has_more: bool
    ) -> None:
        self._link = link
        self._side = side
        self.request = request
        self._body = [body] if body else []
        self._has_more = has_more
        self._expects = has_more and request.headers.expects

    def call(self, application: Application) -> Coroutine[Any, Any, None]:
        """Call the application; nothing of it runs yet. In the reactor's thread."""
        return application(self.request.make_scope(), self.receive, self.send)

    def ended(self, error: BaseException | None) -> None:
        """Pass on that the application has ended. In the reactor's thread."""
        self._side.ended(self, error)

    # -- From the gateway

    def take(self) -> bytes:
        """Return the parts of the answer that have not been taken. In the reactor's thread."""
        # At first: what is added from now on is announced anew.
        self._is_announced = False
        parts, taken = self._parts, []
        while parts:
            taken.append(parts.popleft())
        return taken[0] if len(taken) == 1 else b"".join(taken)

    def body(self, data: bytes, has_more: bool) -> None:
        """Take a part of the body."""
        self._expects = False
        if data:
            self._body.append(data)
        self._has_more = has_more
        _wake(self._readers)

    def left(self) -> None:
        """Take note that the client has gone."""
        self._left = True
        _wake(self._readers)
        _wake(self._writers)

    def sent(self, size: int) -> None:
        """Take note that so many bytes more are not on their way any longer."""
        self._in_flight -= size
        if self._in_flight < WINDOW:
            _wake(self._writers)

    # -- From the application

    async def receive(self) -> dict[str, Any]:
        """Return the next event."""
        while True:
            if self.step is _ALL:
                return await self._disconnect()
            if self._body or not (self._has_more or self._given):
                return self._next_body()
            if self._left:
                return await self._disconnect()
            if self._expects:
                self._expects = False
                self._link.to_gateway(self._side.go_on, self)
            if self._readers is None:
                self._readers = []
            await _wait(self._readers)

    async def _disconnect(self) -> dict[str, Any]:
        # The first ones come at once: Starlette's is_disconnected() takes nothing that waits. But
        # an application that asks for ever would hold everybody, and its own answer, too.
        self._ends += 1
        if self._ends > _PATIENCE:
            await asyncio.sleep(0)
        return {"type": "http.disconnect"}

    def _next_body(self) -> dict[str, Any]:
        pieces = self._body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._given = not self._has_more
        if self._has_more:
            self._taken += len(body)
            if self._taken >= _TAKEN:
                self._link.to_gateway(self._side.body_taken, self, self._taken)
                self._taken = 0
        return {"type": "http.request", "body": body, "more_body": self._has_more}

    async def send(self, event: Any) -> None:
        """
        Take an event.

        Raises:
            ClientDisconnected: The client has gone.
            TypeError, ValueError: The event is malformed.
            RuntimeError: This event may not come now.
        """
        kind = events.type_of(event)
        step = self.step
        if self._left and step is not _ALL:
            if not self._has_all(event):
                raise ClientDisconnected("the client has gone")
            if not event.get("more_body"):
                self.step = _ALL
            return
        if kind == "http.response.start" and step is _NOTHING:
            self._start = start = events.read_start(event)
            self.status = start[0]
            self.step = _START
        elif kind == "http.response.body" and (step is _START or step is _HEAD):
            body = event.get("body", b"")
            if type(body) is not bytes:
                body = events.body_of(event)
            has_more = bool(event.get("more_body"))
            self._write(body, has_more)
            if has_more and self._in_flight >= WINDOW:
                await self._drained()
        elif kind == "http.response.trailers" and step is _TRAILERS:
            self._write_trailers(event)
        elif kind == "http.response.early_hint" and step < _TRAILERS:
            self._write_hints(event)
        elif kind == "http.response.pathsend" and (step is _START or step is _HEAD):
            await self._write_file(open_path(event), False)
        elif kind == "http.response.zerocopysend" and (step is _START or step is _HEAD):
            await self._write_file(open_part(event), bool(event.get("more_body")))
        else:
            raise RuntimeError(_unexpected(kind, step))

    def _has_all(self, event: Any) -> bool:
        """Tell whether a client that has gone had the whole answer, and the event adds nothing."""
        is_empty = event["type"] == "http.response.body" and not event.get("body")
        return is_empty and self.step is _HEAD and self._missing == 0

    async def _write_file(self, file: FilePart, has_more: bool) -> None:
        """Send bytes of a file as so many bodies would be sent."""
        try:
            if self.step is _START and not has_more and self._start[2] is None:
                # A length makes it an answer that may be kept open after it.
                self._start = (*self._start[:2], file.size, *self._start[3:])
            if self.request.method == "HEAD" or self.status in _NO_BODY:
                self._write(b"", has_more)
                return
            at = 0
            while at < file.size or not at:
                block = file.read(at, _BLOCK)
                at += len(block)
                self._write(block, has_more or at < file.size)
                if at >= file.size:
                    return
                # One block is on its way at a time: the next one waits for others, too.
                if self._in_flight >= WINDOW:
                    await self._drained()
        finally:
            file.done()

    # -- The bytes of the answer

    def _write(self, body: bytes, has_more: bool) -> None:
        """Send a part of the body, and the head before the first one."""
        parts = self._head(body, has_more) if self.step is _START else []
        missing = self._missing
        if not self._has_body:
            body = b""
        elif missing is not None:
            missing -= len(body)
            if missing < 0:
                raise RuntimeError("the body is longer than its content-length")
            if missing and not has_more:
                raise RuntimeError("the body is shorter than its content-length")
            self._missing = missing
        self.step = _HEAD
        self.size += len(body)
        is_end = not has_more and self._trailers is None
        if self._chunked:
            if body:
                parts += (b"%x\r\n" % len(body), body, b"\r\n")
            if is_end:
                parts.append(b"0\r\n\r\n")
        elif len(body) > WINDOW and parts:
            # It is not copied.
            self._send(parts)
            parts = [body]
        elif body:
            parts.append(body)
        if is_end:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            self.step = _ALL
            self._link.to_gateway(self._side.finish, self, data, self._is_last)
            if self._readers:
                # Whoever waits for the end of the client hears of it.
                _wake(self._readers)
            return
        if not has_more:
            self.step = _TRAILERS
        if parts:
            self._send(parts)

    def _send(self, data: list[bytes]) -> None:
        """Send a part of the answer, together with those before it that have not been taken."""
        parts = self._parts
        if parts is None:
            parts = self._parts = deque()
        for each in data:
            self._in_flight += len(each)
            parts.append(each)
        if not self._is_announced:
            self._is_announced = True
            self._link.to_gateway(self._side.write, self)

    def _head(self, body: bytes, has_more: bool) -> list[bytes]:
        """Decide how the answer ends, and write its head."""
        status, lines, length, is_last, has_date, has_trailers = self._start
        request = self.request
        # A client that has not been asked for its body may send it, or the next request.
        if not self._side.keeps or self._expects:
            is_last = True
        parts = [events.status_line(status), *lines]
        if not has_date:
            parts.append(self._side.date)
        if request.method == "HEAD" or status in _NO_BODY:
            self._has_body = False
            if length is not None and status != 204:
                parts.append(b"Content-Length: %d\r\n" % length)
        elif length is not None:
            self._missing = length
            parts.append(b"Content-Length: %d\r\n" % length)
        elif not (has_more or has_trailers):
            self._missing = len(body)
            parts.append(b"Content-Length: %d\r\n" % len(body))
        elif not request.headers.is_old:
            # Else the end of the connection is the end of the body.
            self._chunked = True
            parts.append(b"Transfer-Encoding: chunked\r\n")
        if has_trailers:
            self._trailers = []
        parts.append(b"Connection: close\r\n\r\n" if is_last else b"\r\n")
        self._is_last = is_last
        return parts

    def _write_trailers(self, event: dict[str, Any]) -> None:
        """Send the trailers with the end of the answer, if the client understands them."""
        assert self._trailers is not None
        self._trailers += [
            line
            for line, kind in events.header_lines(event.get("headers", ()))
            if kind is events.HeaderKind.PLAIN
        ]
        if event.get("more_trailers"):
            return
        lines = self._trailers if self.request.headers.takes_trailers else []
        self.step = _ALL
        data = b"".join([b"0\r\n", *lines, b"\r\n"]) if self._chunked else b""
        self._link.to_gateway(self._side.finish, self, data, self._is_last)
        _wake(self._readers)

    def _write_hints(self, event: dict[str, Any]) -> None:
        """Send 103, which comes before the head of the answer. After it, it is of no use."""
        lines = events.check_links(event)
        if lines and self.step < _HEAD and not self.request.headers.is_old:
            self._send([b"HTTP/1.1 103 Early Hints\r\n", *lines, b"\r\n"])

    async def _drained(self) -> None:
        """Wait until less is on its way."""
        if self._writers is None:
            self._writers = []
        while self._in_flight >= WINDOW:
            await _wait(self._writers)
            if self._left:
                raise ClientDisconnected("the client has gone")


def _unexpected(kind: str, step: Step) -> str:
    if step is _ALL:
        return f"{kind} came after the end of the answer"
    if step is _NOTHING:
        return f"http.response.start was expected, not {kind}"
    if step is _TRAILERS:
        return f"http.response.trailers was expected, not {kind}"
    return f"http.response.body was expected, not {kind}"


async def _wait(waiters: list[asyncio.Future[None]]) -> None:
    """Wait for the next `_wake`. Each has a future of its own, since each may be cancelled."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiters.append(future)
    try:
        await future
    finally:
        with suppress(ValueError):
            waiters.remove(future)


def _wake(waiters: list[asyncio.Future[None]] | None) -> None:
    if waiters:
        for future in waiters:
            if not future.done():
                future.set_result(None)
