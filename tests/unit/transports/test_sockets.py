"""Tests for `wsredis.transports.sockets`, with real sockets and a reactor that only remembers."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet import abstract, tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.protocols.tls import (
    BufferingTLSTransport,
    TLSMemoryBIOFactory,
    TLSMemoryBIOProtocol,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface import implementer

import twisted
from tests.support.fakes import (
    FakeOwner,
    FakeSocket,
    FakeStreamTransport,
    ServerTransport,
    queued_bytes,
)
from wsredis.errors import ConfigError
from wsredis.transports import sockets
from wsredis.transports.send_queue import SendQueue
from wsredis.transports.sockets import (
    PolledServer,
    Poller,
    acknowledged,
    has_ended,
    has_unread,
    plain_socket,
    poller_for,
    report_at_once,
    self_test,
    traffic_of,
    tune,
    write_now,
)

try:
    from twisted.internet.epollreactor import EPollReactor
except ImportError:
    EPollReactor = None  # type: ignore[assignment, misc]


class _Protocol(Protocol):
    """
    Remembers what happens to it.

    Attributes:
        on_data: Called with what comes. If None, it is only remembered.
    """

    def __init__(self) -> None:
        self.heard = b""
        self.ended: list[Any] = []
        self.on_data: Callable[[bytes], object] | None = None

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        if self.on_data is not None:
            self.on_data(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.ended.append(reason.type)


@implementer(IHalfCloseableProtocol)
class _HalfCloseable(_Protocol):
    """Hears of both halves."""

    def readConnectionLost(self) -> None:
        self.ended.append("read")

    def writeConnectionLost(self) -> None:
        self.ended.append("write")


class _PollerCase(SynchronousTestCase):
    """A poller whose turns the test takes."""

    def setUp(self) -> None:
        """Nothing is connected yet."""
        if EPollReactor is None:
            raise SkipTest("this system has no epoll")
        self.reactor = MemoryReactorClock()
        self.poller = Poller(self.reactor)
        self.poller.budget = 60.0

    def connect(self, protocol: _Protocol | None = None) -> tuple[_Protocol, socket.socket]:
        """A protocol on one socket, and the other end."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        theirs.settimeout(5)
        protocol = protocol or _Protocol()
        protocol.makeConnection(PolledServer(self.poller, ours, protocol, ("10.0.0.1", 7)))
        return protocol, theirs

    def turn(self, count: int = 1) -> None:
        """Let the poller serve."""
        for _ in range(count):
            self.poller.doRead()
            self.reactor.advance(0)


