"""
A gateway between WebSockets and Redis pub/sub, on Twisted and Autobahn.

The names below are the public interface for programs that embed the gateway.
"""

from __future__ import annotations

from wsredis._version import __version__
from wsredis.auth import Authenticator, Handshake, Identity, Policy, Refused
from wsredis.channels import Audience, Wish
from wsredis.config import AuthUrlConfig, GatewayConfig, JwtConfig, Limits, RedisConfig
from wsredis.connection import Connection
from wsredis.errors import ConfigError, WsredisError
from wsredis.handler import Handler
from wsredis.service import GatewayService

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
