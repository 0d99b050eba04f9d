"""Tests for `wsredis.auth.sources.jwks`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.dsa import generate_private_key as new_dsa_key
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec_key
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
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
from wsredis.auth.sources.jwks import (
    FETCH_TIMEOUT,
    MAX_SIZE,
    RETRY,
    STALE,
    FetchedKeys,
    FileKeys,
    read_key,
)
from wsredis.errors import ConfigError, HandshakeRejected

URL = "http://localhost/keys"


def said(events: Any) -> list[str]:
    """The texts of the warnings in a log."""
    warnings = [event for event in events if event["log_level"].name == "warn"]
    return [event["log_format"].format(**event) for event in warnings]


class FileCase(SynchronousTestCase):
    """Files with some content."""

    def file(self, content: bytes) -> str:
        """A file with this content."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)


class ReadKeyTests(FileCase):
    """The file of jwt-key."""

    def wrong(self, content: bytes, algorithm: str | None = None) -> str:
        """What is said about a file, behind its name, in one line."""
        path = self.file(content)
        text = str(self.assertRaises(ConfigError, read_key, path, algorithm))
        self.assertNotIn("\n", text)
        return text.removeprefix(f"jwt-key: {path}: ").replace(path, "FILE")

    def test_algorithm(self) -> None:
        """The kind of the key tells the algorithm, and agrees with the one that is wanted."""
        for algorithm in ALGORITHMS:
            path = self.file(verifier(algorithm))
            self.assertEqual(algorithm, read_key(path, None)[0])
            self.assertEqual(algorithm, read_key(path, algorithm)[0])

    def test_secret(self) -> None:
        """A secret is the whole file but for the end of the line."""
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
        """A key is not used for an algorithm of another kind; above all not as a secret."""
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
                "this is no shared secret: write a public key as PEM", self.wrong(content)
            )

    def test_private_key(self) -> None:
        """A private key has no business here."""
        for algorithm in ("RS256", "ES256", "EdDSA"):
            self.assertEqual(
                "this is a private key: keep it where tokens are made",
                self.wrong(private_pem(private_key(algorithm))),
            )

    def test_broken(self) -> None:
        """A file that only looks like a key is refused."""
        pem = public_pem(private_key("RS256"))
        for content in (pem[:100], pem.replace(b"M", b"N"), b"-----BEGIN CERTIFICATE-----\n"):
            self.assertEqual("there is no public key in it that can be read", self.wrong(content))

    def test_other_kinds(self) -> None:
        """Keys that none of the algorithms can use are refused."""
        for key in (new_ec_key(SECP384R1()), new_dsa_key(1024)):
            self.assertEqual(
                "the key is neither RSA, nor EC on P-256, nor Ed25519",
                self.wrong(public_pem(key)),
            )

    def test_no_content(self) -> None:
        """There must be a file with something in it, and not too much."""
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


class SetCase(FileCase):
    """Sets of keys."""

    def find(self, keys: Any, kid: str | None = "a") -> Any:
        """What is found at once."""
        return self.successResultOf(Deferred.fromCoroutine(keys.find(kid)))

    def broken(self, content: bytes, algorithm: str = "RS256") -> str:
        """What is said about a file with a set that cannot be used."""
        path = self.file(content)
        text = str(self.assertRaises(ConfigError, FileKeys, path, algorithm))
        return text.removeprefix(f"jwt-jwks-file: {path}: ")