class PollerTests(_PollerCase):
    """`Poller` and `PolledServer`: as Twisted's reactor and transport."""

    def test_reading(self) -> None:
        """What comes goes to the protocol; a paused one gets nothing until it resumes."""
        protocol, client = self.connect()
        client.sendall(b"one")
        self.turn()
        protocol.transport.pauseProducing()
        client.sendall(b"two")
        self.turn()
        self.assertEqual(b"one", protocol.heard)
        protocol.transport.resumeProducing()
        self.turn()
        self.assertEqual(b"onetwo", protocol.heard)

    def test_around(self) -> None:
        """What comes in one turn is given to protocols between two calls, also if it fails."""
        said: list[str] = []
        protocol, client = self.connect()
        self.poller.around = (lambda: said.append("before"), lambda: said.append("after"))

        def hears(data: bytes) -> None:
            said.append("read")
            raise ZeroDivisionError

        protocol.dataReceived = hears
        client.sendall(b"one")
        self.turn()
        self.assertEqual(["before", "read", "after"], said[:3])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_traffic(self) -> None:
        """The bytes of a connection are known after its end, if somebody wants to know them."""
        for measures in (False, True):
            self.poller.measures = measures
            with socket.create_server(("127.0.0.1", 0)) as port:
                client = socket.create_connection(port.getsockname())
                ours, _ = port.accept()
            with client:
                protocol = _Protocol()
                server = PolledServer(self.poller, ours, protocol, ("10.0.0.1", 7))
                protocol.makeConnection(server)
                client.sendall(b"x" * 3000)
                self.turn()
                server.write(b"y" * 50_000)
                self.assertEqual(50_000, len(client.recv(50_000, socket.MSG_WAITALL)))
                # TLS stands between a protocol and its socket.
                above = SimpleNamespace(transport=server)
                self.assertIsNone(traffic_of(above))
                server.connectionLost(Failure(ConnectionDone()))
            found = traffic_of(above)
            if found is None:
                self.assertFalse(measures and sys.platform == "linux")
            else:
                self.assertTrue(measures)
                # The kernel counts the ends of both directions as a byte each.
                self.assertLessEqual(abs(found.received - 3000), 1)
                self.assertLessEqual(abs(found.sent - 50_000), 1)

    def test_no_traffic(self) -> None:
        """Other sockets than those of TCP do not tell."""
        self.poller.measures = True
        protocol, client = self.connect()
        server = protocol.transport
        client.close()
        self.turn()
        self.assertIsNone(traffic_of(server))

    def test_writing(self) -> None:
        """What is written arrives, also what the kernel does not take at once."""
        protocol, client = self.connect()
        protocol.transport.writeSequence([b"x" * 1_000_000, b"y"])
        protocol.transport.loseConnection()
        received = b""
        client.setblocking(False)
        while not protocol.ended:
            self.turn()
            received += client.recv(1 << 20)
        self.assertEqual(b"x" * 1_000_000 + b"y", received + client.recv(1 << 20))
        self.assertEqual([ConnectionDone], protocol.ended)

    def test_written_at_once(self) -> None:
        """Bytes leave at once, unless others wait, the end was said, or the socket failed."""
        protocol, client = self.connect()
        transport = protocol.transport
        transport.write(b"one")
        self.assertEqual(b"one", client.recv(9))
        transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        transport.write(b"x" * 1_000_000)
        transport.write(b"last")
        received = b""
        while not received.endswith(b"last"):
            self.turn()
            received += client.recv(1 << 20)
        self.assertEqual(b"x" * 1_000_000 + b"last", received)
        transport.loseWriteConnection()
        self.turn()
        transport.write(b"late")
        self.turn()
        self.assertEqual(b"", client.recv(9))
        protocol, client = self.connect()
        client.close()
        protocol.transport.write(b"lost")
        self.turn()
        self.assertEqual(1, len(protocol.ended))

    def test_pull_producer(self) -> None:
        """A producer that is asked for more is asked again, although nothing ever waits."""
        protocol, client = self.connect()
        left = [b"1", b"2", b"3"]

        class Pulled:
            def resumeProducing(self) -> None:
                if left:
                    protocol.transport.write(left.pop(0))
                else:
                    protocol.transport.unregisterProducer()
                    protocol.transport.loseConnection()

            def stopProducing(self) -> None:
                pass

        protocol.transport.registerProducer(Pulled(), False)
        self.turn(9)
        self.assertEqual(b"123", client.recv(9))
        self.assertEqual([ConnectionDone], protocol.ended)

    def test_acknowledged(self) -> None:
        """The kernel tells what a client has taken, as long as it has not taken all."""
        self.assertIsNone(acknowledged(object()))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            other: Any = ServerTransport(FakeSocket()).transport
            other.socket = ours
            # It is no TCP socket.
            self.assertIsNone(acknowledged(other))
        with socket.create_server(("127.0.0.1", 0)) as port:
            theirs = socket.create_connection(port.getsockname())
            ours, _ = port.accept()
        with ours, theirs:
            other.socket = ours

            class Above:
                transport = other

            self.assertIsNone(acknowledged(other))
            ours.setblocking(False)
            try:
                while True:
                    ours.send(bytes(65536))
            except BlockingIOError:
                pass
            taken = acknowledged(other)
            assert taken is not None
            self.assertEqual(taken, acknowledged(Above))
            theirs.recv(1 << 20)
            while acknowledged(other) == taken:
                theirs.recv(1 << 20)

    def test_ended(self) -> None:
        """The end of a client is seen although it is not read; without a socket there is none."""
        protocol, client = self.connect()
        transport: Any = protocol.transport
        transport.pauseProducing()
        client.sendall(b"x")
        self.assertFalse(has_ended(transport))
        client.close()
        self.assertTrue(has_ended(transport))
        self.assertFalse(has_ended(object()))
        transport.abortConnection()
        self.turn()
        self.assertFalse(has_ended(transport))

    def test_unread(self) -> None:
        """Bytes that the gateway has not read yet are seen, and stay; an end is no byte."""
        protocol, client = self.connect()
        transport: Any = protocol.transport

        class Above:
            pass

        Above.transport = transport  # type: ignore[attr-defined]
        self.assertFalse(has_unread(transport))
        client.sendall(b"x")
        self.assertTrue(has_unread(transport))
        self.assertTrue(has_unread(Above))
        self.turn()
        self.assertFalse(has_unread(transport))
        client.close()
        self.assertFalse(has_unread(transport))
        self.assertFalse(has_unread(object()))
        transport.abortConnection()
        self.turn()
        self.assertFalse(has_unread(transport))

    def test_report_at_once(self) -> None:
        """Below TLS, it says with the first byte that waits that the client takes no more."""
        protocol, client = self.connect()
        below: Any = protocol.transport

        class Above:
            transport = below
            write = below.write
            registerProducer = below.registerProducer
            unregisterProducer = below.unregisterProducer

        total = queued_bytes()
        report_at_once(Above)
        report_at_once(object())
        queue = SendQueue(Above, 1 << 20, FakeOwner(), total)
        sent = 0
        while not total.held:
            queue.write(b"x" * 1000)
            sent += 1000
        self.assertLessEqual(total.held, 1000)
        self.assertFalse(queue.is_stuck())
        self.assertTrue(queue.is_stuck())
        client.setblocking(False)
        while sent:
            sent -= len(client.recv(1 << 20))
            self.turn()
        self.assertFalse(queue.is_stuck())
        self.assertEqual((0, 0), (total.held, len(total)))

    def test_write_now(self) -> None:
        """Below TLS, the kernel takes what waits without a turn of the reactor."""
        protocol, client = self.connect()
        below: Any = protocol.transport

        class Above:
            transport = below
            write = below.write
            registerProducer = below.registerProducer
            unregisterProducer = below.unregisterProducer

        report_at_once(Above)
        client.setblocking(False)
        owner = FakeOwner()
        queue = SendQueue(Above, 100_000, owner, queued_bytes(), None, 1 << 20)
        while queue.waiting < 800_000:
            queue.write(b"x" * 10_000)
        while not queue._taken:
            client.recv(10_000)
            self.turn()
        self.assertIn("over", owner.notified)
        # The reactor has no turn meanwhile.
        for _ in range(200):
            try:
                client.recv(20_000)
            except BlockingIOError:
                pass
            queue.write(b"x" * 10_000)
        self.assertFalse("overflowed" in owner.notified)
        self.assertLess(queue.waiting, 800_000)
        for transport in (object(), Above):
            write_now(transport)

    def test_one_descriptor(self) -> None:
        """The reactor watches the poller, and only while there is a socket to watch."""
        self.assertEqual([], self.reactor.getReaders())
        connected = [self.connect() for _ in range(3)]
        self.assertEqual([self.poller], self.reactor.getReaders())
        self.assertEqual([], self.reactor.getWriters())
        for protocol, _ in connected:
            protocol.transport.abortConnection()
        self.turn()
        self.assertEqual([], self.reactor.getReaders())
        self.assertEqual([[ConnectionAborted]] * 3, [each.ended for each, _ in connected])

    def test_end_by_the_client(self) -> None:
        """A client that leaves is a clean end, and one that resets is a lost connection."""
        protocol, client = self.connect()
        client.close()
        self.turn()
        self.assertEqual([ConnectionDone], protocol.ended)
        protocol, client = self.connect()
        protocol.transport.write(b"x" * 1_000_000)
        protocol.transport.pauseProducing()
        client.close()
        self.turn()
        self.assertEqual([ConnectionLost], protocol.ended)

    def test_nothing_to_read(self) -> None:
        """A socket that has nothing is left alone, and one that was reset while read is lost."""
        protocol, client = self.connect()
        transport: Any = protocol.transport
        self.assertIsNone(transport.doRead())
        self.assertEqual([], protocol.ended)
        transport.socket.send(b"never read")
        client.close()
        self.turn()
        self.assertEqual([ConnectionLost], protocol.ended)

    def test_half_closed(self) -> None:
        """A protocol that can may write after the client has said its last; others end."""
        protocol, client = self.connect(_HalfCloseable())
        client.shutdown(socket.SHUT_WR)
        self.turn(2)
        self.assertEqual(["read"], protocol.ended)
        protocol.transport.write(b"still")
        protocol.transport.loseWriteConnection()
        self.turn(2)
        self.assertEqual([b"still", b""], [client.recv(9), client.recv(9)])
        self.assertEqual(["read", "write"], protocol.ended)
        protocol.transport.loseConnection()
        self.assertEqual(ConnectionDone, protocol.ended[-1])

    def test_bug(self) -> None:
        """A protocol that raises is logged, and ends alone."""
        bad, client = self.connect()
        good, other = self.connect()
        bad.on_data = lambda data: 1 / 0
        client.sendall(b"x")
        other.sendall(b"y")
        self.turn()
        self.assertEqual([ZeroDivisionError], bad.ended)
        self.assertEqual((b"y", []), (good.heard, good.ended))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def fails_to_end(self, of: str) -> Any:
        """The transport of a protocol of which something raises when the connection ends."""
        protocol, client = self.connect()
        transport: Any = protocol.transport
        broken: Any = protocol
        if of == "producer":
            broken = FakeOwner()
            transport.registerProducer(broken, True)
            broken.stopProducing = lambda: 1 / 0
        else:
            broken.connectionLost = lambda reason: 1 / 0
        client.close()
        return transport

    def check_ended(self, transport: Any) -> None:
        """Nothing of it is left, and one error is in the log."""
        self.assertFalse(hasattr(transport, "socket"))
        self.assertNotIn(transport, self.poller._servers.values())
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_bug_at_the_end(self) -> None:
        """A protocol or a producer that raises when it ends is logged, and ends alone."""
        for of in ("protocol", "producer"):
            bad = self.fails_to_end(of)
            ended = bad.protocol.ended
            good, other = self.connect()
            other.sendall(b"y")
            self.turn()
            self.assertEqual((b"y", []), (good.heard, good.ended))
            self.check_ended(bad)
            self.assertEqual([ConnectionDone] if of == "producer" else [], ended)

    def test_bug_when_the_reactor_stops(self) -> None:
        """A protocol that raises keeps no other from its end."""
        bad = self.fails_to_end("protocol")
        good, _ = self.connect()
        self.poller.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([ConnectionLost], good.ended)
        self.check_ended(bad)

    def test_end_of_another(self) -> None:
        """One that is ended or paused by another in the same turn is not served any more."""
        pairs = [self.connect() for _ in range(2)]
        for (protocol, client), (other, _) in zip(pairs, reversed(pairs), strict=True):
            protocol.on_data = lambda data, other=other: other.transport.abortConnection()
            client.sendall(b"x")
        self.turn()
        self.assertEqual([b"", b"x"], sorted(each.heard for each, _ in pairs))

    def test_fairness(self) -> None:
        """A turn serves 64 sockets once each; those that are always ready wait for the others."""
        pairs = [self.connect() for _ in range(sockets._TURN + 10)]
        for _, client in pairs:
            client.sendall(b"x" * 200_000)
        self.turn()
        served = [each for each, _ in pairs if each.heard]
        self.assertEqual(sockets._TURN, len(served))
        self.assertLessEqual(max(len(each.heard) for each in served), 65536)
        self.turn()
        self.assertEqual([], [each for each, _ in pairs if not each.heard])

    def test_budget(self) -> None:
        """A turn that has taken long enough is over; the next ones go on with the others."""
        pairs = [self.connect() for _ in range(5)]
        self.poller.budget = -1.0
        order: list[_Protocol] = []
        for protocol, client in pairs:
            protocol.on_data = lambda data, protocol=protocol: order.append(protocol)
            client.sendall(b"x" * 200_000)
        for count in range(1, 11):
            self.turn()
            self.assertEqual(count, len(order))
        # Those that still have input wait for all others.
        self.assertEqual(5, len({*order[:5]}))
        self.assertEqual(order[:5], order[5:])

    def test_number_of_another(self) -> None:
        """Events of a socket that has ended are not taken for those of the next one."""
        self.poller.budget = -1.0
        pairs = [self.connect() for _ in range(3)]
        for _, client in pairs:
            client.sendall(b"x")
        self.turn()
        waiting = [each for each, _ in pairs if not each.heard]
        for protocol in waiting:
            protocol.transport.abortConnection()
            self.reactor.advance(0)
        newer, _ = self.connect()
        self.poller._ready = [(newer.transport.fileno(), 16)]
        newer.transport.stopReading()
        newer.transport.startReading()
        self.turn(3)
        self.assertEqual([], newer.ended)

    def test_gone_last(self) -> None:
        """Clients that have gone are served after the living, whatever they have sent."""
        order: list[str] = []
        pairs = [(name, *self.connect()) for name in ("gone", "alive", "gone", "alive")]
        for name, protocol, client in pairs:
            protocol.on_data = lambda data, name=name: order.append(name)
            client.sendall(b"x")
            if name == "gone":
                client.close()
        self.turn()
        self.assertEqual(["alive", "alive", "gone", "gone"], order)

    def test_ended_last(self) -> None:
        """One that lives does not wait for those that have ended their side. These come, too."""
        order: list[int | str] = []
        ended = [self.connect() for _ in range(2 * sockets._TURN)]
        for number, (protocol, client) in enumerate(ended):
            protocol.on_data = lambda data, number=number: order.append(number)
            client.sendall(b"x")
            client.shutdown(socket.SHUT_WR)
        protocol, client = self.connect()
        protocol.on_data = lambda data: order.append("alive")
        self.poller.budget = -1.0
        for _ in range(3):
            client.sendall(b"x")
            self.turn()
        self.assertEqual(["alive", 0, "alive", 1, "alive", 2], order)
        self.poller.budget = 60.0
        self.turn(2)
        self.assertEqual([*range(2 * sockets._TURN)], [each for each in order if each != "alive"])
        self.assertEqual([[ConnectionDone]] * len(ended), [each.ended for each, _ in ended])

    def test_after_the_end(self) -> None:
        """All that may be called on a connection that is gone is harmless."""
        protocol, _ = self.connect()
        transport: Any = protocol.transport
        transport.abortConnection()
        self.turn()
        transport.connectionLost(Failure(ConnectionDone()))
        for method in ("abortConnection", "loseConnection", "loseWriteConnection"):
            getattr(transport, method)()
        for method in ("pauseProducing", "startReading", "startWriting", "unregisterProducer"):
            getattr(transport, method)()
        transport.write(b"x")
        self.assertEqual(-1, transport.fileno())
        self.assertEqual([ConnectionAborted], protocol.ended)
        self.assertEqual([], self.reactor.getReaders())

    def test_reactor_stops(self) -> None:
        """A reactor that drops the poller ends the connections."""
        protocol, _ = self.connect()
        self.poller.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([ConnectionLost], protocol.ended)

    def test_names(self) -> None:
        """The addresses are Twisted's; nothing else is stored for the log."""
        protocol, _ = self.connect()
        transport: Any = protocol.transport
        self.assertEqual(IPv4Address("TCP", "10.0.0.1", 7), transport.getPeer())
        self.assertEqual("<PolledServer of 10.0.0.1:7>", repr(transport))
        self.assertEqual("wsredis", self.poller.logPrefix())
        self.assertFalse(isinstance(PolledServer._tempDataBuffer, list))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            six = PolledServer(self.poller, ours, protocol, ("::1", 7, 0, 0))
            self.assertEqual(IPv6Address("TCP", "::1", 7), six.getPeer())
            six.stopReading()

    def test_send_queue(self) -> None:
        """A send queue writes past it, and is pulled by it when the kernel takes no more."""
        protocol, client = self.connect()
        transport: Any = protocol.transport
        self.assertIs(transport.socket, plain_socket(transport))
        owner = FakeOwner()
        send_queue = SendQueue(
            transport, 10_000_000, owner, queued_bytes(), plain_socket(transport)
        )
        send_queue.write(b"x" * 3_000_000)
        send_queue.write(b"y")
        received = b""
        client.setblocking(False)
        while not received.endswith(b"y"):
            self.turn()
            received += client.recv(1 << 20)
        self.assertEqual(3_000_001, len(received))


