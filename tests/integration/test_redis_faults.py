"""Clients while Redis is away, frozen, slow or full, forbids commands, or sends invalid bytes."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from twisted.internet import error, reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from tests.support.case import FreshGatewayCase
from tests.support.certificates import Authority
from tests.support.children import Child, Gateway, RedisServer, reserve_port, until
from tests.support.health import health
from tests.support.proxy import Proxy
from tests.support.raw import BINARY, PING, PONG, TEXT, RawClient, frame, handshake, response
from tests.support.reading import receive_answer
from tests.support.require import find_redis_server, missing
from wsredis.brokers.redis.endpoint import CONNECT_TIMEOUT, make_endpoint
from wsredis.config.redis_url import parse_url

MEBIBYTE = 1024 * 1024

BOTH = "subscribe-broadcast&publish-broadcast&echo"


def answers_pings(clients: list[RawClient], seconds: float) -> None:
    """Ping the gateway for some time: each ping is answered, and nothing else comes."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        for client in clients:
            client.send(frame(PING, b"%d" % number))
        for client in clients:
            got = receive_answer(client)
            assert (PONG, b"%d" % number) == (got.opcode, got.payload), got
        # One a moment is enough to notice a reactor that is blocked.
        threading.Event().wait(0.05)


class FaultCase(FreshGatewayCase):
    """A gateway and a Redis that gets into trouble."""

    skip = missing("redis")
    # Most clients here answer no pings.
    options = ("--ping-interval", "600")

    def publish(self, facility: str, *payloads: str | bytes) -> None:
        """Publish from outside, all in one write."""
        self.redis.pipeline(*(("PUBLISH", f"broadcast:{facility}", each) for each in payloads))

    def position(self) -> int:
        """The position of the end of the log."""
        return len(self.gateway.log)

    def wait_lost(self, since: int) -> None:
        """Wait until the gateway noticed that Redis is away."""
        self.gateway.child.wait_for("lost the connection to ", since=since)

    def wait_back(self, since: int) -> None:
        """Wait until the gateway serves again."""
        self.gateway.child.wait_for("connected to ", since=since)

    def kill_redis(self) -> int:
        """End Redis as a crash would; the gateway noticed. Returns: The end of the log before."""
        since = self.position()
        self.redis.kill()
        self.wait_lost(since)
        return self.position()

    def assert_hears(self, client: RawClient, facility: str, *payloads: bytes) -> None:
        """Check that new publications arrive, once and in order, and nothing before them."""
        self.publish(facility, *payloads)
        self.assertEqual(list(payloads), [client.message() for _ in payloads])

    def assert_refused_for_now(self, path: str = "/ws/new?subscribe-broadcast") -> None:
        """Check that a new WebSocket is asked to come back later."""
        status, head, _ = response(self.gateway.port, handshake(path))
        self.assertEqual(503, status)
        self.assertRegex(head, r"(?i)\r\nretry-after: \d+")

    def start_gateway(
        self, *options: str, environ: dict[str, str] | None = None, ready: bool = True
    ) -> Gateway:
        """One gateway more."""
        gateway = Gateway(*options, environ=environ, ready=ready)
        self.addCleanup(gateway.stop)
        return gateway

    def instead(self, gateway: Gateway) -> None:
        """Let `open` and the waits mean *gateway*."""
        self.gateway = gateway


