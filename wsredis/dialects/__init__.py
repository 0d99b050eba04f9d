"""Dialects: how a URL names channels, and how messages look."""

from __future__ import annotations

from wsredis.config import GatewayConfig
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.dialect import Dialect

__all__ = ["from_config"]


def from_config(config: GatewayConfig) -> list[Dialect]:
    """Make the dialects of a gateway, in the order in which they are asked to parse a URL."""
    return [PlainDialect(config.heartbeat, each, config.prefix) for each in config.url_prefixes]
