"""
One request to a WSGI application, and its answer.

The environment and the checks of ``start_response`` are those of twisted.web. This module adds what
twisted.web leaves out: back-pressure for a client that reads slowly, a call of the iterable's
``close()`` in every case, and a check of the body against the Content-Length of the application.

It is one module because all of that builds on private names of twisted.web's WSGI support;
`check_twisted` tells at start whether the installed version still has them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Condition
from typing import Any
from wsgiref.util import FileWrapper

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.http import HTTPChannel
from twisted.web.wsgi import _WSGIResponse
from zope.interface import implementer

from twisted import __version__ as twisted_version
from wsredis.errors import incompatible

__all__ = ["Application", "WSGIResponse", "check_twisted"]

#: A WSGI application (PEP 3333).
Application = Callable[[dict[str, Any], Callable[..., Any]], Any]

#: Bytes of one response that may wait for the client before the application has to wait.
_MAX_AHEAD = 262144

#: Seconds that a client may leave a full buffer unread before its connection is aborted.
_STALL_TIMEOUT = 30.0

#: Bytes that are read from a file at a time.
_BLOCK = 65536

#: Statuses without a body (RFC 9110, 6.4.1).
_NO_BODY = (204, 304)

#: Headers that the environment has under another name, or that are no longer true.
_REMOVED_HEADERS = ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")


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
    """

    def __init__(
        self,
        reactor: Any,
        pool: ThreadPool,
        application: Application,
        request: Any,
        multiprocess: bool,
        done: Callable[[], None],
    ) -> None:
        headers = request.requestHeaders
        for name, _ in list(headers.getAllRawHeaders()):
            # X_A and X-A have the same name in the environment, and a proxy may only check X-A.
            if b"_" in name:
                headers.removeHeader(name)
        super().__init__(reactor, pool, application, request)
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
                "wsgi.multiprocess": multiprocess,
            }
        )
        self._done = done
        # Used by the reactor only:
        self._deadline: Any = None
        self._is_paused = False
        self._unread = 0
        self._remaining: int | None = None
        self._has_headers = False
        # Used by the reactor and the thread, under the lock:
        self._changed = Condition()
        self._chunks: list[bytes] = []
        self._ahead = 0

    # -- In the thread

    def run(self) -> None:
        """Call the application, and tell the reactor how it ended."""
        try:
            if not self._requestFinished:
                self._call()
        except BaseException:
            self.reactor.callFromThread(self._failed, Failure())
        else:
            self.reactor.callFromThread(self._succeeded)

    def _call(self) -> None:
        answer = self.application(self.environ, self.startResponse)
        try:
            for each in answer:
                if each:
                    self.write(each)
                if self._requestFinished:
                    break
        finally:
            if hasattr(answer, "close"):
                answer.close()

    def write(self, data: bytes) -> None:
        """
        Have the reactor send some bytes. Blocks while too many wait for the client.

        Raises:
            TypeError: *data* is not bytes.
            RuntimeError: The application did not call ``start_response``.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"the body must be bytes, not {type(data).__name__}")
        if not hasattr(self, "status"):
            raise RuntimeError("start_response was not called")
        self.started = True
        with self._changed:
            while self._ahead > _MAX_AHEAD and not self._requestFinished:
                self._changed.wait()
            self._ahead += len(data)
            self._chunks.append(data)
            if len(self._chunks) == 1:
                self.reactor.callFromThread(self._flush)

    # -- In the reactor

    def start(self) -> None:
        """Queue the request for a thread."""
        self.request.registerProducer(self, True)
        if self.request.channel._waitingForTransport:
            # The client has not read the answer before this one yet.
            self.pauseProducing()
        super().start()

    def pauseProducing(self) -> None:
        """Note that the client does not read, and wait for it a limited time."""
        self._is_paused = True
        if self._deadline is None:
            self._deadline = self.reactor.callLater(_STALL_TIMEOUT, self._stalled)

    def resumeProducing(self) -> None:
        """Note that the client has read everything, and let the application go on."""
        self._is_paused = False
        self._stop_waiting()
        self._sent(self._unread)
        self._unread = 0

    def stopProducing(self) -> None:
        """Do nothing: the request reports the lost connection as well."""

    def _finished(self, ignored: object) -> None:
        with self._changed:
            super()._finished(ignored)
            self._changed.notify()
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stalled(self) -> None:
        self._deadline = None
        self._log.info("a client does not read the answer: connection dropped")
        self.request.channel.transport.abortConnection()

    def _sent(self, size: int) -> None:
        with self._changed:
            self._ahead -= size
            self._changed.notify()

    def _flush(self) -> None:
        with self._changed:
            chunks, self._chunks = self._chunks, []
        data = b"".join(chunks)
        if self._requestFinished:
            return
        if not self._send_headers():
            return
        if self._remaining is not None:
            sent, self._remaining = data[: self._remaining], max(0, self._remaining - len(data))
        else:
            sent = data
        self.request.write(sent)
        if self._is_paused:
            self._unread += len(data)
        else:
            self._sent(len(data))

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
        length = self.request.responseHeaders.getRawHeaders(b"content-length", [b""])[0]
        has_body = self.request.method != b"HEAD" and self.request.code not in _NO_BODY
        if has_body and length.isdigit():
            self._remaining = int(length)
        return True

    def _succeeded(self) -> None:
        self._done()
        if self._requestFinished or not self._send_headers():
            return
        self.request.unregisterProducer()
        if self._remaining:
            self._log.warn(
                "the answer for {path!r} is {left} bytes shorter than its Content-Length",
                path=self.request.path,
                left=self._remaining,
            )
            self.request.loseConnection()
            return
        self.request.finish()

    def _failed(self, failure: Failure) -> None:
        self._done()
        self._refuse(failure)

    def _refuse(self, failure: Failure) -> None:
        self._log.failure("the WSGI application failed", failure=failure)
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
