"""Tests for `wsredis.service.endpoints`."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock, RaisingMemoryReactor
from twisted.logger import LogEvent, Logger, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from wsredis.config import GatewayConfig
from wsredis.errors import ConfigError
from wsredis.service.endpoints import PortEndpoint, bind_error, make_endpoints, shown_address
from wsredis.service.tls import Certificates


class EndpointTests(SynchronousTestCase):
    """`make_endpoints`, `bind_error` and `shown_address`."""

    def make(self, config: GatewayConfig, reactor: Any = None) -> list[PortEndpoint]:
        """The endpoints of a configuration."""
        reactor = reactor or MemoryReactorClock()
        return list(make_endpoints(config, Certificates.of(config, reactor), reactor))

    def test_order(self) -> None:
        """Ports come as they were given; those with TLS come last."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path = Authority(directory).bundle(directory / "a.pem", "a.example")
        config = GatewayConfig(port=("1", "unix:/x"), tls_port=("2",), tls_cert=str(path))
        found = [(each.description, each.is_secure) for each in self.make(config)]
        self.assertEqual([("1", False), ("unix:/x", False), ("2", True)], found)

    def test_open(self) -> None:
        """A port that other computers reach is told, once, and any other one is not."""
        for host, number in (("0.0.0.0", 1), ("::", 1), ("10.0.0.5", 1), ("fe80::1%eth0", 1)):
            self.assertEqual(number, len(self.opened(host)), host)
        for host in ("127.0.0.1", "127.0.1.1", "::1", None):
            self.assertEqual([], self.opened(host), host)
        (event,) = self.opened("::")
        self.assertTrue(formatEvent(event).startswith("[::]:80 is open to the network: "))
        self.assertIn("--tls-port 127.0.0.1:80 is for", formatEvent(event))

    def opened(self, host: str | None) -> list[LogEvent]:
        """Announce a port. Returns: The lines about the network."""
        kind = IPv6Address if host and ":" in host else IPv4Address
        address: Any = UNIXAddress("/x") if host is None else kind("TCP", host, 80)
        endpoint = PortEndpoint("80", None, True, "tls-port")
        port: Any = SimpleNamespace(getHost=lambda: address)
        with capturedLogs() as events:
            endpoint.announce(port, Logger())
        self.assertEqual("listening", events[0]["event"])
        return [each for each in events if each["event"] == "open-to-network"]

    def test_address(self) -> None:
        """A port may be written with its address, as people write it."""
        for text, host, number in (
            ("127.0.0.1:8080", "127.0.0.1", 8080),
            ("localhost:81", "localhost", 81),
            ("[::1]:82", "::1", 82),
            (":83", "", 83),
            ("haproxy:127.0.0.1:84", "127.0.0.1", 84),
            ("haproxy:85", "", 85),
        ):
            reactor = MemoryReactorClock()
            (endpoint,) = self.make(GatewayConfig(port=(text,)), reactor)
            endpoint.listen(Factory())
            ((bound, _, backlog, interface),) = reactor.tcpServers
            self.assertEqual((number, host, 4096), (bound, interface, backlog), text)

    def test_in_use(self) -> None:
        """A port that cannot be bound is named by its setting, its address and the reason."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path = Authority(directory).bundle(directory / "a.pem", "a.example")
        config = GatewayConfig(port=("1",), tls_port=("2",), tls_cert=str(path))
        in_use = OSError(98, "Address already in use")
        reactor = RaisingMemoryReactor(listenException=CannotListenError("", 80, in_use))
        reactor.callLater = lambda *_: None
        lines = []
        for each in make_endpoints(config, Certificates.of(config, MemoryReactorClock()), reactor):
            with self.assertRaises(CannotListenError) as caught:
                each.listen(Factory())
            lines.append(bind_error(caught.exception))
            caught.exception.__notes__.clear()
        reason = "Address already in use: another program listens there, perhaps another gateway"
        expected = f"port: *:80: {reason}"
        self.assertEqual([expected, f"tls-{expected}"], lines)

    def test_bad_descriptions(self) -> None:
        """A description that is none is one line that names the setting and the value."""
        for text in ("tcp:x", "nosuch:1", "tcp:", "systemd:domain=INET:index=7", "ssl:443", ":"):
            error = self.assertRaises(ConfigError, self.make, GatewayConfig(port=(text,)))
            self.assertIn(f"port: {text!r} cannot be used: ", str(error))
            self.assertNotIn("\n", str(error))
            self.assertNotEqual("", str(error).partition("used: ")[2].strip())

    def test_expired_certificate(self) -> None:
        """
        A certificate that has expired is served, and the log says so.

        Fails if Twisted's endpoint hands its certificate to the reactor in another way.
        """
        for days, shown in ((-1, 1), (1, 0)):
            path = self._certificate(days)
            with capturedLogs() as events:
                self.make(GatewayConfig(port=(f"ssl:443:privateKey={path}:certKey={path}",)))
            found = [each for each in events if "expired" in each["log_format"]]
            self.assertEqual(shown, len(found))

    def test_ciphers_of_others(self) -> None:
        """A port with certificates of its own has the cipher suites of ``tls-port``."""
        path = self._certificate(1)
        reactor = MemoryReactorClock()
        (port,) = self.make(
            GatewayConfig(port=(f"ssl:443:privateKey={path}:certKey={path}",)), reactor
        )
        port.listen(Factory())
        # Twisted's endpoint uses objects of pyOpenSSL, which pyOpenSSL itself deprecates.
        self.flushWarnings()
        number, _, options, backlog, _ = reactor.sslServers[0]
        self.assertEqual((443, 4096), (number, backlog))
        ciphers = SSL.Connection(options.getContext()).get_cipher_list()
        old = [each for each in ciphers if not each.startswith(("ECDHE-", "TLS_"))]
        self.assertEqual([], old)

    def test_dead_socket(self) -> None:
        """The socket of a dead process is removed before a port is bound there."""
        folder = Path(mkdtemp(prefix="wsredis-test-"))
        self.addCleanup(rmtree, folder)
        path = folder / "socket"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        reactor = MemoryReactorClock()
        (port,) = self.make(GatewayConfig(port=(f"unix:{path}:mode=600",)), reactor)
        self.assertTrue(path.exists())
        port.listen(Factory())
        self.assertFalse(path.exists())
        address, _, backlog, mode, _ = reactor.unixServers[0]
        self.assertEqual((str(path), 4096, 0o600), (address, backlog, mode))

    def _certificate(self, days: int) -> str:
        """A file with a key and a certificate that ends in *days*."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), 1)
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
            .sign(key, hashes.SHA256())
        )
        path = self.mktemp()
        Path(path).write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        return path

    def test_shown(self) -> None:
        """Addresses are shown as one would type them."""
        for address, shown in (
            (IPv4Address("TCP", "127.0.0.1", 1), "127.0.0.1:1"),
            (IPv6Address("TCP", "::1", 1), "[::1]:1"),
            (UNIXAddress(b"/x"), "unix:/x"),
            (UNIXAddress(None), "unix:"),
            (None, "None"),
        ):
            self.assertEqual(shown, shown_address(address))

    def test_bad_tls_port(self) -> None:
        """A description that is none names the setting."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path = Authority(directory).bundle(directory / "a.pem", "a.example")
        config = GatewayConfig(tls_port=("tcp:x",), tls_cert=str(path))
        self.assertIn("tls-port: 'tcp:x'", str(self.assertRaises(ConfigError, self.make, config)))
