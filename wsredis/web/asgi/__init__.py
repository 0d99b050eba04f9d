"""ASGI applications: their loop, their calls, and what travels between them and the gateway."""

from __future__ import annotations

from typing import Any

from wsredis.config import GatewayConfig
from wsredis.gateway.metrics import Metrics
from wsredis.web.asgi.application import Application, load_application, single_callable
from wsredis.web.asgi.self_test import self_test
from wsredis.web.asgi.server import AsgiServer

__all__ = ["AsgiServer", "from_config"]


def from_config(
    config: GatewayConfig, reactor: Any, metrics: Metrics, application: Any = None
) -> AsgiServer | None:
    """
    Build the server of an ASGI application.

    Args:
        metrics: Counts its answers.
        application: The application, of any version of ASGI. If None, it is the one that *config*
            names.

    Returns:
        The server, which is not started. None if there is no application.

    Raises:
        ConfigError: The application cannot be imported, or the Python that runs cannot be used.
    """
    if application is not None:
        found: Application = single_callable(application)
    elif config.asgi.application is not None:
        found = load_application(config.asgi.application)
    else:
        return None
    self_test()
    return AsgiServer(reactor, config, found, metrics)
