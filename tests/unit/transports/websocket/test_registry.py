"""Tests for `wsredis.transports.websocket.registry`."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, frame, handshake
from tests.unit.transports.websocket.case import BOTH, LISTEN, codes
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import GatewayConfig, Limits
from wsredis.dialects.plain import PlainDialect
from wsredis.errors import HandshakeRejected
from wsredis.gateway.client import PauseReason
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.metrics import Metrics
from wsredis.transports.websocket.head import Head
from wsredis.transports.websocket.http import HttpChannel
from wsredis.transports.websocket.registry import Registry, Step


class _Site:
    """Plain HTTP with a number of places."""

    max_channels = 1
    full = False

    def is_full(self) -> bool:
        return self.full

    def channel_for(self, found: Head, peer: object) -> HttpChannel:
        raise NotImplementedError


class _Member:
    """A connection that remembers what is done with it."""

    def __init__(self, address: str = "", user: str | None = None) -> None:
        self.events: list[object] = []
        self.transport = self
        self.address = address
        self.user = user
        self.hears = True
        self.takes_place = True
        self.connection = None

    def dropped(self, reason: str) -> None:
        self.events.append("dropped")

    def abortConnection(self) -> None:
        self.events.append("abort")

    def close(self, code: int, reason: str) -> None:
        self.events.append(code)

    def check_alive(self) -> None:
        self.events.append("ping")

    def check_heartbeat(self) -> None:
        self.events.append("beat")

    def send_heartbeat(self) -> None:
        self.events.append("heartbeat")

    def handshake_timed_out(self) -> None:
        self.events.append("late handshake")

    def close_timed_out(self) -> None:
        self.events.append("late close")


def _hint(refusal: HandshakeRejected | None) -> str | None:
    return None if refusal is None else refusal.hint


class RegistryTests(SynchronousTestCase):
    """A registry by itself."""

    def setUp(self) -> None:
        """Make one with little room."""
        self.clock = Clock()
        self.broker = MemoryBroker(MemoryServer(self.clock))
        self.broker.connect()
        self.metrics = Metrics()
        self.site = _Site()
        limits = Limits(
            max_connections=2,
            max_handshakes=2,
            handshake_timeout=4.0,
            close_timeout=2.0,
            handshake_rate=4,
        )
        self.registry = Registry(
            self.clock,
            limits,
            self.broker,
            self.metrics,
            self.site,
            ping_interval=20.0,
            heartbeat_intervals={3.0, 5.0},
        )

    def refused(self) -> dict[Step, str]:
        """The steps that are refused now, each with the hint for the log."""
        found = {step: self.registry.refusal(step, _Member("new")) for step in Step}
        for refusal in found.values():
            self.assertIn(None if refusal is None else refusal.status, (None, 503))
        return {step: refusal.hint for step, refusal in found.items() if refusal is not None}

    def open(self, heartbeat_interval: float | None = None) -> _Member:
        """A WebSocket."""
        member = _Member()
        self.registry.connected(member)
        self.registry.opened(member, heartbeat_interval)
        return member

    def wait(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(round(seconds / 0.02)):
            self.clock.advance(0.02)

    def test_room(self) -> None:
        """With room for everything, nothing is refused."""
        self.assertEqual({}, self.refused())

    def test_no_room(self) -> None:
        """Each limit refuses the steps that it is for, and no others."""
        waiting = [_Member("a"), _Member("b")]
        for member in waiting:
            self.assertIsNone(self.registry.connected(member))
            self.assertIsNone(self.registry.began(member))
        late = _Member("c")
        self.registry.connected(late)
        self.assertEqual("--max-handshakes", _hint(self.registry.began(late)))
        self.registry.last_bytes(late)
        self.registry.connection_lost(late)
        self.assertEqual({}, self.refused())
        for member in waiting:
            self.registry.opened(member, None)
        full = "--max-connections"
        self.assertEqual({Step.DECIDE: full, Step.OPEN: full}, self.refused())
        self.registry.connection_lost(waiting[0])
        self.assertEqual({}, self.refused())
        self.site.full = True
        self.assertEqual({Step.HTTP: "--max-handshakes, for pages"}, self.refused())

    def test_sockets(self) -> None:
        """All sockets count together, also those that plain HTTP has."""
        members = [_Member(str(number)) for number in range(5)]
        for member in members:
            self.assertIsNone(self.registry.connected(member))
            self.registry.began(member)
            self.registry.handed_over(member)
        late = _Member("late")
        full = "--max-connections, --max-handshakes"
        self.assertEqual(full, _hint(self.registry.connected(late)))
        # It is a socket all the same, until it is gone.
        self.assertEqual(6, self.registry.sockets)
        for member in (late, members[0]):
            self.registry.connection_lost(member)
        self.assertIsNone(self.registry.connected(_Member("next")))

    def test_request_times_out(self) -> None:
        """The place of a request is free when its time is up, also if the client stays."""
        self.registry.start()
        silent, slow = _Member("a"), _Member("b")
        for member in (silent, slow):
            self.registry.connected(member)
        self.registry.began(slow)
        self.assertEqual(1, self.registry.slots.handshakes.held)
        self.wait(5)
        self.assertEqual([["late handshake"]] * 2, [silent.events, slow.events])
        self.assertEqual((0, 2), (self.registry.slots.handshakes.held, self.registry.sockets))

    def test_given_back(self) -> None:
        """A connection that plain HTTP gives back has a handshake like any other."""
        member = _Member()
        self.registry.connected(member)
        for _ in range(3):
            self.assertIsNone(self.registry.began(member))
            self.assertEqual([member], list(self.registry.handshakes))
            self.registry.handed_over(member)
            self.assertEqual(0, self.registry.slots.handshakes.held)

    def test_moved(self) -> None:
        """A request counts for the client that a proxy names."""
        members = [_Member("") for _ in range(2)]
        for member in members:
            self.registry.connected(member)
            self.registry.began(member)
        slots = self.registry.slots
        for member in members:
            self.assertIsNone(self.registry.moved(member, "a"))
            member.address = "a"
            for places in (slots.sockets, slots.handshakes):
                self.assertEqual(2, places.held_by("") + places.held_by("a"))
        self.assertEqual((2, 2), (slots.sockets.held_by("a"), slots.handshakes.held_by("a")))
        for member in members:
            self.registry.last_bytes(member)
            self.registry.connection_lost(member)
        self.assertEqual((0, 0), (slots.sockets.held, slots.handshakes.held))

    def test_stored_messages_count(self) -> None:
        """Large stored messages count as handshakes of the address that reads them."""
        self.registry.read_stored("a", 100)
        self.assertIsNone(self.registry.turn("a"))
        self.registry.read_stored("a", 40 * 262144)
        self.assertIsNotNone(self.registry.turn("a"))
        self.registry.read_stored("", 1 << 40)
        for address in ("b", ""):
            self.assertIsNone(self.registry.turn(address))

    def test_turns(self) -> None:
        """An address beyond its rate waits for its turn, or is refused if that is too far."""
        waiting: list[Deferred[None]] = []
        for _ in range(40):
            self.assertIsNone(self.registry.turn("a"))
        for _ in range(16):
            turn = self.registry.turn("a")
            assert turn is not None
            waiting.append(turn)
        error = self.assertRaises(HandshakeRejected, self.registry.turn, "a")
        self.assertEqual((429, "--handshake-rate"), (error.status, error.hint))
        # Others do not wait, and nobody without an address does.
        for address in ("b", *[""] * 100):
            self.assertIsNone(self.registry.turn(address))
        self.assertEqual(16, self.metrics.slowed)
        self.clock.advance(1)
        self.assertEqual(4, sum(turn.called for turn in waiting))
        self.clock.advance(3)
        self.assertEqual(16, sum(turn.called for turn in waiting))

    def test_stopping_and_redis(self) -> None:
        """No handshake is accepted while the gateway stops or Redis is away."""
        self.broker.disconnect()
        away = "Redis is away"
        # A decision waits for Redis for a moment.
        self.assertEqual({Step.OPEN: away}, self.refused())
        self.broker.connect()
        self.successResultOf(self.registry.drain())
        stops = "the gateway stops"
        self.assertEqual({Step.DECIDE: stops, Step.OPEN: stops}, self.refused())

    def test_refusal_changes_nothing(self) -> None:
        """Asking has no effect."""
        for _ in range(10):
            self.refused()
        self.assertEqual((0, 0), (self.registry.sockets, len(self.registry.handshakes)))

    def test_counts(self) -> None:
        """Only WebSockets count as opened, and each is forgotten once."""
        member, http = self.open(), _Member()
        self.registry.connected(http)
        self.assertEqual((1, 1), (self.metrics.opened, self.metrics.connections))
        self.assertEqual(2, self.registry.sockets)
        self.assertFalse(self.registry.connection_lost(http))
        self.assertTrue(self.registry.connection_lost(member))
        self.assertEqual((1, 0), (self.metrics.opened, self.metrics.connections))
        self.assertEqual(0, self.registry.sockets)

    def test_timeouts(self) -> None:
        """A request and an end have their time; an open WebSocket has no limit."""
        self.registry.start()
        late, ending, open_ = _Member(), _Member(), self.open()
        for member in (late, ending):
            self.registry.connected(member)
        self.registry.last_bytes(ending)
        self.wait(2.6)
        self.assertEqual(([], ["late close"]), (late.events, ending.events))
        self.wait(2.0)
        self.assertEqual((["late handshake"], ["late close"]), (late.events, ending.events))
        self.assertEqual([], [each for each in open_.events if each != "ping"])

    def test_visits(self) -> None:
        """Each WebSocket has pings, and heartbeats at the interval of its dialect."""
        self.registry.start()
        slow, quick, none = self.open(5.0), self.open(3.0), self.open()
        self.wait(60)
        self.assertIn(slow.events.count("heartbeat"), (11, 12, 13))
        self.assertIn(quick.events.count("heartbeat"), (19, 20, 21))
        self.assertEqual(0, none.events.count("heartbeat"))
        self.assertIn(none.events.count("ping"), (2, 3, 4))
        for member in (slow, quick, none):
            self.registry.detached(member)
            member.events.clear()
        self.wait(60)
        self.assertEqual([[]] * 3, [slow.events, quick.events, none.events])

    def test_notices(self) -> None:
        """A client with the subprotocol of ours gets its heartbeat in place of pings."""
        self.registry.start()
        member = self.open()
        self.assertFalse(self.registry.is_noticed(member))
        self.registry.takes_notices(member)
        self.assertTrue(self.registry.is_noticed(member))
        self.wait(60)
        self.assertEqual({"beat"}, {*member.events})
        self.assertIn(len(member.events), (2, 3, 4))
        self.registry.detached(member)
        self.assertFalse(self.registry.is_noticed(member))
        member.events.clear()
        self.wait(60)
        self.assertEqual([], member.events)

    def test_drain(self) -> None:
        """Every WebSocket is closed with 1001, and the last that is gone ends the waiting."""
        members = [self.open(), self.open()]
        waiting = _Member()
        self.registry.connected(waiting)
        done = self.registry.drain()
        self.assertEqual([[1001], [1001], []], [each.events for each in (*members, waiting)])
        self.registry.connection_lost(members[0])
        self.assertNoResult(done)
        self.registry.connection_lost(members[1])
        self.successResultOf(done)

    def test_drain_spread(self) -> None:
        """The members are closed one after the other, and those that left before are not."""
        members = [self.open() for _ in range(4)]
        done = self.registry.drain(2.0)
        self.assertEqual([[1001], [], [], []], [each.events for each in members])
        self.registry.connection_lost(members[3])
        self.wait(1.2)
        self.assertEqual([[1001], [1001], [1001], []], [each.events for each in members])
        for member in members[:3]:
            self.assertNoResult(done)
            self.registry.connection_lost(member)
        self.successResultOf(done)
        self.wait(2)
        self.assertEqual([], members[3].events)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_drain_again(self) -> None:
        """A second call closes the rest at once."""
        members = [self.open() for _ in range(4)]
        self.registry.drain(60.0)
        self.registry.drain()
        self.assertEqual([[1001]] * 3, [each.events for each in members[1:]])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_close_all(self) -> None:
        """Those that are open are closed in slices; one that comes meanwhile stays."""
        members = [self.open() for _ in range(3)]
        self.registry.close_all(1012, "messages were lost", 3.0)
        late = self.open()
        self.wait(4)
        self.assertEqual([[1012]] * 3 + [[]], [each.events for each in (*members, late)])
        self.assertFalse(self.registry.stopping)
        self.registry.close_all(1012, "messages were lost", 0)
        self.assertEqual([1012], late.events)

    def test_close_some(self) -> None:
        """Those that are chosen are closed in slices, and the others stay."""
        members = [self.open() for _ in range(4)]
        members[1].hears = False
        self.registry.close_all(1012, "messages were lost", 3.0, lambda member: member.hears)
        self.assertEqual([[1012], [], [], []], [each.events for each in members])
        self.wait(4)
        self.assertEqual([[1012], [], [1012], [1012]], [each.events for each in members])

    def test_close_all_and_drain(self) -> None:
        """The end of the gateway replaces another reason, and no other reason replaces it."""
        members = [self.open() for _ in range(3)]
        self.registry.close_all(1012, "messages were lost", 30.0)
        self.registry.drain(2.0)
        self.registry.close_all(1012, "messages were lost", 0)
        self.wait(3)
        self.assertEqual(1001, members[1].events[0])
        self.assertEqual([1001], members[2].events)

    def test_close_all_and_stop(self) -> None:
        """Stopping ends it."""
        members = [self.open() for _ in range(3)]
        self.registry.close_all(1012, "messages were lost", 30.0)
        self.registry.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(["abort"], members[2].events)

    def test_refuse_handshakes(self) -> None:
        """Before the drain nobody new is accepted, and nobody is closed."""
        member = self.open()
        self.registry.refuse_handshakes()
        stops = "the gateway stops"
        self.assertEqual({Step.DECIDE: stops, Step.OPEN: stops}, self.refused())
        self.assertEqual([], member.events)

    def test_stop(self) -> None:
        """All that is left is reset, and no timer stays."""
        self.registry.start()
        waiting, ending, open_ = _Member(), _Member(), self.open()
        self.registry.connected(waiting)
        self.registry.connected(ending)
        self.registry.last_bytes(ending)
        self.registry.stop()
        self.assertEqual([["abort"]] * 3, [waiting.events, ending.events, open_.events])
        self.assertEqual([], self.clock.getDelayedCalls())


#: A request whose body does not come.
_POST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"


class _Named:
    """An authenticator that believes a header."""

    def identify(self, handshake: Handshake) -> Identity | None:
        """See `wsredis.gateway.identity.Authenticator`."""
        return Identity(handshake.headers.get("x-user"))


class LimitTests(MemoryGatewayCase):
    """The numbers of connections of each kind are bounded."""

    config = GatewayConfig(limits=Limits(max_connections=2, max_handshakes=3))

    def test_connections(self) -> None:
        """One WebSocket more is answered with 503; one that leaves makes room."""
        clients = [self.open(), self.open()]
        self.assertEqual(503, self.answer(handshake(LISTEN))[0])
        clients[0].leave()
        self.open()

    def test_handshakes(self) -> None:
        """One handshake more than the limit is answered at once; silent connections are none."""
        waiting = [self.connect(f"192.0.2.{number}") for number in range(3)]
        for client in waiting:
            client.send(b"GET")
        late = self.connect()
        late.send(handshake(LISTEN))
        answer = late.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer)
        self.assertIn(b"Retry-After", answer)
        self.assertTrue(late.closed)
        waiting[0].leave()
        self.open()

    def test_sockets(self) -> None:
        """TCP connections are bounded: none is left when all others are taken."""
        for number in range(5):
            client = self.connect(f"192.0.2.{number}")
            client.send(handshake(LISTEN) if number < 2 else _POST)
        self.assertTrue(self.connect("192.0.2.9").take().startswith(b"HTTP/1.1 503 "))

    def test_silent(self) -> None:
        """The oldest connection that said nothing makes room, that of the same address at first."""
        silent = [self.connect("192.0.2.1") for _ in range(4)]
        self.assertEqual([False] * 4, [each.closed for each in silent])
        silent.append(self.connect("192.0.2.1"))
        self.assertEqual([True] + [False] * 4, [each.aborted for each in silent])
        others = [self.connect("192.0.2.2"), self.connect("192.0.2.3")]
        self.assertEqual([True] * 2 + [False] * 3, [each.aborted for each in silent])
        self.assertEqual(2, self.metrics.dropped)
        others[0].send(handshake(LISTEN))
        self.assertTrue(others[0].take().startswith(b"HTTP/1.1 101 "))
        for client in silent + others:
            client.leave()
        self.nothing_left()

    def test_address(self) -> None:
        """One address that has too much is answered with 429, and others are not."""
        for number in range(4):
            client = self.connect("192.0.2.1")
            client.send(handshake(LISTEN) if number < 2 else _POST)
        late = self.connect("192.0.2.1")
        answer = late.take()
        self.assertTrue(answer.startswith(b"HTTP/1.1 429 "), answer)
        self.assertIn(b"Retry-After", answer)
        self.assertTrue(late.closed)
        self.assertEqual(b"", self.connect("192.0.2.2").take())

    def test_shut_out(self) -> None:
        """After more than 100 refusals, connections of an address are closed without an answer."""
        self.use(MemoryGateway(GatewayConfig(limits=Limits(max_connections=2, handshake_rate=1))))
        answers = []
        for _ in range(300):
            client = self.connect("192.0.2.1")
            client.send(handshake("/nothing"))
            answers.append(client.take()[9:12])
            client.leave()
        # Ten handshakes at once, and five more that wait for their turn.
        self.assertEqual(101, answers.count(b"429"))
        self.assertEqual([b""] * 100, answers[-100:])
        dropped = self.metrics.dropped
        self.assertGreater(dropped, 100)
        self.assertTrue(self.connect("192.0.2.1").aborted)
        other = self.connect("192.0.2.2")
        other.send(handshake(LISTEN))
        self.assertTrue(other.take().startswith(b"HTTP/1.1 101 "))
        self.gateway.wait(0.1)
        late = self.connect("192.0.2.1")
        self.assertFalse(late.aborted)
        for client in (other, late):
            client.leave()
        self.wait(10)
        self.nothing_left()

    def test_user(self) -> None:
        """One user has a limit, from any address."""
        limits = Limits(max_connections_per_user=2)
        self.use(MemoryGateway(GatewayConfig(limits=limits), authenticator=_Named()))
        path = "/ws/a?subscribe-broadcast"
        clients = []
        for number in range(3):
            client = self.connect(f"192.0.2.{number}")
            client.send(handshake(path, "X-User: joe"))
            clients.append(client)
        statuses = [client.take()[9:12] for client in clients]
        self.assertEqual([b"101", b"101", b"429"], statuses)
        self.open(path, "X-User: ann").leave()
        self.open(path).leave()
        clients[0].leave()
        self.open(path, "X-User: joe").leave()
        clients[1].leave()
        self.nothing_left()

    def test_nothing_left(self) -> None:
        """All counts return to nothing."""
        clients = [self.connect() for _ in range(6)]
        clients.append(self.connect())
        for client in clients:
            client.leave()
        self.nothing_left()


class SweepTests(MemoryGatewayCase):
    """Pings find clients that vanished; ws4redis.js needs the text heartbeat."""

    config = GatewayConfig(ping_interval=20, heartbeat="--hb--")

    def test_pinged_and_answering(self) -> None:
        """A client that answers stays, and each interval has one ping."""
        client = self.open()
        pings = 0
        for _ in range(200):
            self.wait(1)
            for got in client.frames():
                if got.opcode == PING:
                    pings += 1
                    client.send(frame(PONG, got.payload))
        self.assertFalse(client.closed)
        self.assertIn(pings, (9, 10, 11))

    def test_no_pong(self) -> None:
        """A client that is silent is dropped within two intervals of the last sign of life."""
        client = self.open()
        with capturedLogs() as events:
            self.wait(41)
        self.assertTrue(client.aborted)
        self.assertEqual(1, self.metrics.timeouts)
        self.assertEqual(1, len(events))
        self.nothing_left()

    def test_late_gateway(self) -> None:
        """A client is not silent while the kernel has bytes of it that were not read yet."""
        client = self.open()
        waiting = [b"x"]

        class Kernel:
            def recv(self, size: int, flags: int) -> bytes:
                return waiting[0]

        client.socket = Kernel()  # type: ignore[attr-defined]
        self.wait(100)
        self.assertFalse(client.closed)
        waiting[0] = b""
        self.wait(41)
        self.assertTrue(client.aborted)

    def test_late_reactor(self) -> None:
        """A reactor that is late, with other work, must not make heartbeats rare."""
        client = self.open()
        client.take()
        for _ in range(20):
            self.clock.advance(1)
        self.assertIn(sum(got.opcode == TEXT for got in client.frames()), (4, 5, 6))

    def test_any_byte_is_a_sign_of_life(self) -> None:
        """A client in the middle of a long message needs no pong."""
        client = self.open()
        data = frame(BINARY, b"x" * 200_000)
        for position in range(0, 150_000, 1500):
            self.wait(1)
            client.send(data[position : position + 1500])
        self.assertFalse(client.closed)

    def test_held_client(self) -> None:
        """A client that we do not read cannot answer a ping, and is not dropped for it."""
        client = self.open()
        self.protocol(client).pause(PauseReason.HANDLER)
        self.wait(100)
        self.assertFalse(client.closed)
        self.protocol(client).resume(PauseReason.HANDLER)
        self.wait(41)
        self.assertTrue(client.aborted)

    def test_client_that_only_reads_slowly(self) -> None:
        """A client that takes bytes gives a sign of life."""
        client = self.open()
        for _ in range(5):
            client.reading = False
            self.publish(b"x" * 100_000)
            self.wait(15)
            client.read()
        self.assertFalse(client.closed)

    def test_talks_and_does_not_read(self) -> None:
        """A client that takes nothing for an interval is dropped, whatever it says meanwhile."""
        client = self.open()
        client.reading = False
        self.publish(b"x" * 500_000)
        with capturedLogs() as events:
            for _ in range(41):
                self.wait(1)
                client.send(frame(PONG))
        self.assertTrue(client.aborted)
        self.assertEqual((1, 0), (self.metrics.slow_consumers, self.metrics.timeouts))
        self.assertEqual(["warn"], [event["log_level"].name for event in events])
        self.nothing_left()

    def test_heartbeat(self) -> None:
        """The text goes out at once, then every few seconds, and is answered at once."""
        client = self.open(BOTH)
        self.assertEqual([b"--hb--"], [each.payload for each in client.frames()])
        self.wait(PlainDialect.heartbeat_interval * 5)
        texts = [each.payload for each in client.frames() if each.opcode == TEXT]
        self.assertEqual({b"--hb--"}, set(texts))
        self.assertIn(len(texts), (4, 5, 6))
        client.send(frame(TEXT, b"--hb--"))
        self.assertEqual([b"--hb--"], [each.payload for each in client.frames()])


class DrainTests(MemoryGatewayCase):
    """The end of a gateway: all clients are closed, in bounded time."""

    def test_goodbye(self) -> None:
        """All get 1001 after what is already on its way; it fires when the last one is gone."""
        clients = [self.open() for _ in range(3)]
        self.publish(b"last")
        done = self.factory.drain()
        for client in clients:
            frames = client.frames()
            self.assertEqual([TEXT, CLOSE], [each.opcode for each in frames])
            self.assertEqual([1001], codes(frames))
        self.assertNoResult(done)
        for client in clients:
            self.close(client, 1001)
        self.successResultOf(done)
        self.nothing_left()

    def test_nobody_there(self) -> None:
        """Without clients it fires at once."""
        self.successResultOf(self.factory.drain())

    def test_cancelled(self) -> None:
        """After the waiting was cancelled, `stop` resets the connections that are left."""
        client, waiting = self.open(), self.connect()
        done = self.factory.drain()
        done.addErrback(lambda failure: None)
        done.cancel()
        self.factory.stop()
        self.assertTrue(client.aborted)
        self.assertTrue(waiting.aborted)
        self.nothing_left()

    def test_no_new_clients(self) -> None:
        """Meanwhile no client is accepted."""
        self.open()
        self.factory.drain()
        status, answer = self.answer(handshake(LISTEN))
        self.assertEqual(503, status)
        self.assertIn(b"Retry-After", answer)

    def test_deaf_clients(self) -> None:
        """A client that does not read is reset by `stop`."""
        deaf = self.open()
        deaf.reading = False
        self.publish(b"x" * 100_000)
        done = self.factory.drain()
        self.factory.stop()
        self.assertTrue(deaf.aborted)
        self.successResultOf(done)
        self.nothing_left()
