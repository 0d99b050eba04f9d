"""Dialects: how a URL names channels, and how messages look."""

from __future__ import annotations

from wsredis.config import DEFAULT_URL, GatewayConfig
from wsredis.config.redis_url import parse_url
from wsredis.dialects.forwarding import Encode, Forwarder
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.dialect import Dialect

__all__ = ["Encode", "from_config"]


def from_config(config: GatewayConfig, encode: Encode | None = None) -> list[Dialect]:
    """
    Make the dialects of a gateway, in the order in which they are asked to parse a URL.

    Args:
        encode: Makes events for workers. Needed if *config* forwards something.
    """
    forwarder = None
    if config.forward.channels:
        assert encode is not None
        database = parse_url(config.redis.url or DEFAULT_URL).database
        forwarder = Forwarder(config.forward, encode, database)
    return [
        PlainDialect(config.heartbeat, each, config.prefix, forwarder)
        for each in config.url_prefixes
    ]
