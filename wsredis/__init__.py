"""
A gateway between WebSockets and Redis pub/sub, on Twisted and Autobahn.

The names below are the public interface for programs that embed the gateway. Each is loaded when it
is first asked for: a program that only publishes does not load Twisted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "26.12.0"

if TYPE_CHECKING:
    from wsredis.channels import Access, Audience
    from wsredis.config import (
        AsgiConfig,
        AuthUrlConfig,
        ForwardConfig,
        GatewayConfig,
        JwtConfig,
        Limits,
        RedisConfig,
        load,
    )
    from wsredis.errors import ConfigError, HandshakeRejected, WsredisError
    from wsredis.gateway.connection import Connection
    from wsredis.gateway.gap import Gap
    from wsredis.gateway.handler import Handler
    from wsredis.gateway.identity import Authenticator, Handshake, Identity, Policy
    from wsredis.service.service import GatewayService
else:  # to a type checker, a name that is not above does not exist

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


__all__ = [
    "Access",
    "AsgiConfig",
    "Audience",
    "AuthUrlConfig",
    "Authenticator",
    "ConfigError",
    "Connection",
    "ForwardConfig",
    "Gap",
    "GatewayConfig",
    "GatewayService",
    "Handler",
    "Handshake",
    "HandshakeRejected",
    "Identity",
    "JwtConfig",
    "Limits",
    "Policy",
    "RedisConfig",
    "WsredisError",
    "__version__",
    "load",
]

#: The module that each public name comes from.
_HOMES = {
    name: f"wsredis.{module}"
    for module, names in {
        "channels": ("Access", "Audience"),
        "config": (
            "AsgiConfig",
            "AuthUrlConfig",
            "ForwardConfig",
            "GatewayConfig",
            "JwtConfig",
            "Limits",
            "RedisConfig",
            "load",
        ),
        "errors": ("ConfigError", "HandshakeRejected", "WsredisError"),
        "gateway.connection": ("Connection",),
        "gateway.gap": ("Gap",),
        "gateway.handler": ("Handler",),
        "gateway.identity": ("Authenticator", "Handshake", "Identity", "Policy"),
        "service.service": ("GatewayService",),
    }.items()
    for name in names
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