class OutageTests(FaultCase):
    """Redis dies and comes back."""

    def test_down_at_start(self) -> None:
        """The gateway starts without Redis, names it in the log, and works once it is there."""
        port = reserve_port(self)
        gateway = self.start_gateway("--redis", f"redis://127.0.0.1:{port}", ready=False)
        self.instead(gateway)
        gateway.child.wait_for(rf"no connection to redis://127\.0\.0\.1:{port}: ")
        self.assert_refused_for_now()
        redis = RedisServer(port=port)
        self.addCleanup(redis.stop)
        self.redis = redis
        self.wait_back(0)
        self.assert_hears(self.open("/ws/late?subscribe-broadcast"), "late", b"at last")

    def test_killed_and_restarted(self) -> None:
        """Sockets outlive Redis; meanwhile pings are answered and newcomers get 503."""
        clients = [self.open(f"/ws/killed{n % 3}?subscribe-broadcast") for n in range(9)]
        since = self.kill_redis()
        answers_pings(clients, 1.0)
        self.assert_refused_for_now()
        self.redis.start()
        self.wait_back(since)
        for name in ("killed0", "killed1", "killed2"):
            self.publish(name, b"007", b"1.50", b"\xff\x00", "grüße")
            self.publish(name, "second")
        for client in clients:
            got = [receive_answer(client) for _ in range(5)]
            self.assertEqual(
                [b"007", b"1.50", b"\xff\x00", "grüße".encode(), b"second"],
                [each.payload for each in got],
            )
            self.assertEqual([TEXT, TEXT, BINARY, TEXT, TEXT], [each.opcode for each in got])
        answers_pings(clients, 0.0)
        self.assertNotIn("Traceback", self.gateway.log)

    def test_resubscribed_once(self) -> None:
        """After a loss every channel is subscribed once, however many there are."""
        clients = [self.open(f"/ws/channel{n}?subscribe-broadcast") for n in range(601)]
        since = self.kill_redis()
        self.redis.start()
        self.wait_back(since)
        names = sorted(b"broadcast:channel%d" % n for n in range(601))
        self.assertEqual(names, self.redis.channels())
        for n in (0, 499, 500, 600):
            self.assertEqual(
                [b"broadcast:channel%d" % n, 1],
                self.redis.command("PUBSUB", "NUMSUB", f"broadcast:channel{n}"),
            )
        self.redis.pipeline(
            *(
                ("PUBLISH", f"broadcast:channel{n}", f"{n}-{m}")
                for m in range(2)
                for n in range(601)
            )
        )
        for n, client in enumerate(clients):
            self.assertEqual([b"%d-0" % n, b"%d-1" % n], [client.message(), client.message()])

    def test_unsubscribed_during_the_outage(self) -> None:
        """A channel whose last client left during the outage is not subscribed again for good."""
        stays = self.open("/ws/stays?subscribe-broadcast")
        goes = self.open("/ws/goes?subscribe-broadcast")
        since = self.kill_redis()
        goes.socket.close()
        self.redis.start()
        self.wait_back(since)
        until(lambda: self.redis.channels() == [b"broadcast:stays"])
        self.assert_hears(stays, "stays", b"still here")

    def test_publishing_during_the_outage(self) -> None:
        """A client that publishes while Redis is away is closed with 1013, and the log says so."""
        speaker = self.open("/ws/loud?publish-broadcast")
        listener = self.open("/ws/loud?subscribe-broadcast")
        self.kill_redis()
        since = self.position()
        speaker.send_text("nobody hears this secret")
        self.assertEqual(1013, speaker.closing())
        line = self.gateway.child.wait_for(".*was not confirmed.*", since=since)[0]
        self.assertIn("1013", line)
        self.assertNotIn("secret", self.gateway.log)
        answers_pings([listener], 0.0)

    def test_second_outage(self) -> None:
        """A second outage is like the first."""
        client = self.open("/ws/again?subscribe-broadcast")
        for text in (b"once", b"twice"):
            since = self.kill_redis()
            self.redis.start()
            self.wait_back(since)
            self.assert_hears(client, "again", text)


class ProxyCase(FaultCase):
    """A gateway that reaches Redis through a proxy."""

    delay = 0.0

    def setUp(self) -> None:
        """Start Redis, the proxy and the gateway."""
        self.redis = RedisServer(*self.redis_options)
        self.addCleanup(self.redis.stop)
        self.proxy = Proxy(self.redis.path, delay=self.delay)
        self.addCleanup(self.proxy.stop)
        self.gateway = self.start_gateway("--redis", self.proxy.url, *self.options)


