"""Tests of `wsredis.auth.sources.subrequest`."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    NoRouteError,
)
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.sources.availability import Availability
from wsredis.auth.sources.subrequest import SubrequestAuthenticator
from wsredis.config import AuthUrlConfig
from wsredis.dialects.urls import parse_access
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.health import Health
from wsredis.gateway.identity import Handshake, Identity

URL = "http://127.0.0.1:8000/who?key=hidden"
NOW = 1_000_000.0


def response(
    value: object = None,
    status: str = "200 OK",
    kind: str = "application/json",
    *headers: str,
) -> bytes:
    """Make an answer of the application. A value that is not bytes is written as JSON."""
    body = (
        value if isinstance(value, bytes) else json.dumps({} if value is None else value).encode()
    )
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, *headers]).encode("latin-1") + b"\r\n\r\n" + body


class ApplicationConnection(StringTransport):
    """
    One connection to the application, on the side of the application.

    As with a real one, the gateway notices the end in a later turn of the reactor.
    """

    def __init__(self, reactor: MemoryReactorClock, factory: Any) -> None:
        super().__init__()
        self.reactor = reactor
        self.connected = True
        self.protocol: Any = factory.buildProtocol(None)
        self.protocol.makeConnection(self)

    def loseConnection(self) -> None:
        """Close, as the gateway wants."""
        if self.connected:
            self.connected = False
            self.reactor.callLater(0, self.protocol.connectionLost, Failure(ConnectionDone()))

    def request(self) -> tuple[bytes, dict[str, str]]:
        """Return the request that came: its line, and its headers by names in lower case."""
        head, end, rest = self.value().partition(b"\r\n\r\n")
        assert end and not rest, self.value()
        self.clear()
        line, *lines = head.split(b"\r\n")
        pairs = [each.decode("latin-1").split(": ", 1) for each in lines]
        found = {name.lower(): value for name, value in pairs}
        assert len(found) == len(pairs), lines
        return line, found

    def send(self, data: bytes) -> None:
        """Send a part of an answer."""
        self.protocol.dataReceived(data)

    def reset(self) -> None:
        """Close, unless the gateway has."""
        if self.connected:
            self.connected = False
            self.protocol.connectionLost(Failure(ConnectionLost()))


class SubrequestCase(SynchronousTestCase):
    """A test case with an authenticator, and an application that the test answers for."""

    def setUp(self) -> None:
        """Make them."""
        self.use()

    def use(self, url: str = URL, cache: float = 0.0, concurrency: int = 2) -> None:
        """Continue with another authenticator."""
        self.reactor = MemoryReactorClock()
        self.reactor.advance(NOW)
        self.health = Health(self.reactor.seconds)
        self.authenticator = SubrequestAuthenticator(
            AuthUrlConfig(url, cache),
            self.reactor,
            3.0,
            concurrency,
            report=Availability(self.health).of("auth-url"),
            now=self.reactor.seconds,
        )
        self.authenticator.start()

    def handshake(
        self,
        cookie: str | None = "session=abc",
        query: str = "subscribe-user&publish-broadcast",
        facility: str = "chat",
        peer: str = "192.0.2.1:4711",
        address: str = "",
        **headers: str,
    ) -> Handshake:
        """Make a handshake. An underscore in the name of a header is a dash."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if cookie is not None:
            given["cookie"] = cookie
        requested = parse_access(facility, query)
        return Handshake(requested, "/ws/x", given, peer, address=address)

    def ask(self, handshake: Handshake | None = None) -> Deferred[Identity]:
        """Ask for an identity."""
        question = self.authenticator.identify(handshake or self.handshake())
        return Deferred.fromCoroutine(question)

    def links(self) -> list[ApplicationConnection]:
        """Accept the connections of the gateway."""
        attempts, self.reactor.tcpClients[:] = list(self.reactor.tcpClients), []
        return [ApplicationConnection(self.reactor, factory) for _, _, factory, _, _ in attempts]

    def link(self) -> ApplicationConnection:
        """Accept the only connection of the gateway."""
        (link,) = self.links()
        return link

    def identity(self, answer: object, **headers: str) -> Identity:
        """Return the identity of a client if the application answers with *answer*."""
        asked = self.ask(self.handshake(**headers))
        link = self.link()
        link.send(response(answer))
        return self.successResultOf(asked)

    def refusal(self, answer: bytes, *, ends: bool = False) -> HandshakeRejected:
        """Return the rejection if the application sends *answer*, and closes if *ends*."""
        self.use()
        asked = self.ask()
        self.connection = link = self.link()
        link.request()
        link.send(answer)
        if ends:
            link.reset()
        self.reactor.advance(0)
        return self.refused(asked)

    def refused(self, asked: Deferred[Any]) -> HandshakeRejected:
        """Return the rejection that *asked* ended with, and check that it shows no secret."""
        error = self.failureResultOf(asked, HandshakeRejected).value
        assert isinstance(error, HandshakeRejected)
        self.assertNotIn("hidden", f"{error.reason}{error.hint}")
        self.assertNotIn("abc", f"{error.reason}{error.hint}")
        return error


