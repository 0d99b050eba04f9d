"""The web servers of the how-to on deployment, started with the very files that it shows."""

from __future__ import annotations

import atexit
import json
import re
import signal
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, ClassVar

from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import until
from tests.support.deploy import (
    APACHE,
    APACHE_QOS,
    HAPROXY,
    HAPROXY_PROXY_PROTOCOL,
    HOST,
    NGINX,
    NGINX_TCP,
    Recipe,
    Site,
)
from tests.support.raw import CLOSE, PING, PONG, RawClient, frame
from tests.support.raw_source import RawSource, request
from tests.support.require import missing

if TYPE_CHECKING:
    _Case = SynchronousTestCase
else:
    _Case = object

_LISTEN = "/ws/news?subscribe-broadcast"

#: The address of a client whose address a test looks for.
_CLIENT = "127.0.0.2"

#: The address of an attacker.
_HOSTILE = "127.0.0.9"

_MEBIBYTE = 1048576


@cache
def _shared(case: type[_Contract]) -> Site:
    """The site for those tests of *case* that break nothing."""
    site = Site(case.recipe, "--verbose")
    atexit.register(site.stop)
    return site


class _Contract(_Case):
    """
    The tests that every web server must pass.

    Attributes:
        recipe: How it is started.
        silence: The line of the example about silence on a socket, with {} for the seconds.
        away: The HTTP status while the gateway is away.
        peer: The words of the gateway's log about `_CLIENT`.
        reloaded: The words that the log of the server has twice when it was reloaded.
    """

    recipe: ClassVar[Recipe]
    silence: ClassVar[str]
    away: ClassVar[int]
    peer: ClassVar[str] = re.escape(_CLIENT)
    reloaded: ClassVar[str]

    def own_site(self, *options: str, changes: Mapping[str, str] | None = None) -> Site:
        """A site that is stopped after the test."""
        site = Site(self.recipe, *options, changes=changes)
        self.addCleanup(site.stop)
        return site

    def open(self, site: Site, path: str = _LISTEN, *headers: str, source: str = "") -> RawClient:
        """Open a WebSocket; it is closed after the test."""
        client = site.open(path, *headers, source=source)
        self.addCleanup(client.socket.close)
        return client

    def assert_hears(self, site: Site, client: RawClient, facility: str = "news") -> None:
        """Check that a publication reaches the client."""
        site.redis.command("PUBLISH", f"broadcast:{facility}", "hello")
        self.assertEqual(b"hello", client.message())

    def assert_cut(self, client: RawClient) -> None:
        """The connection ends without a close frame; pings may come before."""
        with self.assertRaises(EOFError):
            while True:
                self.assertEqual(PING, client.receive().opcode)

    def assert_held_to(self, site: Site, count: int) -> None:
        """Check that one address gets so many sockets, and that others get theirs."""
        held = [self.open(site, source=_HOSTILE) for _ in range(count)]
        self.assertTrue(self.is_refused(site))
        self.assertEqual(101, site.status(_LISTEN, source=_CLIENT))
        for client in held:
            self.assert_hears(site, client)

    def is_refused(self, site: Site) -> bool:
        """Tell whether the attacker gets no further socket."""
        return site.status(_LISTEN, source=_HOSTILE) == 429

    def test_pages(self) -> None:
        """Pages come from their server, which learns the true host, client and scheme."""
        site = _shared(type(self))
        got = site.page("/", "X-Forwarded-For: 192.0.2.1", source=_CLIENT)
        found = [got.get(name) for name in ("host", "x-forwarded-for", "x-forwarded-proto")]
        self.assertEqual([HOST, _CLIENT, "https"], found)

    def test_only_sockets(self) -> None:
        """The health of the gateway is not shown to the world: that path is one of the pages."""
        self.assertEqual(HOST, _shared(type(self)).page("/health/ready")["host"])

    def test_messages(self) -> None:
        """Messages pass both ways, many and large, and the flags do what they say."""
        site = _shared(type(self))
        listener = self.open(site)
        speaker = self.open(site, f"{_LISTEN}&publish-broadcast")
        texts = [str(number) for number in range(200)] + ["x" * _MEBIBYTE]
        for text in texts:
            speaker.send_text(text)
        for text in texts:
            self.assertTrue(listener.message() == text.encode())
        self.assert_hears(site, speaker)

    def test_facilities(self) -> None:
        """A facility arrives as the browser wrote it."""
        site = _shared(type(self))
        for path, facility in (
            ("a%2Fb", "a/b"),
            ("a//b/", "a//b/"),
            ("caf%C3%A9", "café"),
            ("a%20b+c", "a b+c"),
            ("100%25", "100%"),
            ("a%3Fb%23c", "a?b#c"),
            ("%7Ba%7Cb%7D", "{a|b}"),
            ("", ""),
        ):
            client = self.open(site, f"/ws/{path}?subscribe-broadcast")
            self.assert_hears(site, client, facility)

    def test_origins(self) -> None:
        """A page of the site may publish, and a page from elsewhere may not."""
        site = _shared(type(self))
        path = f"{_LISTEN}&publish-broadcast"
        for origin, status in (
            (f"https://{HOST}", 101),
            (f"https://{HOST}:444", 403),
            ("https://elsewhere.example", 403),
        ):
            self.assertEqual(status, site.status(path, f"Origin: {origin}"), origin)

    def test_address(self) -> None:
        """The gateway knows the client, whatever address that claims to have."""
        site = _shared(type(self))
        forged = ("X-Forwarded-For: 192.0.2.1", "Forwarded: for=192.0.2.1")
        self.open(site, "/ws/who", *forged, source=_CLIENT)
        site.gateway.child.wait_for(rf"opened {self.peer} on 'who'")

    def test_without_websocket(self) -> None:
        """A stream, a poll and a POST pass, each as soon as there is something."""
        site = _shared(type(self))
        path = "/ws/streams?subscribe-broadcast"
        with site.connect() as first, site.connect() as second, site.connect() as third:
            source = RawSource(first, path)
            cursor = source.event().last_id
            second.send(request("GET", f"{path}&wait=25&cursor={cursor}", host=HOST))
            third.send(request("POST", "/ws/streams?publish-broadcast", body=b"hello", host=HOST))
            self.assertTrue(third.head().startswith("HTTP/1.1 202 "))
            self.assertEqual("hello", source.message())
            head = second.head()
            self.assertTrue(head.startswith("HTTP/1.1 200 "), head)
            length = re.search(r"(?i)content-length: (\d+)", head)
            assert length is not None
            self.assertEqual(["hello"], json.loads(second.take(int(length[1])))["messages"])
            site.redis.command("PUBLISH", "broadcast:streams", "again")
            self.assertEqual("again", source.message())

    def test_limit_of_an_address(self) -> None:
        """The gateway counts clients by their own address, whatever they say about it."""
        site = self.own_site("--max-connections-per-address", "2")
        for number in range(2):
            forged = (f"X-Forwarded-For: 192.0.2.{number}", f"Forwarded: for=192.0.2.{number}")
            self.open(site, _LISTEN, *forged, source=_HOSTILE)
        self.assertEqual(429, site.status(_LISTEN, source=_HOSTILE))
        self.assertEqual(101, site.status(_LISTEN, source=_CLIENT))

    def test_pings(self) -> None:
        """A silent socket outlives the time limit of the server, because the gateway pings."""
        site = self.own_site(
            "--ping-interval", "2", changes={self.silence.format(60): self.silence.format(4)}
        )
        client = self.open(site)
        for _ in range(3):
            client.send(frame(PONG, client.receive().payload))
        self.assert_hears(site, client)

    def test_silence(self) -> None:
        """Without pings the server ends a silent socket, without a close frame."""
        site = self.own_site(
            "--ping-interval", "600", changes={self.silence.format(60): self.silence.format(1)}
        )
        self.assert_cut(self.open(site))

    def test_restart(self) -> None:
        """Clients learn from 1001 that the gateway stops, and come back to the next one."""
        site = self.own_site()
        client = self.open(site)
        site.gateway.child.signal(signal.SIGTERM)
        self.assertEqual(1001, client.closing())
        client.send(frame(CLOSE, b"\x03\xe9"))
        site.gateway.child.wait()
        site.gateway.stop()
        self.assertEqual(self.away, site.status(_LISTEN))
        site.page("/")
        site.start_gateway()
        until(lambda: site.status(_LISTEN) == 101)
        self.assert_hears(site, self.open(site))

    def test_reload(self) -> None:
        """A reload of the server takes no socket away at once."""
        site = self.own_site()
        client = self.open(site)
        site.reload()
        until(lambda: len(re.findall(self.reloaded, site.log)) == 2)
        self.open(site)
        self.assert_hears(site, client)