class CutTests(ProxyCase):
    """The way to Redis is cut, Redis itself goes on."""

    def test_stored_after_the_outage(self) -> None:
        """Messages that were stored meanwhile are sent once, to clients that have not seen them."""
        missed = self.open("/ws/missed?subscribe-broadcast")
        late = self.open("/ws/late?subscribe-broadcast")
        same = self.open("/ws/same?subscribe-broadcast")
        unstored = self.open("/ws/unstored?subscribe-broadcast")
        for name, client in (("missed", missed), ("same", same)):
            self.redis.command("SET", f"broadcast:{name}", "before")
            self.assert_hears(client, name, b"before")
        self.redis.command("SET", "broadcast:given", "before")
        given = self.open("/ws/given?subscribe-broadcast")
        self.assertEqual(b"before", given.message())
        since = self.position()
        self.proxy.refusing = True
        self.proxy.cut()
        self.wait_lost(since)
        since = self.position()
        for name in ("missed", "late"):
            self.redis.command("SET", f"broadcast:{name}", "meanwhile")
            self.publish(name, "meanwhile")
        self.publish("unstored", "nobody knows")
        self.proxy.refusing = False
        self.wait_back(since)
        for name in ("missed", "late", "same", "given", "unstored"):
            self.publish(name, "after")
        for client, expected in (
            (missed, [b"meanwhile", b"after"]),
            (late, [b"meanwhile", b"after"]),
            (same, [b"after"]),
            (given, [b"after"]),
            (unstored, [b"after"]),
        ):
            self.assertEqual(expected, [client.message() for _ in expected])
        answers_pings([missed, late, same, given, unstored], 0.0)

    def test_many_large_ones_after_the_outage(self) -> None:
        """Messages that are far larger together than one reply may be all arrive."""
        names = [f"large{number}" for number in range(75)]
        clients = [self.open(f"/ws/{name}?subscribe-broadcast") for name in names]
        since = self.position()
        self.proxy.refusing = True
        self.proxy.cut()
        self.wait_lost(since)
        for name in names:
            self.redis.command("SETEX", f"broadcast:{name}", 60, name.ljust(1 << 20))
        with ThreadPoolExecutor(len(clients)) as threads:
            reading = [threads.submit(client.message) for client in clients]
            self.proxy.refusing = False
            got = [each.result() for each in reading]
        self.assertEqual([name.ljust(1 << 20).encode() for name in names], got)
        # No connection was given up for it.
        self.assertEqual(1, self.gateway.log.count("lost the connection to "))

    def test_pace(self) -> None:
        """The gateway tries again for ever, soon at first and at least every three seconds."""
        client = self.open("/ws/pace?subscribe-broadcast")
        self.proxy.refusing = True
        before = len(self.proxy.came)
        self.proxy.cut()
        # Two links; by their seventh attempt each has reached its longest wait.
        came = self.proxy.wait_for(before + 14)[before:]
        gaps = [after - earlier for earlier, after in pairwise(came)]
        # Three seconds, and what a busy machine needs.
        self.assertLess(max(gaps), 10.0)
        answers_pings([client], 0.0)
        since = self.position()
        self.proxy.refusing = False
        self.wait_back(since)
        self.assert_hears(client, "pace", b"back")
        self.assertLessEqual(self.gateway.log.count("no connection to "), 3)

    def test_rubbish(self) -> None:
        """Invalid bytes from Redis end the connection to Redis, and no WebSocket."""
        client = self.open(f"/ws/rubbish?{BOTH}")
        before = self.gateway.memory()
        for rubbish in (
            b"this is not Redis\r\n",
            b"\x00\xff\x16\x03\x01",
            b":12345678901234567890123\r\n",
            b"*4294967296\r\n",
            b"*-5\r\n",
            b"$-77\r\n",
            b"$99999999999999999999\r\n",
            b"-ERR nobody asked\r\n" * 3,
            b"+OK\r\n" * 3,
            b"*3\r\n$9\r\nsubscribe\r\n$5\r\nother\r\n:1\r\n" * 3,
        ):
            for subscriber in (True, False):
                since = self.position()
                self.proxy.inject(rubbish, subscriber=subscriber)
                self.wait_lost(since)
                self.wait_back(since)
                client.send(frame(BINARY, rubbish))
                self.assertEqual(rubbish, client.message())
        self.assertLess(self.gateway.memory() - before, 64 * MEBIBYTE)
        self.assertNotIn("Traceback", self.gateway.log)

    def test_stray_messages(self) -> None:
        """Messages on channels that are not subscribed are ignored."""
        client = self.open("/ws/stray?subscribe-broadcast")
        stray = b"*3\r\n$7\r\nmessage\r\n$15\r\nbroadcast:other\r\n$2\r\nhi\r\n"
        self.proxy.inject(stray, subscriber=True)
        self.assert_hears(client, "stray", b"mine")
        answers_pings([client], 0.0)
        self.assertNotIn("lost the connection", self.gateway.log)

    def test_absurd_length(self) -> None:
        """The gateway waits neither for a length of 90 GB nor for an array of 50 million."""
        client = self.open("/ws/absurd?subscribe-broadcast")
        before = self.gateway.memory()
        links = len(self.proxy.came)
        # hiredis makes a list of the array at once, and takes 18 seconds to free one of 2 billion.
        self.proxy.inject(b"$90000000000\r\n", subscriber=True)
        self.proxy.inject(b"*50000000\r\n", subscriber=False)
        # Silence is noticed on each link by itself.
        self.proxy.wait_for(links + 2)
        until(lambda: self.hears_at_last(client))
        self.assertLess(self.gateway.memory() - before, 64 * MEBIBYTE)

    def hears_at_last(self, client: RawClient) -> bool:
        """Tell whether a message reaches *client* soon."""
        self.publish("absurd", "busy")
        client.socket.settimeout(0.2)
        try:
            return client.message() == b"busy"
        except TimeoutError:
            return False


