"""Tests for `wsredis.web.asgi`: the builder."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.config import AsgiConfig, GatewayConfig
from wsredis.errors import ConfigError
from wsredis.gateway.metrics import Metrics
from wsredis.web.asgi import AsgiServer, from_config


async def named(scope: Any, receive: Any, send: Any) -> None:
    """An application."""


class BuilderTests(SynchronousTestCase):
    """The server of an application, if there is one."""

    def make(self, config: GatewayConfig, application: Any = None) -> AsgiServer | None:
        """Build it."""
        return from_config(config, MemoryReactorClock(), Metrics(), application)

    def test_application(self) -> None:
        """The argument comes before the setting; without both there is none."""
        self.assertIsNone(self.make(GatewayConfig()))
        self.assertIsNotNone(self.make(GatewayConfig(), named))
        config = GatewayConfig(asgi=AsgiConfig(f"{__name__}:named"))
        self.assertIsNotNone(self.make(config))
        other = GatewayConfig(asgi=AsgiConfig("nosuch:nosuch"))
        self.assertIsNotNone(self.make(other, named))
        self.assertRaises(ConfigError, self.make, other)
