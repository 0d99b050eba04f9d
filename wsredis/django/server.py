"""The server of ``manage.py runserver``: pages, static files and WebSockets on one port."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from socketserver import ThreadingMixIn
from typing import Any, NamedTuple

from django.apps import apps
from django.conf import settings
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
    textFileLogObserver,
)
from zope.interface import provider

from wsredis.auth.sources.django.project import project_settings
from wsredis.config import GatewayConfig, load
from wsredis.errors import ConfigError
from wsredis.service import embedded
from wsredis.service.service import GatewayService
from wsredis.service.stop_once import stop_once
from wsredis.web.wsgi import Application

__all__ = [
    "AsgiApplication",
    "GatewayServer",
    "logged",
    "logged_asgi",
    "needs_redis",
    "socket_lines",
]

#: Clients that the kernel queues until they are accepted.
_BACKLOG = 128

#: Seconds that clients have to close their connections before a reload.
_DRAIN = 1.0

#: Seconds that the end of the process waits for the end of the server.
_PATIENCE = 3.0

_log = logging.getLogger("django.server")

#: The lines about sockets that look as those about pages.
_OF_SOCKETS = ("connection-opened", "connection-closed")

#: The begins of answers.
_STARTS = ("http.response.start", "websocket.http.response.start")


class AsgiApplication(NamedTuple):
    """
    An ASGI application, for a server that expects another one.

    Attributes:
        call: The application itself.
    """

    call: Callable[..., Any]


def _configuration() -> GatewayConfig:
    module = os.environ.get("DJANGO_SETTINGS_MODULE")
    config = load({"django": module}, project=project_settings)
    # The command has the port. Without users in the project all clients are anonymous.
    return replace(
        config,
        port=(),
        tls_port=(),
        metrics_port=None,
        workers=1,
        demo=False,
        wsgi=None,
        asgi=replace(config.asgi, application=None, shutdown=_DRAIN),
        drain=_DRAIN,
        drain_delay=0.0,
        drain_spread=0.0,
        verbose=True,
        django=module if apps.is_installed("django.contrib.auth") else None,
    )


def needs_redis(port: int) -> bool:
    """Tells whether a private Redis is needed: none is named, and none answers on localhost."""
    named = getattr(settings, "WS4REDIS_CONNECTION", None) or os.environ.get("WSREDIS_REDIS")
    return not named and not embedded.answers(port)


class GatewayServer:
    """
    The server class of runserver, in place of Django's own.

    Args:
        address: Host and port.
        handler_class: Not used.
        ipv6: Tells whether the host is an IPv6 address.

    Raises:
        OSError: The port cannot be bound.

    Attributes:
        server_port: The port that was bound.
        reactor: Runs the gateway. If None, it is the global reactor.
        begin_logging: Called with a list of observers.
    """

    reactor: Any = None
    begin_logging: Callable[[list[ILogObserver]], None] = partial(
        globalLogBeginner.beginLoggingTo, redirectStandardIO=False
    )

    def __init__(
        self, address: tuple[str, int], handler_class: object = None, *, ipv6: bool = False
    ) -> None:
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        self._socket = socket.create_server(address, family=family, backlog=_BACKLOG)
        self._socket.setblocking(False)
        self.server_port = self._socket.getsockname()[1]
        self._applications: dict[str, Any] = {}
        self._port: Any = None
        self._failure = ""
        self._ended = threading.Event()

    def set_app(self, application: Application | AsgiApplication) -> None:
        """Serve the pages of this application, and the WebSockets of an ASGI application."""
        if isinstance(application, AsgiApplication):
            self._applications = {"asgi": logged_asgi(application.call)}
        else:
            self._applications = {"application": logged(application)}

    def serve_forever(self) -> None:
        """
        Serve until the reactor stops, or the process ends.

        Raises:
            OSError: The settings cannot be used. runserver prints the message as one line.
        """
        if self.reactor is None:
            from twisted.internet import reactor

            self.reactor = reactor
        stop_once(self.reactor)
        # With --nothreading only one request is handled at a time.
        threads = 10 if isinstance(self, ThreadingMixIn) else 1
        try:
            self._service = GatewayService(
                replace(_configuration(), wsgi_threads=threads),
                reactor=self.reactor,
                **self._applications,
            )
        except ConfigError as error:
            raise OSError(str(error)) from None
        self._service.give_up = self._give_up
        observer = FilteringLogObserver(
            socket_lines(textFileLogObserver(sys.stderr)), [LogLevelFilterPredicate(LogLevel.info)]
        )
        type(self).begin_logging([observer])
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main:
            # The main thread belongs to the reloader, which ends the process for a reload.
            atexit.register(self._end)
        self.reactor.callWhenRunning(self._start)
        self.reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self.reactor.run(installSignalHandlers=is_main)
        self._ended.set()
        if self._failure:
            raise OSError(self._failure)

    def _give_up(self, reason: str) -> None:
        """End the server: the application cannot start."""
        self._failure = reason
        self.reactor.stop()

    def _start(self) -> None:
        self._service.opened.addCallback(self._adopt)
        self._service.startService()

    def _adopt(self, _: object) -> None:
        """Accept clients."""
        self._port = self.reactor.adoptStreamPort(
            self._socket.fileno(), self._socket.family, self._service.factory
        )
        self._socket.close()

    def _stop(self) -> Deferred[None]:
        if self._port is None:
            return self._service.stopService()
        closed = maybeDeferred(self._port.stopListening)
        return closed.addCallback(lambda _: self._service.stopService())

    def _end(self) -> None:
        """Close the connections of clients. Runs in the main thread."""
        self.reactor.callFromThread(self.reactor.stop)
        self._ended.wait(_PATIENCE)


def _log_answer(words: str, path: str, status: int, phrase: str = "") -> None:
    _log.info(
        '"%s %s" %s', words, ascii(path)[1:-1], phrase or status, extra={"status_code": status}
    )


def socket_lines(others: ILogObserver) -> ILogObserver:
    """
    Return an observer that logs WebSockets which open and close as Django's server logs pages.

    Args:
        others: Gets all other events.
    """

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        if event.get("event") in _OF_SOCKETS:
            _log.info("WebSocket %s", formatEvent(event), extra={"status_code": 101})
        else:
            others(event)

    observing: ILogObserver = observe
    return observing


def logged_asgi(application: Callable[..., Any]) -> Callable[..., Any]:
    """
    Return an ASGI application that logs requests and handshakes as `logged` does.

    A WebSocket is logged as a request with the status 101.
    """

    async def call(scope: Any, receive: Any, send: Any) -> None:
        kind = scope["type"]
        words = scope["method"] if kind == "http" else "WebSocket"

        async def sending(event: Any) -> None:
            await send(event)
            if event["type"] == "websocket.accept":
                _log_answer(words, scope["path"], 101)
            elif event["type"] in _STARTS:
                _log_answer(words, scope["path"], event["status"])

        await application(scope, receive, send if kind == "lifespan" else sending)

    return call


def logged(application: Application) -> Application:
    """Return an application that logs requests as Django's server does, without their query."""

    def call(environ: dict[str, Any], start_response: Any) -> Any:
        def start(status: str, *more: Any) -> Any:
            code = int(status.split()[0])
            _log_answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], code, status)
            return start_response(status, *more)

        return application(environ, start)

    return call
