"""Tests for `tests.support.fakes`: they refuse what the real things refuse."""

from __future__ import annotations

import socket

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import (
    FakeClient,
    FakeSocket,
    FakeStreamTransport,
    HeldBroker,
    ServerTransport,
    messages,
    publish,
)
from wsredis.errors import BrokerUnavailable
from wsredis.gateway.client import PauseReason
from wsredis.transports.websocket import frames


class _Producer:
    """Remembers its notifications."""

    def __init__(self) -> None:
        self.notified: list[str] = []

    def pauseProducing(self) -> None:
        """Remember it."""
        self.notified.append("pause")

    def resumeProducing(self) -> None:
        """Remember it."""
        self.notified.append("resume")

    def stopProducing(self) -> None:
        """Remember it."""
        self.notified.append("stop")


class MessageTests(SynchronousTestCase):
    """`messages` reads what a strict client would read."""

    def test_frames(self) -> None:
        """Whole frames are read."""
        data = frames.text(b"a") + frames.binary(b"b" * 70_000) + frames.PING
        self.assertEqual([(1, b"a"), (2, b"b" * 70_000), (9, b"")], messages(data))

    def test_refused(self) -> None:
        """Parts of frames, masked ones, reserved bits, fragments and long lengths are refused."""
        for data in (
            b"\x81",
            b"\x81\x02a",
            b"\x81\x81\x00\x00\x00\x00a",
            b"\xc1\x01a",
            b"\x01\x01a",
            b"\x81\x7e\x00\x01a",
            b"\x81\x7f\x00\x00\x00\x00\x00\x00\x00\x01a",
            b"HTTP/1.1 400",
        ):
            self.assertRaises(ValueError, messages, data)


class SocketTests(SynchronousTestCase):
    """`FakeSocket` next to a real one."""

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Two connected, non-blocking sockets of the kernel."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.addCleanup(theirs.close)
        self.addCleanup(ours.close)
        return ours, theirs

    def test_full(self) -> None:
        """A full one raises as the real one does, and takes empty bytes all the same."""
        ours, _ = self.pair()
        with self.assertRaises(BlockingIOError) as real:
            while True:
                ours.send(bytes(1 << 20))
        with self.assertRaises(BlockingIOError) as fake:
            FakeSocket(0).send(b"x")
        self.assertEqual(real.exception.errno, fake.exception.errno)
        self.assertEqual(0, FakeSocket(0).send(b""))

    def test_closed(self) -> None:
        """A closed one raises as the real one does."""
        ours, _ = self.pair()
        ours.close()
        fake = FakeSocket()
        fake.close()
        errors = []
        for each in (ours, fake):
            errors.append(self.assertRaises(OSError, each.send, b"x").errno)
            self.assertEqual(-1, each.fileno())
        self.assertEqual(errors[0], errors[1])

    def test_no_text(self) -> None:
        """Text is not sent."""
        ours, _ = self.pair()
        for each in (ours, FakeSocket()):
            self.assertRaises(TypeError, each.send, "text")

    def test_error(self) -> None:
        """The error that it is set to raise is raised."""
        fake = FakeSocket()
        fake.error = BrokenPipeError()
        self.assertRaises(BrokenPipeError, fake.send, b"x")

    def test_never_blocking(self) -> None:
        """It cannot be made blocking."""
        self.assertRaises(ValueError, FakeSocket().setblocking, True)

    def test_real_transport(self) -> None:
        """A real transport works on it: it writes, waits and ends."""
        fake = FakeSocket(2)
        server = ServerTransport(fake)
        server.transport.write(b"text")
        server.turn()
        self.assertTrue(server.writing)
        fake.room = 10
        server.transport.loseConnection()
        server.run()
        self.assertEqual(b"text", fake.sent)
        self.assertTrue(fake.closed)