class AvailabilityTests(SubrequestCase):
    """An application that cannot be asked is a problem of the gateway, which asks for itself."""

    def is_away(self) -> bool:
        """Tell whether the health says so; it blocks then, for nobody is let in."""
        self.assertLessEqual(set(self.health.problems), {"identities"})
        self.assertNotEqual(self.health.is_ready, bool(self.health.problems))
        return not self.health.is_ready

    def test_away(self) -> None:
        """It is away if the gateway itself gets no valid answer, until it gets one."""
        for good in (response({}), response({}, "401 No"), response({}, "403 No")):
            for bad in (response({}, "500 Oh"), response(b"<html>", kind="text/html")):
                self.refusal(bad)
                self.assertFalse(self.is_away())
                # The connection is kept for the question of the gateway.
                link = self.connection
                _, headers = link.request()
                self.assertNotIn("cookie", headers)
                found = headers["x-wsredis-facility"], headers["x-wsredis-channels"]
                self.assertEqual(("", ""), found)
                link.send(bad)
                self.assertTrue(self.is_away())
                self.reactor.advance(2)
                link.request()
                link.send(good)
                self.assertFalse(self.is_away())

    def test_one_client(self) -> None:
        """A client whose cookie makes the application fail does not turn the gateway red."""
        self.refusal(response({}, "500 Oh"))
        self.connection.request()
        self.connection.send(response({}, "401 No"))
        self.assertFalse(self.is_away())

    def test_back_for_a_client(self) -> None:
        """The answer for a client counts too."""
        self.refusal(response({}, "500 Oh"))
        self.connection.request()
        self.connection.send(response({}, "500 Oh"))
        self.assertTrue(self.is_away())
        self.reactor.advance(0)
        asked = self.ask()
        self.connection.request()
        self.connection.send(response({}))
        self.successResultOf(asked)
        self.assertFalse(self.is_away())

    def test_late(self) -> None:
        """One that does not answer in time is away; a client that leaves proves nothing."""
        for is_connected in (True, False):
            asked = self.ask()
            if is_connected:
                self.links()
            asked.addErrback(lambda failure: failure.trap(CancelledError, HandshakeRejected))
            asked.cancel()
            self.assertTrue(asked.called)
        self.reactor.tcpClients.clear()
        self.reactor.advance(5)
        self.assertEqual([], self.reactor.tcpClients, "nobody asks")
        asked = self.ask()
        self.reactor.advance(3)
        self.refused(asked)
        self.assertFalse(self.is_away())
        self.reactor.advance(3)
        self.assertTrue(self.is_away())

    def test_queue(self) -> None:
        """Too many questions at a time are no problem of the application."""
        self.use(concurrency=1)
        asked = [self.ask(self.handshake(cookie=f"session={n}")) for n in range(100)]
        full = [each for each in asked if each.called]
        self.assertTrue(full)
        for each in full:
            self.refused(each)
        self.assertFalse(self.is_away())
        for each in asked:
            if not each.called:
                each.addErrback(lambda failure: failure.trap(CancelledError))
                each.cancel()


class StartTests(SynchronousTestCase):
    """Errors that are found when the gateway starts."""

    def make(self, url: str) -> SubrequestAuthenticator:
        """Make an authenticator for *url*."""
        return SubrequestAuthenticator(AuthUrlConfig(url), MemoryReactorClock(), 3.0, 1)

    def test_treq(self) -> None:
        """Without treq, the error says how to install it."""
        with patch.dict(sys.modules, {"treq.client": None}):
            error = self.assertRaises(ConfigError, self.make, URL)
        self.assertEqual("auth-url: needs treq: pip install 'wsredis[auth-url]'", str(error))

    def test_urls(self) -> None:
        """A URL that cannot be requested is an error, which does not show the query."""
        for url in (
            "http://[::1/?q=hidden",
            "http://[::1]/?q=hidden",
            "http://host:port/?q=hidden",
            "http://host:/?q=hidden",
            "http://host:65536/?q=hidden",
            "http://host:0/?q=hidden",
            "http://:80/?q=hidden",
            "http://a..b/?q=hidden",
            "http://a%zz/?q=hidden",
            f"http://{'a' * 64}.example/?q=hidden",
        ):
            error = self.assertRaises(ConfigError, self.make, url)
            self.assertIn("auth-url: this URL ", str(error), url)
            self.assertNotIn("hidden", str(error))
            self.assertNotIn("\n", str(error))
        error = self.assertRaises(ConfigError, self.make, "http://[::1]/")
        self.assertIn("an IPv6 address", str(error))

    def test_good_urls(self) -> None:
        """Names and paths beyond ASCII, ports and TLS are accepted."""
        for url in ("https://b\u00fccher.example/\u00e4?\u00f6", "https://a:8443/b", "http://a"):
            self.make(url)