class AdoptTests(_PollerCase):
    """`Poller.adopt`, with a port of Twisted's."""

    def setUp(self) -> None:
        """Listen at a free port of localhost."""
        super().setUp()
        self.made: list[_Protocol] = []
        self.factory = Factory()
        self.factory.noisy = False
        self.factory.buildProtocol = self.build  # type: ignore[method-assign, assignment]
        self.port = tcp.Port(0, self.factory, 100, "127.0.0.1", self.reactor)
        self.port.startListening()
        self.addCleanup(self.port.connectionLost, None)

    def build(self, address: object) -> _Protocol:
        """Remember the protocol. As with our factory, there is no address yet."""
        self.assertIsNone(address)
        self.made.append(_Protocol())
        return self.made[-1]

    def join(self) -> socket.socket:
        """A client that waits to be accepted."""
        client = socket.create_connection(self.port.socket.getsockname())
        self.addCleanup(client.close)
        return client

    def accept(self) -> list[Any]:
        """Let the port accept; return the transports."""
        self.port.doRead()
        transports = [each.transport for each in self.made]
        for transport in transports:
            self.addCleanup(transport.connectionLost, Failure(ConnectionDone()))
        return transports

    def options(self, transport: Any) -> tuple[bool, int]:
        """Whether Nagle's delay is off, and the size of the buffer that was asked for."""
        buffer = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
        # Linux doubles it, for its own records.
        return transport.getTcpNoDelay(), buffer // 2

    def test_options(self) -> None:
        """Clients inherit the options of the port, without a call for each."""
        self.poller.adopt(self.port, self.factory, 70_000)
        self.join()
        self.patch(sockets, "tune", None)
        (transport,) = self.accept()
        self.assertIsInstance(transport, PolledServer)
        self.assertEqual((True, 70_000), self.options(transport))
        self.assertEqual(transport.socket.getpeername(), transport.client)

    def test_early_client(self) -> None:
        """A client that came before the options were set gets them all the same."""
        self.join()
        self.poller.adopt(self.port, self.factory, 70_000)
        (transport,) = self.accept()
        self.assertEqual((True, 70_000), self.options(transport))

    def test_not_ours(self) -> None:
        """A port whose connections pass something else first stays as it is."""
        self.poller.adopt(self.port, Factory(), 70_000)
        self.assertEqual(tcp.Server, self.port.transport)
        self.poller.adopt(object(), self.factory, 70_000)

    def test_tls(self) -> None:
        """A port of TLS is served too if it leads to our factory, and each write is a record."""
        options = CertificateOptions()
        for inner, kind in (
            (self.factory, TLSMemoryBIOProtocol),
            (Factory(), BufferingTLSTransport),
        ):
            with self.subTest(kind=kind):
                wrapper = TLSMemoryBIOFactory(options, False, inner, self.reactor)
                self.port.factory = wrapper
                self.poller.adopt(self.port, self.factory, 70_000)
                self.assertIs(kind, wrapper.protocol)
                self.assertEqual(inner is not self.factory, self.port.transport is tcp.Server)
                self.port.transport = tcp.Server

    def test_crowd(self) -> None:
        """At most 64 clients are accepted in one turn; after a quiet time it takes some turns."""
        self.poller.adopt(self.port, self.factory, 70_000)
        accepted = []
        for waiting in (90, 70, 0, 0, 1, 90, 0, 70, 60):
            for _ in range(waiting):
                self.join()
            before = len(self.made)
            self.accept()
            accepted.append(len(self.made) - before)
        self.assertEqual([64, 64, 32, 0, 1, 21, 41, 61, 61], accepted)

    def test_other_twisted(self) -> None:
        """A port that counts in another way stays as it is."""
        del self.port.numberAccepts
        self.poller.adopt(self.port, self.factory, 70_000)
        self.assertEqual(tcp.Server, self.port.transport)


