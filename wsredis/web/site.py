"""
The site on a gateway's port: it holds the channels, limits their number and drains them.

Without an application a connection serves one request. With an application it is kept for more
requests; a WebSocket handshake that comes as a later request, for example from a proxy that reuses
its connections, goes back to the WebSocket protocol.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, ITCPTransport
from twisted.web.resource import Resource
from twisted.web.server import Site

from wsredis.config.networks import Networks
from wsredis.gateway.connection_set import ConnectionSet
from wsredis.gateway.health import Probes
from wsredis.gateway.shares import SharedBound
from wsredis.transports.stream.request import is_for_streams
from wsredis.transports.websocket.head import Head, path_of
from wsredis.transports.websocket.http import HttpChannel
from wsredis.web.access_log import log_answer
from wsredis.web.asgi.http_channel import AsgiChannel
from wsredis.web.asgi.http_server import HttpServer
from wsredis.web.channel import REQUEST_TIMEOUT, GatewayChannel
from wsredis.web.request import GatewayRequest
from wsredis.web.resources import ApplicationResource, RootResource
from wsredis.web.spool import MAX_SPOOL, Spool

__all__ = ["GatewaySite"]

#: Connections with more input than is read at a time that have a turn before everything else has.
_AT_ONCE = 2

#: Bytes of a request body that are read without an application. No resource uses them.
_MAX_UNUSED_BODY = 65536


class GatewaySite(Site):
    """
    The site behind a gateway's port.

    Args:
        url_prefixes: See `wsredis.web.resources.RootResource`.
        probes: The answers below ``/health/``.
        pages: See `wsredis.web.resources.RootResource`.
        application: Answers for all other paths, on connections that are kept. If None, these
            paths are answered with 404.
        max_body: Bytes that the body of a request to *application* may have.
        max_channels: The number of connections with plain requests, if there is an application.
            Each address has a share of them. While more than half of them are open, a connection
            is closed after its answer.
        max_head: Bytes that the head of a request may have.
        trusted: The proxies that name the client of each request.
        spool: Where bodies wait. If None, the site has one of its own.
        metrics: The resource at ``/metrics``. If None, the gateway has none there.
        access_log: Log each answer.
        asgi: Answers for all other paths in the place of *application*, on channels of its own. If
            None, there is no ASGI application.
        streams: Tells whether clients without WebSockets are served elsewhere.

    Attributes:
        channels: The open connections.
        places: Their number by address. None without an application.
        trusted, max_head, spool: As given.
        application: As given.
        has_application: False if *application* and *asgi* are None.
        max_body: As given; without an application, the bytes that are read before the connection
            is aborted.
        max_channels: As given; 0 without an application.
    """

    noisy = False

    def __init__(
        self,
        reactor: IReactorTime,
        url_prefixes: tuple[str, ...],
        probes: Probes,
        pages: Mapping[str, Resource] | None,
        application: ApplicationResource | None = None,
        *,
        max_body: int = _MAX_UNUSED_BODY,
        max_channels: int = 1000,
        max_head: int = 16384,
        trusted: Networks | None = None,
        spool: Spool | None = None,
        metrics: Resource | None = None,
        access_log: bool = False,
        asgi: HttpServer | None = None,
        streams: bool = False,
    ) -> None:
        root = RootResource(url_prefixes, probes, pages, application, metrics)
        super().__init__(
            root,
            requestFactory=GatewayRequest,
            reactor=reactor,
            timeout=REQUEST_TIMEOUT,
            parsePOSTFormSubmission=False,
        )
        self.protocol = GatewayChannel  # type: ignore[assignment]
        self.application = application
        self._root = root
        self._asgi = asgi
        self.has_application = application is not None or asgi is not None
        self.max_body = max_body if self.has_application else _MAX_UNUSED_BODY
        self.max_channels = max_channels if self.has_application else 0
        self.max_head = max_head
        self.trusted = Networks(()) if trusted is None else trusted
        self.spool = Spool(MAX_SPOOL) if spool is None else spool
        self.channels: ConnectionSet[GatewayChannel | AsgiChannel] = ConnectionSet()
        self.places = SharedBound(self.max_channels) if self.has_application else None
        self._has_access_log = access_log
        self._has_streams = streams
        self._url_prefixes = url_prefixes
        self._draining = False
        self._reactor = reactor
        self._waiting: deque[Callable[[], None]] = deque()

    def log(self, request: Any) -> None:
        """Log an answer, if somebody wants to have that. twisted.web calls this for each one."""
        if self._has_access_log:
            log_answer(request, self.trusted)

    def start(self) -> None:
        """Start the application, if there is one."""
        if self.application is not None:
            self.application.start()
        if self._asgi is not None:
            self._asgi.start()

    def is_full(self) -> bool:
        """
        Tell whether no further connection is accepted.

        Returns:
            Without an application always False: connections are then short, and not limited here.
        """
        return self.has_application and len(self.channels) >= self.max_channels

    def channel_for(self, found: Head, peer: Any) -> HttpChannel:
        """See `wsredis.transports.websocket.http.HttpSite.channel_for`."""
        if self._asgi is not None and not self.is_own(path_of(found.target)):
            return self._asgi.channel(self)
        channel: Any = self.buildProtocol(peer)
        return cast(HttpChannel, channel)

    def serves(self, found: Head) -> bool:
        """Tell whether the resources of this site answer a request. Else its connection goes on."""
        if self._has_streams and is_for_streams(found, self._url_prefixes):
            return False
        return self._asgi is None or self.is_own(path_of(found.target))

    def is_own(self, path: str) -> bool:
        """Tell whether a path is one of the gateway itself, and not of an application."""
        return self._root.is_own(path)

    def keeps_connections(self) -> bool:
        """Tell whether a connection stays open after an answer: not while they are scarce."""
        return (
            self.has_application
            and not self._draining
            and len(self.channels) <= self.max_channels // 2
        )

    def call_in_turn(self, function: Callable[[], None]) -> None:
        """Call a function when those that wait were called, a few in a turn of the reactor."""
        if not self._waiting:
            self._reactor.callLater(0, self._take_turns)
        self._waiting.append(function)

    def _take_turns(self) -> None:
        try:
            for _ in range(min(len(self._waiting), _AT_ONCE)):
                self._waiting.popleft()()
        finally:
            if self._waiting:
                self._reactor.callLater(0, self._take_turns)

    def drain(self) -> Deferred[None]:
        """
        Close idle connections now, and all others after the answer that is under way.

        Returns:
            Fires when no connection is left. Cancelling it changes nothing.
        """
        self._draining = True
        for channel in self.channels:
            channel.drain()
        return self.channels.when_empty()

    def stop(self) -> None:
        """Abort the connections that are still open, and stop the application."""
        for channel in self.channels:
            cast(ITCPTransport, channel.transport).abortConnection()
        if self.application is not None:
            self.application.stop()
        if self._asgi is not None:
            self._asgi.stop()
