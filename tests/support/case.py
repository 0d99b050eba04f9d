"""Test cases with a gateway and a Redis of their own."""

from __future__ import annotations

import atexit
from functools import cache

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import Gateway, RedisServer, until
from tests.support.health import health
from tests.support.raw import RawClient

__all__ = ["FreshGatewayCase", "GatewayCase"]


@cache
def _shared_redis() -> RedisServer:
    server = RedisServer()
    atexit.register(server.stop)
    return server


@cache
def _shared_gateway(options: tuple[str, ...]) -> Gateway:
    # A ping of the gateway would come between the frames that a test waits for.
    gateway = Gateway("--redis", _shared_redis().url, "--ping-interval", "600", *options)
    atexit.register(gateway.stop)
    # Connected is not yet ready: it has to be proven that messages arrive.
    until(lambda: health(gateway.port)[0] == 200)
    return gateway


class GatewayCase(SynchronousTestCase):
    """
    A gateway that all test cases with the same options share. For tests that break nothing.

    Each test uses a facility of its own.

    Attributes:
        options: Arguments after ``twistd wsredis --redis URL --ping-interval 600``.
    """

    options: tuple[str, ...] = ()
    redis: RedisServer
    gateway: Gateway

    def setUp(self) -> None:
        """Start Redis and the gateway, if they do not run yet."""
        self.redis = _shared_redis()
        self.gateway = _shared_gateway(self.options)

    def open(self, path: str, *headers: str) -> RawClient:
        """Connect a client and shake hands; it is closed after the test."""
        client = RawClient.opened(self.gateway.port, path, *headers)
        self.addCleanup(client.socket.close)
        return client


class FreshGatewayCase(GatewayCase):
    """A gateway and a Redis for each test: for tests that stop, freeze or flood them."""

    redis_options: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start both."""
        self.redis = RedisServer(*self.redis_options)
        self.addCleanup(self.redis.stop)
        self.gateway = Gateway("--redis", self.redis.url, *self.options)
        self.addCleanup(self.gateway.stop)
