"""Tests for `wsredis.frames`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import messages
from wsredis import frames


class FrameTests(SynchronousTestCase):
    """The frames of a server (RFC 6455, 5.2)."""

    def test_lengths(self) -> None:
        """The length takes 7, 16 or 64 bits, always as few as possible."""
        for length, head in (
            (0, b"\x82\x00"),
            (1, b"\x82\x01"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\x00\x7e"),
            (65535, b"\x82\x7e\xff\xff"),
            (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
        ):
            payload = b"x" * length
            frame = frames.binary(payload)
            self.assertEqual(head, frame[: len(frame) - length])
            self.assertEqual([(2, payload)], messages(frame))

    def test_text(self) -> None:
        """A text frame has opcode 1."""
        self.assertEqual(b"\x81\x02hi", frames.text(b"hi"))

    def test_ping(self) -> None:
        """A ping has no payload."""
        self.assertEqual(b"\x89\x00", frames.PING)

    def test_message_of_text(self) -> None:
        """What is UTF-8 goes as text."""
        for text in ("hi", "", "é", "\N{GRINNING FACE}", "\x00", "007", "\ufeff"):
            self.assertEqual(frames.text(text.encode()), frames.message(text.encode()))

    def test_message_of_bytes(self) -> None:
        """What is not UTF-8, to the letter, goes as a binary message, unchanged."""
        for payload in (
            b"\xff",
            b"\xc3",
            b"\x00\x12\xaa",
            b"\xc0\xaf",
            b"\xed\xa0\x80",
            b"\xf4\x90\x80\x80",
            b"text\x80",
        ):
            self.assertEqual(frames.binary(payload), frames.message(payload))