class _Bounded(_Contract):
    """A server that limits the time of old sockets after a reload, by a line of the example."""

    goodbye: ClassVar[str]

    def test_end_of_reload(self) -> None:
        """In the end the old sockets are cut without a close frame; clients may come back."""
        site = self.own_site(changes={self.goodbye.format(60): self.goodbye.format(1)})
        client = self.open(site)
        site.reload()
        self.assert_cut(client)
        self.assert_hears(site, self.open(site))


class _Limited(_Bounded):
    """
    A server whose example limits each address.

    Attributes:
        sockets: The line about open sockets, with {} for the number.
        slow_head: The line about the time for a head, with {} for the seconds.
    """

    sockets: ClassVar[str]
    slow_head: ClassVar[str]

    def test_sockets_of_an_address(self) -> None:
        """An address that holds too many sockets gets no more, and others get theirs."""
        changes = {self.sockets.format(1000): self.sockets.format(3)}
        self.assert_held_to(self.own_site(changes=changes), 3)

    def test_slow_head(self) -> None:
        """A client that does not end its head is cut off."""
        changes = {self.slow_head.format(10): self.slow_head.format(1)}
        with self.own_site(changes=changes).connect() as client:
            client.send(b"GET /ws/a HTTP/1.1\r\n")
            self.assertNotIn(b" 101 ", client.rest())


