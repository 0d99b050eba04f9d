"""Tests for `wsredis.transports.websocket.proxies`."""

from __future__ import annotations

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase
from tests.support.raw import handshake
from tests.unit.transports.websocket.case import LISTEN
from wsredis.config import GatewayConfig, Limits
from wsredis.config.networks import Networks
from wsredis.gateway.identity import Handshake, Identity
from wsredis.transports.websocket.proxies import named_client
from wsredis.web.handover import detach

PROXY = "10.0.0.1"
TRUSTED = Networks(["10.0.0.0/8", "unix", "2001:db8:1::/48"])


class NamedClientTests(SynchronousTestCase):
    """The client that headers name."""

    def named(self, passed: str | None = None, forwarded: str | None = None) -> str:
        """The client of a request that came from the proxy."""
        given = {"x-forwarded-for": passed, "forwarded": forwarded}
        headers = {name: value for name, value in given.items() if value is not None}
        return named_client(PROXY, TRUSTED, headers)

    def test_forwarded_for(self) -> None:
        """Entries count from the right, up to the first one that is not a trusted proxy."""
        for passed, client in (
            ("192.0.2.1", "192.0.2.1"),
            ("1.2.3.4, 192.0.2.1", "192.0.2.1"),
            ("1.2.3.4,192.0.2.1,10.0.0.7", "192.0.2.1"),
            ("1.2.3.4, 10.0.0.9, 192.0.2.1,10.0.0.7 , 2001:db8:1::5", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            # Empty elements mean nothing (RFC 9110, 5.6.1).
            ("192.0.2.1, ,10.0.0.7,", "192.0.2.1"),
            # All are proxies: the first of them asks for itself.
            ("10.0.0.9, 10.0.0.7", "10.0.0.9"),
        ):
            self.assertEqual(client, self.named(passed), passed)

    def test_hidden(self) -> None:
        """A proxy that hides its client stands for it, whatever the client wrote before."""
        for passed, client in (
            ("unknown", PROXY),
            ("", PROXY),
            ("192.0.2.1, unknown", PROXY),
            ("192.0.2.1, _x, 10.0.0.7", "10.0.0.7"),
            ("1.2.3.4, 999.1.1.1", PROXY),
        ):
            self.assertEqual(client, self.named(passed), passed)

    def test_forwarded(self) -> None:
        """RFC 7239: parameters in any order, names in any case, addresses in quotes."""
        for forwarded, client in (
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=192.0.2.1;proto=https;by=10.0.0.1", "192.0.2.1"),
            ('proto=http; by="[2001:db8::9]";for="[2001:db8::1]:4711"', "2001:db8::1"),
            ("for=1.2.3.4, for=192.0.2.1, for=10.0.0.7", "192.0.2.1"),
            ("for=1.2.3.4, for=_hidden", PROXY),
            ("for=1.2.3.4, for=unknown, for=10.0.0.7", "10.0.0.7"),
            ("for=1.2.3.4, proto=https", PROXY),
            ("for=1.2.3.4, ,", "1.2.3.4"),
            ("xfor=1.2.3.4", PROXY),
            ('for="192.0.2.1', PROXY),
        ):
            self.assertEqual(client, self.named(None, forwarded), forwarded)

    def test_both(self) -> None:
        """If the headers do not agree, one is the client's own: neither counts."""
        self.assertEqual("192.0.2.1", self.named("192.0.2.1", "for=192.0.2.1"))
        self.assertEqual(PROXY, self.named("192.0.2.1", "for=1.2.3.4"))

    def test_not_trusted(self) -> None:
        """Headers of anybody else do not count."""
        headers = {"x-forwarded-for": "1.2.3.4"}
        self.assertEqual("192.0.2.1", named_client("192.0.2.1", TRUSTED, headers))
        self.assertEqual("1.2.3.4", named_client("", TRUSTED, headers))
        self.assertEqual("", named_client("", Networks(["10.0.0.0/8"]), headers))


class _Recorder:
    """An authenticator that remembers the handshakes."""

    def __init__(self) -> None:
        self.asked: list[Handshake] = []

    def identify(self, handshake: Handshake) -> Identity | None:
        """See `wsredis.gateway.identity.Authenticator`."""
        self.asked.append(handshake)
        return None


class AddressTests(MemoryGatewayCase):
    """The address of a connection."""

    def setUp(self) -> None:
        """A gateway behind proxies."""
        self.recorder = _Recorder()
        config = GatewayConfig(trusted_proxy=("10.0.0.0/8", "unix"))
        self.use(MemoryGateway(config, authenticator=self.recorder))

    def asked(self, host: str, *headers: str) -> tuple[str, str]:
        """The peer and the address of the handshake that a client of *host* sends."""
        client = self.connect(host)
        client.send(handshake(LISTEN, *headers))
        asked = self.recorder.asked.pop()
        protocol = self.protocol(client)
        self.assertEqual((protocol.peer, protocol.address), (asked.peer, asked.address))
        return asked.peer, asked.address

    def test_host(self) -> None:
        """Nobody but a trusted proxy names the gateway."""
        for host, passed in (("192.0.2.1", None), ("10.0.0.1", "a.example"), ("", "a.example")):
            client = self.connect(host)
            client.send(handshake(LISTEN, "X-Forwarded-Host: a.example", "X-Other: b"))
            headers = self.recorder.asked.pop().headers
            found = (headers.get("x-forwarded-host"), headers["x-other"])
            self.assertEqual((passed, "b"), found, host)
        self.use(MemoryGateway(GatewayConfig(), authenticator=self.recorder))
        self.connect().send(handshake(LISTEN, "X-Forwarded-Host: a.example"))
        self.assertEqual("a.example", self.recorder.asked.pop().headers["x-forwarded-host"])

    def test_handshake(self) -> None:
        """The handshake says who the client is, for the log and for limits."""
        for host, header, expected in (
            ("192.0.2.1", "X-Forwarded-For: 1.2.3.4", ("192.0.2.1:54321", "192.0.2.1")),
            ("10.0.0.1", "X-Forwarded-For: 1.2.3.4", ("1.2.3.4", "1.2.3.4")),
            ("10.0.0.1", "X-Forwarded-For: 2001:db8::1", ("[2001:db8::1]", "2001:db8::/64")),
            ("10.0.0.1", "Forwarded: for=1.2.3.4", ("1.2.3.4", "1.2.3.4")),
            ("10.0.0.1", "X-Other: 1.2.3.4", ("10.0.0.1:54321", "10.0.0.1")),
            ("", "X-Forwarded-For: 1.2.3.4", ("1.2.3.4", "1.2.3.4")),
            ("", "X-Other: 1.2.3.4", ("unix", "unix")),
            ("2001:db8::1", "X-Other: x", ("[2001:db8::1]:54321", "2001:db8::/64")),
            ("::ffff:192.0.2.1", "X-Other: x", ("192.0.2.1:54321", "192.0.2.1")),
        ):
            self.assertEqual(expected, self.asked(host, header))

    def test_repeated_header(self) -> None:
        """A header that comes twice is one list: the second one is nearer."""
        headers = ("X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 192.0.2.1")
        self.assertEqual(("192.0.2.1", "192.0.2.1"), self.asked("10.0.0.1", *headers))

    def test_silent_proxy(self) -> None:
        """A connection of a proxy belongs to nobody until it names its client."""
        self.assertEqual("", self.protocol(self.connect("10.0.0.1")).address)
        self.assertEqual("192.0.2.1", self.protocol(self.connect("192.0.2.1")).address)
        self.assertEqual("", self.protocol(self.connect("")).address)

    def test_too_many(self) -> None:
        """A client behind a proxy has the share of one address, and others find room."""
        limits = Limits(max_handshakes=4)
        self.use(MemoryGateway(GatewayConfig(trusted_proxy=("10.0.0.1",), limits=limits)))
        page = b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX-Forwarded-For: %b\r\n\r\n"
        self.gateway.broker.disconnect()
        bad = self.connect("10.0.0.1")
        bad.send(page % b"192.0.2.1")
        sockets = self.factory.registry.slots.sockets
        self.assertEqual((1, 0), (sockets.held_by("192.0.2.1"), sockets.held_by("")))
        bad.leave()
        self.nothing_left()

    def test_next_client(self) -> None:
        """A proxy that keeps its connection sends the requests of one client after the other."""
        client = self.connect("10.0.0.1")
        client.send(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
        protocol = self.protocol(client)
        sockets = self.factory.registry.slots.sockets
        self.assertEqual(1, sockets.held_by("1.2.3.4"))
        # As a site that keeps connections does.
        request = handshake(LISTEN, "X-Forwarded-For: 1.2.3.5")
        channel = protocol._channel
        detach(channel)
        self.gateway.site.channels.discard(channel)  # type: ignore[arg-type]
        self.factory.registry.handed_over(protocol)
        client.take()
        protocol._take_back(request[:9], b"", 0, "")
        self.assertEqual(("", "10.0.0.1:54321"), (protocol.address, protocol.peer))
        client.send(request[9:])
        self.assertEqual(b"101", client.take()[9:12])
        self.assertEqual(("1.2.3.5", "1.2.3.5"), (protocol.address, protocol.peer))
        self.assertEqual((0, 1), (sockets.held_by("1.2.3.4"), sockets.held_by("1.2.3.5")))
        client.leave()
        self.nothing_left()

    def test_refused_page(self) -> None:
        """The place of a request that plain HTTP refuses is free again."""
        client = self.connect("10.0.0.1")
        client.send(b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n")
        client.send(b"X-Forwarded-For: 1.2.3.4\r\n\r\n")
        self.assertEqual(b"400", client.take()[9:12])
        client.leave()
        self.assertEqual(0, self.factory.registry.slots.handshakes.held)
        self.nothing_left()

    def test_warning(self) -> None:
        """A proxy of a private network that is not trusted is in the log once."""
        self.use(MemoryGateway(GatewayConfig()))
        with capturedLogs() as events:
            for host in ("192.0.2.1", "10.0.0.1", "127.0.0.1"):
                client = self.connect(host)
                client.send(handshake(LISTEN, "X-Forwarded-For: 1.2.3.4"))
        (event,) = events
        self.assertIn("--trusted-proxy 10.0.0.1 tells them apart", formatEvent(event))
        self.assertNotIn("1.2.3.4", formatEvent(event))

    def test_page(self) -> None:
        """Plain HTTP is told as well."""
        client = self.connect("10.0.0.1")
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n")
        client.send(b"X-Forwarded-For: 1.2.3.4\r\n\r\n")
        self.assertEqual("1.2.3.4", self.protocol(client)._channel.address)
