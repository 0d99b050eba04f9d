"""
Pages beside the sockets: a WSGI application in a pool of threads of its own.

The environment and the checks of ``start_response`` are those of twisted.web. What it leaves open
is closed here: a response that is made faster than the client reads it, a queue of requests without
an end, an iterable that is not closed, a thread that never comes back, and a body that is not as
long as the application said.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import import_module
from threading import Condition
from typing import Any
from wsgiref.util import FileWrapper

from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.wsgi import _WSGIResponse
from zope.interface import implementer

from wsredis.config.imports import import_named, search_here
from wsredis.gateway.threads import DaemonThreadPool

__all__ = ["Application", "Pages", "load_application"]

#: A WSGI application (PEP 3333).
Application = Callable[[dict[str, Any], Callable[..., Any]], Any]

#: Bytes of one response that may wait for the client before the application has to wait.
_AHEAD = 262144

#: Seconds that a client may leave them unread.
_STALLED = 30.0

#: Bytes that are read from a file at a time.
_BLOCK = 65536

#: Seconds that a thread may keep the interpreter while others wait, instead of Python's 0.005.
_SWITCH = 0.0001

#: Seconds that a client is asked to wait when too many are there.
_RETRY_AFTER = 2

#: Statuses without a body (RFC 9110, 6.4.1).
_NO_BODY = (204, 304)

#: Headers that are in the environment under another name, or do not hold any more.
_NOT_PASSED_ON = ("HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH", "HTTP_TRANSFER_ENCODING")


def load_application(name: str) -> Application:
    """
    Import a WSGI application; with Django in development, one that has the static files as well.

    Args:
        name: ``package.module:name``. Modules of the working directory are found before others.
    Raises:
        ConfigError: See `wsredis.config.imports.import_named`.
    """
    search_here(first=True)
    return _with_static_files(import_named(f"--wsgi: {name!r} cannot be used", name))


def _with_static_files(application: Application) -> Application:
    """Serve static files as well, if this is Django in development, as its runserver does."""
    django_conf = sys.modules.get("django.conf")
    if django_conf is None or not django_conf.settings.configured:
        return application
    settings: Any = django_conf.settings
    if not (settings.DEBUG and "django.contrib.staticfiles" in settings.INSTALLED_APPS):
        return application
    handlers = import_module("django.contrib.staticfiles.handlers")
    served: Application = handlers.StaticFilesHandler(application)
    return served


class Pages(Resource):
    """
    A resource that has a WSGI application answer, in threads of its own.

    Args:
        threads: So many requests are worked on at a time.
        queue: So many more wait; the next one is answered with 503.
        multiprocess: Whether other processes serve the same application.
    """

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        application: Application,
        threads: int,
        queue: int,
        *,
        multiprocess: bool = False,
    ) -> None:
        super().__init__()
        self._reactor = reactor
        self._application = application
        self._room = threads + queue
        self._multiprocess = multiprocess
        self._pool = DaemonThreadPool(0, threads, "wsgi")
        self._switch = sys.getswitchinterval()
        #: Requests that wait for a thread, or have one.
        self.busy = 0

    def start(self) -> None:
        """Take requests. Python switches between threads more often from now on."""
        self._pool.start()
        self._switch = sys.getswitchinterval()
        sys.setswitchinterval(min(_SWITCH, self._switch))

    def stop(self) -> None:
        """End the threads. Those that still work are not waited for, since they may never end."""
        sys.setswitchinterval(self._switch)
        if self.busy:
            self._log.warn("{count} requests for pages did not come to an end", count=self.busy)
            self._pool.threads = []
        self._pool.stop()

    def render(self, request: Any) -> Any:
        """Hand the request to a thread, or say that there are too many."""
        if self.busy >= self._room:
            request.setResponseCode(503)
            request.setHeader("content-type", "text/plain; charset=utf-8")
            request.setHeader("retry-after", str(_RETRY_AFTER))
            return b"too many requests at a time\n"
        self.busy += 1
        _Response(
            self._reactor, self._pool, self._application, request, self._multiprocess, self._done
        ).start()
        return NOT_DONE_YET

    def _done(self) -> None:
        self.busy -= 1


class _File(FileWrapper):
    """Reads files in larger blocks than the application asks for."""

    def __init__(self, filelike: Any, blksize: int = _BLOCK) -> None:
        super().__init__(filelike, max(blksize, _BLOCK))


@implementer(IPushProducer)
class _Response(_WSGIResponse):
    """
    One request, and the answer of the application.

    The thread makes the answer, the reactor sends it. Only what is below `_changed` is touched by
    both, and only under its lock.
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
            # It would have the name of one with a dash, which a proxy may have seen to.
            if b"_" in name:
                headers.removeHeader(name)
        super().__init__(reactor, pool, application, request)
        for name in _NOT_PASSED_ON:
            self.environ.pop(name, None)
        cookies = headers.getRawHeaders("cookie", [])
        if len(cookies) > 1:
            self.environ["HTTP_COOKIE"] = "; ".join(cookies)
        if headers.hasHeader("transfer-encoding"):
            # All of it is here; applications look no further than they are told.
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
        # Of the reactor:
        self._deadline: Any = None
        self._is_paused = False
        self._unread = 0
        self._left: int | None = None
        self._has_headers = False
        # Of both:
        self._changed = Condition()
        self._chunks: list[bytes] = []
        self._ahead = 0

    # -- In the thread

    def run(self) -> None:
        """Have the application answer."""
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
        """Have the reactor send some bytes; wait as long as it has too many."""
        if not isinstance(data, bytes):
            raise TypeError(f"the body must be bytes, not {type(data).__name__}")
        if not hasattr(self, "status"):
            raise RuntimeError("start_response was not called")
        self.started = True
        with self._changed:
            while self._ahead > _AHEAD and not self._requestFinished:
                self._changed.wait()
            self._ahead += len(data)
            self._chunks.append(data)
            if len(self._chunks) == 1:
                self.reactor.callFromThread(self._flush)

    # -- In the reactor

    def start(self) -> None:
        """Wait for a thread."""
        self.request.registerProducer(self, True)
        if self.request.channel._waitingForTransport:
            # The answer before this one is not read yet.
            self.pauseProducing()
        super().start()

    def pauseProducing(self) -> None:
        """The client does not read."""
        self._is_paused = True
        if self._deadline is None:
            self._deadline = self.reactor.callLater(_STALLED, self._stalled)

    def resumeProducing(self) -> None:
        """The client has read all that there was."""
        self._is_paused = False
        self._stop_waiting()
        self._sent(self._unread)
        self._unread = 0

    def stopProducing(self) -> None:
        """The client is gone; the request will tell."""

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
        self._log.info("a client does not read its page: connection dropped")
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
        if self._left is not None:
            sent, self._left = data[: self._left], max(0, self._left - len(data))
        else:
            sent = data
        self.request.write(sent)
        if self._is_paused:
            self._unread += len(data)
        else:
            self._sent(len(data))

    def _send_headers(self) -> bool:
        """Returns: Whether there were usable ones; else the request is over."""
        if self._has_headers:
            return True
        try:
            self._sendResponseHeaders()
        except Exception:
            self._refuse(Failure())
            return False
        self._has_headers = True
        length = self.request.responseHeaders.getRawHeaders("content-length", [""])[0]
        has_body = self.request.method != b"HEAD" and self.request.code not in _NO_BODY
        if has_body and length.isdecimal():
            self._left = int(length)
        return True

    def _succeeded(self) -> None:
        self._done()
        if self._requestFinished or not self._send_headers():
            return
        self.request.unregisterProducer()
        if self._left:
            self._log.warn(
                "the page {path!r} is {left} bytes shorter than it said",
                path=self.request.path,
                left=self._left,
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
