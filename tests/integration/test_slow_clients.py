"""Clients that read slowly or never, send without end, come in crowds, or vanish."""

from __future__ import annotations

import os
import resource
import socket
import struct
import threading
from functools import partial
from pathlib import Path

from tests.support.case import FreshGatewayCase, GatewayCase
from tests.support.children import PATIENCE, until
from tests.support.raw import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    Frame,
    RawClient,
    frame,
    handshake,
    response,
)
from tests.support.reading import receive_answer
from tests.support.require import missing

KIBIBYTE = 1024
MEBIBYTE = 1024 * 1024

ECHO = "subscribe-broadcast&publish-broadcast&echo"


def deaf_client(port: int, path: str) -> RawClient:
    """A client with a small buffer of its own, so that little fits between it and the gateway."""
    client = RawClient(port, receive_buffer=16 * KIBIBYTE)
    client.send(handshake(path))
    assert client.head().startswith("HTTP/1.1 101 ")
    return client


class SlowCase(FreshGatewayCase):
    """A gateway that does not ping, since its clients do not answer."""

    skip = missing("redis")
    options: tuple[str, ...] = ("--ping-interval", "600")

    def deaf(self, path: str) -> RawClient:
        """A client that reads only when the test lets it; it is closed after the test."""
        client = deaf_client(self.gateway.port, path)
        self.addCleanup(client.socket.close)
        return client

    def assert_serves(self, name: str = "good") -> None:
        """Check that a new client is served."""
        with RawClient.opened(self.gateway.port, f"/ws/{name}?{ECHO}") as client:
            client.send_text("hello")
            self.assertEqual(b"hello", client.message())


