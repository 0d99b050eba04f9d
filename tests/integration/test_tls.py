"""TLS in the process, with real clients: names, renewals, and refused clients and settings."""

from __future__ import annotations

import asyncio
import signal
import ssl
import warnings
from pathlib import Path

from websockets.asyncio.client import connect

from tests.integration.test_life import BOTH, CLEAN, NO_REDIS, LifeCase
from tests.support.certificates import Authority
from tests.support.children import Gateway
from tests.support.raw import CLOSE, RawClient, frame, handshake, response
from tests.support.require import missing

_PORT = "tcp:0:interface=127.0.0.1"
_MEBIBYTE = 1048576


class _TlsCase(LifeCase):
    """A gateway with the certificates of a folder, and clients that trust their authority."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Two certificates: a.example is the default."""
        super().setUp()
        self.authority = Authority(self.directory)
        self.folder = self.directory / "folder"
        self.folder.mkdir()
        self.first = self.authority.bundle(self.folder / "a.pem", "a.example")
        self.authority.bundle(self.folder / "b.pem", "b.example", "*.b.example")

    def start(self, *options: str, port: str = _PORT) -> Gateway:
        """Start Redis and a gateway with the folder, ready."""
        self.redis = self.redis_server()
        self.secure = self.gateway(
            *("--redis", self.redis.url, "--tls-port", port, "--tls-folder", str(self.folder)),
            *("--expire", "0", *options),
            ready=True,
        )
        return self.secure

    def connect(
        self, name: str = "a.example", context: ssl.SSLContext | None = None
    ) -> tuple[RawClient, ssl.SSLSocket]:
        """A TLS connection; the certificate is verified to be for *name*."""
        client = RawClient(self.secure.port)
        self.addCleanup(lambda: client.socket.close())
        context = context or self.authority.client()
        wrapped = context.wrap_socket(client.socket, server_hostname=name)
        client.socket = wrapped
        return client, wrapped

    def serial(self, name: str = "a.example") -> object:
        """Return the serial number of the certificate that a new client gets for *name*."""
        client, wrapped = self.connect(name)
        shown = wrapped.getpeercert()
        client.socket.close()
        assert shown is not None
        return shown["serialNumber"]

    def websocket(self, path: str = f"/ws/tls?{BOTH}", name: str = "a.example") -> RawClient:
        """A WebSocket through TLS."""
        client, _ = self.connect(name)
        client.send(handshake(path))
        head = client.head()
        self.assertTrue(head.startswith("HTTP/1.1 101 "), head)
        return client


