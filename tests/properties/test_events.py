"""
Any message survives Server-Sent Events, whatever is in it and wherever the bytes are cut.

It is read by a reader that was written from the standard alone.
"""

from __future__ import annotations

import os
import random

from twisted.trial.unittest import SynchronousTestCase

from tests.support.event_stream import Reader, dechunked, message_of
from wsredis.transports.stream import events

_EXAMPLES = int(os.environ.get("WSREDIS_EXAMPLES", "2000"))

#: What the format could trip over.
_PIECES = [
    *("\n", "\r", "\r\n", "\n\n", ":", " ", "data: ", "id: 5\n", "event: x", "retry: 1\n"),
    *("\0", "\ufeff", "\u2028", "\x85", "\x0b", "\x0c", "\x1c", '"', "\\", "é", "😀", "\ud7ff"),
    *("x" * 70, "0\r\n\r\n", "\t", "\x7f", "\uffff"),
]


def _text(chance: random.Random) -> str:
    """Make a text that is not empty."""
    return "".join(chance.choices(_PIECES, k=chance.randint(1, 8)))


class EventTests(SynchronousTestCase):
    """The bytes of messages, and what a browser makes of them."""

    def setUp(self) -> None:
        """The same examples in each run."""
        self.chance = random.Random(13)

    def read(self, data: bytes) -> list[str | bytes]:
        """Read events, cut anywhere."""
        reader, found, at = Reader(), [], 0
        while at < len(data):
            size = self.chance.randint(1, 40)
            found += reader.feed(data[at : at + size])
            at += size
        return [message_of(event) for event in found]

    def test_text(self) -> None:
        """A text message arrives as it was sent, by itself and among others."""
        for _ in range(_EXAMPLES):
            texts = [_text(self.chance) for _ in range(self.chance.randint(1, 3))]
            marks = self.chance.choice((b"", events.mark("0123abcd-5")))
            data = b"".join(events.message(text.encode(), marks) for text in texts)
            self.assertEqual(texts, self.read(data))

    def test_binary(self) -> None:
        """Bytes arrive as they were sent: as text if they are text, else as bytes."""
        for _ in range(_EXAMPLES):
            payload = self.chance.randbytes(self.chance.randint(1, 20))
            try:
                wanted: str | bytes = payload.decode()
            except UnicodeDecodeError:
                wanted = payload
            self.assertEqual([wanted], self.read(events.message(payload)))
            self.assertEqual([payload], self.read(events.binary(payload)))

    def test_chunks(self) -> None:
        """A chunk is read back, also behind others."""
        for _ in range(_EXAMPLES // 4):
            texts = [_text(self.chance).encode() for _ in range(3)]
            data = b"".join(map(events.chunk, texts)) + events.LAST_CHUNK
            self.assertEqual((b"".join(texts), b"", True), dechunked(data))
