"""Tests of `wsredis.auth.sources.jwks`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from tests.support.tokens import (
    ALGORITHMS,
    jwk,
    jwk_set,
    private_key,
)
from tests.unit.auth.sources.test_keys import FileCase
from wsredis.auth.sources.availability import Availability
from wsredis.auth.sources.jwks import (
    FETCH_TIMEOUT,
    RETRY,
    STALE,
    FetchedKeys,
    FileKeys,
)
from wsredis.auth.sources.keys import MAX_SIZE
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.health import Health

URL = "http://localhost/keys"


def logged(events: Any) -> list[str]:
    """Return the lines of warnings and errors in a log."""
    found = [event for event in events if event["log_level"].name in ("warn", "error")]
    return [event["log_format"].format(**event) for event in found]


class SetCase(FileCase):
    """A test case with sets of keys."""

    def find(self, keys: Any, kid: str | None = "a") -> Any:
        """Look up a key that is found without waiting."""
        return self.successResultOf(Deferred.fromCoroutine(keys.find(kid)))

    def broken(self, content: bytes, algorithm: str = "RS256") -> str:
        """Return the error about a file with an unusable set."""
        path = self.file(content)
        text = str(self.assertRaises(ConfigError, FileKeys, path, algorithm))
        return text.removeprefix(f"jwt-jwks-file: {path}: ")


class KeySetTests(SetCase):
    """The keys of a JWK Set that are used."""

    def test_by_kid(self) -> None:
        """Keys are found by their ids; one without an id only if the token names none."""
        for algorithm in ALGORITHMS:
            entries = [jwk(algorithm, kid, number) for number, kid in enumerate(["a", "b", None])]
            keys = FileKeys(self.file(jwk_set(*entries)), algorithm)
            found = [self.find(keys, kid) for kid in ("a", "b", None)]
            self.assertEqual([False] * 3, [key is None for key in found])
            self.assertEqual(3, len({id(key) for key in found}))
            self.assertIsNone(self.find(keys, "c"))

    def test_no_kid(self) -> None:
        """A token that names no key means the only one of the set."""
        keys = FileKeys(self.file(jwk_set(jwk("ES256", "a"))), "ES256")
        self.assertIs(self.find(keys, "a"), self.find(keys, None))
        both = jwk_set(jwk("ES256", "a"), jwk("ES256", "b", 1))
        self.assertIsNone(self.find(FileKeys(self.file(both), "ES256"), None))

    def test_left_out(self) -> None:
        """Keys for another use, and keys that cannot be used, are ignored."""
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
        """A key may name its use and its algorithm, by any name of it."""
        for algorithm, alg in (("RS256", "RS256"), ("EdDSA", "EdDSA"), ("EdDSA", "Ed25519")):
            entry = jwk(algorithm, "a", use="sig", alg=alg)
            self.assertIsNotNone(self.find(FileKeys(self.file(jwk_set(entry)), algorithm)))

    def test_twice(self) -> None:
        """Of two keys with one id the first counts."""
        both = jwk_set(jwk("HS256", "a"), jwk("HS256", "a", 1))
        keys = FileKeys(self.file(both), "HS256")
        self.assertEqual(private_key("HS256"), self.find(keys))

    def test_rubbish(self) -> None:
        """Content that is not a set is refused."""
        for content in (b"x", b"\xff\xfe\xfd", b"[" * 100000, b'{"keys": [}'):
            self.assertEqual("it is not JSON", self.broken(content))
        for content in (b"{}", b"[]", b"7", b'{"keys": {}}', b'{"keys": null}', b"null"):
            self.assertEqual("it is not a JWK Set: it has no list of keys", self.broken(content))
        self.assertEqual("it has no key for RS256", self.broken(b'{"keys": []}'))


class FileKeysTests(SetCase):
    """A set in a file."""

    def test_no_file(self) -> None:
        """A file that cannot be read is refused."""
        for path, problem in (("no", "No such file or directory"), ("\0", "embedded null byte")):
            error = self.assertRaises(ConfigError, FileKeys, path, "RS256")
            self.assertEqual(f"jwt-jwks-file: {path}: {problem}", str(error))

    def test_changed(self) -> None:
        """A changed file is read again; a removed key is not accepted any more."""
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
        """A file that is broken or removed later is logged once; the old keys stay."""
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
            self.assertEqual(
                [f"jwt-jwks-file: {path}: {problem}; keeping the old keys"], logged(events)
            )
        path.write_bytes(jwk_set(jwk("HS256", "b")))
        self.assertIsNotNone(self.find(keys, "b"))


class _Server:
    """
    A server of keys that the test answers for.

    Attributes:
        asked: The requests, in the order of their arrival.
    """

    def __init__(self) -> None:
        self.asked: list[Deferred[bytes]] = []

    async def fetch(self, url: str) -> bytes:
        """Wait for the answer of the test; see `wsredis.auth.sources.jwks.Fetch`."""
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
        self.health = Health(self.clock.seconds)
        report = Availability(self.health).of("jwt")
        self.keys = FetchedKeys(URL, "EdDSA", 60.0, self.clock, self.server.fetch, report)

    def problem(self) -> tuple[str, bool]:
        """Return the text of the problem, and whether it blocks. Without one the text is empty."""
        problem = self.health.problems.get("identities")
        return ("", False) if problem is None else (problem.text, problem.is_blocking)

    def asking(self, kid: str | None = "a") -> Deferred[Any]:
        """Look a key up."""
        return Deferred.fromCoroutine(self.keys.find(kid))

    def assertUnavailable(self, asked: Deferred[Any]) -> None:
        """Check that the lookup failed, since the keys are not known."""
        refused = self.failureResultOf(asked, HandshakeRejected).value
        self.assertEqual((503, "the token cannot be checked now"), (refused.status, refused.reason))
        self.assertEqual("the JWK Set could not be fetched", refused.hint)

    def test_same_key(self) -> None:
        """A key that is unchanged in a new set is the same object; another under its id is not."""
        self.keys.start()
        self.server.asked[-1].callback(jwk_set(jwk("EdDSA", "a"), jwk("EdDSA", "b", 1)))
        a, b = self.find(self.keys, "a"), self.find(self.keys, "b")
        self.clock.advance(STALE)
        self.asking()
        self.server.answer("a", "b")
        self.assertIs(a, self.find(self.keys, "a"))
        self.assertIsNot(b, self.find(self.keys, "b"))
        self.assertIsNot(a, self.find(self.keys, "b"))

    def test_in_the_background(self) -> None:
        """The set is fetched at the start, once for all waiting clients."""
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
        """A lookup before the start makes it fetched."""
        asked = self.asking()
        self.server.answer("a")
        self.assertIsNotNone(self.successResultOf(asked))

    def test_unknown_key(self) -> None:
        """An unknown key has the set fetched again, once per interval."""
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
        """A client that leaves does not affect the others."""
        self.keys.start()
        leaving, staying = self.asking(), self.asking()
        leaving.addErrback(lambda failure: None)
        leaving.cancel()
        self.server.answer("a")
        self.assertIsNotNone(self.successResultOf(staying))

    def test_old_set(self) -> None:
        """An old set is fetched again, and is used meanwhile."""
        self.keys.start()
        self.server.answer("a", "b")
        self.clock.advance(STALE)
        self.assertIsNotNone(self.find(self.keys))
        self.assertIsNotNone(self.find(self.keys))
        self.assertEqual(2, len(self.server.asked))
        self.server.answer("b")
        self.assertIsNone(self.find(self.keys))

    def test_long_interval(self) -> None:
        """An old set is not fetched more often than the interval allows either."""
        keys = FetchedKeys(URL, "EdDSA", 2 * STALE, self.clock, self.server.fetch)
        keys.start()
        self.server.answer("a")
        self.clock.advance(2 * STALE - 1)
        self.assertIsNotNone(self.find(keys))
        self.assertEqual(1, len(self.server.asked))

    def test_failing(self) -> None:
        """While there are no keys, lookups fail, and the next fetch is soon."""
        with capturedLogs() as events:
            self.keys.start()
            asked = self.asking()
            self.server.asked[-1].errback(OSError("out of order"))
            self.assertUnavailable(asked)
            self.assertUnavailable(self.asking())
        self.assertEqual(
            ["jwt-jwks-url: cannot fetch the JWK Set: OSError: out of order"], logged(events)
        )
        self.clock.advance(RETRY)
        asked = self.asking()
        self.server.answer("a")
        self.assertIsNotNone(self.successResultOf(asked))

    def test_failing_later(self) -> None:
        """The old keys stay; lookups of other keys fail until the next interval."""
        self.keys.start()
        self.server.answer("a")
        self.clock.advance(60)
        asked = self.asking("b")
        with capturedLogs() as events:
            self.server.asked[-1].callback(b"<html>")
        self.assertEqual(
            ["jwt-jwks-url: cannot fetch the JWK Set: it is not JSON; keeping the old keys"],
            logged(events),
        )
        self.assertUnavailable(asked)
        self.assertIsNotNone(self.find(self.keys))
        self.clock.advance(59)
        self.assertUnavailable(self.asking("b"))
        self.assertEqual(2, len(self.server.asked))
        self.clock.advance(1)
        asked = self.asking("b")
        self.server.answer("a")
        self.assertIsNone(self.successResultOf(asked))

    def test_no_keys(self) -> None:
        """
        Without any keys the gateway is not ready, and tries again without being asked.

        The same failure is logged once.
        """
        self.assertEqual(("", False), self.problem())
        self.keys.start()
        self.assertEqual(("the keys for tokens were not fetched yet", True), self.problem())
        with capturedLogs() as events:
            for _ in range(3):
                self.server.asked[-1].errback(OSError("out of order"))
                self.assertEqual(("the keys for tokens cannot be fetched", True), self.problem())
                self.clock.advance(RETRY)
            self.assertEqual(4, len(self.server.asked))
            self.assertEqual(1, len(logged(events)))
            self.server.asked[-1].errback(OSError("still out of order"))
            self.assertEqual(2, len(logged(events)))
        self.clock.advance(RETRY)
        self.server.answer("a")
        self.assertEqual(("", False), self.problem())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_old_keys(self) -> None:
        """With old keys the gateway stays ready, and tries again after the interval."""
        self.keys.start()
        self.server.answer("a")
        self.clock.advance(STALE)
        self.find(self.keys)
        self.server.asked[-1].errback(OSError("out of order"))
        text = "the keys for tokens cannot be fetched: the old ones are used"
        self.assertEqual((text, False), self.problem())
        self.clock.advance(59)
        self.assertEqual(2, len(self.server.asked))
        self.clock.advance(1)
        self.server.answer("a")
        self.assertEqual(("", False), self.problem())

    def test_asked_before_the_retry(self) -> None:
        """A token that has the keys fetched makes the retry needless."""
        self.keys.start()
        self.server.asked[-1].errback(OSError("out of order"))
        self.clock.rightNow += RETRY
        self.asking()
        self.server.answer("a")
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_stopped_before_the_retry(self) -> None:
        """There is no retry after the stop, nor a line about what the stop has cancelled."""
        self.keys.start()
        self.server.asked[-1].errback(OSError("out of order"))
        self.keys.stop()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_silence(self) -> None:
        """A server that does not answer is given up after the time limit."""
        self.keys.start()
        asked = self.asking()
        with capturedLogs() as events:
            self.clock.advance(FETCH_TIMEOUT)
        self.assertUnavailable(asked)
        self.assertEqual(
            ["jwt-jwks-url: cannot fetch the JWK Set: no answer within 5 seconds"], logged(events)
        )

    def test_stop(self) -> None:
        """Nothing is under way after the stop."""
        self.keys.start()
        with capturedLogs() as events:
            self.keys.stop()
        self.assertEqual([], logged(events))
        self.assertEqual([], self.clock.getDelayedCalls())
        self.keys.stop()

    def test_at_once(self) -> None:
        """An answer may come synchronously, and so may a failure."""

        def good(url: str) -> Deferred[bytes]:
            return succeed(jwk_set(jwk("EdDSA", "a")))

        def bad(url: str) -> Deferred[bytes]:
            return fail(ValueError("no"))

        self.assertIsNotNone(self.find(FetchedKeys(URL, "EdDSA", 60.0, self.clock, good)))
        keys = FetchedKeys(URL, "EdDSA", 60.0, self.clock, bad)
        self.assertUnavailable(Deferred.fromCoroutine(keys.find("a")))


class HttpTests(SetCase):
    """The set is fetched over HTTP."""

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
        """Answer the request, and return the warnings of the log."""
        with capturedLogs() as events:
            self.client.dataReceived(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + body)
        return logged(events)

    def test_request(self) -> None:
        """The request is one for the URL, and the answer is used."""
        request = self.transport.value()
        self.assertTrue(request.startswith(b"GET /k?x=1 HTTP/1.1\r\n"), request)
        body = jwk_set(jwk("EdDSA", "a"))
        self.assertEqual([], self.answer(f"HTTP/1.1 200 OK\nContent-Length: {len(body)}", body))
        self.assertIsNotNone(self.find(self.keys))

    def test_status(self) -> None:
        """Only an answer with 200 counts, and a redirect is not followed."""
        body = jwk_set(jwk("EdDSA", "a"))
        head = f"HTTP/1.1 302 Found\nLocation: http://127.0.0.1:82/\nContent-Length: {len(body)}"
        self.assertEqual(
            ["jwt-jwks-url: cannot fetch the JWK Set: the answer has the status 302"],
            self.answer(head, body),
        )
        self.assertEqual(1, len(self.reactor.tcpClients))

    def test_too_large(self) -> None:
        """A body that is too large is cut off."""
        lines = self.answer("HTTP/1.1 200 OK\nContent-Length: 9999999", b" " * (MAX_SIZE + 1))
        self.assertEqual(
            ["jwt-jwks-url: cannot fetch the JWK Set: the answer is larger than 1048576 bytes"],
            lines,
        )
        self.assertTrue(self.transport.disconnecting)
        # Bytes that were on their way do no harm, nor does the end.
        self.client.dataReceived(b" ")
        self.client.connectionLost(Failure(ConnectionLost()))

    def test_stalled(self) -> None:
        """A body that stalls is cut off at the time limit."""
        self.assertEqual([], self.answer("HTTP/1.1 200 OK\nContent-Length: 9", b"{"))
        with capturedLogs() as events:
            self.reactor.advance(FETCH_TIMEOUT)
        self.assertEqual(
            ["jwt-jwks-url: cannot fetch the JWK Set: no answer within 5 seconds"], logged(events)
        )
        self.assertTrue(self.transport.disconnecting)

    def test_no_library(self) -> None:
        """Without the library, the error says how to install it."""
        with mock.patch.dict(sys.modules, {"treq": None}):
            error = self.assertRaises(ConfigError, FetchedKeys, URL, "EdDSA", 60.0, self.reactor)
        self.assertEqual("jwt-jwks-url: needs treq: pip install 'wsredis[jwt]'", str(error))
