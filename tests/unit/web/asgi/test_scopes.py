"""Tests of the scopes of calls."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.interfaces import ISSLTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from wsredis.config.networks import Networks
from wsredis.transports.websocket.head import parse
from wsredis.web.asgi.scopes import (
    Place,
    ScopeTemplate,
    Whereabouts,
    http_scope,
    websocket_scope,
    whereabouts,
)

_WHERE = Whereabouts(("192.0.2.1", 5), ("192.0.2.2", 80), False, None)


class _Transport:
    """A transport with two ends."""

    def __init__(self, peer: Any, host: Any) -> None:
        self.getPeer = lambda: peer
        self.getHost = lambda: host


@implementer(ISSLTransport)
class _TlsTransport(_Transport):
    """One with TLS."""


def template(
    *headers: str, where: Whereabouts = _WHERE, place: Place | None = None
) -> ScopeTemplate:
    """A template for requests with these headers."""
    found = parse("\r\n".join(["GET / HTTP/1.1", *headers, "", ""]).encode("latin-1"), 9999)
    place = place or Place()
    return ScopeTemplate(found.version, found.pairs, found.headers, where, place, ["x"])


def scope(
    target: str = "/", *headers: str, where: Whereabouts = _WHERE, place: Place | None = None
) -> dict[str, Any]:
    """The scope of a request."""
    known = template(*headers, where=where, place=place)
    return http_scope(known, "GET", known.split(target))


class HttpTests(SynchronousTestCase):
    """`http_scope`."""

    def test_all(self) -> None:
        """Everything that the specification demands is there, with the types that it demands."""
        self.assertEqual(
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.5"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "http",
                "path": "/a b/\u00e4",
                "raw_path": b"/a%20b/%C3%A4",
                "query_string": b"x=%20?y",
                "root_path": "",
                "headers": [(b"host", b"x"), (b"a-b", b"1"), (b"b", b"\xff"), (b"a-b", b"")],
                "client": ["192.0.2.1", 5],
                "server": ["192.0.2.2", 80],
                "extensions": {"x": {}},
            },
            scope("/a%20b/%C3%A4?x=%20?y", "Host: x", "A-B:  1\t", "b:\xff", "a-B:"),
        )

    def test_paths(self) -> None:
        """A path is decoded once, and what is no UTF-8 is replaced."""
        for target, path, query in (
            ("/", "/", b""),
            ("/?", "/", b""),
            ("/a%2Fb", "/a/b", b""),
            ("/a%252Fb", "/a%2Fb", b""),
            ("/%ff", "/\ufffd", b""),
            ("/%zz%", "/%zz%", b""),
            ("//a//b?c%20d", "//a//b", b"c%20d"),
            ("/a;b=c", "/a;b=c", b""),
        ):
            found = scope(target)
            self.assertEqual(
                (path, target.partition("?")[0].encode(), query),
                (found["path"], found["raw_path"], found["query_string"]),
            )

    def test_root_path(self) -> None:
        """The root path begins every path."""
        found = scope("/b%20c", place=Place(root_path="/a"))
        self.assertEqual(
            ("/a", "/a/b c", b"/a/b%20c"), (found["root_path"], found["path"], found["raw_path"])
        )

    def test_underscores(self) -> None:
        """A header whose name could be taken for another one is left out."""
        found = scope("/", "Host: x", "X_Real-IP: 1", "X-Real_IP: 2", "X-Real-IP: 3")
        self.assertEqual([(b"host", b"x"), (b"x-real-ip", b"3")], found["headers"])

    def test_fresh(self) -> None:
        """Scopes of one head share nothing that an application could change."""
        state = {"a": []}
        place = Place(state=state)
        tls = _WHERE._replace(tls={"tls_version": 1})
        known = template("Host: x", where=tls, place=place)

        def make() -> dict[str, Any]:
            return http_scope(known, "GET", known.split("/"))

        before, other = make(), make()
        for key in ("asgi", "headers", "client", "server", "extensions", "state"):
            other[key].clear()
        other["extensions"]["x"] = other["path"] = None
        self.assertEqual(before, make())
        self.assertEqual({"a": []}, state)
        # A shallow copy: what the lifespan has put there is the same.
        self.assertIs(state["a"], before["state"]["a"])
        before["extensions"]["x"]["y"] = before["extensions"]["tls"]["y"] = 1
        self.assertEqual({"x": {}, "tls": {"tls_version": 1}}, make()["extensions"])

    def test_state(self) -> None:
        """Without a state there is no such key."""
        self.assertNotIn("state", scope())
        self.assertEqual({}, scope(place=Place(state={}))["state"])


class WebSocketTests(SynchronousTestCase):
    """`websocket_scope`."""

    def test_all(self) -> None:
        """It has subprotocols, the scheme of WebSockets and no method."""
        found = websocket_scope(
            "/a?b", ["c"], [("Host", " x")], {"host": "x"}, _WHERE._replace(is_secure=True), Place()
        )
        self.assertEqual(
            ("websocket", "wss", "/a", b"b", ["c"], "1.1"),
            (
                *(found[key] for key in ("type", "scheme", "path", "query_string")),
                *(found[key] for key in ("subprotocols", "http_version")),
            ),
        )
        self.assertNotIn("method", found)
        plain = websocket_scope("/a", [], [], {}, _WHERE, Place())
        self.assertEqual(("ws", []), (plain["scheme"], plain["subprotocols"]))


class PlaceTests(SynchronousTestCase):
    """The two ends of a connection."""

    def test_tcp(self) -> None:
        """Hosts and ports."""
        transport = _Transport(IPv4Address("TCP", "a", 1), IPv4Address("TCP", "b", 2))
        self.assertEqual(Whereabouts(("a", 1), ("b", 2), False, None), whereabouts(transport))

    def test_unix(self) -> None:
        """A UNIX socket has a path, and its client is not known."""
        for name in (b"/run/x", "/run/x"):
            transport = _Transport(UNIXAddress(None), UNIXAddress(name))
            where = whereabouts(transport)
            self.assertEqual(Whereabouts(None, ("/run/x", None), False, None), where)
            found = scope(where=where)
            self.assertEqual((None, ["/run/x", None]), (found["client"], found["server"]))
        self.assertIsNone(whereabouts(_Transport(UNIXAddress(None), UNIXAddress(None))).server)
        self.assertIsNone(scope(where=_WHERE._replace(server=None))["server"])

    def test_tls(self) -> None:
        """TLS makes another scheme."""
        transport = _TlsTransport(IPv4Address("TCP", "a", 1), IPv4Address("TCP", "b", 2))
        self.assertTrue(whereabouts(transport).is_secure)
        self.assertEqual("https", scope(where=whereabouts(transport))["scheme"])

    def test_trusted(self) -> None:
        """A trusted proxy names client and scheme; nobody else does."""
        headers = (
            *("Host: x", "X-Forwarded-For: 9.9.9.9, 198.51.100.7"),
            *("X-Forwarded-Proto: http, https", "X-Forwarded-Host: y"),
        )
        proxy = Place(trusted=Networks(("192.0.2.1",)))
        found = scope("/", *headers, place=proxy)
        self.assertEqual((["198.51.100.7", 0], "https"), (found["client"], found["scheme"]))
        self.assertIn((b"x-forwarded-host", b"y"), found["headers"])
        other = Place(trusted=Networks(("192.0.2.9",)))
        found = scope("/", *headers, place=other)
        self.assertEqual((["192.0.2.1", 5], "http"), (found["client"], found["scheme"]))
        # As for WSGI: if proxies are named, the host of any other counts for nothing.
        self.assertNotIn((b"x-forwarded-host", b"y"), found["headers"])
        found = scope("/", *headers)
        self.assertEqual((["192.0.2.1", 5], "http"), (found["client"], found["scheme"]))
        self.assertIn((b"x-forwarded-host", b"y"), found["headers"])

    def test_trusted_silent(self) -> None:
        """A trusted proxy that names nobody stands for its client; so does one on a UNIX socket."""
        proxy = Place(trusted=Networks(("192.0.2.1",)))
        secure = _WHERE._replace(is_secure=True)
        found = scope(place=proxy, where=secure)
        self.assertEqual((["192.0.2.1", 5], "https"), (found["client"], found["scheme"]))
        found = scope("/", "X-Forwarded-Proto: http", place=proxy, where=secure)
        self.assertEqual("http", found["scheme"])
        unix = Place(trusted=Networks(("unix",)))
        headers = ("X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: wss")
        found = scope("/", *headers, place=unix, where=_WHERE._replace(client=None))
        self.assertEqual((["198.51.100.7", 0], "https"), (found["client"], found["scheme"]))
