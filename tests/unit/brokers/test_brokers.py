"""Tests for `wsredis.brokers.from_config`."""

from __future__ import annotations

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.test_public import loaded
from wsredis import brokers
from wsredis.brokers.redis.broker import RedisBroker
from wsredis.config import GatewayConfig, RedisConfig
from wsredis.errors import ConfigError
from wsredis.gateway.health import Health
from wsredis.gateway.metrics import Metrics


class BuilderTests(SynchronousTestCase):
    """One call makes the broker of the settings."""

    def make(self, reactor: MemoryReactorClock, **redis: str) -> object:
        """Make the broker of these settings of Redis."""
        config = GatewayConfig(redis=RedisConfig(**redis))
        return brokers.from_config(config, reactor, Metrics(), Health())

    def test_redis(self) -> None:
        """It is one for Redis, which connects when it is started, and not before."""
        reactor = MemoryReactorClock()
        broker = self.make(reactor, url="unix:///run/redis.sock")
        assert isinstance(broker, RedisBroker)
        self.assertEqual([], reactor.unixClients)
        broker.start(_Listener())
        self.assertEqual(["/run/redis.sock"] * 2, [each[0] for each in reactor.unixClients])
        broker.stop()

    def test_proof(self) -> None:
        """It proves that messages arrive, on a channel with the prefix."""
        config = GatewayConfig(redis=RedisConfig(url="unix:///run/redis.sock"), prefix="shop")
        broker = brokers.from_config(config, MemoryReactorClock(), Metrics(), Health())
        assert broker.canary is not None
        self.assertRegex(broker.canary.channels[0], b"^shop:wsredis-proof:")

    def test_wrong_settings(self) -> None:
        """A setting that cannot be used is found now, not at the first connection."""
        for settings, name in (
            ({"url": "http://x"}, "redis: "),
            ({"url": "rediss://h", "ca": self.mktemp()}, "redis-ca: "),
            ({"password_file": self.mktemp()}, "redis-password-file: "),
        ):
            error = self.assertRaises(ConfigError, self.make, MemoryReactorClock(), **settings)
            self.assertIn(name, str(error))

    def test_import(self) -> None:
        """Importing the builder installs no reactor: txredisapi is loaded when it is called."""
        self.assertEqual(
            ["wsredis.brokers"],
            loaded(
                "import wsredis.brokers",
                *("wsredis.brokers", "txredisapi", "hiredis", "twisted.internet.reactor"),
            ),
        )


class _Listener:
    """A listener that is never called."""

    def deliver(self, batch: object) -> None:
        """See `wsredis.gateway.broker.BrokerListener`."""

    def restore(self, stored: object) -> None:
        """See `wsredis.gateway.broker.BrokerListener`."""

    def gap(self, gap: object) -> None:
        """See `wsredis.gateway.broker.BrokerListener`."""

    def forbid(self, channel: bytes) -> None:
        """See `wsredis.gateway.broker.BrokerListener`."""