class ServeTests(_TlsCase):
    """A port with TLS does what a plain one does."""

    def test_messages(self) -> None:
        """An independent client: small and large messages both ways, and a clean end."""
        self.start()
        large = "x" * _MEBIBYTE
        huge = "y" * (8 * _MEBIBYTE)

        async def scenario() -> list[object]:
            async with connect(
                self.secure.url(f"/ws/tls?{BOTH}", "wss"),
                ssl=self.authority.client(),
                server_hostname="a.example",
                max_size=None,
            ) as client:
                got: list[object] = []
                for text in ("hello", large):
                    await client.send(text)
                    got.append(await asyncio.wait_for(client.recv(), 20))
                self.redis.command("PUBLISH", "broadcast:tls", huge)
                got.append(await asyncio.wait_for(client.recv(), 20))
                for number in range(500):
                    await client.send(str(number))
                got += [await asyncio.wait_for(client.recv(), 20) for _ in range(500)]
            got.append(client.close_code)
            return got

        expected = ["hello", large, huge, *map(str, range(500)), 1000]
        self.assertTrue(expected == asyncio.run(scenario()))

    def test_two_files(self) -> None:
        """Certificate and key in two files, without a folder."""
        key, certificate = self.authority.issue("c.example")
        self.secure = self.gateway(
            *NO_REDIS,
            *("--tls-port", _PORT, "--tls-cert", str(certificate), "--tls-key", str(key)),
        )
        self.connect("c.example")

    def test_http(self) -> None:
        """Other requests are answered through TLS as well."""
        self.start()
        client, _ = self.connect()
        client.send(b"GET /health/live HTTP/1.1\r\nHost: a.example\r\n\r\n")
        self.assertTrue(client.head().startswith("HTTP/1.1 200 "))

    def test_alpn(self) -> None:
        """A client that offers protocols, as browsers do, gets HTTP/1.1, for any host name."""
        self.start()
        for offered in (["http/1.1"], ["h2", "http/1.1"]):
            for name in ("a.example", "b.example"):
                context = self.authority.client()
                context.set_alpn_protocols(offered)
                _, wrapped = self.connect(name, context)
                self.assertEqual("http/1.1", wrapped.selected_alpn_protocol(), offered)

    def test_ports(self) -> None:
        """A plain port is opened only if an option names it."""
        self.start()
        self.assertEqual(1, self.secure.log.count("listening on "))
        self.assertRegex(self.secure.log, r"listening on 127\.0\.0\.1:\d+ with TLS")
        both = self.gateway(
            *(*NO_REDIS, "--port", _PORT, "--tls-port", _PORT, "--tls-cert", str(self.first))
        )
        both.child.wait_for("with TLS")
        self.assertEqual(2, both.log.count("listening on "))
        self.assertEqual(404, response(both.port, b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")[0])

    def test_proxy_protocol(self) -> None:
        """The line of the PROXY protocol comes before TLS."""
        self.start("--verbose", port=f"haproxy:{_PORT}")
        client = RawClient(self.secure.port)
        client.send(b"PROXY TCP4 192.0.2.7 192.0.2.8 56324 443\r\n")
        context = self.authority.client()
        client.socket = context.wrap_socket(client.socket, server_hostname="a.example")
        self.addCleanup(client.socket.close)
        client.send(handshake("/ws/x?subscribe-broadcast"))
        self.assertTrue(client.head().startswith("HTTP/1.1 101 "))
        self.secure.child.wait_for(r"opened 192\.0\.2\.7")

    def test_stop(self) -> None:
        """A stop closes with 1001, through TLS."""
        self.start()
        client = self.websocket()
        self.secure.child.signal(signal.SIGTERM)
        self.assertEqual(1001, client.closing())
        client.send(frame(CLOSE, b"\x03\xe9"))
        self.assertEqual(b"", client.rest())
        client.socket.close()
        self.assertIn(self.secure.child.wait(), CLEAN)


class NameTests(_TlsCase):
    """Each name gets its certificate; the client verifies that it is the right one."""

    def test_names(self) -> None:
        """Two certificates and a wildcard."""
        self.start()
        for name in ("a.example", "b.example", "x.b.example"):
            self.assert_serves(self.websocket(name=name))

    def test_unknown_name(self) -> None:
        """An unknown name gets the default, which is not for it, and the log says as much."""
        self.start()
        for name in ("c.example", "x.y.b.example"):
            self.assertRaises(ssl.SSLCertVerificationError, self.connect, name)
        failed = "the TLS handshake of .* failed: it does not trust the certificate"
        self.secure.child.wait_for(failed)
        context = self.authority.client()
        context.check_hostname = False
        _, wrapped = self.connect("c.example", context)
        shown = wrapped.getpeercert()
        assert shown is not None
        self.assertEqual((("DNS", "a.example"),), shown["subjectAltName"])
        self.assert_serves(self.websocket())

    def test_no_tls(self) -> None:
        """A client without TLS is told apart in the log."""
        self.start()
        with RawClient(self.secure.port) as client:
            client.send(handshake("/ws/a"))
            client.rest()
        self.secure.child.wait_for("failed: it speaks HTTP: write wss:// in place of ws://")

    def test_resumed_session(self) -> None:
        """A client that comes back with its TLS session is served, with any certificate."""
        self.start()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.authority.client()
            context.minimum_version = context.maximum_version = version
            for name in ("a.example", "b.example"):
                client, wrapped = self.connect(name, context)
                client.send(b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
                client.head()
                session = wrapped.session
                again = RawClient(self.secure.port)
                again.socket = context.wrap_socket(
                    again.socket, server_hostname=name, session=session
                )
                self.addCleanup(again.socket.close)
                again.send(handshake("/ws/x?subscribe-broadcast"))
                self.assertTrue(again.head().startswith("HTTP/1.1 101 "))


class RenewalTests(_TlsCase):
    """New clients get a new certificate, and connected clients notice nothing."""

    def assert_renewed(self, client: RawClient, old: object) -> None:
        """Check that new clients get another certificate, and *client* still gets messages."""
        self.assertNotEqual(old, self.serial())
        self.assert_serves(client)
        self.assert_serves(client, "x" * _MEBIBYTE)
        newcomer = self.websocket()
        client.send_text("to both")
        self.assertEqual((b"to both", b"to both"), (client.message(), newcomer.message()))

    def test_signal(self) -> None:
        """At SIGHUP the files are read again; again and again, with a connection kept open."""
        self.start()
        client = self.websocket()
        for _ in range(3):
            old, since = self.serial(), len(self.secure.log)
            self.authority.bundle(self.first, "a.example")
            self.secure.child.signal(signal.SIGHUP)
            self.secure.child.wait_for("TLS: .* in use", since=since)
            self.assert_renewed(client, old)

    def test_change(self) -> None:
        """A file that changes is read without any signal."""
        self.start()
        client = self.websocket()
        old, since = self.serial(), len(self.secure.log)
        self.authority.bundle(self.first, "a.example")
        self.secure.child.wait_for("TLS: 1 new certificates, 2 in use", since=since, timeout=60)
        self.assert_renewed(client, old)

    def test_new_name(self) -> None:
        """A file that is new in the folder brings a new name."""
        self.start()
        self.assertRaises(ssl.SSLCertVerificationError, self.connect, "c.example")
        self.authority.bundle(self.folder / "c.pem", "c.example")
        self.secure.child.signal(signal.SIGHUP)
        self.secure.child.wait_for("TLS: 1 new certificates, 3 in use")
        self.assert_serves(self.websocket(name="c.example"))

    def test_bad_file(self) -> None:
        """A bad new file keeps the old certificate and says why in one line."""
        self.start()
        client = self.websocket()
        old = self.serial()
        key, _ = self.authority.pair("a.example")
        _, certificate = self.authority.pair("a.example")
        for text, why in (
            (b"", "no certificate"),
            (b"junk", "no certificate"),
            (key + certificate, "does not belong"),
        ):
            since = len(self.secure.log)
            self.first.write_bytes(text)
            self.secure.child.signal(signal.SIGHUP)
            self.secure.child.wait_for("TLS: .* in use", since=since)
            lines = [line for line in self.secure.log[since:].splitlines() if "a.pem" in line]
            self.assertTrue(lines)
            for line in lines:
                self.assertRegex(line, f"tls-folder: .*{why}.*the old certificate is kept")
            self.assertEqual(old, self.serial())
            self.assert_serves(client)
        self.assertNotIn("Traceback", self.secure.log)
        self.authority.bundle(self.first, "a.example")
        since = len(self.secure.log)
        self.secure.child.signal(signal.SIGHUP)
        self.secure.child.wait_for("TLS: .* in use", since=since)
        self.assert_renewed(client, old)


class RefusedTests(_TlsCase):
    """Old versions, other protocols, clients that wait, and settings that do not fit."""

    def test_versions(self) -> None:
        """The gateway accepts TLS 1.2 and 1.3, and refuses 1.1."""
        self.start()
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.authority.client()
            context.minimum_version = context.maximum_version = version
            self.connect("b.example", context)
        context = self.authority.client()
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        error = self.assertRaises(ssl.SSLError, self.connect, "b.example", context)
        self.assertEqual("TLSV1_ALERT_PROTOCOL_VERSION", error.reason)

    def test_plain_text(self) -> None:
        """A client without TLS gets no answer, and harms no other."""
        self.start()
        self.assertEqual(0, response(self.secure.port, handshake("/ws/x?subscribe-broadcast"))[0])
        self.assert_serves(self.websocket())
        self.assertNotIn("Traceback", self.secure.log)

    def test_silent_client(self) -> None:
        """A client that never ends the TLS handshake is cut off."""
        self.start("--handshake-timeout", "1", "--close-timeout", "0.2")
        silent, half = RawClient(self.secure.port), RawClient(self.secure.port)
        for client in (silent, half):
            self.addCleanup(client.socket.close)
        half.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        self.assertEqual(b"", silent.rest())
        self.assertEqual(b"", half.rest())

    def test_port_in_use(self) -> None:
        """The error about a tls-port that is in use names the port."""
        first = self.start()
        second = self.wrong(
            *("--redis", self.redis.url, "--tls-folder", str(self.folder)),
            *("--tls-port", f"tcp:{first.port}:interface=127.0.0.1"),
        )
        self.assert_one_line(second, f" tls-port: 127.0.0.1:{first.port}: Address already in use")

    def test_settings(self) -> None:
        """A setting that cannot be used ends the start with one line that names the setting."""
        key, certificate = self.authority.issue("a.example")
        _, other = self.authority.issue("b.example")
        empty, junk = self.directory / "empty", self.directory / "junk"
        empty.write_text("")
        junk.write_text("junk")
        nothing = self.directory / "nothing"
        nothing.mkdir()

        def pair(cert: Path, key: Path) -> tuple[str, ...]:
            return ("--tls-port", _PORT, "--tls-cert", str(cert), "--tls-key", str(key))

        for options, *parts in (
            (pair(Path("/nonexistent"), key), "tls-cert: /nonexistent: No such file"),
            (pair(certificate, Path("/nonexistent")), "tls-key: /nonexistent: No such file"),
            (pair(empty, key), f"tls-cert: {empty}: "),
            (pair(certificate, junk), f"tls-key: {junk}: "),
            (pair(other, key), f"tls-key: {key}: ", "does not belong"),
            (
                ("--tls-port", _PORT, "--tls-cert", str(certificate)),
                "tls-cert: ",
                "tls-key is not given",
            ),
            (("--tls-port", _PORT, "--tls-folder", str(nothing)), "tls-folder: ", "no .pem file"),
            (("--tls-port", _PORT), "tls-port: requires tls-cert or tls-folder"),
            (("--tls-cert", str(certificate)), "tls-cert: ", "requires tls-port"),
            (("--tls-port", "ssl:0:privateKey=x"), "--tls-port: ", "give it as port, not tls-port"),
        ):
            self.assert_one_line(self.wrong(*NO_REDIS, *options), *parts)

    def test_expired(self) -> None:
        """A certificate that has expired is served, with a warning."""
        self.authority.bundle(self.first, "a.example", days=-1)
        self.start()
        self.assertRegex(self.secure.log, r"a\.pem: the certificate has expired")
        self.assert_serves(self.websocket(name="b.example"))
