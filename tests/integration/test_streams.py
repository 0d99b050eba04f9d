"""Clients without WebSockets: Server-Sent Events and publishing by POST, with the real program."""

from __future__ import annotations

import random
import signal
import threading

from tests.integration.test_redis_faults import FaultCase
from tests.integration.test_tls import _TlsCase
from tests.integration.test_workers import WorkersCase
from tests.support.case import GatewayCase
from tests.support.children import until
from tests.support.raw import RawClient, frame, handshake, response
from tests.support.raw_source import RawSource, request
from tests.support.require import missing
from tests.support.wire import memory_growth

_MEBIBYTE = 1048576


class _StreamCase(GatewayCase):
    """Streams on one gateway."""

    skip = missing("redis")

    def connect(self) -> RawClient:
        """Connect; the connection ends with the test."""
        client = RawClient(self.gateway.port)
        self.addCleanup(client.socket.close)
        return client

    def source(self, facility: str, *headers: str, cursor: str = "") -> RawSource:
        """Open a stream of broadcasts."""
        path = f"/ws/{facility}?subscribe-broadcast"
        return RawSource(self.connect(), path, *headers, cursor=cursor)

    def post(self, facility: str, body: bytes, *headers: str) -> int:
        """Publish. Returns: The status."""
        path = f"/ws/{facility}?publish-broadcast"
        headers = (*headers, "Connection: close")
        return response(self.gateway.port, request("POST", path, *headers, body=body))[0]


class StreamTests(_StreamCase):
    """The two ways of a message."""

    def test_all_kinds(self) -> None:
        """What Redis carries arrives as it is: lines of any kind, bytes, a megabyte."""
        source = self.source("kinds")
        source.until("open")
        payloads = [b"plain", b"a\nb\n", b"a\r\nb\r", "é😀".encode(), b"\xff\0", b"x" * _MEBIBYTE]
        self.redis.pipeline(*(("PUBLISH", "broadcast:kinds", each) for each in payloads))
        for payload in payloads:
            got = source.message()
            self.assertEqual(payload, got if isinstance(got, bytes) else got.encode())

    def test_publish(self) -> None:
        """A message by POST reaches streams and WebSockets, and is stored."""
        source, socket = self.source("both"), self.open("/ws/both?subscribe-broadcast")
        source.until("open")
        self.assertEqual(202, self.post("both", b"hello"))
        self.assertEqual("hello", source.message())
        self.assertEqual(b"hello", socket.message())
        late = self.source("both")
        self.assertEqual("hello", late.message())
        self.assertEqual(source.cursor, late.until("cursor")[0]["cursor"])

    def test_kept_alive(self) -> None:
        """One connection serves messages, pages and at last a WebSocket."""
        client = self.connect()
        for number in range(20):
            client.send(
                request("POST", "/ws/kept?publish-broadcast", body=b"%d" % number)
                + request("POST", "/ws/kept?publish-broadcast", body=b"x")
            )
            self.assertEqual(["HTTP/1.1 202 Accepted"] * 2, [client.head()[:21] for _ in "12"])
        client.send(handshake("/ws/kept?subscribe-broadcast&publish-broadcast&echo"))
        self.assertTrue(client.head().startswith("HTTP/1.1 101 "))
        self.assertEqual(b"x", client.message())
        client.send(frame(1, b"from a socket"))
        self.assertEqual(b"from a socket", client.message())

    def test_too_large(self) -> None:
        """A client hears that its message is too large, although it sends on."""
        client = self.connect()
        path = "/ws/large?publish-broadcast"
        client.send(request("POST", path, "Content-Length: 100000000"))
        for _ in range(4):
            # A reset would come back, and overtake the answer.
            threading.Event().wait(0.05)
            client.send(b"x" * 1000)
        self.assertTrue(client.head().startswith("HTTP/1.1 413 "))

    def test_foreign_page(self) -> None:
        """A foreign page may hear, and may not publish."""
        evil = "Origin: https://evil.example"
        allowed = "\r\nAccess-Control-Allow-Origin: https://evil.example\r\n"
        self.assertIn(allowed, self.source("page", evil).head)
        self.assertEqual(403, self.post("page", b"x", evil))
        self.assertEqual(403, self.post("page", b"x", "Sec-Fetch-Site: cross-site"))