class FloodCase(SlowCase):
    """A gateway whose clients get more than they read."""

    def flood(self, facility: str, count: int, size: int) -> list[bytes]:
        """Publish *count* messages of *size* bytes. Returns: The messages."""
        messages = [(b"%06d" % n).ljust(size, b".") for n in range(count)]
        batch = max(1, MEBIBYTE // size)
        for start in range(0, count, batch):
            self.redis.pipeline(
                *(
                    ("PUBLISH", f"broadcast:{facility}", each)
                    for each in messages[start : start + batch]
                )
            )
        return messages


class LateReadersTests(FloodCase):
    """Clients that are closed, but have time to read what was sent before."""

    options = ("--ping-interval", "600", "--close-timeout", "600")

    def test_reads_too_late(self) -> None:
        """A closed client that reads again gets whole messages in order, and then 1008."""
        client = self.deaf("/ws/late?subscribe-broadcast")
        messages = self.flood("late", 64, 64 * KIBIBYTE)
        self.gateway.child.wait_for("slow consumer")
        got: list[Frame] = []
        while not got or got[-1].opcode != CLOSE:
            got.append(receive_answer(client))
        self.assertEqual(messages[: len(got) - 1], [each.payload for each in got[:-1]])
        self.assertEqual(1008, got[-1].close_code)
        client.send(frame(CLOSE, got[-1].payload))
        self.assertEqual(b"", client.rest())


class ReadersTests(FloodCase):
    """Clients that do not read their messages."""

    def test_never_reads(self) -> None:
        """A client that never reads is closed, logged once; memory is bounded, others get all."""
        deaf = [self.deaf("/ws/flood?subscribe-broadcast") for _ in range(3)]
        fast = self.open("/ws/flood?subscribe-broadcast")
        before = self.gateway.memory()
        for _ in range(96):
            # As fast as the reader reads: it shares a process with the publisher.
            messages = self.flood("flood", 8, 64 * KIBIBYTE)
            self.assertEqual(messages, [fast.message() for _ in messages])
        self.assertLess(self.gateway.memory() - before, 32 * MEBIBYTE)
        self.gateway.child.wait_for("(?s)(slow consumer.*){3}")
        self.assertEqual(3, self.gateway.log.count("slow consumer"))
        for client in deaf:
            # Their kernel holds some of it; the end of it is abrupt.
            self.assertLess(len(client.rest()), 4 * MEBIBYTE)
        self.assert_serves()
        self.assertNotIn("Traceback", self.gateway.log)

    def test_reads_in_time(self) -> None:
        """A client that leaves less than the limit unread loses nothing."""
        client = self.deaf("/ws/bounded?subscribe-broadcast")
        fast = self.open("/ws/bounded?subscribe-broadcast")
        for _ in range(5):
            messages = self.flood("bounded", 80, 10 * KIBIBYTE)
            # All of them are past the gateway when another client has them.
            self.assertEqual(messages, [fast.message() for _ in messages])
            self.assertEqual(messages, [client.message() for _ in messages])
        self.assertNotIn("slow consumer", self.gateway.log)

    def test_many_small_at_once(self) -> None:
        """A burst of 20 000 small messages arrives whole and in order."""
        client = self.open("/ws/burst?subscribe-broadcast")
        messages = self.flood("burst", 20000, 10)
        self.assertEqual(messages, [client.message() for _ in messages])

    def test_large_messages(self) -> None:
        """Messages of 2 and 10 MiB arrive, also at a client that starts to read late."""
        clients = [
            self.open("/ws/large?subscribe-broadcast"),
            self.deaf("/ws/large?subscribe-broadcast"),
        ]
        for size in (2 * MEBIBYTE, 10 * MEBIBYTE):
            (message,) = self.flood("large", 1, size)
            for client in clients:
                self.assertEqual(message, client.message())

    def test_unread_stored_message(self) -> None:
        """200 clients that never read a stored message of 1 MiB share its bytes."""
        self.redis.command("SETEX", "broadcast:stored", "600", os.urandom(MEBIBYTE))
        self.open("/ws/stored?subscribe-broadcast")
        before = self.gateway.memory()
        for _ in range(200):
            self.deaf("/ws/stored?subscribe-broadcast")
        self.assertLess(self.gateway.memory() - before, 24 * MEBIBYTE)
        self.assert_serves()

    def test_unread_stored_messages(self) -> None:
        """If each has another one, no more than max-queues waits; the slowest are closed."""
        before = self.gateway.memory()
        clients = []
        for number in range(200):
            name = f"stored{number}"
            self.redis.command("SETEX", f"broadcast:{name}", "600", os.urandom(MEBIBYTE))
            clients.append(self.deaf(f"/ws/{name}?subscribe-broadcast"))
        self.assertLess(self.gateway.memory() - before, 128 * MEBIBYTE)
        self.gateway.child.wait_for("slow consumer .*the queues of all clients are full")
        self.assert_serves()
        self.assertNotIn("Traceback", self.gateway.log)

    def test_too_large_message(self) -> None:
        """A message larger than max-publication is dropped and logged; everything else goes on."""
        client = self.open("/ws/huge?subscribe-broadcast")
        self.flood("huge", 1, 20 * MEBIBYTE)
        self.redis.command("PUBLISH", "broadcast:huge", "small")
        self.assertEqual(b"small", client.message())
        self.gateway.child.wait_for("left out a publication of 20971520 bytes")
        self.assertNotIn("lost the connection", self.gateway.log)

    def test_pings_without_reading(self) -> None:
        """A client that pings and reads no pongs is paused; later it gets them in order."""
        client = self.deaf("/ws/pings?subscribe-broadcast")
        before = self.gateway.memory()
        sent = self.send_until_blocked(client, PING, 100)
        self.assertLess(self.gateway.memory() - before, 16 * MEBIBYTE)
        for n in range(sent):
            got = receive_answer(client)
            self.assertEqual((PONG, b"%d" % n), (got.opcode, got.payload.rstrip(b".")))
        self.assert_serves()

    def test_echo_without_reading(self) -> None:
        """A client that echoes to itself and reads nothing is paused; later it gets everything."""
        client = self.deaf(f"/ws/self?{ECHO}")
        before = self.gateway.memory()
        sent = self.send_until_blocked(client, BINARY, KIBIBYTE)
        self.assertLess(self.gateway.memory() - before, 16 * MEBIBYTE)
        for n in range(sent):
            self.assertEqual(b"%d" % n, client.message().rstrip(b"."))
        self.assert_serves()

    def send_until_blocked(self, client: RawClient, opcode: int, size: int) -> int:
        """Send numbered frames until the gateway takes no more. Returns: How many it was sent."""
        count = 0
        client.socket.setblocking(False)
        rest = b""
        while count < 64 * MEBIBYTE // size:
            rest = rest or frame(opcode, (b"%d" % count).ljust(size, b"."))
            try:
                rest = rest[client.socket.send(rest) :]
            except BlockingIOError:
                try:
                    # The gateway may only be busy: it has stopped when nothing moves for long.
                    client.socket.settimeout(1.0)
                    rest = rest[client.socket.send(rest) :]
                except TimeoutError:
                    break
                finally:
                    client.socket.setblocking(False)
            count += not rest
        else:
            self.fail("the gateway reads on and on")
        client.socket.settimeout(PATIENCE)
        if rest:
            finish = threading.Thread(target=client.socket.sendall, args=(rest,), daemon=True)
            finish.start()
            count += 1
        return count


class FlatOutTests(FloodCase):
    """A publisher that does not wait for slow clients."""

    def test_fast_beside_deaf(self) -> None:
        """A client that reads gets all of a long flood in order, beside three that do not."""
        deaf = [self.deaf("/ws/flat?subscribe-broadcast") for _ in range(3)]
        fast = self.open("/ws/flat?subscribe-broadcast")
        # A machine that has other things to do may let the reader wait: it is at most 12 MiB late.
        ahead = threading.Semaphore(12)

        def publish() -> None:
            for number in range(96):
                if ahead.acquire(timeout=PATIENCE):
                    payload = (b"%06d" % number).ljust(MEBIBYTE, b".")
                    self.redis.command("PUBLISH", "broadcast:flat", payload)

        publisher = threading.Thread(target=publish, daemon=True)
        publisher.start()
        for number in range(96):
            self.assertEqual(b"%06d" % number, fast.message()[:6])
            ahead.release()
        publisher.join()
        self.gateway.child.wait_for("(?s)(slow consumer.*){3}")
        self.assertEqual(3, self.gateway.log.count("slow consumer"))
        for client in deaf:
            client.rest()

    def test_burst(self) -> None:
        """A client that pauses for a moment in a burst of several times max-queue loses nothing."""
        client = self.deaf("/ws/moment?subscribe-broadcast")
        messages = self.flood("moment", 96, 64 * KIBIBYTE)
        self.assertEqual(messages, [client.message() for _ in messages])
        self.assertNotIn("slow consumer", self.gateway.log)


class PolicyTests(FloodCase):
    """Slow clients of facilities that have a policy."""

    options = (
        *("--ping-interval", "600", "--queue-grace", "0.5"),
        *("--max-queue-hard", str(4 * MEBIBYTE)),
        *("--slow-policy", "newest.*=conflate", "--slow-policy", "young=drop-oldest"),
    )

    def test_bounded(self) -> None:
        """They stay, their memory is bounded, and they read the newest message in the end."""
        names = ("newest.a", "newest.b", "young")
        deaf = {name: self.deaf(f"/ws/{name}?subscribe-broadcast") for name in names}
        fast = {name: self.open(f"/ws/{name}?subscribe-broadcast") for name in names}
        before = self.gateway.memory()
        for _ in range(64):
            for name, client in fast.items():
                messages = self.flood(name, 8, 64 * KIBIBYTE)
                self.assertEqual(messages, [client.message() for _ in messages])
        self.assertLess(self.gateway.memory() - before, 32 * MEBIBYTE)
        self.gateway.child.wait_for("(?s)(only the newest.*){2}")
        self.gateway.child.wait_for("the oldest messages are left out")
        for name, client in deaf.items():
            self.redis.command("PUBLISH", f"broadcast:{name}", "end")
            self.assertEqual(b"end", fast[name].message())
            count = 0
            while client.message() != b"end":
                count += 1
            # What the kernel has, and at most what may wait.
            self.assertLess(count, 100)
            # It is not slow any more.
            messages = self.flood(name, 8, 64 * KIBIBYTE)
            self.assertEqual(messages, [client.message() for _ in messages])
        self.assertEqual(3, self.gateway.log.count("slow consumer"))
        self.assertNotIn("Traceback", self.gateway.log)


class HandshakeTests(SlowCase):
    """Handshakes that are never finished."""

    options = ("--handshake-timeout", "3")

    def test_unfinished(self) -> None:
        """120 unfinished handshakes are gone in time, and keep no good client out meanwhile."""
        head = handshake("/ws/x?subscribe-broadcast")
        beginnings = [b"", b"G", head[:40], head[:-2], head[:-4] + b"\r\nX-Endless: " + b"x" * 4000]
        clients = [RawClient(self.gateway.port) for _ in range(120)]
        for n, client in enumerate(clients):
            self.addCleanup(client.socket.close)
            client.send(beginnings[n % len(beginnings)])
        self.assert_serves()
        for client in clients:
            self.assertRegex(client.rest(), rb"\A(HTTP/1\.1 408 |\Z)")
        self.assert_serves()
        self.assertNotIn("Traceback", self.gateway.log)

    def test_byte_by_byte(self) -> None:
        """A client that sends a byte now and then is closed in time as well."""
        with RawClient(self.gateway.port) as client:
            client.socket.settimeout(0.1)
            sent = 0
            answer = b""
            for byte in handshake("/ws/x?subscribe-broadcast", "X: " + "x" * 500):
                sent += 1
                try:
                    client.send(bytes([byte]))
                    answer = client.socket.recv(1000)
                    break
                except TimeoutError:
                    continue
                except ConnectionError:
                    break
        self.assertLess(sent, 500)
        self.assertTrue(not answer or answer.startswith(b"HTTP/1.1 408 "), answer)


class PatientHandshakeTests(GatewayCase):
    """Handshakes that are finished in time, however busy the machine is."""

    skip = missing("redis")
    options = ("--handshake-timeout", "600")

    def test_byte_by_byte_in_time(self) -> None:
        """A client that sends single bytes is served."""
        with RawClient(self.gateway.port) as client:
            client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for byte in handshake("/ws/bytes?subscribe-broadcast"):
                client.send(bytes([byte]))
            self.assertIn(" 101 ", client.head())


class CrowdTests(SlowCase):
    """The memory of many clients."""

    options = ("--ping-interval", "600", "--handshake-rate", "100000")

    def crowd(self, count: int) -> list[RawClient]:
        """Open so many clients, each on a facility of its own."""
        clients = []
        for start in range(0, count, 100):
            some = [RawClient(self.gateway.port) for _ in range(min(100, count - start))]
            for n, client in enumerate(some):
                client.send(handshake(f"/ws/crowd{start + n}?subscribe-broadcast"))
            for client in some:
                assert client.head().startswith("HTTP/1.1 101 ")
            clients += some
        return clients

    def vanish(self, clients: list[RawClient]) -> None:
        """Close all at once: half of them properly, half with a reset."""
        for n, client in enumerate(clients):
            if n % 2:
                linger = struct.pack("ii", 1, 0)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.socket.close()

    def test_idle_crowd(self) -> None:
        """2000 idle clients cost at most 60 KiB each; when all vanish, all is given back."""
        descriptors = self.gateway.descriptors()
        before = self.gateway.memory()
        connections = self.redis.command("INFO", "clients")
        assert isinstance(connections, dict)
        after = []
        for _ in range(2):
            clients = self.crowd(2000)
            after.append(self.gateway.memory())
            self.assertEqual(2000, len(self.redis.channels()))
            now = self.redis.command("INFO", "clients")
            assert isinstance(now, dict)
            self.assertEqual(connections["connected_clients"], now["connected_clients"])
            self.vanish(clients)
            until(lambda: self.gateway.descriptors() == descriptors)
            until(lambda: self.redis.channels() == [])
        self.assertLess(after[0] - before, 2000 * 60 * KIBIBYTE)
        self.assertLess(after[1] - after[0], 20 * MEBIBYTE)
        self.assert_serves()
        self.assertNotIn("Traceback", self.gateway.log)


class LimitTests(SlowCase):
    """More clients than there is room for."""

    options = (
        *("--max-connections", "5", "--max-connections-per-address", "5"),
        *("--ping-interval", "600"),
    )

    def test_too_many(self) -> None:
        """A client beyond max-connections is asked to come later, and let in when another left."""
        clients = [self.open("/ws/limit?subscribe-broadcast") for _ in range(5)]
        path = "/ws/limit?subscribe-broadcast"
        status, head, _ = response(self.gateway.port, handshake(path))
        self.assertEqual(503, status)
        self.assertRegex(head, r"(?i)\r\nretry-after: \d+")
        self.gateway.child.wait_for("refused .* 503 .*--max-connections")
        clients[0].socket.close()
        until(lambda: self.accepted(path))
        self.redis.command("PUBLISH", "broadcast:limit", "all along")
        self.assertEqual([b"all along"] * 4, [client.message() for client in clients[1:]])

    def accepted(self, path: str) -> bool:
        """Tell whether a new client is let in."""
        with RawClient(self.gateway.port) as client:
            client.send(handshake(path))
            return client.head().startswith("HTTP/1.1 101 ")


class DescriptorTests(SlowCase):
    """The process may open no more files."""

    def test_no_descriptors(self) -> None:
        """Without descriptors connected clients are served, quietly, and later others get in."""
        inside = self.open(f"/ws/inside?{ECHO}")
        room = self.gateway.descriptors() + 10
        _, hard = resource.prlimit(self.gateway.child.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.gateway.child.pid, resource.RLIMIT_NOFILE, (room, hard))
        outside = []
        for _ in range(100):
            outside.append(RawClient(self.gateway.port))
            self.addCleanup(outside[-1].socket.close)
        until(lambda: self.gateway.descriptors() >= room - 1)
        before = self.cpu()
        for n in range(100):
            inside.send_text(str(n))
            self.assertEqual(b"%d" % n, inside.message())
        # A message costs a fraction of a millisecond; a busy loop would have taken all there is.
        self.assertLess(self.cpu() - before, 1.0)
        # Twisted has up to three lines for each connection that it turns away, and no more.
        self.assertLess(len(self.gateway.log.splitlines()), 310)
        self.assertNotIn("Traceback", self.gateway.log)
        for client in outside:
            client.socket.close()
        until(lambda: self.gateway.descriptors() < room - 5)
        self.assert_serves()

    def cpu(self) -> float:
        """Seconds of a processor that the gateway has used."""
        stat = Path(f"/proc/{self.gateway.child.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class PingTests(SlowCase):
    """Clients that vanish without a close frame."""

    options = ("--ping-interval", "2")

    def test_no_answer(self) -> None:
        """A client that answers no ping is dropped and logged; a client that answers stays."""
        silent = self.open("/ws/cable?subscribe-broadcast")
        alive = self.open("/ws/cable?subscribe-broadcast")
        dropped = threading.Event()

        def wait_for_end() -> None:
            silent.rest()
            dropped.set()

        threading.Thread(target=wait_for_end, daemon=True).start()
        answered = 0
        while not dropped.is_set() or answered < 3:
            got = alive.receive()
            self.assertEqual(PING, got.opcode)
            alive.send(frame(PONG, got.payload))
            answered += 1
        self.gateway.child.wait_for("no pong from ")
        self.assertEqual(1, self.gateway.log.count("no pong from "))
        self.redis.command("PUBLISH", "broadcast:cable", "still here")
        self.assertEqual(b"still here", alive.message())

    def test_talks_and_does_not_read(self) -> None:
        """A client that answers pings, and takes nothing of what waits for it, is dropped."""
        # Of these, one waits in the queue, and one in the kernel.
        for size in (MEBIBYTE, 100 * KIBIBYTE):
            client = self.deaf(f"/ws/talk{size}?subscribe-broadcast")
            self.redis.command("PUBLISH", f"broadcast:talk{size}", b"x" * size)
            until(partial(self.is_dropped, client))
        self.assertEqual(2, self.gateway.log.count("it took nothing for a ping interval"))
        self.assertNotIn("no pong from", self.gateway.log)
        self.assert_serves()

    def is_dropped(self, client: RawClient) -> bool:
        """Let *client* send a pong. Returns: Whether its connection is gone."""
        try:
            client.send(frame(PONG))
        except ConnectionError:
            return True
        return False


class SliceTests(GatewayCase):
    """A channel with more clients than are served in one turn."""

    skip = missing("redis")

    def test_large_channel(self) -> None:
        """All clients get all messages in order; another client's ping is answered meanwhile."""
        clients = [self.open("/ws/large?subscribe-broadcast") for _ in range(1200)]
        other = self.open("/ws/other")
        messages = [b"%d" % number for number in range(200)]
        self.redis.pipeline(*(("PUBLISH", "broadcast:large", each) for each in messages))
        other.send(frame(PING, b"there?"))
        self.assertEqual((PONG, b"there?"), other.receive()[:2])
        for client in clients:
            self.assertEqual(messages, [client.message() for _ in messages])
