"""
Tests of `wsredis.service.service` with an ASGI application: the order of its start and its stop.

They are apart from `test_service`, which has everything else.
"""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.testing import RaisingMemoryReactor
from twisted.logger import capturedLogs

from tests.support.memory_gateway import Socket
from tests.support.raw import handshake
from tests.unit.service.test_service import _Reactor, _ServiceCase
from wsredis.config import AsgiConfig, GatewayConfig
from wsredis.errors import ConfigError
from wsredis.service.service import GatewayService


class _App:
    """
    An application that starts and stops when the test says.

    Attributes:
        said: What it has heard, and done.
        answer: The answer to an event of its lifespan; it is complete if this is for another one.
            If None, the application waits.
    """

    def __init__(self) -> None:
        self.said: list[str] = []
        self.answer: dict[str, Any] | None = None
        self.waits: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            self.said.append(scope["type"])
            try:
                while (await receive())["type"] != "websocket.disconnect":
                    await send({"type": "websocket.accept"})
                self.said.append("disconnect")
                await asyncio.Event().wait()
            finally:
                self.said.append("call ended")
        while True:
            event = (await receive())["type"]
            self.said.append(event)
            if self.answer is None:
                self.waits = asyncio.Event()
                await self.waits.wait()
            is_answer = self.answer is not None and self.answer["type"].startswith(event)
            await send(self.answer if is_answer else {"type": f"{event}.complete"})
            if "shutdown" in event:
                break


class AsgiServiceCase(_ServiceCase):
    """A gateway with an application."""

    def setUp(self) -> None:
        """Make the application."""
        super().setUp()
        self.app = _App()
        self.failures: list[str] = []

    def started(self, **asgi: Any) -> GatewayService:
        """A service that was started."""
        # The first ping comes at a random time of the interval: here it never comes.
        config = GatewayConfig(
            asgi=AsgiConfig(shutdown=5.0, **asgi),
            drain=1.0,
            drain_spread=0.0,
            ping_interval=100000.0,
        )
        service = self.make(config, asgi=self.app)
        service.give_up = self.failures.append
        self.addCleanup(self.stop, service)
        service.privilegedStartService()
        service.startService()
        self.turn()
        return service

    def turn(self, seconds: float = 0.0) -> None:
        """Let everything happen that is due."""
        self.reactor.advance(seconds)
        for _ in range(10):
            self.reactor.advance(0)

    def stop(self, service: GatewayService) -> None:
        """Stop it, if it runs."""
        if service.running:
            service.stopService()
        for _ in range(100):
            for port in self.reactor.ports:
                if port.stopped is not None and not port.stopped.called:
                    port.stopped.callback(None)
            self.turn(0.2)