class ReturnTests(_StreamCase):
    """A client that comes back after a short absence misses nothing, and hears nothing twice."""

    def test_in_a_storm(self) -> None:
        """Clients that break off at any byte, again and again, hear each message once, in order."""
        count = 600
        chance = random.Random(13)

        def publish() -> None:
            for number in range(count):
                self.redis.command("PUBLISH", "broadcast:storm", f"{number}-" + "x" * (number % 90))
                if number % 20 == 0:
                    threading.Event().wait(0.005)

        heard: list[list[int]] = [[] for _ in range(4)]
        sources = [self.source("storm") for _ in heard]
        for source in sources:
            source.until("open")
        publisher = threading.Thread(target=publish)
        publisher.start()
        while any(not each or each[-1] < count - 1 for each in heard):
            for number, source in enumerate(sources):
                if heard[number] and heard[number][-1] == count - 1:
                    continue
                for _ in range(chance.randint(1, 40)):
                    got = str(source.message()).partition("-")[0]
                    heard[number].append(int(got))
                    if heard[number][-1] == count - 1:
                        break
                cursor = source.cursor
                source.client.socket.close()
                sources[number] = self.source("storm", cursor=cursor)
        publisher.join()
        self.assertEqual([[*range(count)]] * len(heard), heard)

    def test_nobody_meanwhile(self) -> None:
        """The gateway hears for a client that is away, though nobody else is there."""
        source = self.source("alone")
        source.until("open")
        cursor = source.cursor
        source.client.socket.close()
        # Until it is noticed, and longer than a channel without listeners is kept otherwise.
        threading.Event().wait(2.5)
        self.redis.pipeline(*(("PUBLISH", "broadcast:alone", f"{each}") for each in range(3)))
        again = self.source("alone", cursor=cursor)
        self.assertEqual(["0", "1", "2"], [again.message() for _ in range(3)])

    def test_gap(self) -> None:
        """A cursor of another process is a gap."""
        source = self.source("gone", cursor="0123abcd-7")
        self.assertEqual(({}, []), source.until("gap"))


class SlowTests(_StreamCase):
    """Clients that do not read."""

    options = ("--max-queue", "100000", "--max-queue-hard", "200000", "--queue-grace", "0.2")

    def test_never_reads(self) -> None:
        """A stream that is not read ends as a WebSocket does, and costs no memory."""
        clients = []
        for _ in range(5):
            client = RawClient(self.gateway.port, receive_buffer=4096)
            self.addCleanup(client.socket.close)
            clients.append(RawSource(client, "/ws/slow?subscribe-broadcast"))
        before = self.gateway.memory()
        since = len(self.gateway.log)
        for _ in range(100):
            self.redis.command("PUBLISH", "broadcast:slow", "x" * 100_000)
        self.gateway.child.wait_for("slow consumer", since=since)
        self.assertLess(memory_growth(self.gateway, before), 40)


