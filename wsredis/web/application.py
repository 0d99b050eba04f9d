"""
A WSGI application beside the sockets: found by its name, and called in threads of its own.

The pool of threads is not the one of the reactor. The number of waiting requests is limited, each
address has a share of it and its turn, and a stop does not wait for a thread that hangs.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Hashable
from importlib import import_module
from inspect import iscoroutinefunction, signature
from threading import Lock
from typing import Any, TypeVar

from twisted.logger import Logger, LogLevel
from twisted.web.server import NOT_DONE_YET

from wsredis.config.imports import import_named, patched_by, search_here
from wsredis.config.ws4redis import is_of_ws4redis
from wsredis.errors import ConfigError
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.shares import SharedBound
from wsredis.gateway.threads import DaemonThreadPool, SwitchInterval
from wsredis.web.resources import ApplicationResource
from wsredis.web.spool import MAX_SPOOL, Spool
from wsredis.web.wsgi import Application, WSGIResponse

__all__ = ["WSGIResource", "load_application", "with_static_files"]

_Wrapped = TypeVar("_Wrapped")

#: Seconds that a request waits for a thread before it is asked for that of a slow client.
_PATIENCE = 0.5

#: Bytes a second that a client takes who may keep its thread while others wait.
_SLOW = 65536

#: Seconds that a client is asked to wait after a 503.
_RETRY_AFTER = 2


def load_application(name: str) -> Application:
    """
    Import a WSGI application.

    Under Django with ``DEBUG`` and ``django.contrib.staticfiles``, the application is wrapped so
    that it serves static files too, as Django's own runserver does.

    Args:
        name: ``package.module:name``. Modules of the working directory are found before others.

    Returns:
        The application.

    Raises:
        ConfigError: See `wsredis.config.imports.import_named`; or it is no WSGI application.
    """
    search_here(first=True)
    label = f"wsgi: {name!r} cannot be used"
    application = import_named(label, name)
    reason = _not_wsgi(application)
    if reason:
        raise ConfigError(f"{label}: {reason}")
    return with_static_files(application, "StaticFilesHandler")


def _not_wsgi(application: Any) -> str:
    """Tell why an object is no WSGI application. Empty if it may be one."""
    if iscoroutinefunction(application) or iscoroutinefunction(type(application).__call__):
        return "it is an ASGI application, for --asgi"
    if any(is_of_ws4redis(each.__module__) for each in (application, type(application))):
        return "it is the WebSocket server of django-websocket-redis, whose place the gateway takes"
    try:
        signature(application).bind({}, None)
    except TypeError:
        return "a WSGI application takes two arguments, environ and start_response"
    except ValueError:
        # It is written in C, and has no signature.
        pass
    return ""


def with_static_files(application: _Wrapped, handler: str) -> _Wrapped:
    """
    Let a Django project that is set up in DEBUG serve its static files, as runserver does.

    Args:
        handler: The class of Django that does it.
    """
    django_conf = sys.modules.get("django.conf")
    if django_conf is None or not django_conf.settings.configured:
        return application
    settings: Any = django_conf.settings
    if not (settings.DEBUG and "django.contrib.staticfiles" in settings.INSTALLED_APPS):
        return application
    handlers = import_module("django.contrib.staticfiles.handlers")
    wrapped: _Wrapped = getattr(handlers, handler)(application)
    return wrapped


class _Turns:
    """
    Requests that wait for a thread.

    Each address has its turn, however many it has sent, and a share of the threads. The methods may
    be called in any thread.
    """

    def __init__(self, threads: int) -> None:
        self._lock = Lock()
        self._threads = threads
        #: Calls of threads that have not begun.
        self._calls = 0
        self._running = SharedBound(threads)
        self._waiting: dict[Hashable, deque[WSGIResponse]] = {}

    def __bool__(self) -> bool:
        """Tell whether a request waits."""
        return bool(self._waiting)

    def add(self, response: WSGIResponse) -> bool:
        """
        Let a request wait.

        Returns:
            Whether to call a thread, which calls `begun`. If False, as many as there are will come:
            clients that leave again must not make calls wait without a limit.
        """
        with self._lock:
            self._waiting.setdefault(response.key, deque()).append(response)
            if self._calls >= self._threads:
                return False
            self._calls += 1
            return True

    def begun(self) -> None:
        """Take note that a thread has come, or that it could not be called."""
        with self._lock:
            self._calls -= 1

    def remove(self, response: WSGIResponse) -> bool:
        """Let a request wait no more. If False, it does not."""
        with self._lock:
            responses = self._waiting.get(response.key, ())
            if response not in responses:
                return False
            responses.remove(response)  # type: ignore[union-attr]
            if not responses:
                del self._waiting[response.key]
            return True

    def take(self) -> WSGIResponse | None:
        """
        Return the oldest request of the address that waits for its turn the longest.

        If None, no request waits of an address that may have another thread. The caller calls
        `finished` later.
        """
        with self._lock:
            key = next((each for each in self._waiting if self._running.take(each)), None)
            if key is None:
                return None
            responses = self._waiting.pop(key)
            response = responses.popleft()
            if responses:
                # Behind all others.
                self._waiting[key] = responses
            return response

    def finished(self, response: WSGIResponse) -> None:
        with self._lock:
            self._running.release(response.key)


class WSGIResource(ApplicationResource):
    """
    A resource that answers with a WSGI application, in threads of its own.

    Args:
        threads: The number of requests that are worked on at a time.
        queue: The number of requests that wait for a thread. Any further one is answered with 503.
            Each address has a share of it, and of the threads.
        spool: Where answers wait for slow clients. If None, it has one of its own.
        multiprocess: Whether other processes serve the same application.

    Attributes:
        reactor, application, multiprocess: As given.
        spool: Where answers wait.
        throttle: Counts lines of the log that clients can cause.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        application: Application,
        threads: int,
        queue: int,
        *,
        spool: Spool | None = None,
        multiprocess: bool = False,
    ) -> None:
        super().__init__()
        self.reactor = reactor
        self.application = application
        self.multiprocess = multiprocess
        self.spool = spool or Spool(MAX_SPOOL)
        self.throttle = LogThrottle(reactor, at_once=50)
        self._pool = DaemonThreadPool(0, threads, "wsgi")
        self._threads = threads
        self._places = SharedBound(threads + queue)
        self._blocked: set[WSGIResponse] = set()
        self._relief: Any = None
        self._turns = _Turns(threads)
        self._patched_by: str | None = None
        self._interval = SwitchInterval()

    @property
    def busy(self) -> int:
        """The number of requests that wait for a thread or have one."""
        return self._places.held

    def start(self) -> None:
        """
        Start the threads.

        Until `stop`, Python switches between threads more often, so that the reactor answers in
        time while the application computes.
        """
        self._pool.start()
        self._interval.shorten()

    def stop(self) -> None:
        """Stop the threads. A thread that still works is not waited for: it may never end."""
        self._interval.restore()
        self.throttle.reset()
        if self._relief is not None:
            self._relief.cancel()
        if self.busy:
            self._log.warn(
                "{count} requests to the WSGI application were not finished",
                event="pages-unfinished",
                count=self.busy,
            )
            self._pool.leave()
        else:
            self._pool.stop()

    def render(self, request: Any) -> Any:
        """Hand the request to a thread, or answer with 503 if too many wait."""
        key = request.channel.key
        if not self._places.has_room(key):
            self.throttle.log(
                self._log,
                LogLevel.warn,
                "full",
                "refused a page: too many requests wait for a thread (--wsgi-queue)",
                event="page-refused",
            )
            is_full = self._places.is_full()
            request.setResponseCode(503 if is_full else 429)
            request.setHeader("content-type", "text/plain; charset=utf-8")
            request.setHeader("retry-after", str(_RETRY_AFTER))
            return b"too many requests%s at a time\n" % (b"" if is_full else b" of one client")
        if not request.channel.may_name_host:
            request.requestHeaders.removeHeader(b"x-forwarded-host")
        response = WSGIResponse(self, request, key)
        response.start()
        self._places.take(key)
        try:
            if self._turns.add(response):
                self._pool.callInThread(self._work)
        except BaseException:
            self._turns.begun()
            # A request that fails on its way to a thread must not keep a place. If it does not
            # wait, a thread that was busy has taken it meanwhile.
            if self._turns.remove(response):
                self.done(response)
                raise
        if self._relief is None:
            self._relief = self.reactor.callLater(_PATIENCE, self._relieve)
        return NOT_DONE_YET

    def done(self, response: WSGIResponse) -> None:
        """Take note that a thread has finished its work on *response*, and close its body."""
        self._places.release(response.key)
        response.close_content()

    def left(self, response: WSGIResponse) -> None:
        """Take note that the client of *response* has its answer, or has left."""
        if self._turns.remove(response):
            self.done(response)

    def blocked(self, response: WSGIResponse, is_blocked: bool) -> None:
        """Take note that a thread waits for a client, or no more. Called in that thread."""
        (self._blocked.add if is_blocked else self._blocked.discard)(response)

    def _relieve(self) -> None:
        """
        Free the thread of a slow client if requests wait for one.

        It is the slowest client of the address that keeps the most threads. It may go on if it is
        not really slow, and its address does not keep most of the threads.
        """
        self._relief = None
        if not self._turns:
            return
        self._relief = self.reactor.callLater(_PATIENCE, self._relieve)
        blocked = self._blocked.copy()
        if not blocked:
            return
        threads = Counter(each.key for each in blocked)
        most = max(threads.values())
        slowest = min(
            (each for each in blocked if threads[each.key] == most), key=WSGIResponse.rate
        )
        if slowest.rate() < _SLOW or most > max(1, self._threads // 2):
            slowest.drop("others wait for the thread of a slow client")

    def _work(self) -> None:
        """Work on requests until none waits that may have this thread."""
        self._turns.begun()
        while (response := self._turns.take()) is not None:
            try:
                response.run()
            finally:
                self._turns.finished(response)
            if self._patched_by is None and (library := patched_by()) is not None:
                self._patched_by = library
                self.reactor.callFromThread(self._report_patches)

    def _report_patches(self) -> None:
        self._log.critical(
            "a page has replaced threads and sockets by those of {library} (monkey patching), with "
            "which the gateway cannot work",
            event="page-patched",
            library=self._patched_by,
        )