class QuestionTests(SubrequestCase):
    """The request to the application."""

    def test_missing(self) -> None:
        """A handshake with nothing that could speak for a user is one for hints."""
        self.use()
        missing = self.authenticator.missing
        self.assertEqual("cookie", missing(self.handshake(None, origin="http://x")))
        self.assertEqual("", missing(self.handshake()))
        self.assertEqual("", missing(self.handshake(None, authorization="Bearer x")))

    def question(self, handshake: Handshake) -> tuple[bytes, dict[str, str]]:
        """Return the request that a handshake leads to."""
        self.use()
        asked = self.ask(handshake)
        link = self.link()
        found = link.request()
        link.send(response())
        self.successResultOf(asked)
        return found

    def test_all(self) -> None:
        """It is a GET with the client's credentials, its access and its address."""
        line, headers = self.question(
            self.handshake(
                origin="https://example.com",
                authorization="Bearer xyz",
                user_agent="Browser/1",
                sec_websocket_protocol="bearer.xyz, chat",
                sec_websocket_key="dGhlIHNhbXBsZSBub25jZQ==",
                accept_encoding="gzip, br",
                accept="text/html",
                host="gateway.example",
                upgrade="websocket",
            )
        )
        self.assertEqual(b"GET /who?key=hidden HTTP/1.1", line)
        self.assertEqual(
            {
                "host": "127.0.0.1:8000",
                "cookie": "session=abc",
                "origin": "https://example.com",
                "authorization": "Bearer xyz",
                "user-agent": "Browser/1",
                "sec-websocket-protocol": "bearer.xyz, chat",
                "accept": "application/json",
                "accept-encoding": "identity",
                "x-wsredis-facility": "chat",
                "x-wsredis-channels": "subscribe-user,publish-broadcast",
                "x-forwarded-for": "192.0.2.1",
            },
            headers,
        )

    def test_nothing(self) -> None:
        """A client without credentials leads to a request, too."""
        _, headers = self.question(self.handshake(cookie=None, query="", facility=""))
        self.assertEqual("", headers["x-wsredis-facility"])
        self.assertEqual("", headers["x-wsredis-channels"])
        self.assertNotIn("cookie", headers)
        self.assertNotIn("user-agent", headers)

    def test_flags(self) -> None:
        """The access is written in the flags of the URL, in a fixed order."""
        audiences = ("session", "user", "group", "broadcast")
        query = "&".join(f"publish-{each}&subscribe-{each}" for each in audiences) + "&echo"
        _, headers = self.question(self.handshake(query=query))
        self.assertEqual(
            "subscribe-broadcast,subscribe-group,subscribe-user,subscribe-session,"
            "publish-broadcast,publish-group,publish-user,publish-session",
            headers["x-wsredis-channels"],
        )

    def test_facility(self) -> None:
        """A facility is percent-encoded: it is ASCII, and cannot add a header."""
        for facility, encoded in (
            ("a/b", "a/b"),
            ("a b,c;d", "a%20b%2Cc%3Bd"),
            ("\u00e4\u2603", "%C3%A4%E2%98%83"),
            ("x\r\nCookie: session=other", "x%0D%0ACookie%3A%20session%3Dother"),
            ("x\x00\x85\u2028", "x%00%C2%85%E2%80%A8"),
        ):
            _, headers = self.question(self.handshake(facility=facility))
            self.assertEqual(encoded, headers["x-wsredis-facility"])
            self.assertEqual("session=abc", headers["cookie"])

    def test_header_injection(self) -> None:
        """A header of the client stays one header, whatever its value is."""
        for name in ("cookie", "authorization", "origin", "user_agent", "x_forwarded_for"):
            value = "a\r\nX-Wsredis-Facility: other\n\rX: y\u2603"
            _, headers = self.question(self.handshake(**{name: value}))
            self.assertEqual("chat", headers["x-wsredis-facility"])
            self.assertNotIn("x", headers)

    def test_latin(self) -> None:
        """Bytes beyond ASCII arrive as they came."""
        _, headers = self.question(self.handshake(cookie="name=caf\xe9"))
        self.assertEqual("name=caf\xe9", headers["cookie"])

    def test_addresses(self) -> None:
        """The address comes after those that proxies added; a UNIX socket has none."""
        for peer, passed, expected in (
            ("192.0.2.1:4711", None, "192.0.2.1"),
            ("[::1]:4711", None, "::1"),
            ("198.51.100.7", "1.2.3.4, 198.51.100.7", "1.2.3.4, 198.51.100.7"),
            ("198.51.100.7", None, "198.51.100.7"),
            ("192.0.2.1:4711", "198.51.100.7", "198.51.100.7, 192.0.2.1"),
            ("unix", "198.51.100.7", "198.51.100.7"),
            ("unix", None, ""),
        ):
            more = {} if passed is None else {"x_forwarded_for": passed}
            _, headers = self.question(self.handshake(peer=peer, **more))
            self.assertEqual(expected, headers["x-forwarded-for"])