class StartTests(AsgiServiceCase):
    """The application starts before anybody may connect."""

    def test_first(self) -> None:
        """No port is bound before the application has started, and the gateway is not ready."""
        service = self.started()
        self.assertEqual(["lifespan.startup"], self.app.said)
        self.assertEqual([], self.reactor.bound)
        self.assertFalse(service.is_ready())
        self.assertTrue(self.broker.up)
        self.app.waits.set()
        self.turn()
        self.assertEqual([8080], [port for port, *_ in self.reactor.bound])
        self.assertTrue(service.is_ready())

    def test_failed(self) -> None:
        """An application that cannot start ends the program; no port is ever bound."""
        self.app.answer = {"type": "lifespan.startup.failed", "message": "no database"}
        service = self.started()
        self.assertEqual(["asgi: the application could not start: no database"], self.failures)
        self.assertEqual([], self.reactor.bound)
        self.assertFalse(service.is_ready())

    def test_nobody_to_give_up(self) -> None:
        """In a program that embeds the gateway nothing ends; the gateway is not ready."""
        self.app.answer = {"type": "lifespan.startup.failed"}
        config = GatewayConfig(asgi=AsgiConfig())
        service = self.make(config, asgi=self.app)
        self.addCleanup(self.stop, service)
        service.startService()
        self.turn()
        self.assertIn("asgi: ", service.readiness()[0]["starting"].text)

    def test_port_not_bound(self) -> None:
        """A port that cannot be bound then ends the program in the same way."""

        class Full(_Reactor, RaisingMemoryReactor):
            def listenTCP(self, *args: Any, **kwargs: Any) -> Any:
                raise CannotListenError("", 8080, OSError(13, "denied"))

        self.reactor = Full()
        self.app.answer = {"type": "lifespan.startup.complete"}
        self.started()
        self.assertEqual(["port: *:8080: denied"], self.failures)

    def test_crashed(self) -> None:
        """A bug ends the program, too, and is in the log."""
        service = self.make(GatewayConfig(), asgi=self.app)
        service.give_up = self.failures.append
        self.addCleanup(self.stop, service)
        self.patch(service.factory, "start", lambda: 1 / 0)
        self.app.answer = {"type": "lifespan.startup.complete"}
        with capturedLogs() as logs:
            service.startService()
            self.turn()
        self.assertEqual(["the gateway failed to start"], self.failures)
        self.assertIn("start-crashed", [each.get("event") for each in logs])
        self.flushLoggedErrors(ZeroDivisionError)
        del service.factory.start

    def test_early_ports(self) -> None:
        """Where rights are given up after the ports are bound, they are bound first."""
        for change in ({"lifespan": "off"}, {}):
            self.reactor.bound.clear()
            config = GatewayConfig(asgi=AsgiConfig(**change))
            service = self.make(config, asgi=self.app)
            service.binds_early = not change
            self.addCleanup(self.stop, service)
            service.privilegedStartService()
            self.assertEqual([8080], [port for port, *_ in self.reactor.bound])
            service.startService()
            self.turn()
            if not change:
                self.app.waits.set()
                self.turn()
            self.assertEqual(1, len(self.reactor.bound))
            self.assertTrue(service.is_ready())

    def test_named(self) -> None:
        """The application may be named; a mistake in the name is known at once."""
        config = GatewayConfig(asgi=AsgiConfig("nosuch_module:app"))
        error = self.assertRaises(ConfigError, self.make, config)
        self.assertIn("asgi: 'nosuch_module:app' cannot be used: ", str(error))


class StopTests(AsgiServiceCase):
    """The application stops after its clients."""

    def stopping(self, service: GatewayService) -> Deferred[None]:
        """Begin to stop; the ports are closed."""
        stopped = service.stopService()
        self.turn(0.3)
        for port in self.reactor.ports:
            assert port.stopped is not None
            port.stopped.callback(None)
        self.turn()
        return stopped

    def test_order(self) -> None:
        """Its clients are closed, its calls end or are cancelled, and then it hears of the stop."""
        self.app.answer = {"type": "lifespan.startup.complete"}
        service = self.started()
        client = self.open_slowly(service)
        self.app.answer = {"type": "lifespan.shutdown.complete"}
        stopped = self.stopping(service)
        self.assertEqual(b"\x88\x13\x03\xf4the gateway stops", client.take())
        self.assertEqual(["lifespan.startup", "websocket", "disconnect"], self.app.said)
        self.assertTrue(self.broker.up)
        self.turn(1.1)
        self.assertNotIn("call ended", self.app.said)
        self.turn(6)
        self.turn(6)
        self.assertEqual(["call ended", "lifespan.shutdown"], self.app.said[3:])
        self.successResultOf(stopped)
        self.assertFalse(self.broker.up)

    def open_slowly(self, service: GatewayService) -> Any:
        """A WebSocket of the application."""
        client = Socket(service.factory)
        client.send(handshake("/app"))
        self.turn()
        self.assertTrue(client.take().startswith(b"HTTP/1.1 101 "))
        return client

    def test_haste(self) -> None:
        """A second signal cancels what is left."""
        self.app.answer = {"type": "lifespan.startup.complete"}
        service = self.started()
        self.open_slowly(service)
        self.app.answer = None
        stopped = self.stopping(service)
        service.stop_now()
        self.turn(0.6)
        self.turn(1.1)
        self.turn(1.1)
        self.turn(1.1)
        self.successResultOf(stopped)
        self.assertIn("call ended", self.app.said)

    def test_during_start(self) -> None:
        """A stop cancels a start that has not ended, and nothing is bound."""
        service = self.started()
        stopped = service.stopService()
        for _ in range(20):
            self.turn(0.2)
        self.successResultOf(stopped)
        self.assertEqual(([], []), (self.failures, self.reactor.bound))

    def test_time(self) -> None:
        """The time of a stop has room for the calls and for the end of the application."""
        without = self.make(GatewayConfig()).stop_time
        config = GatewayConfig(asgi=AsgiConfig(shutdown=7.0))
        self.assertLessEqual(without + 14.0, self.make(config, asgi=self.app).stop_time)
