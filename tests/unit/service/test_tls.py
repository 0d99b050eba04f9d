"""Tests for `wsredis.service.tls`: which certificate is shown to whom, and when files are read."""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority, private_pem
from wsredis import GatewayConfig
from wsredis.errors import ConfigError
from wsredis.service.tls import INTERVAL, Certificates


class _TlsCase(SynchronousTestCase):
    """Files, an authority, and a client that trusts it."""

    def setUp(self) -> None:
        """No certificate is there yet."""
        self.directory = Path(self.mktemp()).absolute()
        self.folder = self.directory / "certificates"
        self.folder.mkdir(parents=True)
        self.authority = Authority(self.directory)
        self.clock = Clock()

    def make(
        self, cert: Path | None = None, key: Path | None = None, *, folder: bool = False
    ) -> Certificates:
        """Read these files, or the folder, or both."""
        return Certificates(
            self.clock,
            None if cert is None else str(cert),
            None if key is None else str(key),
            str(self.folder) if folder else None,
        )

    def pem(self, name: str, *hosts: str, days: int = 1) -> Path:
        """Put a certificate with its key into the folder, or replace it."""
        return self.authority.bundle(self.folder / f"{name}.pem", *(hosts or [name]), days=days)

    def presented(self, certificates: Certificates, name: str | None = None) -> dict[str, Any]:
        """Return the certificate that a client that asks for *name* gets; it verifies the chain."""
        context = self.authority.client()
        context.check_hostname = False
        factory = TLSMemoryBIOFactory(certificates, False, Factory.forProtocol(Protocol), Clock())
        server: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        transport = StringTransport()
        server.makeConnection(transport)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing, server_hostname=name)
        for _ in range(5):
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                server.dataReceived(outgoing.read())
                incoming.write(transport.value())
                transport.clear()
        shown = client.getpeercert()
        assert shown is not None
        return dict(shown)

    def host(self, certificates: Certificates, name: str | None = None) -> str:
        """The first name in the certificate that a client is shown."""
        first: str = self.presented(certificates, name)["subjectAltName"][0][1]
        return first


class CipherTests(_TlsCase):
    """Cipher suites."""

    def test_ciphers(self) -> None:
        """All have forward secrecy and authenticated encryption."""
        certificates = self.make(folder=self.pem("a.example") is not None)
        factory = TLSMemoryBIOFactory(certificates, False, Factory.forProtocol(Protocol), Clock())
        connection = certificates.serverConnectionForTLS(
            factory.buildProtocol(None)  # type: ignore[arg-type]
        )
        found = connection.get_cipher_list()
        self.assertIn("ECDHE-ECDSA-AES128-GCM-SHA256", found)
        for name in found:
            self.assertRegex(name, r"\A(ECDHE-(RSA|ECDSA)-|TLS_).*(GCM|CHACHA20|CCM)")


class FileTests(_TlsCase):
    """One certificate, in one file or two."""

    def test_two_files(self) -> None:
        """The key may have a file of its own."""
        key, certificate = self.authority.issue("a.example")
        self.assertEqual("a.example", self.host(self.make(certificate, key), "a.example"))

    def test_one_file(self) -> None:
        """The key may be in the file of the certificate."""
        path = self.pem("a.example")
        self.assertEqual("a.example", self.host(self.make(path)))

    def test_chain(self) -> None:
        """The rest of the file goes out as the chain, wherever the certificate stands."""
        between = self.authority.intermediate()
        key, leaf = between.pair("a.example")
        chain = between.path.read_bytes()
        for text in (key + leaf + chain, leaf + chain + key, chain + leaf + key):
            path = self.directory / "chain.pem"
            path.write_bytes(text)
            self.assertEqual("a.example", self.host(self.make(path)))

    def test_relative_path(self) -> None:
        """A path still leads to the file when the process has changed its directory."""
        path = self.pem("a.example")
        here = Path.cwd()
        self.addCleanup(os.chdir, here)
        certificates = self.make(Path(os.path.relpath(path)))
        os.chdir("/")
        self.pem("a.example", "b.example")
        certificates.refresh()
        self.assertEqual("b.example", self.host(certificates))

    def test_expired(self) -> None:
        """A certificate that has expired is served, and reported."""
        for days, shown in ((-1, 1), (1, 0)):
            path = self.pem("a.example", days=days)
            with capturedLogs() as events:
                self.make(path)
            self.assertEqual(shown, len([each for each in events if "expired" in str(each)]))