class FallbackTests(SynchronousTestCase):
    """`poller_for`: where Twisted's own way is used."""

    def epoll_reactor(self) -> Any:
        """A reactor for epoll that is never run."""
        if EPollReactor is None:
            raise SkipTest("this system has no epoll")
        return EPollReactor.__new__(EPollReactor)

    def test_epoll(self) -> None:
        """On the reactor for epoll there is a poller."""
        self.assertIsInstance(poller_for(self.epoll_reactor()), Poller)

    def test_other_reactor(self) -> None:
        """On any other reactor there is none."""
        self.assertIsNone(poller_for(MemoryReactorClock()))

    def test_other_system(self) -> None:
        """On a system without epoll there is none."""
        reactor = self.epoll_reactor()
        modules: dict[str, Any] = sys.modules
        name = "twisted.internet.epollreactor"
        self.addCleanup(modules.__setitem__, name, modules[name])
        modules[name] = None
        self.assertIsNone(poller_for(reactor))

    def test_other_twisted(self) -> None:
        """With a Twisted that works differently there is none, and the log says so."""
        reactor = self.epoll_reactor()
        self.patch(abstract.FileDescriptor, "loseConnection", lambda transport: None)
        with capturedLogs() as events:
            self.assertIsNone(poller_for(reactor))
        self.assertEqual([twisted.__version__], [event["version"] for event in events])
        self.flushLoggedErrors(RuntimeError)

    def test_silent_twisted(self) -> None:
        """With a Twisted that sends nothing the start does not wait for it."""
        reactor = self.epoll_reactor()
        self.patch(abstract.FileDescriptor, "doWrite", lambda transport: None)
        # For a socket that would wait for ever.
        self.addCleanup(socket.setdefaulttimeout, None)
        socket.setdefaulttimeout(1)
        self.assertIsNone(poller_for(reactor))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))


