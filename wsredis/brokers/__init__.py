"""
Brokers carry publications between publishers and gateways: Redis, and one in memory for tests.
"""

from __future__ import annotations

from typing import Any

from wsredis.config import GatewayConfig
from wsredis.config.redis_url import target_of
from wsredis.gateway.broker import Broker
from wsredis.gateway.health import Health
from wsredis.gateway.metrics import Metrics

__all__ = ["from_config"]


def from_config(config: GatewayConfig, reactor: Any, metrics: Metrics, health: Health) -> Broker:
    """
    Make the broker of the settings. It is not started.

    Raises:
        ConfigError: A setting of Redis cannot be used, or an installed library is of a version
            that wsredis cannot work with.
    """
    # Imported late, since txredisapi installs the reactor: a program that imports wsredis may still
    # choose another one.
    from wsredis.brokers.redis.broker import RedisBroker
    from wsredis.brokers.redis.endpoint import make_endpoint
    from wsredis.brokers.redis.stored import StoredSettings

    target = target_of(config.redis)
    stored = StoredSettings(
        expire=config.expire,
        prefix=config.prefix,
        stored_prefix=config.stored_prefix,
        max_stored=config.limits.max_stored,
        rate=config.limits.max_stored_rate,
    )
    endpoint = make_endpoint(target, reactor)
    return RedisBroker(
        reactor,
        endpoint,
        target,
        stored,
        config.limits,
        metrics,
        health,
        is_proving=True,
        is_any_role=config.redis.role == "any",
    )
