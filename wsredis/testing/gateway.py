"""A whole gateway in memory: no port, no Redis, and a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakSet

from twisted.internet.testing import MemoryReactorClock

from wsredis import auth, transports, web
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import GatewayConfig
from wsredis.dialects import from_config as dialects_of
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.handler import Handler
from wsredis.gateway.health import Health, Probes, Situation
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Authenticator, Policy
from wsredis.gateway.metrics import Metrics
from wsredis.service.worker_events import event_encoder
from wsredis.testing.client import Client, Socket
from wsredis.testing.wire import handshake
from wsredis.transports.websocket.applications import Applications
from wsredis.web.site import GatewaySite

__all__ = ["EPOCH", "MemoryGateway"]

#: The Unix time, in seconds, at which the clock of a gateway in memory starts.
EPOCH = 1_700_000_000.0

#: Seconds: less than the interval of any timer of the gateway.
_STEP = 0.04


class MemoryGateway:
    """
    A gateway in memory, made of the same parts as `wsredis.GatewayService`, and started.

    Everything happens at once, in the call that causes it: after ``client.send`` returns, the
    handler was called and the message was delivered. Time passes only in `wait`.

    Args:
        config: The settings. If None, the default of each. Those for ports, TLS, worker processes,
            WSGI applications and the address of Redis have no effect.
        authenticator: As for `wsredis.GatewayService`.
        policy: As for `wsredis.GatewayService`.
        handler: As for `wsredis.GatewayService`.
        dialects: The dialects, in the order in which they are asked. If empty, those of *config*.

    Attributes:
        clock: The reactor: a clock that stands still.
        redis: The Redis of this gateway: publish, store and forbid channels here.
        broker: The connection to it; ``disconnect()`` loses it, ``connect()`` brings it back.
        metrics: The counters of the gateway.
        health: Everything that is wrong with it.
        auth: Decides on handshakes, and watches over open connections.
        hub: Knows which connections listen to a channel.
        factory: Makes the protocol of each connection.
        site: Answers requests that do not open a WebSocket.

    Raises:
        ConfigError: A setting cannot be used.
    """

    def __init__(
        self,
        config: GatewayConfig | None = None,
        *,
        authenticator: Authenticator | None = None,
        policy: Policy | None = None,
        handler: Handler | None = None,
        dialects: Sequence[Dialect] = (),
    ) -> None:
        config = config or GatewayConfig()
        self.clock = MemoryReactorClock()
        self.redis = MemoryServer(self.clock)
        self.broker = MemoryBroker(self.redis, config.expire)
        self.metrics = Metrics()
        self.health = Health(self._now)
        self.hub = Hub(self.broker, config.limits.max_publication, self.metrics)
        self.auth = auth.from_config(
            config,
            self.clock,
            self.hub,
            authenticator=authenticator,
            policy=policy,
            health=self.health,
            wall_clock=self._now,
        )
        self.site = self.make_site(config)
        self.factory = transports.from_config(
            config,
            self.clock,
            self.hub,
            dialects or dialects_of(config, event_encoder(config.forward)),
            self.auth,
            self.site,
            handler,
            self.make_applications(config),
        )
        self._clients: WeakSet[Client] = WeakSet()
        self.broker.start(self.hub)
        self.auth.start()
        self.factory.start()

    def _now(self) -> float:
        return EPOCH + self.clock.seconds()

    def make_site(self, config: GatewayConfig) -> GatewaySite:
        """Make the site, for a subclass that has pages of its own."""
        return web.from_config(
            replace(config, wsgi=None), self.clock, self.probes(), sockets=self.auth.sockets
        )

    def make_applications(self, config: GatewayConfig) -> Applications | None:
        """Return where handshakes go that belong to no dialect, for a subclass that has some."""
        return None

    def probes(self) -> Probes:
        """Return the answers about health. Only the connection to the Redis counts."""
        return {"live": dict, "ready": self._ready}

    def _ready(self) -> Situation:
        text = None if self.broker.up else "there is no connection to Redis"
        self.health.report("redis", text)
        return {0: self.health.problems}

    def client(self, path: str, *headers: str) -> Client:
        """
        Open a WebSocket.

        Args:
            path: The path and the query of the URL, as ``/ws/chat?subscribe-broadcast``.
            headers: More headers of the handshake, each as ``Name: value``.

        Raises:
            HandshakeFailed: The gateway refused, or has not answered yet.
        """
        client = Client(self.connect(), path, *headers)
        self._clients.add(client)
        return client

    def wait(self, seconds: float) -> None:
        """Let time pass. Meanwhile the clients answer pings."""
        for _ in range(round(seconds / _STEP)):
            self.clock.advance(_STEP)
            for client in list(self._clients):
                if client.socket.reading:
                    client.read()

    def connect(self, host: str = "192.0.2.1") -> Socket:
        """
        Open a TCP connection: for tests that write bytes.

        Args:
            host: The IP address of the client. If empty, it comes by a UNIX socket.
        """
        return Socket(self.factory, host)

    def open(self, path: str = "/ws/a?subscribe-broadcast", *headers: str) -> Socket:
        """
        Open a WebSocket as `client` does, for tests that read and write frames.

        Raises:
            AssertionError: The gateway refused, or has not answered yet.
        """
        socket = self.connect()
        socket.send(handshake(path, *headers))
        head, _, rest = socket.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        socket.received = rest
        return socket

    def answer(self, request: bytes) -> tuple[int, bytes]:
        """
        Send a request on a connection of its own.

        Returns:
            The status, 0 if there is no answer yet, and the whole answer.
        """
        socket = self.connect()
        socket.send(request)
        data = socket.take()
        return int(data.split(b" ", 2)[1]) if data else 0, data