class AnswerTests(SubrequestCase):
    """Answers as documented."""

    def test_all(self) -> None:
        """All values of an answer become the identity."""
        identity = self.identity(
            {
                "user": "john",
                "groups": ["staff", "caf\u00e9"],
                "session": "abc",
                "expires": NOW + 60,
                "channels": {"cha*": ["subscribe", "publish-broadcast"], "other": []},
            }
        )
        self.assertEqual(Identity("john", ("staff", "caf\u00e9"), "abc", NOW + 60), identity)

    def test_nobody(self) -> None:
        """An empty object, and null, admit as anonymous; so do empty names."""
        nothing = dict.fromkeys(("user", "groups", "session", "expires", "channels"))
        for answer in ({}, nothing, {"user": "", "groups": [], "session": ""}):
            self.use()
            self.assertEqual(Identity(), self.identity(answer))

    def test_content_type(self) -> None:
        """Parameters and the case of the content type do not matter."""
        for kind in ("Application/JSON", "application/json; charset=utf-8"):
            self.use()
            asked = self.ask()
            self.link().send(response({"user": "john"}, kind=kind))
            self.assertEqual("john", self.successResultOf(asked).user)

    def test_pieces(self) -> None:
        """An answer may come byte by byte, in chunks, or without a length."""
        whole = response({"user": "john"})
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        chunked = b"Transfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n0\r\n\r\n"
        for answer in (whole, head + chunked, b"HTTP/1.1 100 Continue\r\n\r\n" + whole):
            self.use()
            asked = self.ask()
            link = self.link()
            for byte in answer:
                link.send(bytes([byte]))
            self.successResultOf(asked)
        self.use()
        asked = self.ask()
        link = self.link()
        link.send(head.replace(b"1.1", b"1.0") + b'\r\n{"user": "john"}')
        self.assertNoResult(asked)
        link.reset()
        self.assertEqual("john", self.successResultOf(asked).user)

    def test_limit(self) -> None:
        """A body of 64 KiB is read."""
        self.assertEqual(Identity(), self.identity(b"{}" + b" " * 65534))

    def test_channels(self) -> None:
        """An access beyond the channels is rejected with 403, which names the flag."""
        for channels, flag in (
            ({}, "subscribe-user"),
            ({"*": ["publish"]}, "subscribe-user"),
            ({"*": ["subscribe"]}, "publish-broadcast"),
            ({"other": ["subscribe", "publish"]}, "subscribe-user"),
        ):
            self.use()
            asked = self.ask()
            self.link().send(response({"user": "john", "channels": channels}))
            error = self.refused(asked)
            self.assertEqual((403, f"you may not {flag} here"), (error.status, error.reason))

    def test_refusals(self) -> None:
        """401 and 403 reject, whatever the body is; a printable reason goes to the client."""
        for status, default in ((401, "you are not logged in"), (403, "you may not do this here")):
            line = f"{status} No"
            for body, kind, reason in (
                (b"", "application/json", default),
                (b"<html>", "text/html", default),
                (b'{"reason": "text"}', "text/plain", default),
                ([], "application/json", default),
                ({"detail": "other"}, "application/json", default),
                ({"reason": 1}, "application/json", default),
                ({"reason": ""}, "application/json", default),
                ({"reason": "two\r\nlines"}, "application/json", default),
                ({"reason": "\ud800"}, "application/json", default),
                ({"reason": "x" * 201}, "application/json", default),
                ({"reason": "x" * 200}, "application/json", "x" * 200),
                (
                    {"reason": "pay first, M\u00fcller"},
                    "application/json",
                    "pay first, M\u00fcller",
                ),
                (b"x" * 65537, "application/json", default),
            ):
                error = self.refusal(response(body, line, kind))
                self.assertEqual((status, reason), (error.status, error.reason))
            error = self.refusal(response(b"whole", line)[:-1], ends=True)
            self.assertEqual(status, error.status)

    def test_expired(self) -> None:
        """An identity that has expired is rejected with 401."""
        for expires in (NOW, NOW - 1, 0):
            error = self.refusal(response({"user": "john", "expires": expires}))
            self.assertEqual(401, error.status)

    def test_cookies_are_not_kept(self) -> None:
        """A cookie that the application sets for one client is not sent for the next."""
        asked = self.ask()
        link = self.link()
        link.request()
        link.send(response({}, "200 OK", "application/json", "Set-Cookie: session=johns; Path=/"))
        self.successResultOf(asked)
        asked = self.ask(self.handshake(cookie=None))
        _, headers = link.request()
        self.assertNotIn("cookie", headers)
        link.send(response())
        self.successResultOf(asked)


