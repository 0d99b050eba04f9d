"""Tests of the bytes that wait at a socket."""

from __future__ import annotations

from socket import socketpair

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.unread import unread_bytes


class UnreadTests(SynchronousTestCase):
    """The kernel tells how much there is to read."""

    def test_number(self) -> None:
        """The number of bytes, as long as the socket is open."""
        ours, theirs = socketpair()
        self.addCleanup(theirs.close)
        self.assertEqual(0, unread_bytes(ours))
        theirs.send(b"12345")
        self.assertEqual(5, unread_bytes(ours))
        ours.recv(2)
        self.assertEqual(3, unread_bytes(ours))
        ours.close()
        self.assertEqual(0, unread_bytes(ours))

    def test_no_socket(self) -> None:
        """A transport without a descriptor has nothing to read."""
        self.assertEqual(0, unread_bytes(StringTransport()))
