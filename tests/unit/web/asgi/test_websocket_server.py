"""Tests for `wsredis.web.asgi.websocket_server`; what a client meets is in `test_websocket`."""

from __future__ import annotations

from tests.support.asgi import AsgiCase
from wsredis.config import AsgiConfig, GatewayConfig
from wsredis.testing.wire import handshake


class ScopeTests(AsgiCase):
    """What the application is told about a handshake."""

    config = GatewayConfig(
        asgi=AsgiConfig(root_path="/r%C3%A9"), trusted_proxy=("192.0.2.9",), script_name="/other"
    )

    def test_direct(self) -> None:
        """A client that comes directly is what it is, whatever its headers say."""
        self.connect("/x", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https")
        scope = self.app.scopes[0]
        self.assertEqual(["192.0.2.1", 54321], [*scope["client"]])
        self.assertEqual(
            ("ws", "/ré", "/ré/x"), (scope["scheme"], scope["root_path"], scope["path"])
        )
        self.assertEqual({"version": "3.0", "spec_version": "2.5"}, scope["asgi"])

    def test_proxy(self) -> None:
        """A trusted proxy names the client and the scheme."""
        socket = self.gateway.connect("192.0.2.9")
        socket.send(handshake("/x", "X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https"))
        self.gateway.settle()
        scope = self.app.scopes[0]
        self.assertEqual(("198.51.100.7", "wss"), (scope["client"][0], scope["scheme"]))

    def test_own(self) -> None:
        """Each call has a scope, and a list of subprotocols, that is nobody else's."""
        self.connect("/x", "Sec-WebSocket-Protocol: a")
        self.connect("/x", "Sec-WebSocket-Protocol: a")
        first, second = self.app.scopes
        self.assertEqual(first["subprotocols"], second["subprotocols"])
        first["subprotocols"].append("b")
        first["extensions"]["x"] = {}
        self.assertEqual(["a"], second["subprotocols"])
        self.assertNotIn("x", second["extensions"])
        # What the application does to its scope is nothing to the handshake.
        self.assertIsInstance(
            self.outcome(
                lambda receive, send: send({"type": "websocket.accept", "subprotocol": "b"})
            ),
            ValueError,
        )
