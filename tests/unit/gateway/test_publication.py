"""Tests for `wsredis.gateway.publication`."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.publication import Publication


class _Numbered:
    """An encoding that counts what it encodes."""

    heartbeat: bytes | None = None
    heartbeat_interval = 1.0

    def __init__(self) -> None:
        self.count = 0

    def encode(self, publication: Publication) -> bytes:
        """Put a number before the payload, and the offset if there is one."""
        self.count += 1
        return b"%d %r %s" % (self.count, publication.offset, publication.payload)

    def join(self, publications: Sequence[Publication]) -> bytes:
        """One after the other."""
        return b"".join(map(self.encode, publications))

    def message(self, payload: str | bytes) -> bytes:
        """Not used here."""
        raise AssertionError


class _Remembered(Publication):
    """A publication of a broker that keeps a history."""

    __slots__ = ("offset", "tags")

    def __init__(self, channel: bytes, payload: bytes, offset: int) -> None:
        super().__init__(channel, payload)
        self.offset = offset
        self.tags = {"by": "somebody"}


class PublicationTests(SynchronousTestCase):
    """One message, encoded once for each encoding."""

    def test_encoded_once(self) -> None:
        """The bytes are made when they are first asked for, and shared afterwards."""
        publication = Publication(b"a", b"x")
        first, second = _Numbered(), _Numbered()
        self.assertEqual(0, len(publication))
        self.assertEqual(b"1 None x", publication[first])
        self.assertIs(publication[first], publication[first])
        self.assertEqual(b"1 None x", publication[second])
        self.assertEqual((1, 1), (first.count, second.count))

    def test_history(self) -> None:
        """A subclass may carry an offset and tags; others have none."""
        plain, remembered = Publication(b"a", b"x"), _Remembered(b"a", b"x", 7)
        self.assertEqual((None, None), (plain.offset, plain.tags))
        self.assertEqual(b"1 7 x", remembered[_Numbered()])
        self.assertEqual({"by": "somebody"}, remembered.tags)

    def test_equality(self) -> None:
        """Channel and payload make it, whatever was encoded already."""
        one, two = Publication(b"a", b"x"), Publication(b"a", b"x")
        one[_Numbered()]
        self.assertEqual(one, two)
        self.assertEqual(1, len({one, two}))
        for other in (Publication(b"a", b"y"), Publication(b"b", b"x"), (b"a", b"x")):
            for each in (one, two):
                self.assertFalse(each == other)
                self.assertTrue(each != other)
        self.assertFalse(one != two)

    def test_repr(self) -> None:
        """It shows no payload."""
        self.assertEqual("<Publication of 6 bytes on b'a'>", repr(Publication(b"a", b"secret")))
