"""Tests for `wsredis.transports`: the builder of this wing."""

from __future__ import annotations

from autobahn.websocket.protocol import WebSocketProtocol

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase
from wsredis.errors import ConfigError


class BuilderTests(MemoryGatewayCase):
    """`from_config`, as the gateway in memory calls it."""

    def test_not_started(self) -> None:
        """It starts no timer by itself."""
        self.factory.stop()
        self.gateway.auth.stop()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_other_library(self) -> None:
        """A library that cannot be used is a ConfigError, before anything is listened to."""
        self.patch(WebSocketProtocol, "STATE_OPEN", 9)
        error = self.assertRaises(ConfigError, MemoryGateway, self.config)
        self.assertIn("Autobahn", str(error))
