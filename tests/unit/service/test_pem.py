"""Tests for `wsredis.service.pem`: files that are read, read again, and refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cryptography import x509
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import SynchronousTestCase

from tests.support.certificates import Authority
from wsredis.errors import ConfigError
from wsredis.service.pem import TLS_CERT, TLS_FOLDER, PemFiles


def options(key: Any, certificate: x509.Certificate, chain: Any) -> CertificateOptions:
    """The options of OpenSSL without more."""
    made: Any = CertificateOptions
    return made(privateKey=key, certificate=certificate, extraCertChain=chain)


class PemFilesTests(SynchronousTestCase):
    """`PemFiles`."""

    def setUp(self) -> None:
        """A folder and an authority."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir()
        self.authority = Authority(self.directory)

    def test_names(self) -> None:
        """A certificate that was read has its names, and the time when it expires."""
        path = self.authority.bundle(self.directory / "a.pem", "A.example", "*.b.example")
        files = PemFiles(TLS_FOLDER, path, None)
        self.assertIsNone(files.certificate)
        self.assertTrue(files.read(options, force=False))
        assert files.certificate is not None
        self.assertEqual((b"a.example", b"*.b.example"), files.certificate.names)
        leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
        self.assertEqual(leaf.not_valid_after_utc, files.certificate.expires)

    def test_unchanged(self) -> None:
        """Files are read again when they change, or by force; the same content is not new."""
        path = self.authority.bundle(self.directory / "a.pem", "a.example")
        files = PemFiles(TLS_FOLDER, path, None)
        files.read(options, force=False)
        first = files.certificate
        self.assertFalse(files.read(options, force=False))
        os.utime(path, ns=(1, 1))
        self.assertFalse(files.read(options, force=False))
        self.assertFalse(files.read(options, force=True))
        self.assertIs(first, files.certificate)
        self.authority.bundle(path, "b.example")
        self.assertTrue(files.read(options, force=False))
        self.assertIsNot(first, files.certificate)

    def test_bad(self) -> None:
        """A bad file keeps the old certificate, and is not read again before it changes."""
        path = self.authority.bundle(self.directory / "a.pem", "a.example")
        files = PemFiles(TLS_FOLDER, path, None)
        files.read(options, force=False)
        first = files.certificate
        path.write_text("junk")
        error = self.assertRaises(ConfigError, files.read, options, force=False)
        self.assertEqual(
            f"tls-folder: {path}: it contains no certificate that can be read", str(error)
        )
        self.assertIs(first, files.certificate)
        self.assertFalse(files.read(options, force=False))

    def test_missing(self) -> None:
        """A missing file is named with its own setting."""
        _, certificate = self.authority.issue("a.example")
        missing = self.directory / "missing"
        for files, setting in (
            (PemFiles(TLS_CERT, missing, None), "tls-cert"),
            (PemFiles(TLS_CERT, certificate, missing), "tls-key"),
        ):
            error = self.assertRaises(ConfigError, files.read, options, force=False)
            self.assertEqual(f"{setting}: {missing}: No such file or directory", str(error))

    def test_not_served(self) -> None:
        """A refusal by OpenSSL is reported in one line."""

        def refuse(*_: object) -> CertificateOptions:
            raise ValueError("too weak\nby far")

        path = self.authority.bundle(self.directory / "a.pem", "a.example")
        files = PemFiles(TLS_FOLDER, path, None)
        error = self.assertRaises(ConfigError, files.read, refuse, force=False)
        self.assertEqual(f"tls-folder: {path}: it cannot be used: too weak", str(error))
