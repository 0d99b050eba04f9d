"""Tests for `wsredis.transports.stream.request`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.transports.stream.case import request
from wsredis.errors import BadRequest
from wsredis.transports.stream.request import (
    Kind,
    cursor_of,
    is_for_streams,
    kind_of,
    problem_of,
    seconds_to_wait,
    with_origin,
)
from wsredis.transports.websocket.head import Head, parse


def _head(method: str, path: str, *headers: str, version: str = "HTTP/1.1") -> Head:
    return parse(request(method, path, *headers, version=version), 10_000)


class KindTests(SynchronousTestCase):
    """Which requests are those of clients without WebSockets."""

    def kind(self, method: str, path: str, *headers: str) -> Kind | None:
        """Tell the kind of a request."""
        found = _head(method, path, *headers)
        return kind_of(found.method, found.target, found.headers)

    def test_events(self) -> None:
        """A GET that accepts an event stream, among other things or in any writing."""
        for accept in (
            "text/event-stream",
            "text/html, Text/Event-Stream;q=0.9",
            "*/*,text/event-stream",
        ):
            self.assertIs(Kind.EVENTS, self.kind("GET", "/ws/a", f"Accept: {accept}"))
        for accept in ("*/*", "text/html", "text/event-streams"):
            self.assertIsNone(self.kind("GET", "/ws/a", f"Accept: {accept}"))
        self.assertIs(Kind.EVENTS, self.kind("GET", "/ws/a?wait=1", "Accept: text/event-stream"))

    def test_poll(self) -> None:
        """A GET that says how long it waits."""
        self.assertIs(Kind.POLL, self.kind("GET", "/ws/a?subscribe-broadcast&wait=25"))
        self.assertIs(Kind.POLL, self.kind("GET", "/ws/a?wait="))
        for path in ("/ws/a?wait", "/ws/a?waits=1", "/ws/wait=1", "/ws/a"):
            self.assertIsNone(self.kind("GET", path), path)

    def test_publish(self) -> None:
        """Any POST."""
        self.assertIs(Kind.PUBLISH, self.kind("POST", "/ws/a"))

    def test_preflight(self) -> None:
        """OPTIONS by which a browser asks; not by which somebody else does."""
        asks = "Access-Control-Request-Method: POST"
        self.assertIs(Kind.PREFLIGHT, self.kind("OPTIONS", "/ws/a", "Origin: http://a", asks))
        self.assertIsNone(self.kind("OPTIONS", "/ws/a", "Origin: http://a"))
        self.assertIsNone(self.kind("OPTIONS", "/ws/a", asks))

    def test_others(self) -> None:
        """Everything else is as it was."""
        for method in ("HEAD", "PUT", "DELETE", "get"):
            self.assertIsNone(self.kind(method, "/ws/a?wait=1", "Accept: text/event-stream"))

    def test_prefixes(self) -> None:
        """The path is one of a facility."""
        prefixes = ("/ws/", "/app/ws/")
        for path, is_ours in (
            ("/ws/a", True),
            ("/app/ws/a", True),
            ("/", False),
            ("/ws", False),
            ("http://localhost/ws/a", False),
        ):
            self.assertEqual(is_ours, is_for_streams(_head("POST", path), prefixes), path)
        self.assertFalse(is_for_streams(_head("GET", "/ws/a"), prefixes))
        self.assertFalse(is_for_streams(_head("POST", "/ws/a"), ()))


class ProblemTests(SynchronousTestCase):
    """A request whose length is in doubt could hide another one."""

    def problem(self, kind: Kind, *headers: str, version: str = "HTTP/1.1") -> int | None:
        """Return the status of the refusal."""
        found = problem_of(_head("POST", "/ws/a", *headers, version=version), kind)
        return None if found is None else found[0]

    def test_right(self) -> None:
        """What browsers, curl and proxies send is right."""
        self.assertIsNone(self.problem(Kind.EVENTS))
        self.assertIsNone(self.problem(Kind.POLL, "Content-Length: 0"))
        self.assertIsNone(self.problem(Kind.PUBLISH, "Content-Length: 12", "Origin: http://a"))
        self.assertIsNone(self.problem(Kind.EVENTS, version="HTTP/1.0"))

    def test_length(self) -> None:
        """Each length that could be read in two ways is refused."""
        for value in ("-1", "+1", "1, 1", "0x1", "1 1", "", "1" * 30, "٣"):
            line = f"Content-Length: {value}".encode().decode("latin-1")
            self.assertEqual(400, self.problem(Kind.PUBLISH, line), value)
        self.assertEqual(400, self.problem(Kind.PUBLISH, "Content-Length: 1", "Content-Length: 2"))

    def test_chunked(self) -> None:
        """A body needs its length; with both kinds of it, it is refused."""
        chunked = "Transfer-Encoding: chunked"
        self.assertEqual(411, self.problem(Kind.PUBLISH, chunked))
        self.assertEqual(400, self.problem(Kind.PUBLISH, chunked, "Content-Length: 5"))

    def test_no_body(self) -> None:
        """Only a message to publish has a body."""
        for kind in (Kind.EVENTS, Kind.POLL, Kind.PREFLIGHT):
            self.assertEqual(400, self.problem(kind, "Content-Length: 5"))

    def test_twice(self) -> None:
        """Host and Origin are no lists."""
        self.assertEqual(400, self.problem(Kind.EVENTS, "Host: other"))
        self.assertEqual(400, self.problem(Kind.EVENTS, "Origin: http://a", "Origin: http://b"))

    def test_no_host(self) -> None:
        """HTTP/1.1 needs a Host, HTTP/1.0 does not; other versions are not spoken."""
        for version, status in (("HTTP/1.1", 400), ("HTTP/1.0", None)):
            data = f"GET /ws/a {version}\r\n\r\n".encode()
            found = problem_of(parse(data, 1000), Kind.EVENTS)
            self.assertEqual(status, None if found is None else found[0])
        self.assertEqual(505, self.problem(Kind.EVENTS, version="HTTP/2.0"))

    def test_fragment(self) -> None:
        """A target has no fragment."""
        found = problem_of(_head("GET", "/ws/a#b"), Kind.EVENTS)
        assert found is not None
        self.assertEqual(400, found[0])


class FieldTests(SynchronousTestCase):
    """The cursor, and the time to wait."""

    def test_cursor(self) -> None:
        """It comes by the header or in the URL; the header, which is newer, goes first."""
        self.assertEqual("", cursor_of(_head("GET", "/ws/a?cursor")))
        self.assertEqual("ab-1", cursor_of(_head("GET", "/ws/a?x&cursor=ab-1")))
        self.assertEqual(
            "ab-2", cursor_of(_head("GET", "/ws/a?cursor=ab-1", "Last-Event-ID: ab-2"))
        )

    def test_wait(self) -> None:
        """It is a number of seconds, a minute at most."""
        for value, seconds in (
            ("0", 0.0),
            ("25", 25.0),
            ("2.5", 2.5),
            ("100000", 60.0),
            ("5.", 5.0),
        ):
            self.assertEqual(seconds, seconds_to_wait(f"/ws/a?wait={value}"))
        for value in ("", "-1", "1e3", "nan", "x", "٣"):
            self.assertRaises(BadRequest, seconds_to_wait, f"/ws/a?wait={value}")


class OriginTests(SynchronousTestCase):
    """The page that asks, where the browser does not name it."""

    def origin(self, is_secure: bool = False, **headers: str) -> str | None:
        """Find out the origin."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return with_origin({"host": "gate:8080", **given}, is_secure).get("origin")

    def test_named(self) -> None:
        """An origin that is named counts."""
        named = self.origin(origin="http://a", sec_fetch_site="cross-site", referer="http://b/")
        self.assertEqual("http://a", named)

    def test_no_browser(self) -> None:
        """A program is no page."""
        self.assertIsNone(self.origin())
        self.assertIsNone(self.origin(sec_fetch_site="none"))
        self.assertIsNone(self.origin(referer="nothing"))
        self.assertIsNone(self.origin(referer="http://[bad/"))

    def test_other_site(self) -> None:
        """A page of another site that loads an image is a foreign one."""
        for site in ("cross-site", "same-site"):
            self.assertEqual("null", self.origin(sec_fetch_site=site))

    def test_referer(self) -> None:
        """The page itself says where it is from."""
        page = "https://gate.example:8080/page?x"
        self.assertEqual("https://gate.example:8080", self.origin(referer=page))
        named = self.origin(sec_fetch_site="same-origin", referer=page)
        self.assertEqual("https://gate.example:8080", named)

    def test_same_origin(self) -> None:
        """A page that hides itself has the origin of the Host; without TLS if nobody says so."""
        same = "same-origin"
        self.assertEqual("http://gate:8080", self.origin(sec_fetch_site=same))
        self.assertEqual("https://gate:8080", self.origin(True, sec_fetch_site=same))
        named = self.origin(sec_fetch_site=same, x_forwarded_proto="HTTPS")
        self.assertEqual("https://gate:8080", named)