class KeySetTests(SetCase):
    """What is taken from a JWK Set, and what is left."""

    def test_by_kid(self) -> None:
        """Keys are found by their ids; one without an id only by who names none."""
        for algorithm in ALGORITHMS:
            entries = [jwk(algorithm, kid, number) for number, kid in enumerate(["a", "b", None])]
            keys = FileKeys(self.file(jwk_set(*entries)), algorithm)
            found = [self.find(keys, kid) for kid in ("a", "b", None)]
            self.assertEqual([False] * 3, [key is None for key in found])
            self.assertEqual(3, len({id(key) for key in found}))
            self.assertIsNone(self.find(keys, "c"))

    def test_no_kid(self) -> None:
        """A token that names no key means the only one there is."""
        keys = FileKeys(self.file(jwk_set(jwk("ES256", "a"))), "ES256")
        self.assertIs(self.find(keys, "a"), self.find(keys, None))
        both = jwk_set(jwk("ES256", "a"), jwk("ES256", "b", 1))
        self.assertIsNone(self.find(FileKeys(self.file(both), "ES256"), None))

    def test_left_out(self) -> None:
        """Keys for something else, and those that cannot be used, are as good as not there."""
        weak = {"kty": "oct", "k": "c2hvcnQ", "kid": "a"}
        for algorithm, entry in (
            *(("RS256", jwk(other, "a")) for other in ("HS256", "ES256", "EdDSA")),
            *(("HS256", jwk(other, "a")) for other in ("RS256", "ES256", "EdDSA")),
            ("ES256", jwk("ES256", "a", crv="P-384")),
            ("EdDSA", jwk("EdDSA", "a", crv="Ed448")),
            ("RS256", jwk("RS256", "a", use="enc")),
            ("RS256", jwk("RS256", "a", use=["sig"])),
            ("RS256", jwk("RS256", "a", alg="RS512")),
            ("RS256", jwk("RS256", "a", alg="HS256")),
            ("RS256", jwk("RS256", "a", alg=["RS256"])),
            ("RS256", jwk("RS256", "a", d="AQAB")),
            ("RS256", jwk("RS256", "a", n="")),
            ("RS256", jwk("RS256", "a", n=7)),
            ("RS256", jwk("RS256", "a", e=None)),
            ("RS256", {**jwk("RS256", None), "kid": ["a"]}),
            ("RS256", {**jwk("RS256", None), "kty": ["RSA"]}),
            ("RS256", {"kty": "RSA", "kid": "a"}),
            ("RS256", {"kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB"}),
            ("HS256", weak),
            ("RS256", {}),
            ("RS256", "a"),
            ("RS256", None),
        ):
            self.assertEqual(
                f"it has no key for {algorithm}", self.broken(jwk_set(entry), algorithm), entry
            )
            keys = FileKeys(self.file(jwk_set(entry, jwk(algorithm, "b"))), algorithm)
            self.assertIsNone(self.find(keys), entry)
            self.assertIsNotNone(self.find(keys, "b"))

    def test_named_use(self) -> None:
        """A key may say what it is for, in every name of it."""
        for algorithm, alg in (("RS256", "RS256"), ("EdDSA", "EdDSA"), ("EdDSA", "Ed25519")):
            entry = jwk(algorithm, "a", use="sig", alg=alg)
            self.assertIsNotNone(self.find(FileKeys(self.file(jwk_set(entry)), algorithm)))

    def test_twice(self) -> None:
        """Of two keys with one id the first counts."""
        both = jwk_set(jwk("HS256", "a"), jwk("HS256", "a", 1))
        keys = FileKeys(self.file(both), "HS256")
        self.assertEqual(private_key("HS256"), self.find(keys))

    def test_rubbish(self) -> None:
        """What is no set is refused."""
        for content in (b"x", b"\xff\xfe\xfd", b"[" * 100000, b'{"keys": [}'):
            self.assertEqual("it is not JSON", self.broken(content))
        for content in (b"{}", b"[]", b"7", b'{"keys": {}}', b'{"keys": null}', b"null"):
            self.assertEqual("it is no JWK Set: it has no list of keys", self.broken(content))
        self.assertEqual("it has no key for RS256", self.broken(b'{"keys": []}'))


class FileKeysTests(SetCase):
    """A set in a file."""

    def test_no_file(self) -> None:
        """There must be a file."""
        for path, problem in (("no", "No such file or directory"), ("\0", "embedded null byte")):
            error = self.assertRaises(ConfigError, FileKeys, path, "RS256")
            self.assertEqual(f"jwt-jwks-file: {path}: {problem}", str(error))

    def test_changed(self) -> None:
        """A file that has changed is read again; a key that is gone is not believed any more."""
        path = self.file(jwk_set(jwk("HS256", "a")))
        keys = FileKeys(path, "HS256")
        keys.start()
        self.assertIsNotNone(self.find(keys))
        Path(path).write_bytes(jwk_set(jwk("HS256", "bb", 1)))
        self.assertIsNone(self.find(keys))
        self.assertEqual(private_key("HS256", 1), self.find(keys, "bb"))
        keys.stop()

    def test_unchanged(self) -> None:
        """A file that has not changed is not read again."""
        path = self.file(jwk_set(jwk("HS256", "a")))
        keys = FileKeys(path, "HS256")
        status = os.stat(path)
        Path(path).write_bytes(jwk_set(jwk("HS256", "b")))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.assertIsNotNone(self.find(keys))

    def test_broken_later(self) -> None:
        """A file that is broken or gone later is told once; the old keys stay."""
        path = Path(self.file(jwk_set(jwk("HS256", "a"))))
        keys = FileKeys(str(path), "HS256")
        for spoil, problem in (
            (lambda: path.write_bytes(b'{"keys"'), "it is not JSON"),
            (path.unlink, "No such file or directory"),
        ):
            spoil()
            with capturedLogs() as events:
                self.assertIsNotNone(self.find(keys))
                self.assertIsNotNone(self.find(keys))
            self.assertEqual([f"jwt-jwks-file: {path}: {problem}; the old keys stay"], said(events))
        path.write_bytes(jwk_set(jwk("HS256", "b")))
        self.assertIsNotNone(self.find(keys, "b"))