class SlowTests(ProxyCase):
    """Redis is far away."""

    delay = 0.15

    def test_slow_redis(self) -> None:
        """With 150 ms for each segment everything works, and in order."""
        listener = self.open("/ws/far?subscribe-broadcast")
        speaker = self.open("/ws/far?publish-broadcast")
        wanted = [b"%d" % n for n in range(50)]
        for text in wanted:
            speaker.send(frame(TEXT, text))
        self.assertEqual(wanted, [listener.message() for _ in wanted])
        until(lambda: self.redis.command("GET", "broadcast:far") == b"49")
        self.assertEqual(b"49", self.open("/ws/far?subscribe-broadcast").message())


class FrozenTests(FaultCase):
    """Redis stays connected and does nothing."""

    def test_two_seconds(self) -> None:
        """A freeze of two seconds loses nothing, from either side."""
        listener = self.open("/ws/cold?subscribe-broadcast")
        speaker = self.open("/ws/cold?publish-broadcast")
        since = self.position()
        outside = socket.socket(socket.AF_UNIX)
        self.addCleanup(outside.close)
        outside.connect(self.redis.path)
        self.redis.freeze()
        self.addCleanup(self.redis.thaw)
        outside.sendall(b"".join(b"PUBLISH broadcast:cold outside%d\r\n" % n for n in range(50)))
        for n in range(50):
            speaker.send_text(f"inside{n}")
        answers_pings([listener, speaker], 2.0)
        self.redis.thaw()
        got = [listener.message() for _ in range(100)]
        for side in (b"outside", b"inside"):
            self.assertEqual(
                [side + b"%d" % n for n in range(50)],
                [each for each in got if each.startswith(side)],
            )
        self.assertNotIn("lost the connection", self.gateway.log[since:])

    def test_long_freeze(self) -> None:
        """The gateway leaves a frozen Redis; clients do not notice, and later all is as before."""
        client = self.open("/ws/frozen?subscribe-broadcast")
        newcomer = RawClient(self.gateway.port)
        self.addCleanup(newcomer.socket.close)
        speaker = self.open("/ws/ice?publish-broadcast")
        since = self.position()
        self.redis.freeze()
        self.addCleanup(self.redis.thaw)
        newcomer.send(handshake("/ws/new?subscribe-broadcast"))
        speaker.send_text("into the cold")
        self.wait_lost(since)
        self.assertTrue(newcomer.head().startswith("HTTP/1.1 503 "))
        self.assertEqual(1013, speaker.closing())
        self.assert_refused_for_now()
        answers_pings([client], 1.0)
        since = self.position()
        self.redis.thaw()
        self.wait_back(since)
        self.assert_hears(client, "frozen", b"after")
        self.assertNotIn("Traceback", self.gateway.log)

    def test_flood_into_a_frozen_redis(self) -> None:
        """A client that floods a frozen Redis is paused; later all its messages arrive."""
        # Redis may deliver faster than the listener reads, which is no matter here.
        self.instead(
            self.start_gateway(
                "--redis", self.redis.url, *self.options, "--max-queue", str(64 * MEBIBYTE)
            )
        )
        listener = self.open("/ws/flood?subscribe-broadcast")
        speaker = self.open("/ws/flood?publish-broadcast")
        before = self.gateway.memory()
        message = frame(BINARY, b"\xff" * 65536)
        self.redis.freeze()
        self.addCleanup(self.redis.thaw)
        speaker.socket.settimeout(0.5)
        sent = 0
        with self.assertRaises(TimeoutError):
            while sent < 64 * MEBIBYTE // len(message):
                speaker.send(message)
                sent += 1
        self.assertLess(self.gateway.memory() - before, 32 * MEBIBYTE)
        self.redis.thaw()
        for _ in range(sent):
            self.assertEqual(65536, len(listener.message()))

    def test_client_pause(self) -> None:
        """A Redis that pauses its clients for a moment loses nothing, and keeps the order."""
        listener = self.open("/ws/pause?subscribe-broadcast")
        speaker = self.open("/ws/pause?publish-broadcast")
        self.redis.command("CLIENT", "PAUSE", 1500)
        for n in range(200):
            speaker.send_text(str(n))
        self.assertEqual([b"%d" % n for n in range(200)], [listener.message() for _ in range(200)])
        self.assertNotIn("lost the connection", self.gateway.log)


