"""Tests of `wsredis.service.private_port`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import fail
from twisted.internet.error import CannotListenError
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from wsredis import web
from wsredis.config import GatewayConfig
from wsredis.errors import ConfigError
from wsredis.service.endpoints import bind_error, metrics_endpoint
from wsredis.service.private_port import PrivatePort


class PrivatePortTests(SynchronousTestCase):
    """The port of ``metrics-port``."""

    def setUp(self) -> None:
        """Nothing is bound."""
        self.reactor: Any = MemoryReactorClock()
        self.site = web.private_site(self.reactor, {}, None)

    def make(self, description: str | None) -> PrivatePort:
        """The port of a configuration."""
        config = GatewayConfig(metrics_port=description)
        return PrivatePort(metrics_endpoint(config, self.reactor), self.site)

    def test_number(self) -> None:
        """A number alone is a port of this machine only; the log has its address once."""
        port = self.make("9100")
        with capturedLogs() as logs:
            port.bind()
            port.bind()
        ((number, site, _, interface),) = self.reactor.tcpServers
        self.assertEqual((9100, self.site, "127.0.0.1"), (number, site, interface))
        self.assertEqual(["metrics and health on {address}"], [x["log_format"] for x in logs])
        self.successResultOf(port.stop())

    def test_descriptions(self) -> None:
        """Any endpoint description is taken as it is."""
        self.make("tcp:9100:interface=10.0.0.5").bind()
        self.make("tcp:9101").bind()
        self.assertEqual(
            [(9100, "10.0.0.5"), (9101, "")],
            [(port, interface) for port, _, _, interface in self.reactor.tcpServers],
        )
        path = str(Path(self.mktemp()).absolute())
        self.make(f"unix:{path}").bind()
        ((address, *_),) = self.reactor.unixServers
        self.assertEqual(path, address)

    def test_none(self) -> None:
        """Without the setting nothing is bound or logged."""
        port = self.make(None)
        with capturedLogs() as logs:
            port.bind()
            self.successResultOf(port.stop())
        self.assertEqual(([], []), ([], logs))
        self.assertEqual([], self.reactor.tcpServers)

    def test_wrong(self) -> None:
        """One line names the setting."""
        error = self.assertRaises(ConfigError, self.make, "tcp:x")
        self.assertIn("metrics-port: 'tcp:x' cannot be used: ", str(error))
        self.assertRaises(ConfigError, GatewayConfig, metrics_port="99999")

    def test_taken(self) -> None:
        """The error of a port that another program has names the setting, too."""

        def taken(*_: object, **__: object) -> None:
            raise CannotListenError("127.0.0.1", 9100, OSError(98, "Address already in use"))

        self.reactor.listenTCP = taken
        error = self.assertRaises(CannotListenError, self.make("9100").bind)
        line = "metrics-port: 127.0.0.1:9100: Address already in use: another program listens there"
        self.assertEqual(f"{line}, perhaps another gateway", bind_error(error))

    def test_stops_once(self) -> None:
        """It is closed once, and a failure of that is only logged."""
        port = self.make("9100")
        port.bind()
        listening: Any = port._port
        listening.stopListening = lambda: fail(OSError("broken"))
        with capturedLogs() as logs:
            self.successResultOf(port.stop())
        self.successResultOf(port.stop())
        self.assertEqual([LogLevel.critical], [each["log_level"] for each in logs])
        self.flushLoggedErrors(OSError)
