"""Tests of `wsredis.auth.sources.keys`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.dsa import generate_private_key as new_dsa_key
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.support.tokens import (
    ALGORITHMS,
    jwk,
    jwk_set,
    private_key,
    private_pem,
    public_pem,
    verifier,
)
from wsredis.auth.sources.keys import MAX_SIZE, FileKey, read_key
from wsredis.errors import ConfigError


class FileCase(SynchronousTestCase):
    """A test case that writes files."""

    def file(self, content: bytes) -> str:
        """Write a file, and return its path."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)


class ReadKeyTests(FileCase):
    """`read_key`: the file of jwt-key."""

    def wrong(self, content: bytes, algorithm: str | None = None) -> str:
        """Return the error about a file, without the name of the file."""
        path = self.file(content)
        text = str(self.assertRaises(ConfigError, read_key, path, algorithm))
        self.assertNotIn("\n", text)
        return text.removeprefix(f"jwt-key: {path}: ").replace(path, "FILE")

    def test_algorithm(self) -> None:
        """The kind of the key decides on the algorithm, and must suit the wanted one."""
        for algorithm in ALGORITHMS:
            path = self.file(verifier(algorithm))
            self.assertEqual(algorithm, read_key(path, None)[0])
            self.assertEqual(algorithm, read_key(path, algorithm)[0])

    def test_secret(self) -> None:
        """A secret is the whole file except the end of the line."""
        secret = b"  a secret with \n lines and blanks, long enough  "
        for end in (b"", b"\n", b"\r\n"):
            self.assertEqual(("HS256", secret), read_key(self.file(secret + end), None))
        self.assertEqual(secret + b"\n", read_key(self.file(secret + b"\n\n"), None)[1])

    def test_short_secret(self) -> None:
        """A secret that can be guessed is refused."""
        self.assertEqual(
            "the secret is shorter than 32 bytes (RFC 7518, 3.2)", self.wrong(b"x" * 31 + b"\n")
        )
        self.assertEqual(("HS256", b"x" * 32), read_key(self.file(b"x" * 32), None))

    def test_short_rsa_key(self) -> None:
        """An RSA key that can be broken is refused."""
        text = public_pem(new_rsa_key(65537, 1024))
        self.assertEqual("the key is shorter than 2048 bits (RFC 7518, 3.3)", self.wrong(text))

    def test_other_algorithm(self) -> None:
        """A key is never used for an algorithm of another kind, above all not as a secret."""
        for algorithm in ALGORITHMS:
            for other in set(ALGORITHMS) - {algorithm}:
                self.assertEqual(
                    f"jwt-algorithm: {other} does not fit FILE, a key for {algorithm}",
                    self.wrong(verifier(algorithm), other),
                )

    def test_other_forms(self) -> None:
        """A public key that is not written as PEM is not taken for a secret."""
        key = private_key("RS256").public_key()
        for content in (
            key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
            json.dumps(jwk("RS256", "a")).encode(),
            jwk_set(jwk("ES256", "a")),
        ):
            self.assertEqual(
                "this is not a shared secret: write a public key as PEM", self.wrong(content)
            )

    def test_private_key(self) -> None:
        """A private key is refused."""
        for algorithm in ("RS256", "ES256", "EdDSA"):
            self.assertEqual(
                "this is a private key: keep it where tokens are made",
                self.wrong(private_pem(private_key(algorithm))),
            )

    def test_broken(self) -> None:
        """A file that only looks like a key is refused."""
        pem = public_pem(private_key("RS256"))
        for content in (pem[:100], pem.replace(b"M", b"N"), b"-----BEGIN CERTIFICATE-----\n"):
            self.assertEqual("it has no public key that can be read", self.wrong(content))

    def test_other_kinds(self) -> None:
        """Keys that none of the algorithms can use are refused."""
        for key in (new_ec_key(SECP384R1()), new_dsa_key(1024)):
            self.assertEqual(
                "the key is neither RSA, nor EC on P-256, nor Ed25519",
                self.wrong(public_pem(key)),
            )

    def test_no_content(self) -> None:
        """A file that is missing, empty or too large is refused."""
        self.assertEqual("the file is empty", self.wrong(b" \n"))
        text = self.wrong(b"x" * (MAX_SIZE + 1))
        self.assertEqual("the file is larger than 1048576 bytes", text)
        for path, problem in (
            ("missing", "No such file or directory"),
            (".", "Is a directory"),
            ("a\0b", "embedded null byte"),
        ):
            text = str(self.assertRaises(ConfigError, read_key, path, None))
            self.assertEqual(f"jwt-key: {path}: {problem}", text)


class FileKeyTests(SynchronousTestCase):
    """`FileKey`."""

    def setUp(self) -> None:
        """A file with a secret."""
        self.path = Path(self.mktemp())
        self.path.write_bytes(b"1" * 32)
        self.keys = FileKey(str(self.path), None)

    def find(self, kid: str | None = None) -> Any:
        """Look a key up."""
        return self.successResultOf(Deferred.fromCoroutine(self.keys.find(kid)))

    def test_find(self) -> None:
        """The key is for all tokens, whatever key they name."""
        self.keys.start()
        for kid in (None, "", "a"):
            self.assertEqual(b"1" * 32, self.find(kid))
        self.assertEqual("HS256", self.keys.algorithm)
        self.keys.stop()

    def test_reload(self) -> None:
        """Another key takes the place of the old one; the same key stays the same object."""
        before = self.find()
        self.keys.reload()
        self.assertIs(before, self.find())
        self.path.write_bytes(b"2" * 32)
        self.keys.reload()
        self.assertEqual(b"2" * 32, self.find())
        public = Path(self.mktemp())
        public.write_bytes(verifier("ES256"))
        self.keys = FileKey(str(public), None)
        before = self.find()
        self.keys.reload()
        self.assertIs(before, self.find())

    def test_reload_fails(self) -> None:
        """A file that is gone, broken, or for another algorithm leaves the old key."""
        for content in (None, b"short", verifier("RS256")):
            if content is None:
                self.path.unlink()
            else:
                self.path.write_bytes(content)
            error = self.assertRaises(ConfigError, self.keys.reload)
            self.assertIn(str(self.path), str(error))
            self.assertEqual(b"1" * 32, self.find())
