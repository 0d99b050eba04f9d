"""Tests of the sockets that workers share; with real processes in tests.integration."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.service.workers.case import FakePort
from wsredis.errors import ConfigError
from wsredis.service.workers.sockets import check_shareable, check_twisted, hold


class ShareableTests(SynchronousTestCase):
    """An endpoint is shareable if a worker needs nothing but its listening socket."""

    def test_shareable(self) -> None:
        """Numbers, TCP, UNIX, systemd, and these after the PROXY protocol."""
        for text in ("0", "8080", "tcp:1", "tcp6:1", "unix:/x", "systemd:0", "haproxy:tcp:1"):
            check_shareable("port", text)

    def test_refused(self) -> None:
        """The error names the setting and the endpoint, in one line."""
        for text in (
            "ssl:443",
            "haproxy:ssl:443",
            "tls:/x:port=1",
            "tcp8",
            "haproxy:haproxy:tcp:1",
        ):
            error = self.assertRaises(ConfigError, check_shareable, "tls-port", text)
            self.assertIn(f"tls-port: {text!r} cannot be used with --workers: ", str(error))
            self.assertNotIn("\n", str(error))


class HoldTests(SynchronousTestCase):
    """A port of the parent is held open and not read."""

    def test_hold(self) -> None:
        """It does not read, and will close without a shutdown."""
        port = FakePort()
        self.addCleanup(port.socket.close)
        hold(port)
        self.assertEqual((False, False), (port.reading, port._shouldShutdown))


class CheckTests(SynchronousTestCase):
    """A version of Twisted that cannot be used is named at start."""

    def test_installed(self) -> None:
        """The installed version can be used."""
        check_twisted()

    def test_missing(self) -> None:
        """The text of the error names what is missing."""
        text = str(self.assertRaises(ConfigError, check_twisted, object))
        expected = (
            r"\ATwisted [0-9.]+\w* cannot be used with --workers: object._should\w+ is missing\Z"
        )
        self.assertRegex(text, expected)
