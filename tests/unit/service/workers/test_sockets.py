"""Tests of the sockets that workers share; with real processes in tests.integration."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.service.workers.case import FakePort, FakeReactor
from wsredis.errors import ConfigError
from wsredis.service.workers.sockets import (
    SharedEndpoint,
    SharedSocket,
    check_shareable,
    check_twisted,
    stop_accepting,
)


class ShareableTests(SynchronousTestCase):
    """An endpoint is shareable if a worker needs nothing but its listening socket."""

    def test_shareable(self) -> None:
        """Numbers, TCP, UNIX, systemd, and these after the PROXY protocol."""
        for text in (
            "0",
            "8080",
            "tcp:1",
            "tcp6:1",
            "unix:/x",
            "systemd:0",
            "haproxy:tcp:1",
            "127.0.0.1:1",
            "haproxy:[::1]:1",
        ):
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
        stop_accepting(port)
        self.assertEqual((False, False), (port.reading, port._shouldShutdown))


class SharedEndpointTests(SynchronousTestCase):
    """A worker listens on a socket that it has inherited."""

    def setUp(self) -> None:
        """Make a reactor; no port of it reads before the test wants it."""
        self.reactor = FakeReactor()
        self.factory = ServerFactory()
        self.factory.noisy = False
        self.addCleanup(lambda: [port.socket.close() for port in self.reactor.ports])

    def listen(self, listener: socket.socket) -> Any:
        """Listen on a duplicate of *listener*, as a worker has it. Returns: The port."""
        shared = SharedSocket(os.dup(listener.fileno()), listener.family, False, False)
        self.descriptor = shared.descriptor
        return self.successResultOf(SharedEndpoint(self.reactor, shared).listen(self.factory))

    def test_internet(self) -> None:
        """Twisted adopts a copy of the socket; the inherited descriptor is closed."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = self.listen(listener)
        self.assertEqual([port], self.reactor.ports)
        self.assertEqual([(self.descriptor, socket.AF_INET)], self.reactor.adopted)
        self.assertRaises(OSError, os.fstat, self.descriptor)

    def test_unix(self) -> None:
        """A UNIX socket keeps its mode, and its file after the worker has stopped."""
        path = self.mktemp()
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with socket.create_server(path, family=socket.AF_UNIX) as listener:
            os.chmod(path, 0o600)
            port = self.listen(listener)
            self.assertEqual([port], self.reactor.getReaders())
            self.assertEqual(self.descriptor, port.fileno())
            self.assertEqual(1, self.factory.numPorts)
            port.connectionLost(Failure(ConnectionDone()))
        self.assertEqual([], self.reactor.getReaders())
        self.assertEqual(0, self.factory.numPorts)
        self.assertRaises(OSError, os.fstat, self.descriptor)
        self.assertEqual(0o600, os.stat(path).st_mode & 0o777)


class CheckTests(SynchronousTestCase):
    """A version of Twisted that cannot be used is named at start."""

    def test_installed(self) -> None:
        """The installed version can be used."""
        check_twisted()

    def test_missing(self) -> None:
        """The text of the error names what is missing."""
        text = str(self.assertRaises(ConfigError, check_twisted, object))
        expected = (
            r"\Awsredis cannot work with Twisted [0-9.]+\w*: object._should\w+ is missing, for --w"
        )
        self.assertRegex(text, expected)