class NameTests(_TlsCase):
    """The certificate follows from the name that the client asks for."""

    def test_names(self) -> None:
        """Every alternative name, in any case, and one label for a wildcard."""
        self.pem("a.example", "a.example", "www.a.example")
        self.pem("b.example", "b.example", "*.b.example")
        certificates = self.make(folder=True)
        for name, shown in (
            ("a.example", "a.example"),
            ("www.a.example", "a.example"),
            ("WWW.A.Example", "a.example"),
            ("b.example", "b.example"),
            ("x.b.example", "b.example"),
        ):
            self.assertEqual(shown, self.host(certificates, name), name)

    def test_unknown_names(self) -> None:
        """Unknown names, and none, get the default: the first file by its name."""
        self.pem("b.example", "b.example", "*.b.example")
        self.pem("a.example")
        certificates = self.make(folder=True)
        for name in ("c.example", "x.y.b.example", "example", "x.a.example", None):
            self.assertEqual("a.example", self.host(certificates, name), name)

    def test_unknown_name_costs_nothing(self) -> None:
        """An unknown name reads no file and logs nothing."""
        self.pem("a.example")
        certificates = self.make(folder=True)
        self.pem("a.example", "other.example")
        self.pem("new.example")
        with capturedLogs() as events:
            self.assertEqual("a.example", self.host(certificates, "new.example"))
        self.assertEqual([], list(events))

    def test_default_file(self) -> None:
        """``default.pem`` is the default."""
        self.pem("a.example")
        self.pem("default", "b.example")
        self.assertEqual("b.example", self.host(self.make(folder=True), "c.example"))

    def test_default_certificate(self) -> None:
        """A certificate that is named besides the folder is the default, and known by its name."""
        key, certificate = self.authority.issue("z.example")
        self.pem("default", "a.example")
        certificates = self.make(certificate, key, folder=True)
        for name, shown in (("c.example", "z"), ("z.example", "z"), ("a.example", "a")):
            self.assertEqual(f"{shown}.example", self.host(certificates, name))

    def test_exact_name_before_wildcard(self) -> None:
        """A wildcard is for names that have no certificate of their own."""
        self.pem("1", "*.a.example")
        self.pem("2", "b.a.example")
        certificates = self.make(folder=True)
        self.assertEqual("b.a.example", self.host(certificates, "b.a.example"))
        self.assertEqual("*.a.example", self.host(certificates, "c.a.example"))

    def test_same_name_twice(self) -> None:
        """Of two certificates for a name the one that is valid for longer is used."""
        self.pem("1", "first.example", "a.example", days=1)
        self.pem("2", "second.example", "a.example", days=3)
        self.pem("3", "third.example", "a.example", days=2)
        self.assertEqual("second.example", self.host(self.make(folder=True), "a.example"))

    def test_other_files(self) -> None:
        """Only visible files that end in .pem count."""
        self.pem("a.example")
        for name in (".hidden.pem", "README", "a.pem.bak"):
            (self.folder / name).write_text("junk")
        self.assertEqual("a.example", self.host(self.make(folder=True)))


