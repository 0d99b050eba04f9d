"""The factory: the options of all connections, and the parts that they share."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.logger import Logger
from zope.interface import implementer

from wsredis.auth import Auth
from wsredis.config import GatewayConfig
from wsredis.config.networks import Networks
from wsredis.gateway.connection import Hooks
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.gap import Gap
from wsredis.gateway.hub import Hub
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.queued_bytes import QueuedBytes
from wsredis.transports.stream.streams import Streams
from wsredis.transports.websocket.applications import Applications
from wsredis.transports.websocket.handshake import Handshaker
from wsredis.transports.websocket.http import HttpSite
from wsredis.transports.websocket.lean import lean_class
from wsredis.transports.websocket.protocol import GatewayProtocol
from wsredis.transports.websocket.registry import Registry
from wsredis.transports.websocket.scheduler import Scheduler
from wsredis.transports.websocket.unfinished import UnfinishedInput

__all__ = ["GatewayFactory"]

#: Connections dropped for the same reason that are logged one by one in a minute.
_LOST_AT_ONCE = 50


@implementer(IProtocolNegotiationFactory)
class GatewayFactory(WebSocketServerFactory):  # type: ignore[misc]
    """
    Makes a protocol for each TCP connection.

    Args:
        dialects: Asked in this order to parse a URL.
        auth: Decides on handshakes, and watches over open connections. Started elsewhere.
        site: Answers requests that are not WebSocket handshakes.
        handler: The hook of the embedding program. If None, there is none.
        applications: Gets handshakes that belong to no dialect. If None, 404 is the answer.

    Attributes:
        registry: The connections.
        queued: The memory of all that waits for clients.
        inputs: The input of clients that is kept.
        streams: The clients without WebSockets. None if there are to be none.
    """

    _log = Logger()

    noisy = False

    def __init__(
        self,
        reactor: Any,
        config: GatewayConfig,
        hub: Hub,
        dialects: Sequence[Dialect],
        auth: Auth,
        site: HttpSite,
        handler: Hooks | None = None,
        applications: Applications | None = None,
    ) -> None:
        super().__init__(reactor=reactor, server="")
        self.config = config
        limits = config.limits
        self.registry = Registry(
            reactor,
            limits,
            hub.broker,
            hub.metrics,
            site,
            ping_interval=config.ping_interval,
            heartbeat_intervals={
                each.heartbeat_interval for each in dialects if each.heartbeat is not None
            },
        )
        self._scheduler = Scheduler(reactor, limits, hub.later)
        self.queued = QueuedBytes(reactor, limits.max_queues)
        self.inputs = UnfinishedInput(reactor, limits.max_input)
        self._losses = LogThrottle(reactor, at_once=_LOST_AT_ONCE)
        self.setProtocolOptions(
            versions=[13],
            webStatus=False,
            maxFramePayloadSize=limits.max_frame,
            maxMessagePayloadSize=limits.max_message,
            failByDrop=False,
            echoCloseCodeReason=True,
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            allowNullOrigin=True,
        )
        handshaker = Handshaker(
            config, hub, dialects, auth.admission, self.registry, handler, applications
        )
        self.streams: Streams | None = None
        if not config.no_streams:
            # Before all others hear of a gap, cursors of the time before are worth nothing.
            self.streams = Streams(
                reactor,
                config,
                hub,
                auth.admission,
                registry=self.registry,
                handshaker=handshaker,
                sessions=auth.sessions,
                scheduler=self._scheduler,
                inputs=self.inputs,
                queued=self.queued,
                losses=self._losses,
            )
        if handler is not None:
            hub.gaps.watch(handler.on_gap)
        if config.on_gap == "close":
            hub.gaps.watch(self._close_after_gap)
        self.protocol = lean_class(
            GatewayProtocol,
            self,
            config=config,
            registry=self.registry,
            handshaker=handshaker,
            sessions=auth.sessions,
            metrics=hub.metrics,
            queued=self.queued,
            losses=self._losses,
            site=site,
            streams=self.streams,
            scheduler=self._scheduler,
            inputs=self.inputs,
            turn=self._scheduler.turn,
            takes_batches=handler is None and all(each.takes_batches for each in dialects),
            trusted=Networks(config.trusted_proxy),
        )

    def buildProtocol(self, addr: Any) -> GatewayProtocol:
        """Return the protocol of a new connection."""
        # Its class knows this factory; Twisted's method would store it in each instance.
        return self.protocol()

    def _close_after_gap(self, gap: Gap) -> None:
        """Close all that may have lost a message; their clients load their state on connect."""
        hears, seconds = attrgetter("hears"), self.config.drain_spread
        self._log.info(
            "closing {count} WebSockets with 1012 within {seconds:g} s: messages may be lost",
            event="gap-closing",
            count=sum(map(hears, self.registry.connections)),
            seconds=seconds,
        )
        self.registry.close_all(1012, "messages may have been lost", seconds, hears)

    def acceptableProtocols(self) -> list[bytes]:
        """
        Return the protocols that are spoken on TLS, for ALPN: browsers and curl always offer some.

        Without an answer from here Twisted selects an empty name, which OpenSSL takes for a
        mistake of ours: the TLS handshake would fail.
        """
        return [b"http/1.1"]

    def start(self) -> None:
        """See `Registry.start`."""
        self.registry.start()
        self.inputs.start()
        if self.streams is not None:
            self.streams.start()

    def stop(self) -> None:
        """See `Registry.stop`. Lines about clients that were counted are logged."""
        self.registry.stop()
        if self.streams is not None:
            self.streams.stop()
        self.inputs.stop()
        self._scheduler.stop()
        self._losses.reset()

    def drain(self, spread: float = 0.0) -> Deferred[None]:
        """See `Registry.drain`. Requests of clients without WebSockets are waited for, too."""
        drained = self.registry.drain(spread)
        if self.streams is None:
            return drained
        both = DeferredList([drained, self.streams.drain()], consumeErrors=True)
        return both.addCallback(lambda _: None)
