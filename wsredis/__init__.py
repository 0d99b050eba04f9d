"""
A gateway between WebSockets and Redis pub/sub, on Twisted and Autobahn.

The names below are the public interface for programs that embed the gateway. Each is loaded when it
is first asked for: a program that only publishes does not load Twisted.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsredis._version import __version__

if TYPE_CHECKING:
    from wsredis.auth import Authenticator, Handshake, Identity, Policy, Refused
    from wsredis.channels import Audience, Wish
    from wsredis.config import AuthUrlConfig, GatewayConfig, JwtConfig, Limits, RedisConfig
    from wsredis.connection import Connection
    from wsredis.errors import ConfigError, WsredisError
    from wsredis.handler import Handler
    from wsredis.service import GatewayService
else:  # to a type checker, a name that is not above does not exist

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value


__all__ = [
    "Audience",
    "AuthUrlConfig",
    "Authenticator",
    "ConfigError",
    "Connection",
    "GatewayConfig",
    "GatewayService",
    "Handler",
    "Handshake",
    "Identity",
    "JwtConfig",
    "Limits",
    "Policy",
    "RedisConfig",
    "Refused",
    "Wish",
    "WsredisError",
    "__version__",
]

#: The module that each public name comes from.
_HOMES = {
    name: f"wsredis.{module}"
    for module, names in {
        "auth": ("Authenticator", "Handshake", "Identity", "Policy", "Refused"),
        "channels": ("Audience", "Wish"),
        "config": ("AuthUrlConfig", "GatewayConfig", "JwtConfig", "Limits", "RedisConfig"),
        "connection": ("Connection",),
        "errors": ("ConfigError", "WsredisError"),
        "handler": ("Handler",),
        "service": ("GatewayService",),
    }.items()
    for name in names
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