class LoginTests(FaultCase):
    """Passwords, users and rights; the tests themselves come in as the default user."""

    redis_options = ("--user", "gate on >geheim-42 ~* &* +@all")
    environ = {"WSREDIS_REDIS_PASSWORD": "geheim-42"}

    def setUp(self) -> None:
        """Start both, the gateway with a user of its own."""
        # The options of redis-server are words: the rule of a user is several.
        self.redis = RedisServer("--user", *self.redis_options[1].split())
        self.addCleanup(self.redis.stop)
        self.url = self.redis.url.replace("unix://", "unix://gate@")
        self.gateway = self.start_gateway("--redis", self.url, environ=self.environ)

    def test_password_changed(self) -> None:
        """A refused password is not in the log; when it is right again, all works."""
        client = self.open("/ws/key?subscribe-broadcast")
        since = self.position()
        self.redis.command("ACL", "SETUSER", "gate", "resetpass", ">anders-43")
        self.redis.command("CLIENT", "KILL", "USER", "gate")
        self.gateway.child.wait_for("AUTH was refused: WRONGPASS", since=since)
        self.assert_refused_for_now()
        answers_pings([client], 0.0)
        since = self.position()
        self.redis.command("ACL", "SETUSER", "gate", "resetpass", ">geheim-42")
        self.wait_back(since)
        self.assert_hears(client, "key", b"open again")
        self.assertNotIn("geheim-42", self.gateway.log)

    def test_wrong_password_at_start(self) -> None:
        """A wrong password is one clear log line, not one for each attempt, and is never shown."""
        gateway = self.start_gateway(
            "--redis", self.url, environ={"WSREDIS_REDIS_PASSWORD": "falsch-44"}, ready=False
        )
        gateway.child.wait_for("AUTH was refused: WRONGPASS")

        def refused() -> int:
            stats = self.redis.command("INFO", "stats")
            assert isinstance(stats, dict)
            return int(stats["total_connections_received"])

        first = refused()
        until(lambda: refused() > first + 50 or gateway.log.count("WRONGPASS") > 1)
        self.assertEqual(1, gateway.log.count("WRONGPASS"))
        self.assertNotIn("falsch-44", gateway.log)

    def test_password_missing(self) -> None:
        """A missing password is logged; when Redis needs none any more, all works."""
        redis = RedisServer("--requirepass", "geheim-45")
        self.addCleanup(redis.stop)
        gateway = self.start_gateway("--redis", redis.url, ready=False)
        gateway.child.wait_for("NOAUTH")
        with RawClient(redis.path) as admin:
            admin.send(b"AUTH geheim-45\r\nCONFIG SET requirepass ''\r\n")
            gateway.child.wait_for("connected to ")
        self.redis = redis
        self.instead(gateway)
        self.assert_hears(self.open("/ws/free?subscribe-broadcast"), "free", b"come in")

    def test_forbidden_channel(self) -> None:
        """A channel that Redis forbids is 403; the others go on, also after a reconnect."""
        self.redis.command("ACL", "SETUSER", "gate", "resetchannels", "&broadcast:good*")
        good = self.open("/ws/good?subscribe-broadcast")
        path = "/ws/bad?subscribe-broadcast"
        self.assertEqual(403, response(self.gateway.port, handshake(path))[0])
        other = self.open("/ws/good-too?subscribe-broadcast")
        since = self.position()
        self.redis.command("CLIENT", "KILL", "USER", "gate")
        self.wait_lost(since)
        self.wait_back(since)
        self.assert_hears(good, "good", b"one")
        self.assert_hears(other, "good-too", b"two")

    def test_forbidden_while_open(self) -> None:
        """A channel that is forbidden later closes its own clients with 1008, and no others."""
        good = self.open("/ws/good?subscribe-broadcast")
        bad = self.open("/ws/bad?subscribe-broadcast")
        since = self.position()
        self.redis.command("ACL", "SETUSER", "gate", "resetchannels", "&broadcast:good")
        # Redis itself ends the connection of a subscriber that lost a right.
        self.assertEqual(1008, bad.closing())
        self.wait_back(since)
        self.gateway.child.wait_for("Redis refuses to subscribe to 'broadcast:bad'", since=since)
        self.assert_hears(good, "good", b"here")

    def test_forbidden_to_read(self) -> None:
        """A key that may not be read takes no stored message from the channels that are read."""
        good = self.open("/ws/good?subscribe-broadcast")
        self.open("/ws/bad?subscribe-broadcast")
        for name in ("good", "bad"):
            self.redis.command("SET", f"broadcast:{name}", "stored")
        self.redis.command("ACL", "SETUSER", "gate", "resetkeys", "~broadcast:good")
        since = self.position()
        self.redis.command("CLIENT", "KILL", "USER", "gate")
        self.wait_back(since)
        self.assertEqual(b"stored", good.message())
        refusals = self.gateway.log.count("Redis refuses to read stored messages: NOPERM")
        self.assertEqual(1, refusals)

    def test_forbidden_to_publish(self) -> None:
        """A client that publishes on a forbidden channel is closed with 1008, and no other."""
        self.redis.command("ACL", "SETUSER", "gate", "resetchannels", "&broadcast:good")
        bad = self.open("/ws/bad?publish-broadcast")
        bad.send_text("no")
        self.assertEqual(1008, bad.closing())
        good = self.open(f"/ws/good?{BOTH}")
        good.send_text("yes")
        self.assertEqual(b"yes", good.message())


