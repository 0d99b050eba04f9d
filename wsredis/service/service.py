"""The gateway as a Twisted service: it builds the parts, and starts and stops them in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, TimeoutError, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString, wrapServerTLS
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis import dialects
from wsredis.auth.admission import Admission
from wsredis.auth.policies.builder import policies
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.channels import Audience, channel_names
from wsredis.config import GatewayConfig, JwtConfig
from wsredis.errors import ConfigError
from wsredis.gateway.broker import Broker
from wsredis.gateway.handler import Handler
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import AuthBackend, Authenticator, Policy
from wsredis.gateway.metrics import Metrics
from wsredis.service.tls import Certificates
from wsredis.transports.websocket.protocol import GatewayFactory
from wsredis.web.site import GatewayResource, GatewaySite, demo_page
from wsredis.web.wsgi import Application, Pages, load_application

__all__ = ["GatewayService"]

#: The facility of the demo page.
_DEMO = "demo"

#: Clients that may wait to be accepted by the kernel. Twisted's 50 is soon full when all come back.
_BACKLOG = 1024


class GatewayService(Service):
    """
    One gateway. Put it under an Application, or start and stop it yourself.

    Starting binds the ports and begins to connect to Redis, and waits for neither; until Redis is
    there, handshakes are answered with 503. Stopping closes the ports, says goodbye to the clients
    and then lets go of Redis.

    A service that has been stopped is not started again: make a new one.

    Args:
        config: The settings. With ``port=()`` nothing is bound: use `resource`.
        reactor: None: the global one.
        broker: None: the Redis of *config*, or the one at localhost:6379.
        authenticator: None: those of *config*; without any, everybody is anonymous.
        policy: Asked in place of those of *config*. None: those: origins, rules, and the function.
        handler: None: what clients send is published.
        application: A WSGI application whose pages are served beside the sockets. None: the one
            that *config* names.
    Raises:
        ConfigError: A setting cannot be used.

    Attributes:
        factory: Makes the protocol of each connection.
        metrics: What has been counted.
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
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._config = config
        self.metrics = Metrics()
        self._redis_cli = ""
        self._broker = broker or self._redis_broker()
        limits = config.limits
        self._hub = Hub(
            self._broker,
            limits.max_publication,
            self.metrics,
            lambda step: reactor.callLater(0, step),
        )
        self._pages = self._make_pages(application)
        self._site = GatewaySite(
            reactor,
            config.url_prefix,
            self.is_ready,
            self._page(),
            self._pages,
            max_body=limits.max_body,
            max_channels=limits.max_handshakes,
        )
        self._sources = self._configured_sources() if authenticator is None else []
        admission = self._make_admission(authenticator, policy)
        self.factory = GatewayFactory(
            reactor,
            config,
            self._hub,
            dialects.from_config(config),
            admission,
            self._site,
            handler,
        )
        self._certificates = Certificates.of(config, reactor)
        self._endpoints = list(self._make_endpoints())
        self._ports: list[IListeningPort] = []

    def is_ready(self) -> bool:
        """Whether clients are accepted: Redis is there, and the gateway does not stop."""
        return self._broker.up and not self.factory.stopping

    def resource(self) -> GatewayResource:
        """A twisted.web resource that serves the WebSockets of this gateway."""
        return GatewayResource(self.factory)

    def reload_certificates(self) -> None:
        """Read the certificates of ``tls-port`` again now, not only when their files change."""
        if self._certificates is not None:
            self._certificates.refresh(force=True)

    def privilegedStartService(self) -> None:
        """
        Bind the ports.

        Raises:
            CannotListenError: A port cannot be bound; its note names the setting. What was bound
                before stays so until `stopService`.
        """
        for text, endpoint, is_secure in self._endpoints:
            outcome: list[Any] = []
            endpoint.listen(self.factory).addBoth(outcome.append)
            # An endpoint that has not answered yet would have to wait for something: none does.
            if isinstance(outcome[0], Failure):
                error = outcome[0].value
                assert error is not None
                # For whoever tells it: the setting that it came from.
                error.add_note("tls-port" if is_secure else "port")
                raise error
            port: IListeningPort = outcome[0]
            self._ports.append(port)
            address = port.getHost()
            self._log.info(
                "listening on {address}{tls}",
                address=_shown(address),
                endpoint=text,
                tls=" with TLS" if is_secure else "",
            )
            if self._config.demo and isinstance(address, IPv4Address):
                scheme = "https" if is_secure else "http"
                self._log.info(
                    "demo page: {scheme}://localhost:{port}/", scheme=scheme, port=address.port
                )

    def startService(self) -> None:
        """Connect to Redis and admit clients. Binds the ports if that was not done."""
        super().startService()
        if not self._ports:
            self.privilegedStartService()
        self._broker.start(self._hub)
        for backend in self._sources:
            backend.start()
        self.factory.start()
        if self._pages is not None:
            self._pages.start()
        if self._certificates is not None:
            self._certificates.start()

    def stopService(self) -> Deferred[None]:
        """
        Stop: ports, connections, threads of pages, Redis, in this order.

        Returns: Fires when nothing is left, after the time to drain at the latest.
        """
        super().stopService()
        if self._certificates is not None:
            self._certificates.stop()
        ports, self._ports = self._ports, []
        stopped = gatherResults([self._close(port) for port in ports])
        return stopped.addCallback(self._drain).addCallback(self._let_go)

    def _close(self, port: IListeningPort) -> Deferred[object]:
        # Whatever a port does, the clients and Redis are still to be let go.
        return maybeDeferred(port.stopListening).addErrback(
            lambda failure: self._log.failure("a port could not be closed", failure=failure)
        )

    def _drain(self, _: object) -> Deferred[Any]:
        return gatherResults(
            [self._in_time(self.factory.drain()), self._in_time(self._site.drain())]
        )

    def _in_time(self, gone: Deferred[None]) -> Deferred[None]:
        gone.addTimeout(self._config.drain, self._reactor)
        return gone.addErrback(lambda failure: failure.trap(TimeoutError) and None)

    def _let_go(self, _: object) -> Deferred[None]:
        self.factory.stop()
        self._site.stop()
        if self._pages is not None:
            self._pages.stop()
        for backend in self._sources:
            backend.stop()
        return self._broker.stop()

    def _redis_broker(self) -> Broker:
        # Imported here, since txredisapi installs the reactor: whoever imports wsredis may still
        # choose another one.
        from wsredis.brokers.redis.broker import RedisBroker
        from wsredis.brokers.redis.url import parse

        target = parse(self._config.redis)
        self._redis_cli = target.cli_arguments
        return RedisBroker(
            self._reactor, target, self._config.expire, self._config.limits, self.metrics
        )

    def _make_pages(self, application: Application | None) -> Pages | None:
        config = self._config
        if application is None and config.wsgi is not None:
            application = load_application(config.wsgi)
        if application is None:
            return None
        if config.demo:
            raise ConfigError("demo: its page and those of the application would both be at /")
        return Pages(
            self._reactor,
            application,
            config.wsgi_threads,
            config.limits.wsgi_queue,
            multiprocess=config.workers > 1,
        )

    def _make_admission(
        self, authenticator: Authenticator | None, policy: Policy | None
    ) -> Admission:
        config = self._config
        return Admission(
            self._reactor,
            self._hub,
            self._sources if authenticator is None else [authenticator],
            policies(config) if policy is None else [policy],
            prefix=config.prefix,
            timeout=config.auth_timeout,
            recheck=config.recheck,
            is_foreign=OriginPolicy(config.allow_origin).is_foreign if policy is None else None,
            ordered=self._forget,
        )

    def _forget(self) -> None:
        for backend in self._sources:
            backend.forget()

    def _configured_sources(self) -> list[AuthBackend]:
        """Sources of identities, in the order in which they are asked."""
        # Each is imported where it is wanted: it needs libraries that others need not have.
        found: list[AuthBackend] = []
        config = self._config
        if config.jwt != JwtConfig():
            from wsredis.auth.sources.jwt import JwtAuthenticator

            found.append(JwtAuthenticator(config.jwt, self._reactor))
        if config.django is not None and config.auth_url.url is not None:
            raise ConfigError("auth-url: with django, the project says who a client is")
        if config.django is not None:
            from wsredis.auth.sources.django.authenticator import DjangoAuthenticator

            found.append(DjangoAuthenticator(self._reactor, config))
        if config.auth_url.url is None and config.auth_url.cache:
            raise ConfigError("auth-cache: without auth-url there is no answer to remember")
        if config.auth_url.url is not None:
            from wsredis.auth.sources.subrequest import SubrequestAuthenticator

            found.append(
                SubrequestAuthenticator(
                    config.auth_url, self._reactor, config.auth_timeout, config.auth_concurrency
                )
            )
        return found

    def _page(self) -> str | None:
        if not self._config.demo:
            return None
        config = self._config
        (channel,) = channel_names(
            config.prefix, _DEMO, [Audience.BROADCAST], user=None, groups=(), session=None
        )
        return demo_page(config.url_prefix, channel.decode(), self._redis_cli, config.heartbeat)

    def _make_endpoints(self) -> Iterator[tuple[str, Any, bool]]:
        """What was given, the endpoint, and whether TLS is spoken there."""
        for text in self._config.port:
            yield text, self._endpoint("port", text), False
        for text in self._config.tls_port:
            assert self._certificates is not None
            endpoint = self._endpoint("tls-port", text)
            yield text, wrapServerTLS(self._certificates, endpoint, self._reactor), True

    def _endpoint(self, option: str, text: str) -> Any:
        description = f"tcp:{text}:backlog={_BACKLOG}" if text.isdigit() else text
        try:
            endpoint = serverFromString(self._reactor, description)
        except Exception as error:
            reason = str(error) or type(error).__name__
            if isinstance(error, LookupError):
                reason = "there is no such socket, or the description lacks an argument"
            raise ConfigError(f"{option}: {text!r} cannot be used: {reason}") from None
        # Of Twisted's own ssl: endpoint; others keep their certificates to themselves.
        options = getattr(endpoint, "_sslContextFactory", None)
        if options is not None and options.certificate.has_expired():
            self._log.warn("the certificate of --port {endpoint} has expired", endpoint=text)
        return endpoint


def _shown(address: object) -> str:
    if isinstance(address, (IPv4Address, IPv6Address)):
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{host}:{address.port}"
    if isinstance(address, UNIXAddress):
        return f"unix:{os.fsdecode(address.name or b'')}"
    return repr(address)