class RefreshTests(_TlsCase):
    """Changed files are read again; files that cannot be used change nothing."""

    def setUp(self) -> None:
        """A folder with two certificates, that is looked at."""
        super().setUp()
        self.path = self.pem("a.example", "a.example", "one.example")
        self.pem("b.example")
        self.certificates = self.make(folder=True)
        self.certificates.start()
        self.addCleanup(self.certificates.stop)

    def look(self) -> list[str]:
        """Let the time pass, and return the messages that were logged."""
        return self.logged(lambda: self.clock.advance(INTERVAL))

    def logged(self, function: Any) -> list[str]:
        """Return the messages that a call logs, as level and text."""
        with capturedLogs() as events:
            function()
        return [
            f"{event['log_level'].name}: {event['log_format'].format(**event)}" for event in events
        ]

    def names(self, name: str) -> tuple[str, ...]:
        """All names in what a client that asks for *name* is shown."""
        found = self.presented(self.certificates, name)["subjectAltName"]
        return tuple(value for _, value in found)

    def test_often(self) -> None:
        """The files are looked at several times a minute."""
        self.assertLess(INTERVAL, 30)

    def test_unchanged(self) -> None:
        """Without a change nothing is said."""
        self.assertEqual([], self.look())

    def test_changed(self) -> None:
        """A file that was replaced is served, once it is looked at, and its names with it."""
        self.pem("a.example", "a.example", "two.example")
        self.assertEqual(["info: TLS: 1 new certificates, 2 in use"], self.look())
        self.assertEqual(("a.example", "two.example"), self.names("two.example"))
        self.assertEqual(("a.example", "two.example"), self.names("one.example"), "the default")
        self.assertEqual([], self.look())

    def test_touched(self) -> None:
        """A file with the same text is the same certificate."""
        before = self.presented(self.certificates)["serialNumber"]
        os.utime(self.path, (1, 1))
        self.assertEqual([], self.look())
        self.assertEqual(before, self.presented(self.certificates)["serialNumber"])

    def test_bad(self) -> None:
        """A bad file keeps the old certificate; it is reported once, and the next good one read."""
        for text in (b"", b"junk", self.path.read_bytes()[:-100]):
            self.path.write_bytes(text)
            (line,) = (each for each in self.look() if each.startswith("error"))
            self.assertIn(f"tls-folder: {self.path}: ", line)
            self.assertIn("the old certificate is kept", line)
            self.assertEqual([], self.look())
            self.assertEqual("a.example", self.host(self.certificates, "one.example"))
        self.pem("a.example", "new.example")
        self.look()
        self.assertEqual("new.example", self.host(self.certificates, "new.example"))

    def test_others_are_read(self) -> None:
        """One bad file does not keep the others from being read."""
        self.path.write_bytes(b"")
        self.pem("b.example", "b.example", "c.example")
        self.look()
        self.assertEqual(("b.example", "c.example"), self.names("c.example"))

    def test_new_file(self) -> None:
        """A new file in the folder is served; a bad one is left out, and reported once."""
        self.pem("c.example")
        bad = self.folder / "bad.pem"
        bad.write_text("junk")
        warning, summary = self.look()
        self.assertIn(f"{bad}: ", warning)
        self.assertIn("left out", warning)
        self.assertEqual("info: TLS: 1 new certificates, 3 in use", summary)
        self.assertEqual("c.example", self.host(self.certificates, "c.example"))
        self.assertEqual([], self.look())

    def test_removed(self) -> None:
        """A file that is gone is served no more; the next one becomes the default."""
        self.path.unlink()
        self.assertEqual(["info: TLS: 0 new certificates, 1 in use"], self.look())
        self.assertEqual("b.example", self.host(self.certificates, "a.example"))

    def test_all_removed(self) -> None:
        """The last certificates are kept, and that is reported once."""
        for path in self.folder.iterdir():
            path.unlink()
        (line,) = self.look()
        self.assertIn("all certificates are kept", line)
        self.assertEqual([], self.look())
        self.folder.rmdir()
        (line,) = self.look()
        self.assertIn("No such file", line)
        self.assertEqual("b.example", self.host(self.certificates, "b.example"))

    def test_replaced_by_junk(self) -> None:
        """The certificates are also kept if no file can be used, and that is reported once."""
        for path in self.folder.iterdir():
            path.unlink()
        (self.folder / "c.pem").write_text("junk")
        self.assertEqual(1, len([each for each in self.look() if each.startswith("error")]))
        self.assertEqual([], self.look())
        self.assertEqual("b.example", self.host(self.certificates, "b.example"))

    def test_forced(self) -> None:
        """On demand everything is read, even where the times of the files say nothing."""
        size = 4096
        for host in ("old.example", "new.example"):
            self.path.write_bytes(b"".join(self.authority.pair(host)).ljust(size))
            os.utime(self.path, (1, 1))
            if host == "old.example":
                self.look()
        self.assertEqual([], self.look())

        def refresh() -> None:
            self.certificates.refresh(force=True)

        self.assertEqual(["info: TLS: 1 new certificates, 2 in use"], self.logged(refresh))
        self.assertEqual("new.example", self.host(self.certificates, "new.example"))
        self.assertEqual(["info: TLS: 0 new certificates, 2 in use"], self.logged(refresh))

    def test_forced_tells_again(self) -> None:
        """On demand, a bad file is reported again."""
        self.path.write_bytes(b"")
        self.look()
        lines = self.logged(lambda: self.certificates.refresh(force=True))
        self.assertIn(str(self.path), lines[0])

    def test_expired(self) -> None:
        """A new certificate that has expired is reported."""
        self.pem("a.example", days=-1)
        self.assertIn(f"error: {self.path}: the certificate has expired", self.look())

    def test_stopped(self) -> None:
        """Nobody looks after the end."""
        self.certificates.stop()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_two_files(self) -> None:
        """Between the new certificate and its new key the old pair is served."""
        key, certificate = self.authority.issue("c.example")
        self.certificates = self.make(certificate, key)
        new_key, new_certificate = self.authority.pair("d.example")
        certificate.write_bytes(new_certificate)
        with capturedLogs() as events:
            self.certificates.refresh()
        self.assertEqual(LogLevel.error, events[0]["log_level"])
        self.assertEqual("c.example", self.host(self.certificates))
        key.write_bytes(new_key)
        self.certificates.refresh()
        self.assertEqual("d.example", self.host(self.certificates))