class SwallowingTests(TestCase):
    """An address that never answers, as with a firewall that drops packets."""

    async def test_connect_timeout(self) -> None:
        """An attempt ends after five seconds, or a bit later on a busy machine."""
        listening = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listening.close)
        # The kernel answers no more once its queue of connections to accept is full.
        for _ in range(8):
            filler = socket.socket()
            self.addCleanup(filler.close)
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        target = parse_url(f"redis://127.0.0.1:{listening.getsockname()[1]}")
        started = time.monotonic()
        connecting = make_endpoint(target, reactor).connect(Factory.forProtocol(Protocol))
        await self.assertFailure(connecting, error.TimeoutError)
        self.assertGreater(time.monotonic() - started, CONNECT_TIMEOUT - 0.5)


class ProofTests(FaultCase):
    """Redis answers PING, and does not bring messages; or it does not let the gateway prove it."""

    def setUp(self) -> None:
        """Wait until the gateway is ready: connected is not enough."""
        super().setUp()
        until(lambda: health(self.gateway.port)[0] == 200)

    def problems(self) -> list[str]:
        """The names of what is wrong with the gateway."""
        return [*health(self.gateway.port)[1]]

    def test_writes_are_paused(self) -> None:
        """A Redis that answers PING and no PUBLISH makes the gateway unready in time."""
        started = time.monotonic()
        self.redis.command("CLIENT", "PAUSE", 60000, "WRITE")
        until(lambda: health(self.gateway.port)[0] == 503)
        # More than is promised: a busy machine is not what is tested.
        self.assertLess(time.monotonic() - started, 10)
        self.assertIn("proof", self.problems())
        self.redis.command("CLIENT", "UNPAUSE")
        until(lambda: health(self.gateway.port)[0] == 200)
        self.assertEqual([], self.problems())

    def test_frozen(self) -> None:
        """A Redis that sleeps for a moment keeps its connections; the gateway says that it did."""
        connections = self.redis.command("INFO", "stats")
        since = self.position()
        self.redis.freeze()
        until(lambda: health(self.gateway.port)[0] == 503)
        self.redis.thaw()
        until(lambda: health(self.gateway.port)[0] == 200)
        self.gateway.child.wait_for("messages arrive again", since=since)
        now = self.redis.command("INFO", "stats")
        assert isinstance(connections, dict)
        assert isinstance(now, dict)
        # Each command of a test is a connection of its own.
        count = "total_connections_received"
        self.assertEqual(connections[count] + 1, now[count])

    def test_many_channels(self) -> None:
        """Redis counts as the gateway does while channels come and go."""
        since = self.position()
        for round_ in range(3):
            clients = [self.open(f"/ws/{round_}-{n}?subscribe-broadcast") for n in range(100)]
            for client in clients[::2]:
                client.socket.close()
            threading.Event().wait(1.5)
        self.assertNotIn("subscriptions", self.problems())
        self.assertNotIn("subscriptions", self.gateway.log[since:])

    def test_without_rights(self) -> None:
        """A user of before works; the log names the rights, and the gateway is ready."""
        self.redis.command(
            *(
                "ACL",
                "SETUSER",
                "old",
                "on",
                ">pw",
                "~*",
                "resetchannels",
                "&broadcast:*",
                "+@all",
                "-role",
            )
        )
        gateway = self.start_gateway(
            *("--redis", f"unix://old@{self.redis.path}"),
            environ={"WSREDIS_REDIS_PASSWORD": "pw"},
        )
        self.instead(gateway)
        self.assert_hears(self.open("/ws/old?subscribe-broadcast"), "old", b"works")
        gateway.child.wait_for(r"the right \+role")
        gateway.child.wait_for(r"\+publish \+subscribe &wsredis-proof:\*")
        status, problems = health(gateway.port)
        self.assertEqual((200, ["unproven"]), (status, [*problems]))