class GarbageTests(SubrequestCase):
    """Unexpected answers let nobody in: the client gets 503, the log gets a hint."""

    def assertUnknown(self, hint: str, answer: bytes, *, ends: bool = False) -> None:
        """Check that *answer* leads to 503, and that the hint says why."""
        error = self.refusal(answer, ends=ends)
        self.assertEqual((503, "try again later"), (error.status, error.reason))
        self.assertTrue(error.hint.startswith("--auth-url http://127.0.0.1:8000/who: "), error.hint)
        self.assertIn(hint, error.hint)

    def test_statuses(self) -> None:
        """Any other status is unexpected; a redirect is not followed."""
        for status in (201, 202, 203, 204, 206, 300, 304, 400, 402, 404, 418, 429, 500, 502, 599):
            self.assertUnknown(f"it answered {status}", response({}, f"{status} Other"))
        for status in (301, 302, 303, 307, 308):
            answer = response({}, f"{status} Found", "application/json", "Location: /login")
            self.assertUnknown(f"it answered {status}", answer)
            self.assertEqual([], self.links())

    def test_bodies(self) -> None:
        """A body that is not a JSON object is unexpected."""
        for body in (
            b"",
            b"john",
            b"{",
            b"{'user': 'john'}",
            b'{"user": "john"} x',
            b'{"user": "\xff"}',
            b"[" * 60000,
            b'{"expires": ' + b"9" * 5000 + b"}",
        ):
            self.assertUnknown("is not JSON", response(body))
        for value in ([], "john", 1, True, [{"user": "john"}]):
            self.assertUnknown("is not a JSON object", response(value))
        self.assertUnknown("is not a JSON object", response(b"null"))

    def test_content_types(self) -> None:
        """Another content type is unexpected."""
        for kind in ("text/html", "text/plain", "application/jsonp", ""):
            self.assertUnknown("is not application/json", response({}, kind=kind))
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        self.assertUnknown("is not application/json", answer)

    def test_types(self) -> None:
        """A value of another type is unexpected."""
        for key, values in (
            ("user", (1, True, [], {}, "a\nb", "a\x00", "\ud800", "\x9b")),
            ("session", (1, 1.5, ["abc"], "\r")),
            ("groups", ("staff", 1, {}, {"staff": 1}, [1], [None], [""], [["a"]], ["a\n"])),
            ("channels", ([], "chat", 1, {"a": "subscribe"}, {"a": None}, {"a": [1]})),
            ("channels", ({"a": ["speak"]}, {"a": ["subscribe-all"]}, {"a": [""]})),
            ("expires", ("1e9", True, False, [], {}, -1, -0.5, 1e300, 10**400, NOW * 1e6)),
        ):
            for value in values:
                self.assertUnknown(f"{key!r}", response({key: value}))
        for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
            self.assertUnknown("'expires'", response(b'{"expires": %s}' % number))

    def test_unknown_keys(self) -> None:
        """An unknown key is unexpected: it may be a misspelt limit."""
        for value in ({"group": []}, {"user": "john", "chanels": {}}, {"detail": "who?"}):
            self.assertUnknown("has an unknown key", response(value))

    def test_sizes(self) -> None:
        """A body beyond 64 KiB is unexpected, however it comes; the connection is closed."""
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        for answer in (
            response(b"{}" + b" " * 65535),
            head + b"Content-Length: 9999999\r\n\r\n" + b" " * 65537,
            head + b"Transfer-Encoding: chunked\r\n\r\n11000\r\n" + b" " * 0x11000,
            head + b"\r\n" + b" " * 70000,
        ):
            self.assertUnknown("is larger than 65536 bytes", answer)

    def test_more_after_too_much(self) -> None:
        """More bytes after a body that is too large do no harm."""
        asked = self.ask()
        link = self.link()
        link.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b" " * 70000)
        self.refused(asked)
        self.assertFalse(link.connected)

    def test_compressed(self) -> None:
        """A compressed body, which was not asked for, is not decompressed."""
        bomb = gzip.compress(b" " * 10_000_000)
        for body in (gzip.compress(b"{}"), bomb):
            for coding in ("gzip", "br", "gzip, gzip"):
                answer = response(body, "200 OK", "application/json", f"Content-Encoding: {coding}")
                self.assertUnknown("is not JSON", answer)

    def test_no_http(self) -> None:
        """An answer that is not HTTP is unexpected."""
        for answer in (
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 abc OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20000 + b"\r\n\r\n",
        ):
            self.assertUnknown("it cannot be asked: ", answer, ends=True)

    def test_broken_off(self) -> None:
        """A connection that closes within the answer is unexpected."""
        whole = response({"user": "john"})
        for size in (0, 8, 40):
            self.assertUnknown("it cannot be asked: ", whole[:size], ends=True)
        self.assertUnknown("the answer broke off", whole[:-1], ends=True)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
        chunked = head + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
        self.assertUnknown("the answer broke off", chunked, ends=True)
        self.assertUnknown("the answer broke off", chunked + b"zz\r\n", ends=True)

    def test_unreachable(self) -> None:
        """An application that cannot be reached leads to 503, and the hint names the error."""
        for reason, words in (
            (ConnectionRefusedError("x"), "nobody listens on this port"),
            (DNSLookupError("x"), "its host is not known"),
            (NoRouteError("x"), "error.NoRouteError"),
        ):
            asked = self.ask()
            factory = self.reactor.tcpClients[-1][2]
            factory.clientConnectionFailed(None, Failure(reason))
            # Other addresses of the name would be tried now.
            self.reactor.advance(1)
            error = self.refused(asked)
            self.assertEqual(503, error.status)
            self.assertTrue(error.hint.endswith(f"it cannot be asked: {words}"), error.hint)


