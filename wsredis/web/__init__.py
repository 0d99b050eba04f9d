"""Plain HTTP on the port of the WebSockets: health, scripts, playground, WSGI application."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.web.resource import Resource

from wsredis import __version__
from wsredis.auth.open_sockets import OpenSockets
from wsredis.config import GatewayConfig
from wsredis.config.networks import Networks
from wsredis.config.redis_url import RedisTarget, format_url, target_of
from wsredis.errors import ConfigError
from wsredis.gateway.health import Probes
from wsredis.gateway.numbers import Snapshot
from wsredis.web import channel, wsgi
from wsredis.web.application import WSGIResource, load_application
from wsredis.web.asgi.http_server import HttpServer
from wsredis.web.playground import playground
from wsredis.web.resources import LocalResource
from wsredis.web.site import GatewaySite
from wsredis.web.spool import Spool

if TYPE_CHECKING:
    # It needs a library that others do not have.
    from wsredis.web.metrics import MetricsResource

__all__ = ["from_config", "metrics_page", "playground_settings", "private_site"]


def from_config(
    config: GatewayConfig,
    reactor: Any,
    probes: Probes,
    application: wsgi.Application | None = None,
    metrics: Resource | None = None,
    asgi: HttpServer | None = None,
    sockets: OpenSockets | None = None,
) -> GatewaySite:
    """
    Build the site of a gateway.

    Args:
        probes: The answers below ``/health/``.
        metrics: The page of `metrics_page`. Strangers get it only if *config* says so.
        application: A WSGI application. If None, the one that *config* names, if any.
        asgi: Answers with an ASGI application. If None, there is none.
        sockets: Knows the sockets of the playground. If None, there is no playground.

    Returns:
        The site. It is not started, and has no connections.

    Raises:
        ConfigError: The application cannot be imported, two of the demo page, a WSGI and an ASGI
            application are wanted, a body of the allowed size would never fit into the spool, or
            the installed Twisted cannot be used.
    """
    channel.check_twisted()
    _refuse_two(config, application is not None, asgi is not None)
    if application is None and config.wsgi is not None:
        application = load_application(config.wsgi)
    limits = config.limits
    if application is not None and limits.max_body * 3 > limits.max_spool * 2:
        raise ConfigError(
            f"max-spool: must be at least {-(-limits.max_body * 3 // 2)}: a single client gets two "
            f"thirds of it, and max-body is {limits.max_body}"
        )
    spool = Spool(limits.max_spool)
    return GatewaySite(
        reactor,
        config.url_prefixes,
        probes,
        None if sockets is None else playground(reactor, sockets, playground_settings(config)),
        None if application is None else _application_resource(config, reactor, application, spool),
        max_body=limits.max_body,
        max_channels=limits.max_handshakes,
        max_head=limits.max_head,
        trusted=Networks(config.trusted_proxy),
        spool=spool,
        metrics=_public_metrics(config, metrics, application is not None or asgi is not None),
        access_log=config.access_log,
        asgi=asgi,
        streams=not config.no_streams,
    )


def metrics_page(config: GatewayConfig, snapshot: Callable[[], Snapshot]) -> MetricsResource | None:
    """
    Make ``/metrics``.

    Args:
        snapshot: Returns the numbers of this moment.

    Returns:
        The page. None if prometheus-client is not installed.

    Raises:
        ConfigError: It is not installed, and a setting asks for it.
    """
    try:
        from wsredis.web.metrics import MetricsResource
    except ImportError:
        if not config.metrics and config.metrics_port is None:
            return None
        option = "metrics" if config.metrics else "metrics-port"
        raise ConfigError(
            f"{option}: needs prometheus-client: pip install 'wsredis[metrics]'"
        ) from None
    return MetricsResource(snapshot)


def _public_metrics(
    config: GatewayConfig, metrics: Resource | None, has_application: bool
) -> Resource | None:
    """Return the resource at ``/metrics`` on the ports of the clients."""
    if metrics is None or config.metrics:
        return metrics
    # An application may have such a page of its own.
    is_wanted = config.has_public_metrics and not has_application
    return LocalResource(metrics) if is_wanted else None


def private_site(reactor: Any, probes: Probes, metrics: Resource | None) -> GatewaySite:
    """
    Build the site of ``metrics-port``: ``/metrics`` and the health paths.

    Args:
        probes: The answers below ``/health/``.
        metrics: The page of `metrics_page`.
    """
    return GatewaySite(reactor, (), probes, None, metrics=metrics)


def _refuse_two(config: GatewayConfig, has_wsgi: bool, has_asgi: bool) -> None:
    """Refuse settings of which each wants to serve all pages."""
    has_wsgi = has_wsgi or config.wsgi is not None
    has_asgi = has_asgi or config.asgi.application is not None
    if has_wsgi and has_asgi:
        raise ConfigError("asgi: cannot be combined with wsgi: both serve /")
    if config.demo and (has_wsgi or has_asgi):
        raise ConfigError("demo: cannot be combined with an application: both serve /")


def _application_resource(
    config: GatewayConfig, reactor: Any, application: wsgi.Application, spool: Spool
) -> WSGIResource:
    wsgi.check_twisted()
    return WSGIResource(
        reactor,
        application,
        config.wsgi_threads,
        config.limits.wsgi_queue,
        spool=spool,
        multiprocess=config.workers > 1,
    )


def playground_settings(config: GatewayConfig) -> dict[str, Any]:
    """Return what the script of the playground has to know. It is public: no password."""
    target = target_of(config.redis)
    return {
        "version": __version__,
        "uri": config.url_prefix,
        "prefix": config.prefix,
        "storedPrefix": config.stored_prefix,
        "heartbeat": config.heartbeat,
        "redisCli": target.cli_arguments,
        # Empty for the one that programs look for anyway.
        "redisUrl": "" if not target.cli_arguments else _url_of(target),
        "redisHasPassword": target.password is not None,
        "streams": not config.no_streams,
        "workers": config.workers,
    }


def _url_of(target: RedisTarget) -> str:
    """Return the URL of a Redis, without the password."""
    url = format_url(
        host=target.host or "localhost",
        port=target.port or 6379,
        path=target.path,
        tls=target.tls,
        username=target.username,
        database=target.database,
    )
    return url if target.database else url.removesuffix("?db=0").removesuffix("/0")
