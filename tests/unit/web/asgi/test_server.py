"""Tests for `wsredis.web.asgi.server`; the order of start and stop is in `test_asgi_service`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.threads import ThreadReactor
from wsredis.config import AsgiConfig, GatewayConfig
from wsredis.gateway.metrics import Metrics
from wsredis.web.asgi import from_config
from wsredis.web.asgi.server import AsgiServer


async def _application(scope: Any, receive: Any, send: Any) -> None:
    """Fills the namespace of its lifespan."""
    assert scope["type"] == "lifespan"
    await receive()
    scope["state"]["a"] = 1
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


class ServerTests(SynchronousTestCase):
    """An application, its place, and its life."""

    def setUp(self) -> None:
        """Make a reactor."""
        self.reactor: Any = ThreadReactor()

    def make(self, **asgi: Any) -> AsgiServer:
        """A server of these settings."""
        config = GatewayConfig(asgi=AsgiConfig(**asgi), script_name="/s%20x")
        made = from_config(config, self.reactor, Metrics(), _application)
        assert made is not None
        return made

    def run_to(self, done: Deferred[Any], loop: str) -> None:
        """Let time pass until it has fired."""
        if loop == "thread":
            self.reactor.run_until(lambda: done.called)
        while not done.called:
            self.reactor.advance(0.01)

    def test_state(self) -> None:
        """What the application leaves at its start is there for each call, in both modes."""
        for loop in ("reactor", "thread"):
            server = self.make(loop=loop)
            self.assertIsNone(server.websockets.place.state)
            started = server.start()
            self.run_to(started, loop)
            self.successResultOf(started)
            for each in (server.http, server.websockets):
                self.assertEqual({"a": 1}, each.place.state)
            stopped = Deferred.fromCoroutine(server.stop())
            self.run_to(stopped, loop)
            self.successResultOf(stopped)

    def test_root_path(self) -> None:
        """It is the one that a proxy takes off, unless another one is given; it is decoded."""
        self.assertEqual("/s x", self.make().http.place.root_path)
        self.assertEqual("/é", self.make(root_path="/%C3%A9").websockets.place.root_path)

    def test_never_started(self) -> None:
        """One that was never started has nothing to stop."""
        self.successResultOf(Deferred.fromCoroutine(self.make().stop()))