class RefusedTests(_TlsCase):
    """A mistake at the start is one line that names the setting, the file and the reason."""

    def refused(self, cert: Path | None, key: Path | None = None, *, folder: bool = False) -> str:
        """The line."""
        error = self.assertRaises(ConfigError, self.make, cert, key, folder=folder)
        self.assertEqual(1, len(str(error).splitlines()))
        return str(error)

    def write(self, text: bytes, name: str = "file") -> Path:
        """A file."""
        path = self.directory / name
        path.write_bytes(text)
        return path

    def test_certificates(self) -> None:
        """Missing, a folder, empty, junk, cut, without a key, with another's key."""
        key, certificate = self.authority.pair("a.example")
        other, _ = self.authority.pair("a.example")
        for path, why in (
            (self.directory / "nosuch", "No such file"),
            (self.directory, "not a regular file"),
            (self.write(b"", "1"), "it contains no certificate"),
            (self.write(b"\0\xff junk", "2"), "it contains no certificate"),
            (self.write(key, "3"), "it contains no certificate"),
            (self.write(certificate[:-60] + key, "4"), "it contains no certificate"),
            (self.write(certificate, "5"), "it contains no private key, and tls-key is not given"),
            (self.write(certificate + other, "6"), "the key does not belong to the certificate"),
        ):
            line = self.refused(path)
            self.assertTrue(line.startswith(f"tls-cert: {path}: "), line)
            self.assertIn(why, line)

    def test_keys(self) -> None:
        """The same for the key; one with a passphrase asks nobody for it."""
        key, certificate = self.authority.issue("a.example")
        other, _ = self.authority.pair("a.example")
        encrypted = private_pem(ec.generate_private_key(ec.SECP256R1()), b"secret")
        for path, why in (
            (self.directory / "nosuch", "No such file"),
            (self.write(b"", "1"), "it contains no private key"),
            (self.write(certificate.read_bytes(), "2"), "it contains no private key"),
            (self.write(key.read_bytes().replace(b"M", b"#"), "3"), "cannot be read"),
            (self.write(other, "4"), "does not belong"),
            (self.write(encrypted, "5"), "encrypted"),
        ):
            line = self.refused(certificate, path)
            self.assertTrue(line.startswith(f"tls-key: {path}: "), line)
            self.assertIn(why, line)

    def test_folder(self) -> None:
        """A folder that is missing, none, empty, or has a file that cannot be used."""
        self.assertIn("it contains no .pem file", self.refused(None, folder=True))
        bad = self.folder / "bad.pem"
        bad.write_text("junk")
        self.pem("a.example")
        self.assertTrue(self.refused(None, folder=True).startswith(f"tls-folder: {bad}: "))
        for path, why in ((bad, "Not a directory"), (self.folder / "x", "No such file")):
            self.folder = path
            self.assertIn(f"tls-folder: {path}: {why}", self.refused(None, folder=True))

    def test_settings(self) -> None:
        """Settings that are of no use without another are not ignored."""
        cert = str(self.pem("a.example"))
        folder = str(self.folder)
        for settings, name in (
            ({"tls_port": ("443",)}, "tls-port"),
            ({"tls_cert": cert}, "tls-cert"),
            ({"tls_folder": folder}, "tls-folder"),
            ({"tls_key": cert}, "tls-key"),
            ({"tls_port": ("443",), "tls_key": cert, "tls_folder": folder}, "tls-key"),
        ):
            config = GatewayConfig(**settings)  # type: ignore[arg-type]
            error = self.assertRaises(ConfigError, Certificates.of, config, self.clock)
            self.assertTrue(str(error).startswith(f"{name}: "), str(error))
        self.assertIsNone(Certificates.of(GatewayConfig(), self.clock))
        for more in ({"tls_cert": cert}, {"tls_folder": folder}):
            config = GatewayConfig(tls_port=("443",), **more)  # type: ignore[arg-type]
            self.assertIsNotNone(Certificates.of(config, self.clock))