class RefusalTests(FaultCase):
    """Redis answers, but with refusals."""

    def kick(self, kind: str) -> int:
        """End the gateway's connections of one kind. Returns: The end of the log before."""
        since = self.position()
        self.redis.command("CLIENT", "KILL", "TYPE", kind)
        self.wait_lost(since)
        return since

    def test_subscriber_killed(self) -> None:
        """The subscriber's connection comes back, with all its channels."""
        client = self.open("/ws/pubsub?subscribe-broadcast")
        self.wait_back(self.kick("pubsub"))
        self.assert_hears(client, "pubsub", b"one", b"two")

    def test_commands_killed(self) -> None:
        """The connection for commands comes back, and clients may publish again."""
        client = self.open(f"/ws/normal?{BOTH}")
        self.wait_back(self.kick("normal"))
        client.send_text("said")
        self.assertEqual(b"said", client.message())

    def test_too_many_clients(self) -> None:
        """A Redis that is full is tried again until there is room."""
        client = self.open("/ws/full?subscribe-broadcast")
        with RawClient(self.redis.path) as admin:
            since = self.position()
            admin.send(b"CONFIG SET maxclients 1\r\nCLIENT KILL TYPE pubsub SKIPME yes\r\n")
            admin.send(b"CLIENT KILL TYPE normal SKIPME yes\r\n")
            self.gateway.child.wait_for("max number of clients", since=since)
            answers_pings([client], 0.0)
            since = self.position()
            admin.send(b"CONFIG SET maxclients 100\r\n")
            self.wait_back(since)
        self.assert_hears(client, "full", b"room")

    def test_replica(self) -> None:
        """A Redis that became a replica is left, and publishers are told; a master is used."""
        client = self.open(f"/ws/replica?{BOTH}")
        since = self.position()
        self.redis.command("REPLICAOF", "127.0.0.1", reserve_port(self))
        client.send_text("nobody hears it")
        self.assertEqual(1013, client.closing())
        self.gateway.child.wait_for("has become a replica: leaving it", since=since)
        self.gateway.child.wait_for("lost the connection", since=since)
        self.redis.command("REPLICAOF", "NO", "ONE")
        self.wait_back(since)
        client = self.open(f"/ws/replica?{BOTH}")
        client.send_text("four")
        self.assertEqual(b"four", client.message())

    def test_out_of_memory(self) -> None:
        """A Redis without memory still publishes, and the log says so."""
        client = self.open(f"/ws/oom?{BOTH}")
        self.redis.command("CONFIG", "SET", "maxmemory", 1)
        client.send_text("passes")
        self.assertEqual(b"passes", client.message())
        self.gateway.child.wait_for("Redis refuses to store messages.*OOM")
        newcomer = self.open("/ws/oom?subscribe-broadcast")
        client.send_text("to both")
        self.assertEqual([b"to both"] * 2, [client.message(), newcomer.message()])

    def test_output_buffer_limit(self) -> None:
        """A Redis that cuts off its slow subscriber gets it back."""
        client = self.open("/ws/cut?subscribe-broadcast")
        self.redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 100kb 0 0")
        since = self.position()
        self.publish("cut", b"x" * MEBIBYTE)
        self.wait_lost(since)
        self.wait_back(since)
        self.assert_hears(client, "cut", b"smaller")

    def test_wrong_type(self) -> None:
        """A value that is not a string under the key of a channel keeps no client out."""
        self.redis.command("LPUSH", "broadcast:list", "x")
        client = self.open("/ws/list?subscribe-broadcast")
        self.assert_hears(client, "list", b"live")

    def test_flushall(self) -> None:
        """Emptying Redis takes the stored messages and nothing else."""
        self.redis.command("SET", "broadcast:flushed", "old")
        client = self.open("/ws/flushed?subscribe-broadcast")
        self.assertEqual(b"old", client.message())
        self.redis.command("FLUSHALL")
        newcomer = self.open("/ws/flushed?subscribe-broadcast")
        self.publish("flushed", "live")
        self.assertEqual([b"live"] * 2, [client.message(), newcomer.message()])

    def test_loading(self) -> None:
        """While Redis loads its data, clients connect and hear live messages."""
        if self.redis.version() < 7:
            raise SkipTest("a redis-server before 7.0 cannot be made to load slowly")
        client = self.open("/ws/loading?subscribe-broadcast")
        self.redis.pipeline(*(("SET", f"ballast:{n}", "x" * 4096) for n in range(6000)))
        self.redis.command("SAVE")
        since = self.kill_redis()
        executable = find_redis_server()
        assert executable is not None
        # It loads for a minute, unless it is told to hurry.
        loading = Child(
            [
                *(executable, "--port", "0", "--unixsocket", self.redis.path),
                *("--dir", self.redis.directory, "--save", "", "--rdbcompression", "no"),
                *("--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"),
            ]
        )
        self.addCleanup(loading.stop)
        self.wait_back(since)
        newcomer = self.open("/ws/loading?subscribe-broadcast")
        self.publish("loading", "live")
        self.assertEqual([b"live"] * 2, [client.message(), newcomer.message()])
        self.assertNotIn("eady to accept", loading.output)
        self.redis.command("CONFIG", "SET", "key-load-delay", 0)
        loading.wait_for("eady to accept")
        self.assert_hears(client, "loading", b"loaded")


