"""Makes a gateway of ours for an application, in the words of the suites."""

from __future__ import annotations

from typing import Any

from peers.grounds import Settings

from wsredis import GatewayService, load
from wsredis.testing import MemoryBroker, MemoryServer

__all__ = ["make_service", "port_of"]

#: Nothing but a test decides how long something takes.
_SETTINGS: dict[str, Any] = {
    # The clients of some suites know no pings.
    "ping-interval": 3600,
    "max-rate": 10**9,
    "max-rate-per-address": 10**9,
    "handshake-rate": 10**6,
    "max-frame": 1 << 25,
    "max-message": 1 << 24,
    "max-queue": 1 << 26,
    "drain-spread": 0,
}


def make_service(application: Any, settings: Settings, port: int = 0) -> Any:
    """Return a service that serves an application on a port of localhost. It is not started."""
    from twisted.internet import reactor

    values = {
        **_SETTINGS,
        **settings.options,
        "asgi-lifespan": settings.lifespan,
        "tls-port" if "tls-cert" in settings.options else "port": f"tcp:{port}:interface=127.0.0.1",
    }
    config = load({name: _word(value) for name, value in values.items()}, environ={})
    broker: Any = MemoryBroker(MemoryServer(reactor))  # type: ignore[arg-type]
    return GatewayService(config, asgi=application, broker=broker)


def _word(value: Any) -> Any:
    """A value as the command line has it."""
    return int(value) if isinstance(value, bool) else str(value)


def port_of(service: Any) -> int:
    """Return the port on which a service listens. 0 if it does not yet."""
    for port in service._ports:
        number: int = port.getHost().port
        return number
    return 0
