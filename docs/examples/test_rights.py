"""Tests of rules-staff.toml and rights.py, without Redis: python -m twisted.trial test_rights"""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from wsredis import GatewayConfig, Handshake, Identity, load
from wsredis.testing import HandshakeFailed, MemoryGateway


class NamedUser:
    """For tests only: the client itself names its user and groups, as ``User: john staff``."""

    def identify(self, handshake: Handshake) -> Identity | None:
        names = handshake.headers.get("user", "").split()
        return Identity(user=names[0], groups=tuple(names[1:])) if names else None


class RightsTests(SynchronousTestCase):
    def check(self, config: GatewayConfig, status: int, path: str, *headers: str) -> None:
        gateway = MemoryGateway(config, authenticator=NamedUser())
        if status == 101:
            self.assertTrue(gateway.client(path, *headers).is_open)
        else:
            refused = self.assertRaises(HandshakeFailed, gateway.client, path, *headers)
            self.assertEqual(status, refused.status)

    def test_rules(self) -> None:
        rules = load({}, {}, str(Path(__file__).with_name("rules-staff.toml")))
        self.check(rules, 101, "/ws/chat.lobby?subscribe-broadcast")
        self.check(rules, 403, "/ws/chat.lobby?publish-broadcast", "User: paul")
        self.check(rules, 101, "/ws/chat.lobby?publish-broadcast", "User: john")
        self.check(rules, 101, "/ws/chat.lobby?publish-broadcast", "User: mary staff")

    def test_function(self) -> None:
        function = GatewayConfig(policy="rights:may")
        self.check(function, 403, "/ws/room.tigers?subscribe-group")
        self.check(function, 403, "/ws/room.tigers?subscribe-group", "User: john lions")
        self.check(function, 101, "/ws/room.tigers?subscribe-group", "User: john tigers")
