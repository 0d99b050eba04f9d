"""The limits of the reference, each against the real program, with small figures."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

from tests.support.application import Application
from tests.support.case import FreshGatewayCase
from tests.support.children import PATIENCE, until
from tests.support.health import health
from tests.support.raw import PING, PONG, TEXT, RawClient, frame, handshake
from tests.support.require import missing
from tests.support.tokens import FAR, private_key, signed

#: The addresses of an attacker and of somebody else.
HOSTILE = "127.0.0.2"
OTHER = "127.0.0.3"

LISTEN = "/ws/limits?subscribe-broadcast"
SPEAK = "/ws/limits?publish-broadcast"
#: The first frame of a message that is not complete, and its next one.
BEGIN = 0x01
PART = 0x00


class LimitsCase(FreshGatewayCase):
    """A gateway with two clients of different addresses."""

    skip = missing("redis")
    options: tuple[str, ...] = ()
    ping_interval = "600"

    def setUp(self) -> None:
        """Start the gateway, mostly without pings: nobody answers them here."""
        self.options = ("--ping-interval", self.ping_interval, *self.options)
        super().setUp()

    def connect(self, source: str) -> RawClient:
        """A connection that is closed after the test."""
        client = RawClient(self.gateway.port, source=source)
        self.addCleanup(client.socket.close)
        return client

    def join(self, source: str, path: str = LISTEN, *headers: str) -> tuple[int, RawClient]:
        """Shake hands. Returns: The status, and the client."""
        client = self.connect(source)
        client.send(handshake(path, *headers))
        return int(client.head().split()[1]), client

    def member(self, source: str, path: str = LISTEN) -> RawClient:
        """A client with an open WebSocket."""
        status, client = self.join(source, path)
        self.assertEqual(101, status)
        return client

    def assert_served(self, source: str = OTHER) -> None:
        """Check that a newcomer is served."""
        status, client = self.join(source)
        self.assertEqual(101, status)
        client.send(frame(PING, b"here"))
        self.assertEqual((PONG, b"here"), client.receive()[:2])
        client.socket.close()


class InputTests(LimitsCase):
    """Messages that are not complete."""

    options = ("--max-input", "1048576")

    def test_unfinished(self) -> None:
        """All clients keep no more than max-input; the address with most of it gives way."""
        part = b"x" * 131072
        ordinary = self.member(OTHER, "/ws/limits?publish-broadcast&subscribe-broadcast&echo")
        message = frame(TEXT, part)
        ordinary.send(message[:-1])
        before = self.gateway.memory()
        hostile = [self.member(HOSTILE, SPEAK) for _ in range(40)]
        for client in hostile:
            client.send(frame(BEGIN, part, fin=False))
        self.assertEqual(b"", hostile[0].rest())
        self.assert_served()
        self.assertLess(self.gateway.memory() - before, 8 * 1048576)
        ordinary.send(message[-1:])
        self.assertEqual(part, ordinary.message())


class WorkTests(LimitsCase):
    """Clients that send more than they may."""

    options = ("--max-rate", "100", "--max-rate-per-address", "200")

    def test_delayed(self) -> None:
        """Only as many messages as the rate allows come through; others are not delayed."""
        listener = self.member(OTHER)
        speaker = self.member(HOSTILE, SPEAK)
        speaker.send(b"".join(frame(TEXT, b"%d" % number) for number in range(3000)))
        other = self.member(OTHER, SPEAK)
        other.send(frame(TEXT, b"other"))
        before = 0
        while listener.message() != b"other":
            before += 1
        self.assertLess(before, 3000)

    def test_address(self) -> None:
        """All connections of an address share its rate."""
        listener = self.member(OTHER)
        for _ in range(5):
            self.member(HOSTILE, SPEAK).send(frame(TEXT, b"x") * 1000)
        self.member(OTHER, SPEAK).send(frame(TEXT, b"other"))
        before = 0
        while listener.message() != b"other":
            before += 1
        self.assertLess(before, 5000)


class StuckTests(LimitsCase):
    """Clients that read nothing."""

    ping_interval = "1"

    def test_pongs_do_not_help(self) -> None:
        """A client that takes nothing of its queue goes, although it answers pings."""
        client = RawClient(self.gateway.port, receive_buffer=16384)
        self.addCleanup(client.socket.close)
        client.send(handshake(LISTEN))
        self.assertIn(" 101 ", client.head())
        # More than the kernel takes, and less than max-queue.
        for _ in range(16):
            self.redis.command("PUBLISH", "broadcast:limits", b"x" * 65536)

        def is_gone() -> bool:
            try:
                client.send(frame(PONG))
            except ConnectionError:
                return True
            return False

        until(is_gone)
        self.assert_served()


class StoredTests(LimitsCase):
    """Messages of clients that Redis stores."""

    options = ("--max-stored", "1000", "--max-stored-rate", "100")

    def publish(self, source: str, facility: str, size: int) -> bytes:
        """Publish a message on a new channel. Returns: What a client finds that comes then."""
        speaker = self.member(source, f"/ws/{facility}?publish-broadcast&subscribe-broadcast&echo")
        speaker.send(frame(TEXT, b"x" * size))
        self.assertEqual(size, len(speaker.message()))
        speaker.socket.close()
        stored = self.redis.command("GET", f"broadcast:{facility}")
        assert stored is None or isinstance(stored, bytes)
        return stored or b""

    def test_large(self) -> None:
        """A message larger than max-stored is published, and not stored."""
        self.assertEqual(1000, len(self.publish(HOSTILE, "fits", 1000)))
        self.assertEqual(b"", self.publish(HOSTILE, "large", 1001))

    def test_rate(self) -> None:
        """An address stores no more than its rate allows; others store theirs."""
        found = [len(self.publish(HOSTILE, f"many{number}", 900)) for number in range(20)]
        self.assertEqual(900, found[0])
        self.assertEqual(0, found[-1])
        self.assertEqual(900, len(self.publish(OTHER, "mine", 900)))


class PlacesTests(LimitsCase):
    """Places for connections."""

    options = ("--max-connections", "12", "--max-handshakes", "12", "--handshake-timeout", "600")

    def test_share(self) -> None:
        """An address gets twice as many WebSockets as are free, and others get theirs."""
        for _ in range(8):
            self.member(HOSTILE)
        self.assertEqual(429, self.join(HOSTILE)[0])
        self.assertEqual(101, self.join(OTHER)[0])

    def test_full(self) -> None:
        """Without a place the gateway is not ready, and live; with one it is ready again."""
        clients = [self.member(f"127.0.0.{number}") for number in range(2, 14)]
        status, problems = health(self.gateway.port)
        self.assertEqual((503, ["full"]), (status, list(problems)))
        self.assertEqual((200, {}), health(self.gateway.port, "live"))
        for client in clients[:2]:
            client.socket.close()
        until(lambda: health(self.gateway.port) == (200, {}))

    def test_silent(self) -> None:
        """Connections that say nothing give way to others."""
        for _ in range(100):
            self.connect(HOSTILE)
        self.assert_served()

    def test_handshakes_under_way(self) -> None:
        """Heads that never end keep only those out who send them."""
        for _ in range(20):
            self.connect(HOSTILE).send(b"GET /ws/ HTTP/1.1\r\n")
        self.assert_served()


class FewPlacesTests(LimitsCase):
    """A number of places for each address."""

    options = ("--max-connections-per-address", "2")

    def test_each_address(self) -> None:
        """An address gets so many WebSockets, and others get theirs."""
        for source in (HOSTILE, OTHER):
            found = [self.join(source)[0] for _ in range(3)]
            self.assertEqual([101, 101, 429], found)


class ProxyTests(LimitsCase):
    """Clients that a trusted proxy on a UNIX socket names."""

    def setUp(self) -> None:
        """Start a gateway on a UNIX socket."""
        folder = tempfile.mkdtemp(prefix="wsredis-test-")
        self.addCleanup(shutil.rmtree, folder)
        self.path = f"{folder}/socket"
        self.options = ("--port", f"unix:{self.path}", "--trusted-proxy", "unix")
        self.options += ("--max-connections-per-address", "2")
        super().setUp()

    def test_invented(self) -> None:
        """Whatever a client invents, it is counted: by its address, or with the others."""
        for headers in (
            ("X-Forwarded-For: 203.0.113.{}, 192.0.2.1",),
            ("X-Forwarded-For: 203.0.113.{}", "X-Forwarded-For: 192.0.2.2"),
            ("Forwarded: for=203.0.113.{}, for=192.0.2.3",),
            ("X-Forwarded-For: 192.0.2.4", "Forwarded: for=203.0.113.{}"),
        ):
            found = []
            for number in range(3):
                client = RawClient(self.path)
                self.addCleanup(client.socket.close)
                client.send(handshake(LISTEN, *(each.format(number) for each in headers)))
                found.append(int(client.head().split()[1]))
            self.assertEqual([101, 101, 429], found, headers)


class UserTests(LimitsCase):
    """Places for each user."""

    def setUp(self) -> None:
        """Start a gateway that takes tokens."""
        key = Path(self.mktemp()).absolute()
        key.write_bytes(private_key("HS256"))
        self.options = ("--jwt-key", str(key), "--max-connections-per-user", "2")
        super().setUp()

    def test_sockets_of_a_user(self) -> None:
        """A user gets so many WebSockets, from any address; another user gets them too."""
        for user in ("john", "mary"):
            token = f"Authorization: Bearer {signed(sub=user, exp=FAR)}"
            found = [self.join(source, LISTEN, token)[0] for source in (HOSTILE, OTHER, OTHER)]
            self.assertEqual([101, 101, 429], found)


class HandshakeRateTests(LimitsCase):
    """Handshakes a second."""

    options = ("--handshake-rate", "1", "--handshake-timeout", "600")

    def test_others(self) -> None:
        """An address beyond its rate waits, and others do not."""
        for _ in range(10):
            self.member(HOSTILE).socket.close()
        slowed = [self.connect(HOSTILE) for _ in range(30)]
        for client in slowed:
            client.send(handshake(LISTEN))
        self.assert_served()
        slowed[-1].socket.setblocking(False)
        self.assertRaises(BlockingIOError, slowed[-1].socket.recv, 1)


class ChecksTests(LimitsCase):
    """Questions to the application about clients."""

    def setUp(self) -> None:
        """Start an application that leaves some clients without an answer."""
        self.go_on = Event()
        application = Application(self.answer)
        self.addCleanup(application.stop)
        self.addCleanup(self.go_on.set)
        url = f"http://127.0.0.1:{application.port}/"
        self.options = ("--auth-url", url, "--auth-concurrency", "4", "--auth-timeout", "60")
        super().setUp()

    def answer(self, headers: Mapping[str, str]) -> tuple[int, Any]:
        """Wait with some answers until the test is over."""
        if headers.get("user-agent") == "slow":
            self.go_on.wait(PATIENCE)
        return 200, {"user": "john"}

    def test_others(self) -> None:
        """Many clients of one address whose identity takes long do not keep others waiting."""
        for _ in range(30):
            self.connect(HOSTILE).send(handshake(LISTEN, "User-Agent: slow"))
        self.assert_served()


class LogTests(LimitsCase):
    """Refusals."""

    def test_refusals(self) -> None:
        """A flood of bad requests leaves a bounded number of lines."""
        for _ in range(300):
            status, client = self.join(HOSTILE, "/ws/%00")
            self.assertEqual(400, status)
            client.socket.close()
        self.assertLess(self.gateway.log.count("\n"), 100)
