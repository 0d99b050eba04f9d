"""Tests for `wsredis.gateway.stored_messages`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.stored_messages import StoredMessages

MEBIBYTE = 1 << 20


class StoredMessagesTests(SynchronousTestCase):
    """Large messages that were read again are the same object."""

    def setUp(self) -> None:
        """Nothing is remembered."""
        self.stored = StoredMessages()

    def is_known(self, channel: bytes, payload: bytes) -> bool:
        """Tell whether *payload* is replaced by an equal object of earlier."""
        # A copy, as one more reply of Redis would be.
        copy = bytes(bytearray(payload))
        publication = self.stored.publication(channel, copy)
        self.assertEqual((channel, payload), (publication.channel, publication.payload))
        return publication.payload is not copy

    def test_again(self) -> None:
        """The same message on the same channel is the same object, with its encodings."""
        payload = b"x" * 5000
        first = self.stored.publication(b"a", payload)
        self.assertIs(first, self.stored.publication(b"a", bytes(bytearray(payload))))
        self.assertIsNot(first, self.stored.publication(b"b", payload))

    def test_changed(self) -> None:
        """Another message on the channel takes the place of the one before."""
        self.assertFalse(self.is_known(b"a", b"x" * 5000))
        self.assertFalse(self.is_known(b"a", b"y" * 5000))
        self.assertTrue(self.is_known(b"a", b"y" * 5000))
        self.assertFalse(self.is_known(b"a", b"x" * 5000))

    def test_small(self) -> None:
        """A small message is not remembered, and does not replace one."""
        self.assertFalse(self.is_known(b"a", b"x"))
        self.assertFalse(self.is_known(b"a", b"x"))

    def test_forgotten(self) -> None:
        """A message can be forgotten, and another one need not be there for that."""
        self.assertFalse(self.is_known(b"a", b"x" * 5000))
        self.stored.forget(b"a")
        self.stored.forget(b"b")
        self.assertFalse(self.is_known(b"a", b"x" * 5000))

    def test_bound(self) -> None:
        """The messages that were not needed for longest go when they are more than 8 MiB."""
        for number in range(8):
            self.is_known(b"%d" % number, b"%d" % number * MEBIBYTE)
        self.assertTrue(self.is_known(b"0", b"0" * MEBIBYTE))
        self.assertFalse(self.is_known(b"new", b"n" * MEBIBYTE))
        self.assertTrue(self.is_known(b"0", b"0" * MEBIBYTE))
        self.assertFalse(self.is_known(b"1", b"1" * MEBIBYTE))

    def test_changes_are_counted(self) -> None:
        """A message that takes the place of another counts for that one, however often."""
        self.is_known(b"kept", b"k" * MEBIBYTE)
        for number in range(20):
            self.is_known(b"a", b"%02d" % number * MEBIBYTE)
            self.assertTrue(self.is_known(b"kept", b"k" * MEBIBYTE))

    def test_very_large(self) -> None:
        """The newest is remembered however large it is, and nothing with it."""
        self.is_known(b"a", b"x" * 5000)
        for _ in range(2):
            self.is_known(b"b", b"y" * (9 * MEBIBYTE))
        self.assertTrue(self.is_known(b"b", b"y" * (9 * MEBIBYTE)))
        self.assertFalse(self.is_known(b"a", b"x" * 5000))
        self.assertFalse(self.is_known(b"b", b"y" * (9 * MEBIBYTE)))
