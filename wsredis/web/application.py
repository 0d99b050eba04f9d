"""
A WSGI application beside the sockets: found by its name, and called in threads of its own.

The pool of threads is not the one of the reactor. The number of waiting requests is limited, and a
stop does not wait for a thread that hangs.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from twisted.logger import Logger
from twisted.web.server import NOT_DONE_YET

from wsredis.config.imports import import_named, search_here
from wsredis.gateway.threads import DaemonThreadPool
from wsredis.web.resources import ApplicationResource
from wsredis.web.wsgi import Application, WSGIResponse

__all__ = ["WSGIResource", "load_application"]

#: Seconds that a thread may keep the interpreter while others wait, instead of Python's 0.005.
_SWITCH_INTERVAL = 0.0001

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
        ConfigError: See `wsredis.config.imports.import_named`.
    """
    search_here(first=True)
    return _with_static_files(import_named(f"wsgi: {name!r} cannot be used", name))


def _with_static_files(application: Application) -> Application:
    django_conf = sys.modules.get("django.conf")
    if django_conf is None or not django_conf.settings.configured:
        return application
    settings: Any = django_conf.settings
    if not (settings.DEBUG and "django.contrib.staticfiles" in settings.INSTALLED_APPS):
        return application
    handlers = import_module("django.contrib.staticfiles.handlers")
    wrapped: Application = handlers.StaticFilesHandler(application)
    return wrapped


class WSGIResource(ApplicationResource):
    """
    A resource that answers with a WSGI application, in threads of its own.

    Args:
        threads: The number of requests that are worked on at a time.
        queue: The number of requests that wait for a thread. Any further one is answered with 503.
        multiprocess: Whether other processes serve the same application.

    Attributes:
        busy: The number of requests that wait for a thread or have one.
    """

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
        self._max_busy = threads + queue
        self._multiprocess = multiprocess
        self._pool = DaemonThreadPool(0, threads, "wsgi")
        self._switch_interval = sys.getswitchinterval()
        self.busy = 0

    def start(self) -> None:
        """
        Start the threads.

        Until `stop`, Python switches between threads more often, so that the reactor answers in
        time while the application computes.
        """
        self._pool.start()
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(min(_SWITCH_INTERVAL, self._switch_interval))

    def stop(self) -> None:
        """Stop the threads. A thread that still works is not waited for: it may never end."""
        sys.setswitchinterval(self._switch_interval)
        if self.busy:
            self._log.warn(
                "{count} requests to the WSGI application were not finished", count=self.busy
            )
            self._pool.leave()
        else:
            self._pool.stop()

    def render(self, request: Any) -> Any:
        """Hand the request to a thread, or answer with 503 if too many wait."""
        if self.busy >= self._max_busy:
            request.setResponseCode(503)
            request.setHeader("content-type", "text/plain; charset=utf-8")
            request.setHeader("retry-after", str(_RETRY_AFTER))
            return b"too many requests at a time\n"
        response = WSGIResponse(
            self._reactor, self._pool, self._application, request, self._multiprocess, self._done
        )
        response.start()
        # Only now: a request that fails on its way to a thread must not keep a place.
        self.busy += 1
        return NOT_DONE_YET

    def _done(self) -> None:
        self.busy -= 1
