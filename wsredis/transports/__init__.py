"""How bytes reach clients, and how many clients may connect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsredis.auth import Auth
from wsredis.config import GatewayConfig
from wsredis.gateway.connection import Hooks
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.hub import Hub
from wsredis.transports import sockets
from wsredis.transports.websocket.applications import Applications
from wsredis.transports.websocket.factory import GatewayFactory
from wsredis.transports.websocket.http import HttpSite
from wsredis.transports.websocket.lean import self_test

__all__ = ["GatewayFactory", "from_config"]


def from_config(
    config: GatewayConfig,
    reactor: Any,
    hub: Hub,
    dialects: Sequence[Dialect],
    auth: Auth,
    site: HttpSite,
    handler: Hooks | None = None,
    applications: Applications | None = None,
) -> GatewayFactory:
    """
    Build this wing as the settings say.

    Args:
        config: The settings.
        reactor: Runs timers.
        hub: Brings the publications.
        dialects: Asked in this order to parse the URL of a handshake.
        auth: Decides on handshakes, and watches over open connections. Started elsewhere.
        site: Answers requests that are not WebSocket handshakes.
        handler: The hook of the embedding program. If None, there is none.
        applications: Gets handshakes that belong to no dialect. If None, 404 is the answer.

    Returns:
        The factory of all connections. Its `start` is called when the reactor runs.

    Raises:
        ConfigError: The installed Twisted or Autobahn is one that wsredis cannot work with.
    """
    sockets.self_test()
    self_test(reactor)
    return GatewayFactory(reactor, config, hub, dialects, auth, site, handler, applications)