class FaultTests(FaultCase):
    """Redis is killed."""

    def test_killed(self) -> None:
        """A stream stays, and hears of the gap; a cursor of before is one, too; a POST waits."""
        path = "/ws/fault?subscribe-broadcast"
        sources = [RawSource(RawClient(self.gateway.port), path) for _ in range(2)]
        for source in sources:
            self.addCleanup(source.client.socket.close)
            source.until("open")
        old = sources[1].cursor
        sources[1].client.socket.close()
        since = self.kill_redis()
        post = request("POST", "/ws/fault?publish-broadcast", "Connection: close", body=b"x")
        status, head, _ = response(self.gateway.port, post)
        self.assertEqual(503, status)
        self.assertIn("Retry-After", head)
        self.redis.start()
        self.wait_back(since)
        self.redis.command("SETEX", "broadcast:fault", 60, "stored")
        told, _ = sources[0].until("gap")
        self.assertEqual(sources[0].cursor, told["cursor"])
        again = RawSource(RawClient(self.gateway.port), path, cursor=old)
        self.addCleanup(again.client.socket.close)
        again.until("gap")
        self.assertEqual("stored", again.message())
        self.redis.command("PUBLISH", "broadcast:fault", "live")
        self.assertEqual("live", sources[0].message())
        self.assertEqual("live", again.message())

    def test_stop(self) -> None:
        """A stop says goodbye to streams, and ends them as the format demands."""
        sources = [
            RawSource(RawClient(self.gateway.port), "/ws/stop?subscribe-broadcast")
            for _ in range(20)
        ]
        idle = RawClient(self.gateway.port)
        idle.send(request("POST", "/ws/stop?publish-broadcast", body=b"x"))
        self.assertIn(" 202 ", idle.head())
        self.gateway.child.signal(signal.SIGTERM)
        for source in sources:
            closed, _ = source.until("close")
            self.assertEqual((1001, True), (closed["code"], closed["retry"]))
            self.assertRaises(EOFError, source.event)
            self.assertTrue(source.ended)
            source.client.socket.close()
        self.assertEqual(b"", idle.rest())
        idle.socket.close()
        self.gateway.child.wait()


class ProxyTests(_StreamCase):
    """Behind a proxy."""

    options = ("--trusted-proxy", "127.0.0.1", "--verbose", "--access-log")

    def test_clients(self) -> None:
        """The clients of a proxy are told apart, on the same connection as well."""
        proxy = self.connect()
        for client in ("192.0.2.1", "192.0.2.2"):
            headers = (f"X-Forwarded-For: {client}",)
            proxy.send(request("POST", "/ws/p?publish-broadcast", *headers, body=b"x"))
            self.assertIn(" 202 ", proxy.head())
            self.gateway.child.wait_for(rf'{client} - - "POST /ws/p\?... HTTP/1.1" 202 0')
        source = self.source("p", "X-Forwarded-For: 192.0.2.3")
        # Who closes a socket with something to read resets it.
        source.until("cursor")
        source.client.socket.close()
        self.gateway.child.wait_for(r"opened 192.0.2.3 on 'p' \([^)]*, sse\)")
        self.gateway.child.wait_for(r"closed 192.0.2.3 on 'p' \([^)]*, sse\) by the client with ")


class TlsTests(_TlsCase):
    """In TLS."""

    def test_stream(self) -> None:
        """A stream and messages work by TLS, also large ones and more than one at a time."""
        self.start()
        client, _ = self.connect()
        source = RawSource(client, "/ws/tls?subscribe-broadcast")
        source.until("open")
        speaker, _ = self.connect()
        for size in (1, 300_000, 2):
            post = request("POST", "/ws/tls?publish-broadcast", body=b"x" * size)
            speaker.send(post)
            self.assertIn(" 202 ", speaker.head())
        self.assertEqual([1, 300_000, 2], [len(source.message()) for _ in range(3)])


class WorkerTests(WorkersCase):
    """With several processes on one port."""

    def test_streams(self) -> None:
        """Each worker serves streams; a client that comes to another one is told of the gap."""
        self.start()
        path = "/ws/w?subscribe-broadcast"
        sources = [RawSource(RawClient(self.address), path) for _ in range(8)]
        for source in sources:
            self.addCleanup(source.client.socket.close)
            source.until("open")
        self.assertEqual(2, len({source.cursor.partition("-")[0] for source in sources}))
        post = request("POST", "/ws/w?publish-broadcast", "Connection: close", body=b"hello")
        self.assertEqual(202, response(self.address, post)[0])
        self.assertEqual(["hello"] * 8, [source.message() for source in sources])
        cursor = sources[0].cursor
        first = set()

        def both() -> bool:
            again = RawSource(RawClient(self.address), path, cursor=cursor)
            again.event()
            # Here there is nothing new; elsewhere there is a stored message.
            first.add("same" if again.cursor == cursor else again.event().type)
            again.client.socket.close()
            return first == {"same", "gap"}

        until(both)
