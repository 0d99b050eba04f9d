"""Every setting of the gateway: declared, checked and loaded, with the objects that it names."""

from __future__ import annotations

from wsredis.config.declare import GROUPS, Setting, setting_of
from wsredis.config.load import load
from wsredis.config.settings import (
    DEFAULT_URL,
    AsgiConfig,
    AuthUrlConfig,
    ForwardConfig,
    GatewayConfig,
    JwtConfig,
    Limits,
    RedisConfig,
    all_settings,
)

__all__ = [
    "DEFAULT_URL",
    "GROUPS",
    "AsgiConfig",
    "AuthUrlConfig",
    "ForwardConfig",
    "GatewayConfig",
    "JwtConfig",
    "Limits",
    "RedisConfig",
    "Setting",
    "all_settings",
    "load",
    "setting_of",
]
