"""The client of redis-py for the subscriber class of a Django project."""

from __future__ import annotations

from typing import Any

from wsredis.config import GatewayConfig
from wsredis.config.ws4redis import redis_values
from wsredis.publisher.redis_py import connect, connect_as_project
from wsredis.publisher.settings import redis_arguments_of_project

__all__ = ["client_for_project"]


def client_for_project(config: GatewayConfig) -> Any:
    """
    Make a client for the Redis of the gateway. Nothing is sent yet.

    If that is the Redis of ``WS4REDIS_CONNECTION``, all arguments there count, also those that only
    redis-py understands.

    Raises:
        ConfigError: A setting cannot be used, or redis-py is missing.
    """
    arguments = redis_arguments_of_project()
    if arguments is not None:
        values, _ = redis_values(arguments)
        if values["redis"] == config.redis.url:
            return connect_as_project(config.auth_timeout)
    return connect(config.redis)
