"""
The gateway as a Twisted service: it builds the parts, and starts and stops them in order.

It is one module because the order of the start and that of the stop mirror each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    TimeoutError,
    gatherResults,
    maybeDeferred,
)
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis import auth, brokers, dialects, transports, web
from wsredis.channels import control_channel
from wsredis.config import GatewayConfig
from wsredis.errors import ConfigError
from wsredis.gateway.broker import Broker
from wsredis.gateway.handler import Handler
from wsredis.gateway.health import Health, Situation, is_good
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Authenticator, Policy
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.numbers import Snapshot
from wsredis.service.endpoints import bind_error, make_endpoints, metrics_endpoint
from wsredis.service.inspector import Inspector
from wsredis.service.layer_carrier import make_carriers
from wsredis.service.private_port import PrivatePort
from wsredis.service.project_redis import client_for_project
from wsredis.service.readings import Readings
from wsredis.service.tls import Certificates
from wsredis.service.vitals import Vitals
from wsredis.service.worker_events import event_encoder
from wsredis.transports.sockets import poller_for
from wsredis.web.resources import GatewayResource
from wsredis.web.wsgi import Application

__all__ = ["GatewayService"]

#: Seconds for which ports stay open at least when the gateway stops. Closing a port resets the
#: connections that the kernel has already taken for it; in this time they get an answer.
_LAST_CALLERS = 0.25

#: Seconds that the broker takes at most to stop.
_REDIS_PATIENCE = 1.0

#: Seconds that subscribers of clients have at least to be released.
_LAST_RELEASES = 0.5

#: Seconds for the last close frames to get out when a stop makes haste.
_GOODBYE = 0.5


class GatewayService(Service):
    """
    One gateway. Put it under an Application, or start and stop it yourself.

    Starting binds the ports and begins to connect to Redis. It does not wait for Redis: until the
    connection is up, handshakes are answered with 503. Stopping closes the ports, then the
    connections of clients, and then the connection to Redis.

    A service that has been stopped cannot be started again: make a new one.

    Args:
        config: The settings. With ``port=()`` no port is bound: use `resource`.
        reactor: Runs everything. If None, it is the global reactor.
        broker: Carries the publications. If None, it is the Redis of *config*, or the one at
            localhost:6379.
        authenticator: Says who a client is. If None, those of *config* do; without any, all
            clients are anonymous.
        policy: Says what a client may do. If None, the policies of *config* do: origins, rules and
            the function.
        handler: Gets the messages of clients. If None, they are published.
        application: A WSGI application whose pages are served on the same ports. If None, it is the
            one that *config* names, if any.
        asgi: An ASGI application whose pages and WebSockets are served on the same ports. If None,
            it is the one that *config* names, if any.

    Raises:
        ConfigError: A setting cannot be used.

    Attributes:
        binds_early: Tells whether ports are bound before an ASGI application has started. Nothing
            is accepted before. A program that gives up its rights between the two needs it.
        give_up: Called with a reason if the ASGI application, or a port after it, fails to start.
            If None, the gateway stays as it is, and is not ready.
        opened: Fires when clients are served.
        factory: Makes the protocol of each connection.
        metrics: The counters of this gateway.
        health: Everything that is wrong with this gateway.
    """

    name = "wsredis"
    _log = Logger()

    def __init__(
        self,
        config: GatewayConfig,
        *,
        reactor: Any = None,
        broker: Broker | None = None,
        authenticator: Authenticator | None = None,
        policy: Policy | None = None,
        handler: Handler | None = None,
        application: Application | None = None,
        asgi: Callable[..., Any] | None = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._config = config
        self.metrics = Metrics()
        self.health = Health()
        self._broker = broker or brokers.from_config(config, reactor, self.metrics, self.health)
        limits = config.limits
        self._losses = LogThrottle(reactor, at_once=10)
        self._hub = Hub(
            self._broker,
            limits.max_publication,
            self.metrics,
            lambda step: reactor.callLater(0, step),
            throttle=self._losses,
        )
        self._layers = make_carriers(config, reactor, self._hub)
        probes = {"live": self.liveness, "ready": self.readiness}
        page = web.metrics_page(config, self.snapshot)
        self._has_page = page is not None
        self._asgi = web.asgi.from_config(config, reactor, self.metrics, asgi)
        http, websockets = (
            (None, None) if self._asgi is None else (self._asgi.http, self._asgi.websockets)
        )
        self._auth = auth.from_config(
            config,
            reactor,
            self._hub,
            authenticator=authenticator,
            policy=policy,
            health=self.health,
            redis=partial(client_for_project, config),
        )
        self._site = web.from_config(
            config, reactor, probes, application, page, http, self._auth.sockets
        )
        self._private = PrivatePort(
            metrics_endpoint(config, reactor), web.private_site(reactor, probes, page)
        )
        self.factory = transports.from_config(
            config,
            reactor,
            self._hub,
            dialects.from_config(config, event_encoder(config.forward)),
            self._auth,
            self._site,
            handler,
            websockets,
        )
        self._inspector = Inspector(
            reactor,
            self._hub,
            config.prefix,
            lambda: filter(None, (each.connection for each in self.factory.registry.connections)),
            # In a worker they are those of its parent, and its own.
            lambda: {**self.readiness()[0], **self._vitals.look()},
        )
        self._vitals = Vitals(
            reactor,
            self.health,
            self.metrics,
            limits,
            self.factory.registry.slots.websockets,
            # Ours reports by itself.
            broker,
        )
        canary = self._broker.canary
        self._readings = Readings(
            reactor,
            self.metrics,
            self._broker,
            self._hub,
            self.factory,
            self._vitals,
            (control_channel(config.prefix), *(() if canary is None else canary.channels)),
            None if page is None else page.process,
        )
        self.health.report("starting", "the gateway has not started yet")
        self._certificates = Certificates.of(config, reactor)
        self._endpoints = list(make_endpoints(config, self._certificates, reactor))
        self._ports: list[IListeningPort] = []
        self._poller = poller_for(reactor)
        if self._poller is not None:
            self._poller.measures = config.verbose
        self.binds_early = False
        self.give_up: Callable[[str], object] | None = None
        self.opened: Deferred[None] = Deferred()
        self._is_hurried = False
        self._waiting: Deferred[Any] = Deferred()
        self._haste: IDelayedCall | None = None

    def is_ready(self) -> bool:
        """Tells whether clients are accepted and get their messages: no problem is blocking."""
        return is_good(self.readiness())

    def readiness(self) -> Situation:
        """Return everything that is wrong now: the answer to ``/health/ready``."""
        return {0: self._vitals.look()}

    def liveness(self) -> Situation:
        """Return what only a restart can cure: the answer to ``/health/live``."""
        return {0: self._vitals.fatal()}

    def snapshot(self) -> Snapshot:
        """Return all numbers of this moment: the answer to ``/metrics``."""
        return Snapshot(self._readings.numbers(), {})

    def resource(self) -> GatewayResource:
        """Return a twisted.web resource that serves the WebSockets of this gateway."""
        return GatewayResource(self.factory)

    def reload(self) -> None:
        """
        Read again what can change while the gateway runs, and log the outcome.

        That is the certificates of ``tls-port``, the key of ``jwt-key`` and the rules of the file.
        A file that cannot be used is logged, and what it had before stays in use. Rules and keys
        are for new clients at first; clients that are there meet them when their identity is
        checked again.
        """
        reloads = self._reloads()
        done = []
        for name, function in reloads.items():
            try:
                function()
            except ConfigError as error:
                self._log.error(
                    "{error}; what was read before is kept", event="reload-failed", error=str(error)
                )
            else:
                done.append(name)
        if done:
            self._log.info(
                "read again: {_things}", event="reloaded", things=done, _things=", ".join(done)
            )
        elif not reloads:
            self._log.info(
                "there is nothing to read again: other settings need a restart",
                event="nothing-to-reload",
            )

    def _reloads(self) -> Mapping[str, Callable[[], object]]:
        """The functions that read a file again, by the name of the thing that is in it."""
        if self._certificates is None:
            return self._auth.reloads
        certificates = partial(self._certificates.refresh, force=True)
        return {"certificates": certificates, **self._auth.reloads}

    def privilegedStartService(self) -> None:
        """
        Bind the ports. Those of an ASGI application wait for its start, unless `binds_early`.

        Raises:
            CannotListenError: A port cannot be bound; a note names the setting. Ports that were
                bound before it stay bound until `stopService`.
        """
        if self._asgi is None or self.binds_early or not self._asgi.has_lifespan:
            self._bind()

    def _bind(self) -> None:
        """Bind the ports; see `privilegedStartService`."""
        for endpoint in self._endpoints:
            port = endpoint.listen(self.factory)
            self._bound(port)
            endpoint.announce(port, self._log)
        self._private.bind()

    def _bound(self, port: IListeningPort) -> None:
        """Remember a port, and have its clients served by the poller if that is possible."""
        self._ports.append(port)
        if self._poller is not None:
            self._poller.adopt(port, self.factory, self._config.limits.send_buffer)

    def startService(self) -> None:
        """
        Connect to Redis and accept clients. Binds the ports if that was not done.

        An ASGI application starts first. Until it has, no port is bound.
        """
        super().startService()
        if self._asgi is None:
            self._bind_now()
            self._connect()
            self._open()
        else:
            # It may need Redis for its start.
            self._connect()
            started = self._asgi.start()
            if self._poller is not None:
                self._poller.around = self._asgi.around
            started.addCallback(self._asgi_started).addErrback(self._cannot_start)

    def _asgi_started(self, _: object) -> None:
        """Go on after the start of the application."""
        if self.running:
            self._bind_now()
            self._open()

    def _bind_now(self) -> None:
        if not self._ports:
            self._bind()

    def _cannot_start(self, failure: Failure) -> None:
        """Give up, if there is somebody to do it: neither the application nor a port may fail."""
        if failure.check(CancelledError) and not self.running:
            # It was told to stop before.
            return
        error = failure.value
        if failure.check(ConfigError):
            text = str(error)
        elif isinstance(error, (CannotListenError, OSError)):
            text = bind_error(error)
        else:
            text = "the gateway failed to start"
            self._log.failure(text, failure, event="start-crashed")
        self.health.report("starting", text)
        if self.give_up is not None:
            self.give_up(text)

    def _connect(self) -> None:
        """Start everything behind the ports."""
        self._broker.start(self._hub)
        if self._layers is not None:
            self._layers.start()
        if self._broker.canary is not None:
            self._broker.canary.asked = self._inspector.received
            # Errors need no answer: the hub keeps it, and the broker tries again.
            self._hub.subscribe(self._broker.canary).addErrback(lambda failure: None)
        self._auth.start()
        self._inspector.start()

    def _open(self) -> None:
        """Serve clients."""
        self.factory.start()
        self._site.start()
        if self._certificates is not None:
            self._certificates.start()
        self._vitals.start()
        self._readings.start()
        self.health.report("starting", None)
        self.opened.callback(None)
        if self._config.demo:
            # The last line of the start is the one that a newcomer needs.
            self._broker.when_up().addBoth(self._announce_demo)

    def _announce_demo(self, _: object) -> None:
        for endpoint, port in zip(self._endpoints, self._ports, strict=False):
            endpoint.announce_demo(port, self._log)

    @property
    def stop_time(self) -> float:
        """The seconds that a stop takes at most."""
        config = self._config
        delay = max(config.drain_delay, _LAST_CALLERS)
        waits = config.drain_spread + config.drain + (_LAST_RELEASES if config.django else 0.0)
        asgi = 0.0 if self._asgi is None else self._asgi.stop_time
        return delay + waits + asgi + _REDIS_PATIENCE

    def stopService(self) -> Deferred[None]:
        """
        Stop ports, then connections and pages, then Redis.

        From now on the gateway is not ready and accepts no handshake. The ports are closed after
        the seconds of ``drain-delay``. Then WebSockets are closed over those of ``drain-spread``,
        and have those of ``drain`` for the closing handshake; pages have as long. What is still
        open then is cut. A thread that still works on a page or asks a Django project is not
        waited for. `stop_now` makes it shorter.

        Returns:
            Fires when all of it has stopped: at most one second after these times, which is for
            Redis.
        """
        super().stopService()
        if self._certificates is not None:
            self._certificates.stop()
        self.health.report("draining", "the gateway stops")
        self.factory.registry.refuse_handshakes()
        return Deferred.fromCoroutine(self._stop())

    def stop_now(self) -> None:
        """
        Make haste with a stop that is under way: close all WebSockets, and wait for nobody.

        The close frames have half a second to get out. Harmless if no stop is under way.
        """
        if self.factory.registry.stopping and not self._is_hurried:
            self._is_hurried = True
            self._say_goodbye_now()
            self._haste = self._reactor.callLater(_GOODBYE, self._waiting.cancel)

    def _say_goodbye_now(self) -> None:
        """Close all WebSockets at once."""
        self.factory.drain()

    async def _stop(self) -> None:
        """Stop one part after the other."""
        delay = max(self._config.drain_delay, _LAST_CALLERS if self._ports else 0.0)
        if delay:
            await self._wait(Deferred(), delay)
        ports, self._ports = self._ports, []
        await gatherResults([self._close(port) for port in ports])
        await self._stop_serving()
        await self._private.stop()
        if self._haste is not None and self._haste.active():
            self._haste.cancel()

    async def _stop_serving(self) -> None:
        """Drain connections and pages, and stop everything behind them."""
        config = self._config
        spread = 0.0 if self._is_hurried else config.drain_spread
        gone = [self.factory.drain(spread), self._site.drain()]
        # Each of them may be cut off by the end of the time.
        end = self._reactor.seconds() + spread + config.drain
        await self._wait(DeferredList(gone, consumeErrors=True), spread + config.drain)
        self.factory.stop()
        self._site.stop()
        if self._asgi is not None:
            await self._asgi.stop(is_hurried=self._is_hurried)
        # Those that were cut only now have a moment.
        left = end - self._reactor.seconds()
        await self._wait(self._auth.idle(), max(left, _LAST_RELEASES))
        self._auth.stop()
        self._inspector.stop()
        self._losses.reset()
        self._vitals.stop()
        if self._layers is not None:
            self._layers.stop()
        await self._broker.stop()

    async def _wait(self, done: Deferred[Any], seconds: float) -> None:
        """Wait until *done* fires, the time is up, or `stop_now` cancels it."""
        self._waiting = done
        done.addTimeout(min(seconds, _GOODBYE) if self._is_hurried else seconds, self._reactor)
        try:
            await done
        except (TimeoutError, CancelledError):
            pass

    def _close(self, port: IListeningPort) -> Deferred[object]:
        # If a port fails to close, connections and Redis must still be closed.
        return maybeDeferred(port.stopListening).addErrback(
            lambda failure: self._log.failure(
                "cannot close a port", event="port-close-failed", failure=failure
            )
        )