class TimeTests(SubrequestCase):
    """Slow applications, and clients that leave."""

    def assertLate(self, asked: Deferred[Identity]) -> None:
        """Check that the question ends with 503 at the time limit, and not before."""
        self.assertNoResult(asked)
        self.reactor.advance(2.9)
        self.assertNoResult(asked)
        self.reactor.advance(0.2)
        error = self.refused(asked)
        self.assertEqual(503, error.status)
        self.assertIn("did not answer within 3 s (--auth-timeout)", error.hint)

    def test_no_connection(self) -> None:
        """A connection that is not made in time is given up."""
        self.assertLate(self.ask())

    def test_silence(self) -> None:
        """A connection without an answer is closed at the time limit."""
        asked = self.ask()
        link = self.link()
        self.assertLate(asked)
        self.assertFalse(link.connected)

    def test_drip(self) -> None:
        """Single bytes do not prolong the time limit."""
        for answer in (response({"user": "x" * 100}), response({"reason": "x" * 100}, "401 No")):
            self.use()
            asked = self.ask()
            link = self.link()
            start = answer.index(b"\r\n\r\n") + 4
            link.send(answer[:start])
            for byte in answer[start : start + 2]:
                self.reactor.advance(1)
                link.send(bytes([byte]))
            self.reactor.advance(1.1)
            self.assertEqual(503, self.refused(asked).status)
            self.assertFalse(link.connected)

    def test_leaving(self) -> None:
        """A client that leaves ends its request at any stage, and frees its place."""
        self.use(concurrency=1)
        asked = self.ask()
        asked.cancel()
        self.failureResultOf(asked)
        self.reactor.tcpClients.clear()
        for part in (b"", response()[:20], response()[:-1]):
            asked, waiting = self.ask(), self.ask(self.handshake(cookie="other"))
            link = self.link()
            link.send(part)
            asked.cancel()
            self.failureResultOf(asked)
            self.assertFalse(link.connected)
            second = self.link()
            second.send(response({"user": "next"}))
            self.assertEqual("next", self.successResultOf(waiting).user)
            second.reset()

    def test_concurrency(self) -> None:
        """A bounded number of requests is under way; the others wait for their turn."""
        asked = [self.ask(self.handshake(cookie=f"n={number}")) for number in range(4)]
        first, second = self.links()
        first.request()
        second.request()
        second.send(response({"user": "second"}))
        self.assertEqual("second", self.successResultOf(asked[1]).user)
        self.assertEqual([], self.links())
        self.assertEqual(b"", first.value())
        first.send(response({"user": "first"}))
        self.assertEqual("first", self.successResultOf(asked[0]).user)
        for link, deferred in ((second, asked[2]), (first, asked[3])):
            link.request()
            link.send(response())
            self.successResultOf(deferred)

    def test_leaving_the_queue(self) -> None:
        """A client that leaves while it waits leads to no request."""
        self.use(concurrency=1)
        first, second, third = (
            self.ask(self.handshake(cookie=f"n={number}")) for number in range(3)
        )
        link = self.link()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        link.send(response())
        self.successResultOf(first)
        link.clear()
        link.send(response())
        self.successResultOf(third)
        self.assertEqual(b"", link.value())

    def test_queue(self) -> None:
        """Too many questions are rejected at once; waiting counts for the time limit."""
        self.use(concurrency=1)
        asked = [self.ask(self.handshake(cookie=f"n={number}")) for number in range(65)]
        error = self.refused(self.ask())
        self.assertEqual(503, error.status)
        self.assertIn("--auth-concurrency", error.hint)
        for each in asked:
            self.assertNoResult(each)
        self.reactor.advance(3)
        for each in asked:
            self.assertEqual(503, self.refused(each).status)

    def test_addresses(self) -> None:
        """Requests of one address neither fill the queue nor go before one of another address."""
        self.use(concurrency=1)
        hostile = self.handshake(address="192.0.2.66")
        first = self.ask(hostile)
        link = self.link()
        waiting = [self.ask(self.handshake(f"n={n}", address="192.0.2.66")) for n in range(64)]
        refused = [each for each in waiting if each.called]
        self.assertEqual(64 - 43, len(refused))
        for each in refused:
            self.assertIn("--auth-concurrency", self.refused(each).hint)
        other = self.ask(self.handshake("session=john", address="192.0.2.1"))
        self.assertEqual("session=abc", self.next(link))
        self.successResultOf(first)
        self.assertEqual("n=0", self.next(link))
        self.assertEqual("session=john", self.next(link))
        self.assertEqual("john", self.successResultOf(other).user)
        for each in waiting:
            each.cancel()
            each.addErrback(lambda failure: failure.trap(CancelledError))

    def next(self, link: ApplicationConnection) -> str:
        """Answer the next request, and return its cookie."""
        _, headers = link.request()
        link.send(response({"user": "john"}))
        return headers["cookie"]

    def test_persistence(self) -> None:
        """A connection serves several requests in turn; stopping closes it."""
        asked = self.ask()
        link = self.link()
        for _ in range(3):
            link.request()
            link.send(response())
            self.successResultOf(asked)
            asked = self.ask()
        self.assertEqual([], self.links())
        link.send(response())
        self.authenticator.stop()
        self.assertFalse(link.connected)
        self.reactor.advance(0)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_closed_meanwhile(self) -> None:
        """A connection that the application closed since the last answer does no harm."""
        asked = self.ask()
        link = self.link()
        link.send(response())
        self.successResultOf(asked)
        asked = self.ask()
        link.reset()
        self.link().send(response({"user": "john"}))
        self.assertEqual("john", self.successResultOf(asked).user)

    def test_stopping_under_way(self) -> None:
        """An answer that comes after the stop leaves no connection and no timer."""
        asked = self.ask()
        link = self.link()
        self.authenticator.stop()
        link.send(response())
        self.successResultOf(asked)
        self.reactor.advance(0)
        self.assertFalse(link.connected)
        self.reactor.advance(0)
        self.assertEqual([], self.reactor.getDelayedCalls())