class NginxTests(_Limited, SynchronousTestCase):
    """NGINX, with the gateway on a UNIX socket."""

    skip = missing("redis", "nginx")
    recipe = NGINX
    silence = "proxy_read_timeout {}s;"
    goodbye = "worker_shutdown_timeout {}s;"
    away = 502
    reloaded = "start worker processes"
    sockets = "limit_conn sockets {};"
    slow_head = "client_header_timeout {}s;"

    def test_handshakes_of_an_address(self) -> None:
        """An address that shakes hands too often is answered with 429, and others are served."""
        changes = {"rate=50r/s": "rate=1r/m", "burst=1000": "burst=3"}
        site = self.own_site(changes=changes)
        found = [site.status(_LISTEN, source=_HOSTILE) for _ in range(6)]
        self.assertEqual([101, 101, 101, 101, 429, 429], found)
        self.assertEqual(101, site.status(_LISTEN, source=_CLIENT))


class NginxTcpTests(NginxTests):
    """NGINX, with the gateway on a port."""

    recipe = NGINX_TCP


class ApacheTests(_Contract, SynchronousTestCase):
    """Apache."""

    skip = missing("redis", "apache")
    recipe = APACHE
    silence = "Timeout {}\n"
    away = 503
    reloaded = "resuming normal operations"

    def test_slow_head(self) -> None:
        """A client that does not end its head is cut off."""
        with self.own_site(changes={"header=10-20": "header=1-2"}).connect() as client:
            client.send(b"GET /ws/a HTTP/1.1\r\n")
            self.assertNotIn(b" 101 ", client.rest())


class ApacheQosTests(ApacheTests):
    """Apache with limits for each address."""

    skip = missing("redis", "apache", "qos")
    recipe = APACHE_QOS

    def test_sockets_of_an_address(self) -> None:
        """An address that holds too many sockets gets no more, and others get theirs."""
        changes = {"QS_SrvMaxConnPerIP     200": "QS_SrvMaxConnPerIP 3"}
        self.assert_held_to(self.own_site(changes=changes), 3)

    def is_refused(self, site: Site) -> bool:
        """Tell whether the attacker is not even served with TLS."""
        return not site.greets(_HOSTILE)


class HaproxyTests(_Limited, SynchronousTestCase):
    """HAProxy."""

    skip = missing("redis", "haproxy")
    recipe = HAPROXY
    silence = "timeout tunnel {}s\n"
    goodbye = "hard-stop-after {}s\n"
    away = 503
    reloaded = "Loading success"
    sockets = "sc0_conn_cur gt {} "
    slow_head = "timeout http-request {}s"

    def test_handshakes_of_an_address(self) -> None:
        """An address that shakes hands too often is answered with 429, and others are served."""
        changes = {"sc0_http_req_rate gt 1500": "sc0_http_req_rate gt 3"}
        site = self.own_site(changes=changes)
        found = [site.status(_LISTEN, source=_HOSTILE) for _ in range(5)]
        self.assertEqual([101, 101, 101, 429, 429], found)
        self.assertEqual(101, site.status(_LISTEN, source=_CLIENT))

    def is_refused(self, site: Site) -> bool:
        """Tell whether the attacker is not even served with TLS."""
        return not site.greets(_HOSTILE)

    def test_connections_of_an_address(self) -> None:
        """An address that connects too often is refused before TLS, and others are served."""
        changes = {"sc0_conn_rate gt 1500": "sc0_conn_rate gt 3"}
        site = self.own_site(changes=changes)
        for _ in range(3):
            self.assertEqual(101, site.status(_LISTEN, source=_HOSTILE))
        self.assertTrue(self.is_refused(site))
        self.assertEqual(101, site.status(_LISTEN, source=_CLIENT))

    def test_not_ready(self) -> None:
        """A gateway without Redis gets no new clients, keeps those it has, and recovers."""
        site = self.own_site()
        client = self.open(site)
        site.redis.kill()
        site.server.wait_for("sockets/gateway is DOWN.*503")
        self.assertEqual(503, site.status(_LISTEN))
        site.redis.start()
        site.server.wait_for("sockets/gateway is UP")
        self.assertEqual(101, site.status(_LISTEN))
        self.assert_hears(site, client)


class HaproxyProxyProtocolTests(HaproxyTests):
    """HAProxy that tells the gateway the address of each client."""

    recipe = HAPROXY_PROXY_PROTOCOL
    peer = r"127\.0\.0\.2:\d+"