class StreamTransportTests(SynchronousTestCase):
    """`FakeStreamTransport`."""

    def setUp(self) -> None:
        """Make one with a producer."""
        self.transport = FakeStreamTransport(10)
        self.producer = _Producer()
        self.transport.registerProducer(self.producer, True)

    def test_pauses(self) -> None:
        """The producer is paused once, when too much is buffered, and resumed once."""
        for _ in range(3):
            self.transport.write(b"x" * 6)
        self.assertEqual(["pause"], self.producer.notified)
        self.transport.drain()
        self.transport.drain()
        self.assertEqual(["pause", "resume"], self.producer.notified)

    def test_one_producer(self) -> None:
        """There is one producer, and it pushes."""
        self.assertRaises(RuntimeError, self.transport.registerProducer, _Producer(), True)
        self.transport.unregisterProducer()
        self.assertRaises(RuntimeError, self.transport.registerProducer, _Producer(), False)

    def test_bytes_only(self) -> None:
        """Only bytes can be written."""
        for data in ("text", memoryview(b"x"), None):
            self.assertRaises(TypeError, self.transport.write, data)

    def test_no_way_around(self) -> None:
        """The socket below must not be written to."""
        self.assertRaises(AssertionError, self.transport.socket.send, b"x")

    def test_close(self) -> None:
        """It closes when nothing is buffered and no producer is left."""
        self.transport.write(b"x")
        self.transport.loseConnection()
        self.transport.drain()
        self.assertFalse(self.transport.lost)
        self.transport.unregisterProducer()
        self.assertTrue(self.transport.lost)

    def test_lost(self) -> None:
        """A lost one stops its producer, and any later one, and takes nothing."""
        self.transport.drop()
        self.transport.drop()
        self.transport.write(b"x")
        late = _Producer()
        self.transport.registerProducer(late, True)
        self.assertEqual((["stop"], ["stop"]), (self.producer.notified, late.notified))
        self.assertEqual(b"", self.transport.written)


class ClientTests(SynchronousTestCase):
    """`FakeClient`."""

    def setUp(self) -> None:
        """Make one with something to let go of."""
        self.client = FakeClient()
        self.client.connection = self
        self.ends = 0

    def closed(self) -> None:
        """Count the ends."""
        self.ends += 1

    def test_whole_frames_only(self) -> None:
        """Anything else than whole frames is refused."""
        self.assertRaises(ValueError, self.client.write, b"text")
        self.client.write(frames.text(b"text"))
        self.assertEqual([b"text"], self.client.got)

    def test_close(self) -> None:
        """The close frame is the last one, and is sent once."""
        self.client.close(1008, "enough")
        self.client.close(1000, "again")
        self.assertEqual((1008, "enough", 1), (self.client.closed, self.client.reason, self.ends))
        self.assertRaises(AssertionError, self.client.write, frames.PING)

    def test_close_frame(self) -> None:
        """Codes and reasons that no close frame may have are refused."""
        for code in (0, 999, 1004, 1005, 1006, 1015, 5000):
            self.assertRaises(ValueError, self.client.close, code, "")
        self.assertRaises(ValueError, self.client.close, 1000, "é" * 62)

    def test_holds(self) -> None:
        """It is read again when no reason is left."""
        self.client.pause(PauseReason.PUBLISH)
        self.client.pause(PauseReason.HANDLER)
        self.client.resume(PauseReason.PUBLISH)
        self.client.resume(PauseReason.SEND_QUEUE)
        self.assertEqual(PauseReason.HANDLER, self.client.held)
        self.assertEqual(3, len(self.client.events))


class BrokerTests(SynchronousTestCase):
    """`HeldBroker`."""

    def test_answers_when_told(self) -> None:
        """Nothing happens before the answer; then it does, oldest first."""
        broker = HeldBroker(Clock(), "publish", "fetch")
        broker.connect()
        published, fetched = publish(broker, [b"a"], b"1"), broker.fetch([b"a"])
        self.assertNoResult(published)
        self.assertIsNone(broker.server.value(b"a"))
        self.assertEqual(2, broker.pending)
        broker.answer(2)
        self.successResultOf(published)
        self.assertEqual({b"a": b"1"}, self.successResultOf(fetched))

    def test_refuse(self) -> None:
        """A call that is refused does nothing."""
        broker = HeldBroker(Clock(), "subscribe")
        broker.connect()
        subscribed = broker.subscribe([b"a"])
        broker.refuse(BrokerUnavailable("no"))
        self.failureResultOf(subscribed, BrokerUnavailable)
        self.assertEqual(0, broker.pending)

    def test_fails_as_the_real_one(self) -> None:
        """A late answer is that of the moment it is given."""
        broker = HeldBroker(Clock(), "fetch")
        broker.connect()
        fetched = broker.fetch([b"a"])
        broker.disconnect()
        broker.answer()
        self.failureResultOf(fetched, BrokerUnavailable)