class TuneTests(SynchronousTestCase):
    """`tune`."""

    def test_no_socket(self) -> None:
        """A transport without a socket, or with one that knows no Nagle, is left alone."""
        tune(object(), 1000)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            fake = FakeStreamTransport()
            fake.socket = ours  # type: ignore[assignment]
            tune(fake, 1000)


class PlainSocketTests(SynchronousTestCase):
    """`plain_socket`, with the send queue that relies on it."""

    def setUp(self) -> None:
        """Make a kernel and an owner."""
        self.socket = FakeSocket()
        self.owner = FakeOwner()

    def queue(self, transport: Any) -> SendQueue:
        """A queue as the protocol makes it."""
        return SendQueue(transport, 1000, self.owner, queued_bytes(), plain_socket(transport))

    def test_plain(self) -> None:
        """The sockets of Twisted's own transports may be written to."""
        for kind in (tcp.Server, unix.Server):
            transport = ServerTransport(self.socket, kind).transport
            self.assertIs(self.socket, plain_socket(transport))

    def test_no_overtaking_of_what_the_transport_holds(self) -> None:
        """Bytes that were written to the transport earlier are sent first."""
        server = ServerTransport(self.socket)
        server.transport.write(b"an earlier answer, ")
        send_queue = self.queue(server.transport)
        send_queue.write(b"then the handshake")
        server.run()
        send_queue.write(b", then a frame")
        server.run()
        self.assertEqual(
            b"an earlier answer, then the handshake, then a frame", bytes(self.socket.sent)
        )

    def test_subclass_of_the_plain_transport(self) -> None:
        """Only the exact classes are known to be safe; a subclass may do anything in write."""

        class Shouting(tcp.Server):
            def write(self, data: bytes) -> None:
                super().write(data.upper())

        server = ServerTransport(self.socket, Shouting)
        self.queue(server.transport).write(b"text")
        server.run()
        self.assertEqual(b"TEXT", self.socket.sent)

    def test_started_tls(self) -> None:
        """A plain transport that has switched to TLS is not written to directly."""
        server = ServerTransport(self.socket)
        layer = FakeStreamTransport()
        # As Twisted's startTLS leaves it: the transport writes to the TLS protocol above it.
        server.transport.TLS = True
        server.transport.protocol = layer
        self.queue(server.transport).write(b"secret")
        self.assertEqual(b"", self.socket.sent)
        self.assertEqual(b"secret", layer.written)

    def test_something_else(self) -> None:
        """A transport of another class is not written to directly, even if it has a socket."""
        self.assertIsNone(plain_socket(FakeStreamTransport()))


class SelfTestTests(SynchronousTestCase):
    """`self_test` finds a Twisted that it cannot work with."""

    def fails(self, library: str, name: str) -> None:
        """Check the error."""
        error = self.assertRaises(ConfigError, self_test)
        self.assertRegex(str(error), f"^wsredis cannot work with {library}[0-9. ]*: ")
        self.assertIn(name, str(error))
        self.assertNotIn("\n", str(error))

    def test_transport(self) -> None:
        """A transport that buffers bytes elsewhere is found."""
        self.patch(abstract.FileDescriptor, "write", lambda transport, data: None)
        self.fails(f"Twisted {twisted.__version__}", "_tempDataLen")

    def test_tls(self) -> None:
        """A transport that does not say whether it speaks TLS is found."""
        self.patch(unix.Server, "TLS", None)
        self.fails("Twisted", "TLS")
