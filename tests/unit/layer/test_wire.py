"""Tests for `wsredis.layer.wire`."""

from __future__ import annotations

import socket

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.layer.wire import Wire, pack


class WireTests(SynchronousTestCase):
    """A socket with what is not written yet, and not understood yet."""

    def setUp(self) -> None:
        """Make one."""
        ours, self.other = socket.socketpair()
        self.addCleanup(self.other.close)
        self.addCleanup(ours.close)
        ours.setblocking(False)
        self.clock = Clock()
        self.wire = Wire(ours, self.clock.seconds)

    def test_pack(self) -> None:
        """Commands are written as Redis reads them, with words of any kind."""
        expected = (
            b"*2\r\n$4\r\nLLEN\r\n$1\r\na\r\n*3\r\n$3\r\nSET\r\n$2\r\n\xc3\xbc\r\n$1\r\n5\r\n"
        )
        self.assertEqual(expected, pack([(b"LLEN", "a"), ("SET", "ü", 5)]))

    def test_parts(self) -> None:
        """Replies may come in parts, and several at once."""
        self.assertEqual(b"", self.wire.read())
        self.other.send(b":1\r\n:2")
        self.clock.advance(5)
        self.assertEqual([1], self.wire.parse(self.wire.read()))
        self.assertEqual(5, self.wire.heard_at)
        self.other.send(b"2\r\n-ERR no\r\n")
        number, error = self.wire.parse(self.wire.read())
        self.assertEqual((22, "ERR no"), (number, str(error)))

    def test_ended(self) -> None:
        """The end of the connection, and what is no answer of Redis, are errors."""
        with self.assertRaises(ConnectionAbortedError):
            self.wire.parse(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.other.close()
        with self.assertRaises(ConnectionResetError):
            self.wire.read()

    def test_slow(self) -> None:
        """What there is no room for is kept, in order, until there is."""
        data = b"x" * 1_000_000
        self.assertFalse(self.wire.send(data))
        self.assertFalse(self.wire.send(b"last"))
        got = bytearray()
        while not self.wire.flush():
            got += self.other.recv(1_000_000)
        while len(got) < len(data) + 4:
            got += self.other.recv(1_000_000)
        self.assertEqual(data + b"last", got)
        self.assertEqual(0, self.wire.unsent)

    def test_held(self) -> None:
        """What is held is written with what follows."""
        self.wire.hold(b"a")
        self.assertTrue(self.wire.send(b"b"))
        self.assertEqual(b"ab", self.other.recv(10))

    def test_gone(self) -> None:
        """Writing to one who has gone is no error of the writer: the reader finds out."""
        self.other.close()
        for _ in range(3):
            self.assertTrue(self.wire.send(b"x"))
        self.wire.hold(b"y")
        self.assertTrue(self.wire.flush())
        with self.assertRaises(OSError):
            self.wire.read()