class _Server:
    """
    Answers when the test says so.

    Attributes:
        asked: The requests, the last one last.
    """

    def __init__(self) -> None:
        self.asked: list[Deferred[bytes]] = []

    async def fetch(self, url: str) -> bytes:
        """See `wsredis.auth.sources.jwks.Fetch`."""
        assert url == URL
        self.asked.append(Deferred())
        return await self.asked[-1]

    def answer(self, *kids: str) -> None:
        """Answer the last request with a set of keys with these ids."""
        self.asked[-1].callback(jwk_set(*(jwk("EdDSA", kid) for kid in kids)))


class FetchedKeysTests(SetCase):
    """A set at a URL."""

    def setUp(self) -> None:
        """A set that was not fetched yet."""
        self.clock = Clock()
        self.server = _Server()
        self.keys = FetchedKeys(URL, "EdDSA", 60.0, self.clock, self.server.fetch)

    def asking(self, kid: str | None = "a") -> Deferred[Any]:
        """Look a key up."""
        return Deferred.fromCoroutine(self.keys.find(kid))

    def assertUnavailable(self, asked: Deferred[Any]) -> None:
        """It could not be told whether there is such a key."""
        refused = self.failureResultOf(asked, HandshakeRejected).value
        self.assertEqual((503, "the token cannot be checked now"), (refused.status, refused.reason))
        self.assertEqual("the JWK Set could not be fetched", refused.hint)

    def test_in_the_background(self) -> None:
        """It is fetched at the start, once for all who wait."""
        self.keys.start()
        asked = [self.asking() for _ in range(3)] + [self.asking("b")]
        for each in asked:
            self.assertNoResult(each)
        self.server.answer("a")
        for each in asked[:3]:
            self.assertIsNotNone(self.successResultOf(each))
        self.assertIsNone(self.successResultOf(asked[3]))
        self.assertEqual(1, len(self.server.asked))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_without_start(self) -> None:
        """Who asks before has it fetched."""
        asked = self.asking()
        self.server.answer("a")
        self.assertIsNotNone(self.successResultOf(asked))

    def test_unknown_key(self) -> None:
        """A key that is not there has the set fetched again, once in an interval."""
        self.keys.start()
        self.server.answer("a")
        self.clock.advance(59.9)
        self.assertIsNone(self.find(self.keys, "b"))
        self.assertEqual(1, len(self.server.asked))
        self.clock.advance(0.1)
        asked = [self.asking("b"), self.asking("b"), self.asking("c")]
        self.assertIsNotNone(self.find(self.keys))
        self.server.answer("b")
        self.assertEqual([True, True, False], [self.successResultOf(d) is not None for d in asked])
        self.assertIsNone(self.find(self.keys))
        self.assertEqual(2, len(self.server.asked))

    def test_who_leaves(self) -> None:
        """A client that leaves takes nothing away from the others."""
        self.keys.start()
        leaving, staying = self.asking(), self.asking()
        leaving.addErrback(lambda failure: None)
        leaving.cancel()
        self.server.answer("a")
        self.assertIsNotNone(self.successResultOf(staying))

    def test_old_set(self) -> None:
        """A set that is old is fetched again while clients go on with it."""
        self.keys.start()
        self.server.answer("a", "b")
        self.clock.advance(STALE)
        self.assertIsNotNone(self.find(self.keys))
        self.assertIsNotNone(self.find(self.keys))
        self.assertEqual(2, len(self.server.asked))
        self.server.answer("b")
        self.assertIsNone(self.find(self.keys))

    def test_long_interval(self) -> None:
        """Nor is it fetched more often than wanted when it is old."""
        keys = FetchedKeys(URL, "EdDSA", 2 * STALE, self.clock, self.server.fetch)
        keys.start()
        self.server.answer("a")
        self.clock.advance(2 * STALE - 1)
        self.assertIsNotNone(self.find(keys))
        self.assertEqual(1, len(self.server.asked))

    def test_failing(self) -> None:
        """While there are no keys nothing can be told, and it is tried again soon."""
        with capturedLogs() as events:
            self.keys.start()
            asked = self.asking()
            self.server.asked[-1].errback(OSError("out of order"))
            self.assertUnavailable(asked)
            self.assertUnavailable(self.asking())
        self.assertEqual(
            ["jwt-jwks-url: the JWK Set cannot be had: OSError: out of order"], said(events)
        )
        self.clock.advance(RETRY)
        asked = self.asking()
        self.server.answer("a")
        self.assertIsNotNone(self.successResultOf(asked))

    def test_failing_later(self) -> None:
        """The old keys stay; of others nothing can be told until the next interval."""
        self.keys.start()
        self.server.answer("a")
        self.clock.advance(60)
        asked = self.asking("b")
        with capturedLogs() as events:
            self.server.asked[-1].callback(b"<html>")
        self.assertEqual(["jwt-jwks-url: the JWK Set cannot be had: it is not JSON"], said(events))
        self.assertUnavailable(asked)
        self.assertIsNotNone(self.find(self.keys))
        self.clock.advance(59)
        self.assertUnavailable(self.asking("b"))
        self.assertEqual(2, len(self.server.asked))
        self.clock.advance(1)
        asked = self.asking("b")
        self.server.answer("a")
        self.assertIsNone(self.successResultOf(asked))

    def test_silence(self) -> None:
        """A server that does not answer is not waited for."""
        self.keys.start()
        asked = self.asking()
        with capturedLogs() as events:
            self.clock.advance(FETCH_TIMEOUT)
        self.assertUnavailable(asked)
        self.assertEqual(
            ["jwt-jwks-url: the JWK Set cannot be had: no answer within 5 seconds"], said(events)
        )

    def test_stop(self) -> None:
        """Nothing is under way after the end."""
        self.keys.start()
        self.keys.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.keys.stop()

    def test_at_once(self) -> None:
        """An answer may come without delay, and so may a failure."""

        def good(url: str) -> Deferred[bytes]:
            return succeed(jwk_set(jwk("EdDSA", "a")))

        def bad(url: str) -> Deferred[bytes]:
            return fail(ValueError("no"))

        self.assertIsNotNone(self.find(FetchedKeys(URL, "EdDSA", 60.0, self.clock, good)))
        keys = FetchedKeys(URL, "EdDSA", 60.0, self.clock, bad)
        self.assertUnavailable(Deferred.fromCoroutine(keys.find("a")))


