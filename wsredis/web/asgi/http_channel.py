"""
One connection with plain HTTP requests that an ASGI application answers.

Bytes of requests go in, one call of the application after the other comes out, and the bytes of
their answers go back. All of it is in the reactor's thread; the application's side of a call is
`wsredis.web.asgi.http_cycle`.

It is one module because a connection can be lost, refused, paused or closed in each of its states,
and the code for that has to be read together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
from time import monotonic
from typing import Any, Protocol

from twisted.python.failure import Failure

from wsredis.gateway.connection_set import ConnectionSet
from wsredis.gateway.shares import SharedBound, address_key
from wsredis.transports.sockets import has_ended, is_plain, report_at_once
from wsredis.transports.websocket import head
from wsredis.transports.websocket.handshake import error_response
from wsredis.transports.websocket.http import GiveBack
from wsredis.transports.websocket.proxies import named_client
from wsredis.web.asgi.bodies import BadBody, ChunkedBody, SizedBody
from wsredis.web.asgi.http_cycle import HttpCycle, Step
from wsredis.web.asgi.http_request import Headers, Request
from wsredis.web.asgi.link import Link, Running
from wsredis.web.asgi.scopes import Place, Whereabouts, whereabouts

__all__ = ["AsgiChannel", "Kept", "Room", "Serving"]

#: Seconds that a connection has for the head of a request, and for each _PROGRESS bytes of a body.
_REQUEST = 15
_PROGRESS = 16384

#: Seconds that a connection is kept without a request; see `wsredis.web.channel`.
_IDLE = 75

#: Seconds that a client may leave what waits for it unread.
_STALL = 30

#: Seconds that a client has to read the end of the last answer.
_LINGER = 75

#: Bytes that the transport gets at a time: when it has passed them on, the client has read more.
_PIECE = 131072

#: Bytes of an answer after which the application hears that they have gone.
_GONE = 32768

#: Bytes of a body that the application has not taken before reading stops.
_UNTAKEN = 65536

#: Bytes of further requests that are read while one is being answered.
_AHEAD = 16384

#: Bytes of a body, without its answer being interested in it, that are read to keep a connection.
_UNWANTED = 65536

#: Bytes that are read, and dropped, of a client that sends on after the end of the last answer.
_AFTER_END = 131072

# Why a connection is not read.
_APPLICATION, _NEXT, _TURN = 1, 2, 4

# Members of an Enum are looked up slowly.
_HANDSHAKE, _INCOMPLETE = head.Kind.HANDSHAKE, head.Kind.INCOMPLETE

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Kept(Protocol):
    """
    The part of a site that all its connections share.

    Attributes:
        channels: The connections that it has.
        places: Their number by address. None if it does not count them.
        max_head: Bytes that the head of a request may have.
        max_body: Bytes that the body of a request may have.
    """

    channels: ConnectionSet[Any]
    places: SharedBound | None
    max_head: int
    max_body: int

    def keeps_connections(self) -> bool:
        """Tell whether a connection stays open after an answer."""

    def is_own(self, path: str) -> bool:
        """Tell whether a path is one of the gateway itself, and not of an application."""

    def call_in_turn(self, function: Callable[[], None]) -> None:
        """Call a function when those that wait were called, a few in a turn of the reactor."""


class Room(Protocol):
    """Bounds what an application works on at a time."""

    def enter(self) -> bool:
        """Take a place. False if there is none."""

    def leave(self) -> None:
        """Give a place back."""


class Serving(Protocol):
    """
    The part of a `wsredis.web.asgi.http_server.HttpServer` that its connections use.

    Attributes:
        link: Leads to the application.
        place: See `wsredis.web.asgi.scopes.Place`.
        tick: Seconds since some moment, roughly.
        date: The line of the header Date.
        room: Counts what the application works on.
    """

    link: Link
    place: Place
    tick: int
    date: bytes
    room: Room

    def opened(self, channel: AsgiChannel) -> None:
        """Look after a connection: `AsgiChannel.check` is called about once a second."""

    def lost(self, channel: AsgiChannel) -> None:
        """Look after it no more."""

    def call(self, cycle: HttpCycle) -> Running:
        """Call the application; it has a place in *room*."""

    def failed(self, request: Request, error: BaseException | None) -> None:
        """Log that the application has failed, or not answered."""

    def cut_off(self, reason: str) -> None:
        """Log that an answer was cut off. *reason* is one of few."""

    def answered(
        self, request: Request, where: Whereabouts, status: int, size: int, began: float
    ) -> None:
        """
        Count and log an answer.

        Args:
            size: Bytes of its body.
            began: The time at which the head of the request was whole, in seconds of the monotonic
                clock.
        """


class AsgiChannel:
    """
    One connection.

    Args:
        server: Calls the application.
        kept: Knows all connections of the site.

    Attributes:
        returned: See `wsredis.transports.websocket.http.HttpChannel.returned`.
        address: See `wsredis.gateway.identity.Handshake.address`; that of the latest request.
        keeps: Tells whether another request may follow the present one.
    """

    __slots__ = (
        *("address", "keeps", "returned", "transport", "_began", "_body", "_cycle", "_data"),
        *(
            "_request",
            "_full_since",
            "_gone",
            "_has_begun",
            "_has_place",
            "_has_unread",
            "_in_head",
        ),
        *("_is_closing", "_is_ending", "_is_full", "_kept", "_offset", "_paused", "_progress"),
        *("_running", "_searched", "_sent", "_server", "_since", "_thrown_away", "_untaken"),
        *("_unwanted", "_waiting", "_where"),
    )

    transport: Any
    _where: Whereabouts

    def __init__(self, server: Serving, kept: Kept) -> None:
        self.returned: GiveBack | None = None
        self.address = ""
        self.keeps = True
        self.transport = None
        self._server = server
        self._kept = kept
        self._has_place = False
        #: The latest tick at which something happened that there is a limit for.
        self._since = server.tick
        # -- What comes.
        self._data = b""
        self._searched = 0
        self._in_head = False
        self._paused = 0
        self._thrown_away = 0
        # -- The request that is being answered.
        self._request: Request | None = None
        self._began = 0.0
        self._cycle: HttpCycle | None = None
        self._running: Running | None = None
        #: The part of the request that has not come. None if all of it has.
        self._body: SizedBody | ChunkedBody | None = None
        self._progress = 0
        self._untaken = 0
        self._unwanted = 0
        self._has_begun = False
        # -- What goes.
        self._waiting: deque[bytes] = deque()
        self._offset = 0
        self._is_full = False
        self._full_since = 0
        #: Bytes of the answer of which the application has not heard that they have gone.
        self._gone = 0
        # -- The end.
        self._is_closing = False
        self._is_ending = False
        self._has_unread = False

    @property
    def date(self) -> bytes:
        """See `wsredis.web.asgi.http_cycle.Answering.date`."""
        return self._server.date

    @property
    def key(self) -> Hashable:
        """The key by which shares are counted: clients without an address have one each."""
        return self.address or self

    # -- The connection

    def makeConnection(self, transport: Any) -> None:
        """Begin to use the transport."""
        self.transport = transport
        self._where = whereabouts(transport)
        # It tells as soon as the kernel takes no more.
        if is_plain(transport):
            transport.bufferSize = 0
        else:
            report_at_once(transport)
        transport.registerProducer(self, True)
        self._kept.channels.add(self)
        self._server.opened(self)

    def connectionLost(self, reason: Failure) -> None:
        """Forget the transport, and tell the application."""
        self._leave()
        self._waiting.clear()
        self._data = b""
        self._body = None
        self._drop_call()

    def _leave(self) -> None:
        self.transport = None
        self._is_closing = True
        self._kept.channels.discard(self)
        self._server.lost(self)
        self._leave_place()

    def _leave_place(self) -> None:
        if self._has_place and self._kept.places is not None:
            self._has_place = False
            self._kept.places.release(self.key)

    def _drop_call(self) -> None:
        """Tell the application that nobody waits for its answer any more."""
        cycle, running = self._cycle, self._running
        if cycle is not None:
            self._cycle = self._running = None
            self._server.link.to_application(cycle.left)
            if running is not None:
                running.leave()

    def _give_back(self, request: bytes, rest: bytes, status: int, reason: str) -> None:
        """Let go of the connection; see `wsredis.transports.websocket.http.GiveBack`."""
        transport, returned = self.transport, self.returned
        assert returned is not None
        self._leave()
        self._data = b""
        self._body = None
        transport.unregisterProducer()
        if is_plain(transport):
            del transport.bufferSize
        transport.resumeProducing()
        returned(request, rest, status, reason)

    def _refuse(self, status: int, reason: str) -> None:
        """Answer with an error in the place of the application, and end the connection."""
        self._drop_call()
        if self._has_begun:
            # Half an answer must not look like a whole one.
            self._abort("the request was malformed")
        else:
            self._give_back(self._data[: self._kept.max_head], b"", status, reason)

    def drain(self) -> None:
        """Close the connection: at once if it is idle, else after the answer that is under way."""
        self.keeps = False
        if self._cycle is None and self._body is None and not self._is_closing:
            self._close()

    def check(self, tick: int) -> None:
        """Close the connection if something has taken too long. *tick* is `Serving.tick`."""
        waited = tick - self._since
        if self._is_full and tick - self._full_since > _STALL:
            self._abort("its client does not read")
        elif self._is_closing:
            if waited > _LINGER and self.transport is not None:
                self.transport.abortConnection()
        elif self._body is not None:
            # The application may take its time.
            if not self._paused & _APPLICATION:
                if waited > _REQUEST:
                    self._refuse(408, "the request did not come")
            elif has_ended(self.transport):
                # Nobody would tell, since it is not read.
                self.transport.abortConnection()
        elif self._cycle is None and waited > (_REQUEST if self._in_head else _IDLE):
            self._close()

    # -- What comes

    def dataReceived(self, data: bytes) -> None:
        """Take bytes."""
        if self._is_closing:
            # A client that sends on does not wait for the answer.
            self._thrown_away += len(data)
            if self._thrown_away > _AFTER_END and self.transport is not None:
                self.transport.abortConnection()
            return
        self._data = self._data + data if self._data else data
        if not self._paused & _TURN:
            self._work()

    def _work(self) -> None:
        """Read what there is, as far as that is possible now."""
        while not self._is_closing:
            if self._body is not None:
                if not self._read_body():
                    break
            elif self._cycle is not None:
                if len(self._data) > _AHEAD:
                    self._pause(_NEXT)
                break
            elif not self._data or self._is_full or not self._read_head():
                break

    def _read_head(self) -> bool:
        """Read the head of a request. If False, it is not whole, or there is nothing to go on."""
        data, request = self._data, self._request
        if request is not None:
            headers = request.headers
            if data == request.raw and not headers.has_body:
                # The same one again, and it has the place that it had.
                self._data = b""
                self._begin(request)
                return False
            line = head.parse_line(data, headers.raw, self._kept.max_head)
            if line is not None and line[2] == headers.version and line[1][0] == "/":
                method, target, _, size = line
                if "#" not in target and not self._kept.is_own(target.partition("?")[0]):
                    self._request = request = Request(headers, data[:size], method, target)
                    self._data = data[size:]
                    self._searched = 0
                    self._in_head = False
                    self._begin(request)
                    return True
        if data[0] == 13:
            # An empty line before a request (RFC 9112, 2.2).
            if data == b"\r":
                return False
            if data[:2] == b"\r\n":
                self._data = data[2:]
                return bool(self._data)
        found = head.parse(data, self._kept.max_head, self._searched)
        if found.kind is _INCOMPLETE:
            self._searched = len(data)
            if not self._in_head:
                self._in_head = True
                self._since = self._server.tick
            return False
        self._searched = 0
        self._in_head = False
        self._has_begun = False
        size = found.size
        if found.status:
            self._refuse(found.status, found.reason)
        elif found.kind is _HANDSHAKE or self._kept.is_own(head.path_of(found.target)):
            self._give_back(data[:size], data[size:], 0, "")
        else:
            self._judge(found)
        return not self._is_closing

    def _judge(self, found: head.Head) -> None:
        """Answer a request, unless it is refused."""
        raw = self._data[: found.size]
        found = head.check_plain(found)
        if found.status:
            self._refuse(found.status, found.reason)
            return
        refusal = self._take_place(found.headers)
        if refusal is not None:
            self._refuse(*refusal)
            return
        try:
            headers = Headers(
                found,
                raw[raw.index(b"\r\n") + 2 :],
                self._where,
                self._server.place,
                self._kept.max_body,
            )
        except BadBody as error:
            self._refuse(error.status, error.reason)
            return
        self._data = self._data[found.size :]
        self._request = request = Request(headers, raw, found.method, found.target)
        self._begin(request)

    def _begin(self, request: Request) -> None:
        """Call the application."""
        server = self._server
        if not server.room.enter():
            self._data = request.raw
            self._refuse(503, "too many requests at a time")
            return
        self._began = monotonic()
        self._has_begun = False
        self.keeps = request.headers.keeps and self._kept.keeps_connections()
        if request.headers.has_body:
            self._begin_body(request)
            return
        self._cycle = cycle = HttpCycle(server.link, self, request, b"", False)
        self._running = server.call(cycle)

    def _begin_body(self, request: Request) -> None:
        """Call the application for a request with a body."""
        server, body = self._server, request.headers.make_body()
        try:
            piece, self._data, again = body.read(self._data)
        except BadBody as error:
            server.room.leave()
            self._refuse(error.status, error.reason)
            return
        self._since = server.tick
        self._progress = 0
        self._untaken = len(piece)
        has_more = not body.is_done
        self._body = body if has_more else None
        self._cycle = cycle = HttpCycle(server.link, self, request, piece, has_more)
        self._running = server.call(cycle)
        if has_more and self._untaken > _UNTAKEN:
            self._pause(_APPLICATION)
        if again:
            self._postpone()

    def _take_place(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Take a place for the client of this request. If there is none, tell why."""
        trusted, places = self._server.place.trusted, self._kept.places
        if trusted and (host := self._where.client[0] if self._where.client else "") in trusted:
            address = address_key(named_client(host, trusted, headers))
            if address != self.address:
                self._leave_place()
                self.address = address
        key = self.address or self
        if places is not None and not self._has_place:
            self._has_place = places.take(key)
            if not self._has_place:
                if places.is_full():
                    return 503, "too many connections"
                return 429, "too many connections of one client"
        return None

    def _read_body(self) -> bool:
        """Read a part of a body. If False, there is nothing to go on."""
        body, data, cycle = self._body, self._data, self._cycle
        assert body is not None
        if not data or self._paused & (_APPLICATION | _TURN):
            return False
        try:
            piece, self._data, again = body.read(data)
        except BadBody as error:
            self._body = None
            self._refuse(error.status, error.reason)
            return False
        size = len(data) - len(self._data)
        if not size:
            return False
        self._progress += size
        if self._progress >= _PROGRESS:
            self._progress = 0
            self._since = self._server.tick
        if body.is_done:
            self._body = None
        if cycle is None:
            self._unwanted += size
            if self._unwanted > _UNWANTED and self._body is not None:
                self._close()
            elif self._body is None:
                self._over()
        else:
            if piece or body.is_done:
                self._server.link.to_application(cycle.body, piece, not body.is_done)
            self._untaken += len(piece)
            if self._untaken > _UNTAKEN and not body.is_done:
                self._pause(_APPLICATION)
        if again:
            self._postpone()
            return False
        return True

    def _postpone(self) -> None:
        """Read the rest in a later turn of the reactor, after those that already wait for it."""
        if not self._paused & _TURN:
            self._pause(_TURN)
            self._kept.call_in_turn(self._take_turn)

    def _take_turn(self) -> None:
        if self.transport is not None:
            self._resume(_TURN)
            self._work()

    def _pause(self, why: int) -> None:
        if not self._paused and self.transport is not None:
            self.transport.pauseProducing()
        self._paused |= why

    def _resume(self, why: int) -> None:
        if self._paused & why:
            self._paused &= ~why
            if not self._paused and self.transport is not None:
                self.transport.resumeProducing()

    def _over(self) -> None:
        """Go on with the next request, since this one and its answer are complete."""
        self._since = self._server.tick
        if self._paused:
            self._resume(_NEXT | _APPLICATION)

    # -- What goes: wsredis.web.asgi.http_cycle.Answering

    def go_on(self, cycle: HttpCycle) -> None:
        """See `wsredis.web.asgi.http_cycle.Answering.go_on`."""
        if cycle is self._cycle and self._body is not None and not self._has_begun:
            self._send(_CONTINUE)

    def body_taken(self, cycle: HttpCycle, size: int) -> None:
        """See `wsredis.web.asgi.http_cycle.Answering.body_taken`."""
        if cycle is self._cycle:
            self._untaken -= size
            if self._paused & _APPLICATION and self._untaken <= _UNTAKEN:
                self._since = self._server.tick
                self._progress = 0
                self._resume(_APPLICATION)
                self._work()

    def write(self, cycle: HttpCycle) -> None:
        """See `wsredis.web.asgi.http_cycle.Answering.write`."""
        if cycle is self._cycle:
            data = cycle.take()
            self._has_begun = True
            self._gone += len(data)
            self._send(data)
            if self._gone >= _GONE and not self._is_full:
                self._tell_gone()

    def finish(self, cycle: HttpCycle, data: bytes, is_last: bool) -> None:
        """See `wsredis.web.asgi.http_cycle.Answering.finish`."""
        if cycle is not self._cycle:
            return
        self._cycle = self._running = None
        self._gone = 0
        self._send(data)
        self._answered(cycle.status, cycle.size)
        body = self._body
        if is_last or not self.keeps:
            self._close()
        elif body is not None:
            # The client has to send the rest, or it cannot send the next request.
            self._unwanted = 0
            if isinstance(body, SizedBody) and body.left > _UNWANTED:
                self._close()
            else:
                self._resume(_APPLICATION)
                self._work()
        else:
            self._over()
            if self._data:
                self._work()

    def _answered(self, status: int, size: int) -> None:
        assert self._request is not None
        self._server.answered(self._request, self._where, status, size, self._began)

    def ended(self, cycle: HttpCycle, error: BaseException | None) -> None:
        """See `wsredis.web.asgi.http_cycle.Answering.ended`."""
        self._server.room.leave()
        if cycle is not self._cycle:
            # Its client has the answer, or has gone.
            if error is not None:
                self._server.failed(cycle.request, error)
            return
        self._cycle = self._running = None
        self._server.failed(cycle.request, error)
        if cycle.step >= Step.HEAD:
            self._abort("the application failed")
            return
        answer = error_response(500, "internal error")
        if cycle.request.method == "HEAD":
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self._send(answer)
        self._answered(500, 0)
        self._close()

    def _send(self, data: bytes) -> None:
        """Hand bytes to the transport, or let them wait for it."""
        if self._is_full or len(data) > _PIECE:
            self._waiting.append(data)
            self._flush()
        elif data and self.transport is not None:
            self.transport.write(data)

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting and not self._is_full and self.transport is not None:
            data, start = waiting[0], self._offset
            end = start + _PIECE
            if end >= len(data):
                waiting.popleft()
                self._offset = 0
            else:
                self._offset = end
            self.transport.write(data[start:end])

    def _tell_gone(self) -> None:
        gone, self._gone = self._gone, 0
        if gone and self._cycle is not None:
            self._server.link.to_application(self._cycle.sent, gone)

    # -- twisted.internet.interfaces.IPushProducer

    def pauseProducing(self) -> None:
        """Write no more: the kernel takes nothing."""
        self._is_full = True
        self._full_since = self._server.tick

    def resumeProducing(self) -> None:
        """Go on writing: the kernel has taken all that was written."""
        self._is_full = False
        self._flush()
        if self._is_full or self.transport is None:
            return
        if self._is_ending:
            self._end()
        elif self._cycle is not None:
            self._tell_gone()
        elif not self._is_closing:
            self._work()

    def stopProducing(self) -> None:
        """Do nothing: the loss of the connection follows."""

    # -- The end

    def _close(self) -> None:
        """Close the connection when the client has all that waits for it."""
        if self._is_closing:
            return
        self._is_closing = True
        self._has_unread = self._body is not None
        self._body = None
        self._data = b""
        self._since = self._server.tick
        if self._is_full:
            self._is_ending = True
        else:
            self._end()

    def _end(self) -> None:
        transport = self.transport
        self._is_ending = False
        transport.unregisterProducer()
        if self._has_unread and is_plain(transport):
            # Closing a socket with unread input resets it, and the answer may be lost.
            transport.loseWriteConnection()
            if self._paused:
                self._paused = 0
                transport.resumeProducing()
        else:
            transport.loseConnection()

    def _abort(self, reason: str) -> None:
        """Reset the connection: the client must not take what it has for all of an answer."""
        self._is_closing = True
        self._server.cut_off(reason)
        if self.transport is not None:
            self.transport.abortConnection()
