"""
One request to a WSGI application, and its answer.

The environment and the checks of ``start_response`` are those of twisted.web. This module adds what
twisted.web leaves out: a slow client does not hold a thread as long as its answer may wait in the
spool, ``close()`` of the iterable is called in every case and does not delay the answer, the body
is checked against the Content-Length of the application, and its headers for characters that would
end their line.

It is one module because all of that builds on private names of twisted.web's WSGI support;
`check_twisted` tells at start whether the installed version still has them.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable, Hashable
from math import inf
from threading import Condition
from typing import Any, Protocol
from wsgiref.util import FileWrapper

from twisted.internet.interfaces import IPushProducer
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel
from twisted.web.wsgi import _WSGIResponse
from zope.interface import implementer

from twisted import __version__ as twisted_version
from wsredis.errors import incompatible
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.web.spool import Spool

__all__ = ["Application", "ResponseOwner", "WSGIResponse", "check_twisted"]

#: A WSGI application (PEP 3333).
Application = Callable[[dict[str, Any], Callable[..., Any]], Any]

#: Bytes of one answer that may wait for the client without a share of the spool.
_WINDOW = 32768

#: Bytes of one answer that may wait. If it is larger, its thread waits.
_MAX_WAITING = 8388608

#: Bytes that a chunk takes beside its own.
_OVERHEAD = 64

#: Bytes that are handed to the transport at a time, and that a thread adds at a time while it waits
#: for a slow client. The window, which an answer has of its own, takes one: a thread that waits
#: always has bytes on their way, and is woken up when they have gone.
_PIECE = _WINDOW - _OVERHEAD

#: Seconds after which the rate of a client is known.
_FIRST_RATE = 0.5

#: Seconds that a client may leave a full buffer unread before its connection is aborted.
_STALL_TIMEOUT = 30.0

#: Bytes that are read from a file at a time.
_BLOCK = 65536

#: Statuses without a body (RFC 9110, 6.4.1).
_NO_BODY = (204, 304)

#: Headers that the environment has under another name, or that are no longer true.
_REMOVED_HEADERS = ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")

#: Headers about the connection (PEP 3333: an application may not use them). They are left out.
_HOP_BY_HOP = (
    *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te"),
    *("trailer", "trailers", "transfer-encoding", "upgrade"),
)

#: The reason may be missing, as in a response of Django with an empty one.
_STATUS = re.compile(r"([2-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CLOSE = re.compile(r"(?:^|,)[ \t]*close[ \t]*(?:,|$)", re.IGNORECASE)


class ResponseOwner(Protocol):
    """
    The part of a resource that its responses use.

    Attributes:
        reactor: The reactor.
        application: The application.
        multiprocess: Whether other processes serve the same application.
        spool: Where answers wait.
        throttle: Counts lines of the log that clients can cause.
    """

    reactor: Any
    application: Application
    multiprocess: bool
    spool: Spool
    throttle: LogThrottle

    def done(self, response: WSGIResponse) -> None:
        """Take note that a thread has finished its work on *response*, and close its body."""

    def left(self, response: WSGIResponse) -> None:
        """Take note that the client of *response* has its answer, or has left."""

    def blocked(self, response: WSGIResponse, is_blocked: bool) -> None:
        """Take note that a thread waits for a client, or no more. Called in that thread."""


class _File(FileWrapper):
    """Reads files in larger blocks than the application asks for."""

    def __init__(self, filelike: Any, blksize: int = _BLOCK) -> None:
        super().__init__(filelike, max(blksize, _BLOCK))


@implementer(IPushProducer)
class WSGIResponse(_WSGIResponse):
    """
    One request, and the answer of the application.

    A thread makes the answer, and the reactor sends it. Both use the attributes that `__init__`
    lists below ``_changed``, and only under its lock; ``_requestFinished`` is set under it too.

    No more of the body is made than the client gets: none after the head of an answer to HEAD, or
    of one with the status 204 or 304, and none after Content-Length bytes.

    Args:
        key: The address of the client, for its shares.
    """

    def __init__(self, owner: ResponseOwner, request: Any, key: Hashable) -> None:
        headers = request.requestHeaders
        for name, _ in list(headers.getAllRawHeaders()):
            # X_A and X-A have the same name in the environment, and a proxy may only check X-A.
            if b"_" in name:
                headers.removeHeader(name)
        super().__init__(owner.reactor, None, owner.application, request)
        for name in _REMOVED_HEADERS:
            self.environ.pop(name, None)
        cookies = headers.getRawHeaders(b"cookie", [])
        if len(cookies) > 1:
            # Each character stands for one byte (PEP 3333); the bytes may be any.
            self.environ["HTTP_COOKIE"] = b"; ".join(cookies).decode("latin-1")
        if headers.hasHeader("transfer-encoding"):
            # The whole body is here. Applications do not read further than CONTENT_LENGTH.
            request.content.seek(0, os.SEEK_END)
            self.environ["CONTENT_LENGTH"] = str(request.content.tell())
            request.content.seek(0)
        environ: dict[str, Any] = self.environ
        environ.update(
            {
                "wsgi.input_terminated": True,
                "wsgi.file_wrapper": _File,
                "wsgi.multiprocess": owner.multiprocess,
            }
        )
        self.key = key
        self._owner = owner
        # The application may read the body after the client has left. twisted.web would close it.
        self._content, request.content = request.content, None
        # Set by the thread before it calls the reactor:
        self._has_body = True
        self._is_closing = False
        self._is_long = False
        self._due: int | None = None
        # Used by the reactor only:
        self._deadline: Any = None
        self._is_paused = False
        self._is_made = False
        self._remaining: int | None = None
        self._has_headers = False
        # Used by the reactor and the thread, under the lock:
        self._changed = Condition()
        self._chunks: deque[bytes] = deque()
        self._offset = 0
        self._waiting = 0
        self._share = 0
        self._is_flushing = False
        self._sent = 0
        self._blocked_at: tuple[float, int] | None = None

    # -- In the thread

    def run(self) -> None:
        """
        Call the application, and tell the reactor how it ended.

        The client has its whole answer before the iterable is closed: Django runs the handlers of
        ``request_finished`` then, which may take long, or fail.
        """
        answer: Any = None
        try:
            if not self._requestFinished:
                answer = self.application(self.environ, self.startResponse)
                self._iterate(answer)
        except BaseException:
            self.reactor.callFromThread(self._refuse, Failure())
        else:
            self.reactor.callFromThread(self._made)
        try:
            if hasattr(answer, "close"):
                answer.close()
        except BaseException:
            self.reactor.callFromThread(self._report, Failure())
        self.reactor.callFromThread(self._owner.done, self)

    def _iterate(self, answer: Any) -> None:
        for each in answer:
            if each:
                self.write(each)
                if self._is_long or not self._has_body:
                    # The rest would not be sent, and may be endless.
                    break
            if self._requestFinished:
                break
        if not hasattr(self, "status"):
            raise RuntimeError("start_response was not called")

    def startResponse(self, status: Any, headers: Any, excInfo: Any = None) -> Any:
        """
        Take the status and the headers of the answer.

        Raises:
            ValueError: They have a character that could end their line, or two lengths.
            TypeError: They are not strings.
            RuntimeError: A part of the answer is already on its way. With *excInfo* that exception
                is raised in its place.
        """
        if self.started and excInfo is None:
            raise RuntimeError("start_response was called after the first bytes of the body")
        write = super().startResponse(status, headers, excInfo)
        found = _STATUS.fullmatch(status)
        if found is None:
            raise ValueError("the status is not three digits and a text of one line")
        if not (found[2] or "").strip():
            self.status = f"{found[1]} {RESPONSES.get(int(found[1]), b'Unknown').decode()}"
        code, due = int(found[1]), None
        for name, value in headers:
            if _NAME.fullmatch(name) is None:
                raise ValueError("the name of a header is malformed")
            if _CONTROL.search(value) is not None:
                raise ValueError(f"the header {name} has a control character")
            if name.lower() == "content-length":
                if due is not None or _LENGTH.fullmatch(value) is None:
                    raise ValueError("Content-Length is not one number")
                due = int(value)
            if name.lower() == "connection" and _CLOSE.search(value) is not None:
                self._is_closing = True
        self.headers = [each for each in headers if each[0].lower() not in _HOP_BY_HOP]
        self._has_body = self.request.method != b"HEAD" and code not in _NO_BODY
        self._due = due
        return write

    def write(self, data: bytes) -> None:
        """
        Have the reactor send some bytes. Blocks if they may not wait for the client.

        Raises:
            TypeError: *data* is not bytes.
            RuntimeError: The application did not call ``start_response``.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"the body must be bytes, not {type(data).__name__}")
        if not hasattr(self, "status"):
            raise RuntimeError("start_response was not called")
        self.started = True
        if not self._has_body:
            return
        if self._due is not None:
            self._is_long = len(data) > self._due
            data = data[: self._due]
            self._due -= len(data)
            if self._is_long and not data:
                return
        with self._changed:
            if self._add(data):
                return
            if self._blocked_at is None:
                self._blocked_at = self.reactor.seconds(), self._sent
            self._owner.blocked(self, True)
            try:
                for start in range(0, len(data), _PIECE):
                    piece = data[start : start + _PIECE]
                    while not self._add(piece):
                        self._changed.wait()
            finally:
                self._owner.blocked(self, False)

    def _add(self, data: bytes) -> bool:
        """Let bytes wait for the client. If False, they may not, and nothing has changed."""
        if self._requestFinished:
            return True
        waiting = self._waiting + len(data) + _OVERHEAD
        more = waiting - _WINDOW - self._share
        if more > 0:
            if waiting > _MAX_WAITING or not self._owner.spool.take(self.key, more):
                return False
            self._share += more
        self._chunks.append(data)
        self._waiting = waiting
        if not self._is_flushing:
            self._is_flushing = True
            self.reactor.callFromThread(self._flush)
        return True

    # -- In the reactor

    def start(self) -> None:
        """Begin to take the answer. The owner calls `run` in a thread."""
        self.request.registerProducer(self, True)
        if self.request.channel._waitingForTransport:
            # The client has not read the answer before this one yet.
            self.pauseProducing()

    def pauseProducing(self) -> None:
        """Note that the client does not read, and wait for it a limited time."""
        self._is_paused = True
        if self._deadline is None:
            self._deadline = self.reactor.callLater(_STALL_TIMEOUT, self._stalled)

    def resumeProducing(self) -> None:
        """Note that the client has read everything, and go on."""
        self._is_paused = False
        self._stop_waiting()
        self._send()

    def stopProducing(self) -> None:
        """Do nothing: the request reports the lost connection as well."""

    def _finished(self, ignored: object) -> None:
        with self._changed:
            super()._finished(ignored)
            self._chunks.clear()
            self._waiting = 0
            self._give_back()
        self._stop_waiting()
        self._owner.left(self)

    def _give_back(self) -> None:
        """Release the share of the bytes that wait no more, and wake the thread up."""
        unused = self._share - max(0, self._waiting - _WINDOW)
        if unused > 0:
            self._share -= unused
            self._owner.spool.release(self.key, unused)
        self._changed.notify()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stalled(self) -> None:
        self._deadline = None
        self.drop("the client does not read")

    def rate(self) -> float:
        """
        Return the bytes a second that the client has taken since its thread first waited for it.

        If that was less than half a second ago, they are not known yet, and infinite.
        """
        since, before = self._blocked_at or (self.reactor.seconds(), 0)
        seconds: float = self.reactor.seconds() - since
        return inf if seconds < _FIRST_RATE else (self._sent - before) / seconds

    def drop(self, reason: str) -> None:
        """Abort the connection of a client that is too slow."""
        if not self._requestFinished:
            self._owner.throttle.log(
                self._log,
                LogLevel.warn,
                "slow",
                "an answer was cut off: {reason}",
                event="answer-cut-off",
                reason=reason,
            )
            self.request.channel.transport.abortConnection()

    def _flush(self) -> None:
        with self._changed:
            self._is_flushing = False
        self._send()

    def _send(self) -> None:
        """Hand bytes to the transport until it asks to wait, or none are left."""
        while self._waiting and not self._is_paused and self._send_headers():
            with self._changed:
                piece = self._next_piece()
                self._sent += len(piece)
                self._give_back()
            if self._remaining is not None:
                self._remaining -= len(piece)
            self.request.write(piece)
        if self._is_made and not self._waiting and not self._requestFinished:
            self._end()

    def _next_piece(self) -> bytes:
        """Return the next bytes that wait: a large chunk in parts, and small ones together."""
        pieces: list[bytes] = []
        size = 0
        while self._chunks and size < _PIECE:
            chunk, start = self._chunks[0], self._offset
            if len(chunk) - start > 2 * _PIECE:
                piece = chunk[start : start + _PIECE]
                self._offset += _PIECE
            else:
                piece = chunk[start:] if start else chunk
                del self._chunks[0]
                self._offset = 0
                self._waiting -= _OVERHEAD
            pieces.append(piece)
            size += len(piece)
        self._waiting -= size
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _send_headers(self) -> bool:
        """
        Pass status and headers to the request, once.

        Returns:
            False if they cannot be used. The request is then answered with 500.
        """
        if self._has_headers:
            return True
        try:
            self._sendResponseHeaders()
        except Exception:
            self._refuse(Failure())
            return False
        self._has_headers = True
        headers = self.request.responseHeaders
        if self.request.code == 204:
            headers.removeHeader(b"content-length")
        if self._is_closing:
            self.request.channel.persistent = False
            headers.setRawHeaders(b"connection", [b"close"])
        length = headers.getRawHeaders(b"content-length")
        if length and self._has_body:
            self._remaining = int(length[0])
        return True

    def _made(self) -> None:
        """Send what is left: the application has made the whole answer."""
        self._is_made = True
        self._send()

    def _end(self) -> None:
        """Finish the answer: the transport has all of it."""
        if not self._send_headers():
            return
        self.request.unregisterProducer()
        if self._is_long:
            self._owner.throttle.log(
                self._log,
                LogLevel.warn,
                "long",
                "the answer for {path!r} is longer than its Content-Length, and was cut off",
                event="answer-too-long",
                path=self.request.path,
            )
        if self._remaining:
            self._owner.throttle.log(
                self._log,
                LogLevel.warn,
                "short",
                "the answer for {path!r} is {left} bytes shorter than its Content-Length",
                event="answer-too-short",
                path=self.request.path,
                left=self._remaining,
            )
            self.request.loseConnection()
            return
        self.request.finish()

    def close_content(self) -> None:
        """Close the body of the request: the application no longer reads it."""
        self._content.close()

    def _report(self, failure: Failure) -> None:
        if self._owner.throttle.take("failed"):
            self._log.failure(
                "the WSGI application failed", event="application-failed", failure=failure
            )
        else:
            self._owner.throttle.log(
                self._log,
                LogLevel.critical,
                "failed",
                "the WSGI application failed: {error}",
                event="application-failed",
                error=type(failure.value).__name__,
            )

    def _refuse(self, failure: Failure) -> None:
        self._report(failure)
        if self._requestFinished:
            return
        self.request.unregisterProducer()
        if self.request.startedWriting:
            # Half an answer must not look like a whole one.
            self.request.loseConnection()
            return
        self.request.responseHeaders.removeHeader("content-length")
        self.request.setResponseCode(500)
        self.request.setHeader("content-type", "text/plain; charset=utf-8")
        self.request.write(b"internal error\n")
        self.request.finish()


def check_twisted(channel: type = HTTPChannel, response: type = _WSGIResponse) -> None:
    """
    Check that twisted.web has the private names that this module uses.

    Args:
        channel, response: The classes to check.

    Raises:
        ConfigError: A name is missing. The text names the version of Twisted, and the name.
    """
    for owner, names in (
        (channel, ("_waitingForTransport",)),
        (response, ("_requestFinished", "_finished", "_sendResponseHeaders", "_log")),
    ):
        for name in names:
            if not hasattr(owner, name):
                raise incompatible(
                    "Twisted", twisted_version, f"{owner.__name__}.{name} is missing"
                )