class HttpTests(SetCase):
    """How the set is fetched."""

    def setUp(self) -> None:
        """A set that is being fetched."""
        self.reactor = MemoryReactorClock()
        self.keys = FetchedKeys("http://127.0.0.1:81/k?x=1", "EdDSA", 60.0, self.reactor)
        self.keys.start()
        host, port, factory, *_ = self.reactor.tcpClients[0]
        self.assertEqual(("127.0.0.1", 81), (host, port))
        self.client = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.client.makeConnection(self.transport)

    def answer(self, head: str, body: bytes = b"") -> list[str]:
        """Answer the request. Returns: The warnings."""
        with capturedLogs() as events:
            self.client.dataReceived(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        return said(events)

    def test_request(self) -> None:
        """The request is one for the URL, and the answer is used."""
        request = self.transport.value()
        self.assertTrue(request.startswith(b"GET /k?x=1 HTTP/1.1\r\n"), request)
        body = jwk_set(jwk("EdDSA", "a"))
        self.assertEqual([], self.answer(f"HTTP/1.1 200 OK\nContent-Length: {len(body)}", body))
        self.assertIsNotNone(self.find(self.keys))

    def test_status(self) -> None:
        """Only 200 brings keys; nobody is led elsewhere."""
        body = jwk_set(jwk("EdDSA", "a"))
        head = f"HTTP/1.1 302 Found\nLocation: http://127.0.0.1:82/\nContent-Length: {len(body)}"
        self.assertEqual(
            ["jwt-jwks-url: the JWK Set cannot be had: the answer has the status 302"],
            self.answer(head, body),
        )
        self.assertEqual(1, len(self.reactor.tcpClients))

    def test_too_large(self) -> None:
        """A body that does not end is cut off."""
        said = self.answer("HTTP/1.1 200 OK\nContent-Length: 9999999", b" " * (MAX_SIZE + 1))
        self.assertEqual(
            ["jwt-jwks-url: the JWK Set cannot be had: the answer is larger than 1048576 bytes"],
            said,
        )
        self.assertTrue(self.transport.disconnecting)
        # What is still on its way does no harm, nor does the end.
        self.client.dataReceived(b" ")
        self.client.connectionLost(Failure(ConnectionLost()))

    def test_stalled(self) -> None:
        """A body that does not go on is cut off at the deadline."""
        self.assertEqual([], self.answer("HTTP/1.1 200 OK\nContent-Length: 9", b"{"))
        with capturedLogs() as events:
            self.reactor.advance(FETCH_TIMEOUT)
        self.assertEqual(
            ["jwt-jwks-url: the JWK Set cannot be had: no answer within 5 seconds"], said(events)
        )
        self.assertTrue(self.transport.disconnecting)

    def test_no_library(self) -> None:
        """Without the library the first line says how to get it."""
        with mock.patch.dict(sys.modules, {"treq": None}):
            error = self.assertRaises(ConfigError, FetchedKeys, URL, "EdDSA", 60.0, self.reactor)
        self.assertEqual("jwt-jwks-url: needs treq: pip install 'wsredis[jwt]'", str(error))
