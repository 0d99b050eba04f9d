"""Tests for `wsredis.transports.websocket.encoding`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.publication import Publication
from wsredis.transports.websocket import frames
from wsredis.transports.websocket.encoding import Encodings

LARGE = b"x" * 300


class _Fixed(PlainDialect):
    """A dialect whose messages all have one type."""

    def __init__(self, is_binary: bool) -> None:
        super().__init__("beat")
        self.is_binary = is_binary


class EncodingsTests(SynchronousTestCase):
    """One encoding for each dialect and window."""

    def setUp(self) -> None:
        """Encodings that compress from 100 bytes on."""
        self.encodings = Encodings(100)
        self.dialect = PlainDialect("beat")

    def test_one_object(self) -> None:
        """Clients alike have the same encoding; others have another."""
        plain, wide = self.encodings[self.dialect, 0], self.encodings[self.dialect, 15]
        self.assertIs(plain, self.encodings[self.dialect, 0])
        self.assertIs(wide, self.encodings[self.dialect, 15])
        others = (self.encodings[self.dialect, 10], self.encodings[PlainDialect(), 0], plain)
        self.assertEqual(3, len({*others}))

    def test_publication(self) -> None:
        """The bytes are made once for each encoding; compression starts from the plain frame."""
        publication = Publication(b"a", LARGE)
        plain, wide = self.encodings[self.dialect, 0], self.encodings[self.dialect, 15]
        self.assertEqual(frames.deflated(frames.text(LARGE), 15, 100), publication[wide])
        self.assertEqual(frames.text(LARGE), publication[plain])
        self.assertIs(publication[plain], publication[plain])
        self.assertIs(publication[wide], publication[wide])
        self.assertEqual({plain, wide}, set(publication))

    def test_join(self) -> None:
        """Several publications in a row have the bytes of each, and do not remember them."""
        dialects = self.dialect, _Fixed(False), _Fixed(True)
        for encoding in (self.encodings[each, window] for each in dialects for window in (0, 15)):
            row = [Publication(b"a", payload) for payload in (b"x", LARGE, b"y")]
            joined = encoding.join(row)
            self.assertNotIn(encoding, row[1])
            self.assertEqual(b"".join(map(encoding.encode, row)), joined)

    def test_threshold(self) -> None:
        """A small message has the same bytes in all encodings."""
        publication = Publication(b"a", b"x" * 99)
        self.assertIs(
            publication[self.encodings[self.dialect, 0]],
            publication[self.encodings[self.dialect, 15]],
        )

    def test_message(self) -> None:
        """A message for one client is text or binary by its type, and compressed alike."""
        plain, wide = self.encodings[self.dialect, 0], self.encodings[self.dialect, 15]
        self.assertEqual(frames.text("\u00e9".encode()), plain.message("\u00e9"))
        self.assertEqual(frames.binary(b"text"), plain.message(b"text"))
        self.assertEqual(frames.deflated(frames.binary(LARGE), 15, 100), wide.message(LARGE))

    def test_type_of_the_dialect(self) -> None:
        """By content, always text, or always binary: the dialect says it, for heartbeats too."""
        for dialect, frame in (
            (self.dialect, frames.message),
            (_Fixed(False), frames.text),
            (_Fixed(True), frames.binary),
        ):
            encoding = self.encodings[dialect, 0]
            publication = Publication(b"a", b"text")
            self.assertEqual(frame(b"text"), publication[encoding])
            self.assertEqual(frame(b"beat"), encoding.heartbeat)

    def test_heartbeat(self) -> None:
        """It is never compressed, and there is none if the dialect has none."""
        long = PlainDialect("x" * 200)
        self.assertEqual(frames.text(b"x" * 200), self.encodings[long, 15].heartbeat)
        self.assertEqual(4.0, self.encodings[long, 15].heartbeat_interval)
        self.assertIsNone(self.encodings[PlainDialect(), 15].heartbeat)
