"""One ASGI application beside the gateway: its loop, its life, its pages and its WebSockets."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred

from wsredis.config import GatewayConfig
from wsredis.config.networks import Networks
from wsredis.gateway.metrics import Metrics
from wsredis.web.asgi.application import Application, call_of
from wsredis.web.asgi.calls import LAST_CHANCE
from wsredis.web.asgi.http_server import HttpServer
from wsredis.web.asgi.lifespan import Lifespan
from wsredis.web.asgi.link import Around, make_link
from wsredis.web.asgi.room import Room
from wsredis.web.asgi.scopes import Place
from wsredis.web.asgi.websocket_server import WebSocketServer

__all__ = ["AsgiServer"]


class AsgiServer:
    """
    Runs an application.

    Args:
        reactor: Runs the gateway, and with ``asgi-loop reactor`` the application.
        application: An ASGI 3 application.
        metrics: Counts its answers.

    Attributes:
        http: Answers plain requests with it.
        websockets: Answers handshakes with it.
        has_lifespan: Tells whether the application is told of its start, which may take time.
        stop_time: The seconds that its end takes at most, after the last connection is closed.
    """

    def __init__(
        self, reactor: Any, config: GatewayConfig, application: Application, metrics: Metrics
    ) -> None:
        settings = config.asgi
        call = call_of(application)
        self._seconds = settings.shutdown
        self._link = make_link(reactor, settings, metrics)
        self._is_started = False
        self.has_lifespan = settings.lifespan != "off"
        self._lifespan = Lifespan(reactor, self._link, call, settings.lifespan)
        room = Room(settings.concurrency)
        root = config.script_name if settings.root_path is None else settings.root_path
        place = Place(unquote(root), None, Networks(config.trusted_proxy))
        self.http = HttpServer(
            reactor,
            self._link,
            call,
            room,
            place=place,
            metrics=metrics,
            access_log=config.access_log,
        )
        self.websockets = WebSocketServer(
            reactor, config.limits.max_input, self._link, call, room, place
        )

    def start(self) -> Deferred[None]:
        """
        Let the application start.

        Returns:
            Fires when it has, and requests may come. Fails with ConfigError if it could not, and
            with CancelledError if `stop` is called before.
        """
        self._is_started = True
        self._link.start()
        return self._lifespan.startup().addCallback(lambda _: self._started())

    @property
    def around(self) -> Around | None:
        """See `wsredis.web.asgi.link.Link.around`. To be asked for after `start`."""
        return self._link.around

    def _started(self) -> None:
        place = self.http.place
        self.http.place = self.websockets.place = Place(
            place.root_path, self._lifespan.state, place.trusted
        )

    @property
    def stop_time(self) -> float:
        """See above."""
        return 2 * self._seconds + 4 * LAST_CHANCE

    async def stop(self, *, is_hurried: bool = False) -> None:
        """
        Wait for the calls that are left, and let the application stop. Harmless without a start.

        Args:
            is_hurried: Tells that nobody has time: calls are cancelled at once.
        """
        if not self._is_started:
            return
        seconds = 0.0 if is_hurried else self._seconds
        await self._link.finish(seconds)
        await self._lifespan.shutdown(min(self._seconds, LAST_CHANCE) if is_hurried else seconds)
        self.websockets.failures.stop()
        self._link.stop()
