"""Plain HTTP of an ASGI application on the gateway's port: ``--asgi``."""

from __future__ import annotations

import atexit
import http.client
import json
import signal
import socket
import ssl
import struct
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests.support import asgi_pages
from tests.support.certificates import Authority
from tests.support.children import PATIENCE, Gateway, RedisServer, until
from tests.support.raw import RawClient, handshake
from tests.support.require import missing

_ASGI = ("--asgi", "tests.support.asgi_pages:application", "--asgi-lifespan", "off")
_MEGABYTE = 1048576


@cache
def _shared_redis() -> RedisServer:
    server = RedisServer()
    atexit.register(server.stop)
    return server


@cache
def _shared_gateway(options: tuple[str, ...]) -> Gateway:
    gateway = Gateway("--redis", _shared_redis().url, *_ASGI, *options)
    atexit.register(gateway.stop)
    return gateway


class _Pages(SynchronousTestCase):
    """A gateway with an application, which the tests with the same options share."""

    skip = missing("redis")
    options: tuple[str, ...] = ()

    def setUp(self) -> None:
        """Start it, if it does not run yet."""
        self.gateway = _shared_gateway(self.options)

    def connect(self) -> http.client.HTTPConnection:
        """Make a connection; it is closed after the test."""
        client = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=PATIENCE)
        self.addCleanup(client.close)
        return client

    def ask(
        self, client: http.client.HTTPConnection, path: str, body: object = None
    ) -> tuple[int, bytes]:
        """Ask on a kept connection. Returns: Status and body."""
        client.request("GET" if body is None else "POST", path, body)  # type: ignore[arg-type]
        answer = client.getresponse()
        return answer.status, answer.read()

    def ends(self) -> dict[str, int]:
        """How calls have ended so far."""
        ends: dict[str, int] = json.loads(self.ask(self.connect(), "/ends")[1])
        return ends


