"""
One connection with plain HTTP requests that an ASGI application answers.

Bytes of requests go in, one call of the application after the other comes out, and the bytes of
their answers go back. All of it is in the reactor's thread; the application's side of a call is
`wsredis.web.asgi.http_cycle`.

It is one module because a connection can be lost, refused, paused or closed in each of its states,
and the code for that has to be read together.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from time import monotonic
from typing import Any

from twisted.python.failure import Failure

from wsredis.gateway.shares import address_key
from wsredis.transports.sockets import has_ended, is_plain
from wsredis.transports.websocket.handshake import error_response
from wsredis.transports.websocket.http import GiveBack
from wsredis.transports.websocket.proxies import named_client
from wsredis.web.asgi.bodies import BadBody, ChunkedBody, SizedBody
from wsredis.web.asgi.http_cycle import HttpCycle, Step
from wsredis.web.asgi.http_output import Output
from wsredis.web.asgi.http_ports import Kept, Serving
from wsredis.web.asgi.http_reader import RequestReader
from wsredis.web.asgi.http_request import Request
from wsredis.web.asgi.link import Running
from wsredis.web.asgi.scopes import Whereabouts, whereabouts

__all__ = ["AsgiChannel"]

#: Seconds that a connection has for the head of a request, and for each _PROGRESS bytes of a body.
_REQUEST = 15
_PROGRESS = 16384

#: Seconds that a connection is kept without a request; see `wsredis.web.channel`.
_IDLE = 75

#: Seconds that a client may leave what waits for it unread.
_STALL = 30

#: Seconds that a client has to read the end of the last answer.
_LINGER = 75

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

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


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
        *("_gone", "_has_begun", "_has_place", "_has_unread", "_in_head", "_is_closing"),
        *("_is_ending", "_kept", "_output", "_paused", "_progress", "_reader", "_request"),
        *("_running", "_server", "_since", "_thrown_away", "_untaken", "_unwanted", "_where"),
    )

    transport: Any
    _where: Whereabouts
    _reader: RequestReader
    _output: Output

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
        self._reader = RequestReader(self._kept, self._where)
        self._output = Output(transport, self._server, self._drained)
        self._kept.channels.add(self)
        self._server.opened(self)

    def connectionLost(self, reason: Failure) -> None:
        """Forget the transport, and tell the application."""
        self._leave()
        self._output.drop()
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
        self._output.release()
        transport.resumeProducing()
        returned(request, rest, status, reason)

    def _refuse(self, status: int, reason: str) -> None:
        """Answer with an error in the place of the application, and end the connection."""
        if self._cycle is None and self._body is not None:
            # There was an answer, of which a part may wait for the client.
            self._close()
            return
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
        if self._output.is_full and tick - self._output.full_since > _STALL:
            self._abort("its client does not read")
        elif self._is_closing:
            if waited > _LINGER and self.transport is not None:
                self.transport.abortConnection()
        elif self._paused & (_APPLICATION | _NEXT):
            # The application may take its time.
            if has_ended(self.transport):
                # Nobody would tell, since it is not read.
                self.transport.abortConnection()
        elif self._body is not None:
            if waited > _REQUEST:
                self._refuse(408, "the request did not come")
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
            elif not self._data or self._output.is_full or not self._read_head():
                break

    def _read_head(self) -> bool:
        """Read the head of a request. If False, it is not whole, or there is nothing to go on."""
        data = self._data
        if data[0] == 13:
            # An empty line before a request (RFC 9112, 2.2).
            if data == b"\r":
                return False
            if data[:2] == b"\r\n":
                self._data = data[2:]
                return bool(self._data)
        try:
            found = self._reader.read(data, self._server.place)
        except BadBody as error:
            self._refuse(error.status, error.reason)
            return False
        if found is None:
            if not self._in_head:
                self._in_head = True
                self._since = self._server.tick
            return False
        self._in_head = False
        if isinstance(found, Request):
            before, self._request = self._request, found
            if before is None or found.headers is not before.headers:
                refusal = self._take_place(found.headers.values)
                if refusal is not None:
                    self._refuse(*refusal)
                    return False
            self._data = data[len(found.raw) :]
            self._begin(found)
        elif found.status:
            self._refuse(found.status, found.reason)
        else:
            self._give_back(data[: found.size], data[found.size :], 0, "")
        return not self._is_closing

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
            elif self._body is None and not self.keeps:
                # The site was drained meanwhile.
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
        self._has_begun = False
        if self._paused:
            self._resume(_NEXT | _APPLICATION)

    # -- What goes: wsredis.web.asgi.http_cycle.Answering

    def go_on(self, cycle: HttpCycle) -> None:
        """See `wsredis.web.asgi.http_cycle.Answering.go_on`."""
        if cycle is self._cycle and self._body is not None and not self._has_begun:
            self._output.send(_CONTINUE)

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
            self._output.send(data)
            if self._gone >= _GONE and not self._output.is_full:
                self._tell_gone()

    def finish(self, cycle: HttpCycle, data: bytes, is_last: bool) -> None:
        """See `wsredis.web.asgi.http_cycle.Answering.finish`."""
        if cycle is not self._cycle:
            return
        self._cycle = self._running = None
        self._gone = 0
        self._output.send(data)
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
        self._output.send(answer)
        self._answered(500, 0)
        self._close()

    def _tell_gone(self) -> None:
        gone, self._gone = self._gone, 0
        if gone and self._cycle is not None:
            self._server.link.to_application(self._cycle.sent, gone)

    def _drained(self) -> None:
        """Go on, since the kernel has taken all that was written."""
        if self._is_ending:
            self._end()
        elif self._cycle is not None:
            self._tell_gone()
        elif not self._is_closing:
            self._work()

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
        if self._output.is_full:
            self._is_ending = True
        else:
            self._end()

    def _end(self) -> None:
        transport = self.transport
        self._is_ending = False
        self._output.release()
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