class IdleTests(FaultCase):
    """Redis ends the connections of silent clients."""

    # One second is enough, but not for a machine that is so busy that the gateway pings late.
    redis_options = ("--timeout", "3")

    def test_idle_timeout(self) -> None:
        """A ``timeout`` of a few seconds loses no connection and no message."""
        client = self.open(f"/ws/idle?{BOTH}")
        # Redis looks for idle clients once a second.
        answers_pings([client], 5.5)
        client.send_text("awake")
        self.assertEqual(b"awake", client.message())
        self.assertNotIn("lost the connection", self.gateway.log)


class TLSTests(SynchronousTestCase):
    """Redis with TLS: only a server with the right certificate is used."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start Redis, and make a private CA."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir()
        self.authority = Authority(self.directory, "ours")

    def gateway(self, context: ssl.SSLContext, *options: str, ready: bool) -> Gateway:
        """A gateway that reaches Redis through TLS."""
        proxy = Proxy(self.redis.path, tls=context)
        self.addCleanup(proxy.stop)
        gateway = Gateway("--redis", proxy.url, *options, ready=ready)
        self.addCleanup(gateway.stop)
        return gateway

    def assert_refused(self, context: ssl.SSLContext, authority: Path | None, reason: str) -> None:
        """Check that one log line says why the server is not trusted; the gateway is not ready."""
        options = () if authority is None else ("--redis-ca", str(authority))
        gateway = self.gateway(context, *options, ready=False)
        line = gateway.child.wait_for("no connection to rediss://.*")[0]
        self.assertRegex(line, reason)
        path = "/ws/x?subscribe-broadcast"
        self.assertEqual(503, response(gateway.port, handshake(path))[0])
        self.assertNotIn("Traceback", gateway.log)

    def test_private_ca(self) -> None:
        """With ``--redis-ca`` a server of that CA is trusted, and messages pass both ways."""
        options = ("--redis-ca", str(self.authority.path))
        gateway = self.gateway(self.authority.server(), *options, ready=True)
        with RawClient.opened(gateway.port, f"/ws/tls?{BOTH}") as client:
            client.send_text("x" * MEBIBYTE)
            self.assertEqual(MEBIBYTE, len(client.message()))
            self.redis.command("PUBLISH", "broadcast:tls", "from outside")
            self.assertEqual(b"from outside", client.message())

    def test_wrong_ca(self) -> None:
        """A server of another CA is refused."""
        other = Authority(self.directory, "theirs")
        self.assert_refused(self.authority.server(), other.path, "certificate verify failed")

    def test_unknown_ca(self) -> None:
        """Without ``--redis-ca`` only the CAs of the system are trusted."""
        self.assert_refused(self.authority.server(), None, "certificate verify failed")

    def test_wrong_name(self) -> None:
        """A certificate for another name is refused."""
        context = self.authority.server("elsewhere.example")
        self.assert_refused(context, self.authority.path, "(?i)TLS.*(host ?name|localhost)")

    def test_expired(self) -> None:
        """A certificate that has expired is refused."""
        context = self.authority.server(days=-1)
        self.assert_refused(context, self.authority.path, "certificate (has expired|verify failed)")
