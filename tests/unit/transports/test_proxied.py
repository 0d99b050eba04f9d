"""Tests for `wsredis.transports.proxied`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase, Socket
from tests.support.raw import TEXT, frame, handshake
from tests.unit.transports.test_proxy_protocol import BAD, GOOD
from tests.unit.transports.websocket.case import BOTH, LISTEN
from wsredis.config import GatewayConfig, Limits
from wsredis.config.networks import Networks
from wsredis.transports.proxied import ProxiedEndpoint
from wsredis.transports.websocket.protocol import GatewayProtocol

LINE = b"PROXY TCP4 1.2.3.4 192.0.2.8 4711 80\r\n"
SIX = b"PROXY TCP6 2001:db8::7 2001:db8::8 8080 443\r\n"


class _Endpoint:
    """Gives the factory back."""

    def listen(self, factory: Factory) -> Deferred[Any]:
        """See `twisted.internet.interfaces.IStreamServerEndpoint`."""
        return succeed(factory)


class ProxiedTests(MemoryGatewayCase):
    """A gateway behind a proxy that sends the PROXY protocol."""

    def setUp(self) -> None:
        """No trusted proxies: each is believed."""
        super().setUp()
        self.behind()

    def behind(self, *trusted: str) -> None:
        """Listen behind a proxy."""
        endpoint = ProxiedEndpoint(_Endpoint(), Networks(trusted), Clock())
        self.proxied = self.successResultOf(endpoint.listen(self.factory))

    def proxy(self, host: str = "10.0.0.1") -> Socket:
        """A connection of a proxy."""
        return Socket(self.proxied, host)

    def inner(self, client: Socket) -> GatewayProtocol:
        """The protocol of the gateway."""
        protocol = client.protocol.wrappedProtocol
        assert isinstance(protocol, GatewayProtocol)
        return protocol

    def test_served(self) -> None:
        """The header is taken off, and all else passes in both directions."""
        client = self.proxy()
        client.send(LINE + handshake(BOTH) + frame(TEXT, b"hello"))
        head, _, rest = client.take().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 101 "))
        self.assertEqual(b"\x81\x05hello", rest)
        client.send(frame(TEXT, b"more"))
        self.assertEqual(b"\x81\x04more", client.take())
        inner = self.inner(client)
        self.assertEqual(("1.2.3.4:4711", "1.2.3.4"), (inner.peer, inner.address))
        self.assertEqual("192.0.2.8", client.protocol.getHost().host)
        client.leave()
        self.nothing_left()

    def test_any_cut(self) -> None:
        """It does not matter where a segment ends."""
        for header, _ in GOOD:
            client = self.proxy()
            for byte in header + handshake(LISTEN):
                client.send(bytes([byte]))
            self.assertEqual(b"101", client.take()[9:12], header)
            client.leave()
        self.nothing_left()

    def test_address(self) -> None:
        """A connection belongs to nobody, then to the client; a proxy may speak for itself."""
        for header, host, address in (
            (LINE, "1.2.3.4:4711", "1.2.3.4"),
            (SIX, "[2001:db8::7]:8080", "2001:db8::/64"),
            (b"PROXY UNKNOWN\r\n", "10.0.0.1:54321", "10.0.0.1"),
        ):
            client = self.proxy()
            inner = self.inner(client)
            self.assertEqual("", inner.address)
            client.send(header)
            self.assertEqual((host, address), (inner.peer, inner.address))
            sockets = self.factory.registry.slots.sockets
            self.assertEqual((1, 0), (sockets.held_by(address), sockets.held_by("")))
            client.leave()
        self.nothing_left()

    def test_not_trusted(self) -> None:
        """If proxies are named, the header of any other peer has no effect."""
        self.behind("10.0.0.1")
        for host, address in (("10.0.0.1", "1.2.3.4"), ("10.0.0.2", "10.0.0.2")):
            client = self.proxy(host)
            client.send(LINE + handshake(LISTEN))
            self.assertEqual(b"101", client.take()[9:12])
            self.assertEqual(address, self.inner(client).address)

    def test_header_and_headers(self) -> None:
        """Behind a chain, the proxy that the header names may name the client."""
        self.use(MemoryGateway(GatewayConfig(trusted_proxy=("10.0.0.0/8",))))
        self.behind("10.0.0.0/8")
        client = self.proxy()
        client.send(b"PROXY TCP4 10.0.0.9 192.0.2.8 4711 80\r\n")
        client.send(handshake(LISTEN, "X-Forwarded-For: 1.2.3.4"))
        self.assertEqual("1.2.3.4", self.inner(client).address)

    def test_silent_clients(self) -> None:
        """Silent clients behind the proxy make room as others do, and one address has its share."""
        limits = Limits(max_connections=2, max_handshakes=3)
        self.use(MemoryGateway(GatewayConfig(limits=limits)))
        self.behind()
        bad = [self.proxy() for _ in range(5)]
        for client in bad:
            client.send(LINE)
        good = self.proxy()
        good.send(LINE.replace(b"1.2.3.4", b"1.2.3.5") + handshake(LISTEN))
        self.assertEqual(b"101", good.take()[9:12])
        self.assertTrue(bad[0].aborted)
        for client in [*bad, good]:
            client.leave()
        self.nothing_left()

    def test_no_room(self) -> None:
        """A client that has its share is refused when the proxy has named it."""
        limits = Limits(max_connections=2, max_handshakes=3, max_connections_per_address=2)
        self.use(MemoryGateway(GatewayConfig(limits=limits)))
        self.behind()
        for _ in range(5):
            self.proxy().send(LINE + b"GET")
        late = self.proxy()
        late.send(LINE + handshake(LISTEN))
        self.assertIn(late.take()[9:12], (b"429", b"503"))
        self.assertTrue(late.closed)

    def test_malformed(self) -> None:
        """Without a header the connection is reset, and the log has one line for all."""
        with capturedLogs() as events:
            for data in BAD:
                client = self.proxy()
                client.send(data)
                self.assertEqual((True, b""), (client.aborted, client.take()), data)
        (event,) = events
        self.assertIn("from 10.0.0.1:54321", formatEvent(event))
        self.assertNotIn("GET", formatEvent(event))
        self.nothing_left()

    def test_nothing_comes(self) -> None:
        """A proxy that sends nothing has the time of a handshake."""
        client = self.proxy()
        self.wait(6)
        self.assertTrue(client.closed)
        self.nothing_left()