class PagesTests(_Pages):
    """The application in the reactor's thread."""

    options = ("--asgi-shutdown", "0.5", "--max-body", "50000000")

    def test_kept(self) -> None:
        """Requests of all kinds share a connection; a failure ends it with a 500."""
        client = self.connect()
        status, scope = self.ask(client, "/scope/client")
        assert client.sock is not None
        host, port = client.sock.getsockname()
        self.assertEqual((200, [host, port]), (status, json.loads(scope)))
        self.assertEqual((200, b"100000"), self.ask(client, "/count", bytes(100_000)))
        self.assertEqual((200, b"300000"), self.ask(client, "/count", iter([bytes(100_000)] * 3)))
        self.assertEqual(200, self.ask(client, "/health/live")[0])
        source = Path(asgi_pages.__file__).read_bytes()
        self.assertEqual((200, source), self.ask(client, "/file"))
        self.assertEqual((200, bytes(3 * _MEGABYTE)), self.ask(client, "/flood/3"))
        self.assertEqual(port, client.sock.getsockname()[1])
        self.assertEqual((500, b"internal error"), self.ask(client, "/fail"))
        self.gateway.child.wait_for("the ASGI application failed to answer 'GET /fail'")

    def test_pipelined(self) -> None:
        """Pipelined requests are answered in order, and a handshake may follow."""
        client = RawClient(self.gateway.port)
        self.addCleanup(client.socket.close)
        line = b"GET /scope/method HTTP/1.1\r\nHost: x\r\n\r\n"
        client.send(line * 50 + handshake("/ws/follows?subscribe-broadcast"))
        for _ in range(50):
            head = client.head()
            self.assertTrue(head.startswith("HTTP/1.1 200 "))
            self.assertEqual(b'"GET"', client.take(5))
        self.assertTrue(client.head().startswith("HTTP/1.1 101 "))

    def test_upload_that_nobody_takes(self) -> None:
        """A body that the application does not take stays with its client."""
        before = self.gateway.memory()
        client = RawClient(self.gateway.port)
        self.addCleanup(client.socket.close)
        client.send(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 40000000\r\n\r\n")
        client.socket.setblocking(False)
        sent = 0
        try:
            while sent < 40_000_000:
                sent += client.socket.send(bytes(65536))
        except BlockingIOError:
            pass
        self.assertLess(sent, 30_000_000)
        self.assertEqual(200, self.ask(self.connect(), "/health/live")[0])
        self.assertLess(self.gateway.memory() - before, 5_000_000)
        cancelled = self.ends()["cancelled"]
        # It sends no end: that would wait behind all that was not read.
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.socket.close()
        until(lambda: self.ends()["cancelled"] == cancelled + 1)
        client = RawClient(self.gateway.port)
        client.send(b"POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 40000000\r\n\r\n")
        client.send(bytes(100_000))
        client.socket.close()
        until(lambda: self.ends()["cancelled"] == cancelled + 2)

    def test_download_that_nobody_reads(self) -> None:
        """An application that floods waits; when its client leaves, its send raises."""
        before, left = self.gateway.memory(), self.ends()["left"]
        client = RawClient(self.gateway.port)
        self.addCleanup(client.socket.close)
        client.send(b"GET /flood/100 HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertTrue(client.head().startswith("HTTP/1.1 200 "))
        self.assertEqual(200, self.ask(self.connect(), "/health/live")[0])
        self.assertLess(self.gateway.memory() - before, 5_000_000)
        client.socket.close()
        until(lambda: self.ends()["left"] == left + 1)

    def test_too_large(self) -> None:
        """A body over the limit is a 413 that its client can read, although it sends on."""
        client = RawClient(self.gateway.port)
        self.addCleanup(client.socket.close)
        head = b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 50000001\r\n\r\n"
        client.send(head + bytes(50_000))
        self.assertTrue(client.head().startswith("HTTP/1.1 413 "))


class ThreadTests(_Pages):
    """The application in a thread of its own."""

    options = ("--asgi-loop", "thread", "--asgi-shutdown", "0.5")

    def test_pages(self) -> None:
        """It is the same."""
        client = self.connect()
        self.assertEqual((200, b"100000"), self.ask(client, "/count", bytes(100_000)))
        self.assertEqual((200, b"900000"), self.ask(client, "/count", iter([bytes(300_000)] * 3)))
        self.assertEqual((200, bytes(3 * _MEGABYTE)), self.ask(client, "/flood/3"))
        left = self.ends()["left"]
        raw = RawClient(self.gateway.port)
        raw.send(b"GET /flood/100 HTTP/1.1\r\nHost: x\r\n\r\n")
        raw.head()
        raw.socket.close()
        until(lambda: self.ends()["left"] == left + 1)
        self.assertEqual(500, self.ask(client, "/fail")[0])


class StopTests(SynchronousTestCase):
    """The end of the gateway, and TLS."""

    skip = missing("redis")

    def test_stop(self) -> None:
        """A stop waits for the answer that is under way, which closes its connection."""
        redis = RedisServer()
        self.addCleanup(redis.stop)
        directory = Path(mkdtemp(dir="."))
        authority = Authority(directory)
        key, certificate = authority.issue()
        gateway = Gateway(
            *("--redis", redis.url, *_ASGI, "--tls-port", "tcp:0:interface=127.0.0.1"),
            *("--tls-key", str(key.absolute()), "--tls-cert", str(certificate.absolute())),
        )
        self.addCleanup(gateway.stop)
        context = ssl.create_default_context(cafile=str(authority.path))
        client = http.client.HTTPSConnection("localhost", gateway.port, context=context)
        self.addCleanup(client.close)
        client.request("GET", "/scope/extensions")
        tls = json.loads(client.getresponse().read())["tls"]
        self.assertEqual(certificate.read_text().strip(), tls["server_cert"].strip())
        self.assertEqual((0x304, []), (tls["tls_version"], tls["client_cert_chain"]))
        self.assertIn(tls["cipher_suite"], (0x1301, 0x1302, 0x1303))
        client.request("GET", "/flood/3")
        self.assertEqual(3 * _MEGABYTE, len(client.getresponse().read()))
        client.request("GET", "/later/1")
        gateway.child.signal(signal.SIGTERM)
        answer = client.getresponse()
        self.assertEqual((b"at last", "close"), (answer.read(), answer.headers["connection"]))
        gateway.child.wait()