class CacheTests(SubrequestCase):
    """Answers that are kept for a time."""

    def setUp(self) -> None:
        """Keep answers for 10 seconds."""
        self.use(cache=10.0)
        self.connection: ApplicationConnection | None = None

    def answer(self, answer: bytes) -> None:
        """Answer the request that is under way."""
        for link in self.links():
            self.connection = link
        assert self.connection is not None
        self.connection.request()
        self.connection.send(answer)

    def is_asked(self, handshake: Handshake | None = None) -> bool:
        """Tell whether a handshake leads to a request; if so, answer it with an anonymous one."""
        asked = self.ask(handshake)
        if asked.called:
            self.successResultOf(asked)
            return False
        self.answer(response())
        self.successResultOf(asked)
        return True

    def test_time(self) -> None:
        """The same question leads to a request again after the time."""
        self.assertTrue(self.is_asked())
        self.reactor.advance(9.9)
        self.assertFalse(self.is_asked())
        self.reactor.advance(0.1)
        self.assertTrue(self.is_asked())
        self.assertFalse(self.is_asked())

    def test_off(self) -> None:
        """With a time of 0, no answer is kept; equal questions at the same time are shared."""
        self.use(cache=0.0)
        self.assertTrue(self.is_asked())
        self.assertTrue(self.is_asked())
        first, second = self.ask(), self.ask()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.answer(response({"user": "john"}))
        self.assertEqual("john", self.successResultOf(second).user)
        self.assertEqual({}, self.authenticator._cache._answers)

    def test_off_and_forgotten(self) -> None:
        """With a time of 0, a question after a command is a new one."""
        self.use(cache=0.0)
        early = self.ask()
        (link,) = self.links()
        self.authenticator.forget()
        late = self.ask()
        link.request()
        link.send(response({"user": "early"}))
        self.assertEqual("early", self.successResultOf(early).user)
        self.assertNoResult(late)
        late.cancel()
        self.failureResultOf(late, CancelledError)

    def test_keys(self) -> None:
        """All that the application sees is part of the question; the port of the client is not."""
        base = {"cookie": "a=b", "origin": "http://a", "authorization": "c", "user_agent": "d"}
        self.assertTrue(self.is_asked(self.handshake(**base)))
        for name in base:
            self.assertTrue(self.is_asked(self.handshake(**{**base, name: "x"})))
        for more in (
            {"facility": "other"},
            {"query": "subscribe-user"},
            {"peer": "192.0.2.2:4711"},
            {"sec_websocket_protocol": "bearer.x"},
            {"x_forwarded_for": "198.51.100.7"},
        ):
            self.assertTrue(self.is_asked(self.handshake(**{**base, **more})))
        self.assertFalse(self.is_asked(self.handshake(**base, peer="192.0.2.1:4712")))

    def test_borders(self) -> None:
        """No part of a question can be taken for a part of another one."""
        self.assertTrue(self.is_asked(self.handshake(cookie="a", authorization="bc")))
        self.assertTrue(self.is_asked(self.handshake(cookie="ab", authorization="c")))
        self.assertTrue(self.is_asked(self.handshake(cookie="", authorization="abc")))
        self.assertTrue(self.is_asked(self.handshake(cookie=None, authorization="abc")))

    def test_refusals(self) -> None:
        """401 and 403 are kept, and raise a new exception each time."""
        for status in (401, 403):
            self.use(cache=10.0)
            asked = self.ask()
            self.answer(response({"reason": "no"}, f"{status} No"))
            first, second = self.refused(asked), self.refused(self.ask())
            self.assertEqual((status, "no"), (second.status, second.reason))
            self.assertIsNot(first, second)

    def test_failures(self) -> None:
        """An unexpected answer is not kept."""
        for _ in range(2):
            asked = self.ask()
            self.answer(response({}, "500 Oops"))
            self.assertEqual(503, self.refused(asked).status)

    def test_echo(self) -> None:
        """Flags that the application does not see are not part of the question."""
        asked = self.ask()
        self.answer(response({"channels": {"*": ["subscribe", "publish"]}}))
        self.assertIsNone(self.successResultOf(asked).granted)
        query = "subscribe-user&publish-broadcast&echo"
        self.assertFalse(self.is_asked(self.handshake(query=query)))

    def test_expires(self) -> None:
        """An answer is not kept after it has expired."""
        asked = self.ask()
        self.answer(response({"user": "john", "expires": NOW + 5}))
        self.successResultOf(asked)
        self.reactor.advance(4.9)
        self.assertFalse(self.is_asked())
        self.reactor.advance(0.1)
        self.assertTrue(self.is_asked())

    def test_shared(self) -> None:
        """Equal questions at the same time share one request."""
        asked = [self.ask() for _ in range(5)]
        self.answer(response({"user": "john"}))
        self.assertEqual({"john"}, {self.successResultOf(each).user for each in asked})
        self.reactor.advance(10)
        asked = [self.ask() for _ in range(5)]
        self.answer(response({}, "302 Found"))
        self.assertEqual({503}, {self.refused(each).status for each in asked})

    def test_leaving(self) -> None:
        """A shared request goes on while a client waits for it, and ends with the last one."""
        asked = [self.ask() for _ in range(3)]
        link = self.link()
        for each in (asked.pop(0), asked.pop()):
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertTrue(link.connected)
        (last,) = asked
        last.cancel()
        self.failureResultOf(last, CancelledError)
        self.assertFalse(link.connected)
        self.assertTrue(self.is_asked())

    def test_forget(self) -> None:
        """Forgetting drops answers; a request under way serves only earlier clients."""
        self.assertTrue(self.is_asked())
        assert self.connection is not None
        handshake = self.handshake(cookie="other")
        asked = [self.ask(handshake)]
        self.authenticator.forget()
        asked.append(self.ask(handshake))
        for link, user in ((self.connection, "early"), (self.link(), "late")):
            link.request()
            link.send(response({"user": user}))
        asked.append(self.ask(handshake))
        users = [self.successResultOf(each).user for each in asked]
        self.assertEqual(["early", "late", "late"], users)
        self.assertTrue(self.is_asked())

    def test_nothing_to_forget(self) -> None:
        """With a time of 0, forgetting is harmless."""
        self.use(cache=0.0)
        self.authenticator.forget()
        self.assertTrue(self.is_asked())

    def test_bound(self) -> None:
        """A bounded number of answers is kept; the oldest goes first."""

        def cookies(numbers: Sequence[int]) -> list[bool]:
            return [self.is_asked(self.handshake(cookie=f"n={number}")) for number in numbers]

        self.assertEqual([True] * 4096, cookies(range(4096)))
        self.assertEqual([False, False], cookies([0, 4095]))
        self.assertEqual([True, False, True, False], cookies([4096, 1, 0, 2]))
