"""Tests for `wsredis.transports.websocket.frames`."""

from __future__ import annotations

import random
import zlib
from string import ascii_letters

from twisted.trial.unittest import SynchronousTestCase

from tests.support.deflate import squeezed
from tests.support.fakes import messages
from wsredis.transports.websocket import frames


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

    def test_heartbeat(self) -> None:
        """The heartbeat of the subprotocol is an empty binary message."""
        self.assertEqual([(2, b"")], messages(frames.HEARTBEAT))

    def test_close(self) -> None:
        """A close frame has its code and its reason, which is cut at a character."""
        self.assertEqual(b"\x88\x04\x11\x31no", frames.close(4401, "no"))
        self.assertEqual(b"\x88\x02\x03\xf5", frames.close(1013, ""))
        long = frames.close(4403, "ä" * 100)
        self.assertEqual(b"\x88\x7c\x11\x33" + "ä".encode() * 61, long)
        self.assertEqual(b"a?", frames.close_reason("a\ud800"))

    def test_message_of_text(self) -> None:
        """A payload in UTF-8 goes as text."""
        for text in ("hi", "", "é", "\N{GRINNING FACE}", "\x00", "007", "\ufeff"):
            self.assertEqual(frames.text(text.encode()), frames.message(text.encode()))

    def test_message_of_bytes(self) -> None:
        """A payload that is not exactly UTF-8 goes as a binary message, unchanged."""
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


#: So large is what `_text` is asked for: where the width of a length, a window or a level changes.
_SIZES = (1, 50, 125, 126, 250, 251, 1000, 16384, 16385, 65535, 65536, 300000)


def _text(size: int) -> bytes:
    """Words that repeat at many distances."""
    words = random.Random(size).choices(["alpha", "beta", "gamma", "delta", "\xe9t\xe9"], k=size)
    return " ".join(words).encode()[:size].decode(errors="ignore").encode()


def _noise(size: int) -> bytes:
    """Letters in which nothing repeats that is worth the mention."""
    return bytes(random.Random(size).choices(ascii_letters.encode(), k=size))


class MessagesTests(SynchronousTestCase):
    """Many messages in one piece."""

    def test_like_one_by_one(self) -> None:
        """The bytes are those of the messages, whatever is among them."""
        short = [b"", b"a", b"x" * 125]
        for other in (b"y" * 126, b"z" * 70_000, "\u00e9".encode(), b"\xff", b""):
            for payloads in ([*short, other], [other, *short], [other], [other] * 3):
                expected = b"".join(map(frames.message, payloads))
                self.assertEqual(expected, frames.messages(payloads))

    def test_none(self) -> None:
        """No messages are no bytes."""
        self.assertEqual(b"", frames.messages([]))


class DeflatedTests(SynchronousTestCase):
    """One compressed frame for all (RFC 7692)."""

    def compressed(self, frame: bytes) -> tuple[int, bytes]:
        """Opcode and payload of a compressed frame; the rest of its head is checked."""
        self.assertEqual(0xC0, frame[0] & 0xF0)
        (message,) = messages(bytes([frame[0] & 0xBF]) + frame[1:])
        return message.opcode, message.payload

    def test_each_window(self) -> None:
        """A client with the agreed window can read it, be it the first message or not."""
        for window in range(9, 16):
            keeps = zlib.decompressobj(-window)
            for size in _SIZES[3:]:
                payload = _text(size)
                opcode, data = self.compressed(frames.deflated(frames.text(payload), window, 1))
                self.assertEqual(1, opcode)
                for reader in (zlib.decompressobj(-window), keeps):
                    self.assertEqual(payload, reader.decompress(data + b"\x00\x00\xff\xff"))

    def test_far_repetition(self) -> None:
        """A passage is sent once if it repeats within the window of the client, however far."""
        for window in range(9, 16):
            # zlib does not look into the last 262 bytes of a window.
            reach = (1 << window) - 262
            for size, agreed in ((reach, 15), (reach, window), (3 * reach, window)):
                noise = _noise(size)
                again = noise[: reach - 60] + noise[:60] + noise[reach:]
                once, twice = (
                    len(frames.deflated(frames.text(payload), agreed, 1))
                    for payload in (noise, again)
                )
                self.assertLess(twice, once - 30, (window, size))

    def test_halves(self) -> None:
        """The second half of a payload is found to be equal to the first, whatever the size."""
        # 256 is the first distance that a window of 9 does not reach, 512 that of 10, and so on.
        for distance in (200, 256, 512, 1024, 4096, 8192, 16_384, 32_000):
            block = random.Random(distance).randbytes(distance)
            made = frames.deflated(frames.binary(block * 2), 15, 1)
            self.assertLess(len(made), 1.1 * distance + 40, distance)
            _, data = self.compressed(made)
            reader = zlib.decompressobj(-15)
            self.assertEqual(block * 2, reader.decompress(data + b"\x00\x00\xff\xff"))

    def test_binary(self) -> None:
        """A binary message stays binary."""
        opcode, _ = self.compressed(frames.deflated(frames.binary(b"\xff" * 300), 15, 1))
        self.assertEqual(2, opcode)

    def test_threshold(self) -> None:
        """The first size that is compressed is the threshold; an empty message never is."""
        for size in _SIZES:
            frame = frames.text(b"a" * size)
            self.assertIs(frame, frames.deflated(frame, 15, size + 1))
            if size >= 50:
                self.assertEqual(0xC1, frames.deflated(frame, 15, size)[0])
        empty = frames.text(b"")
        self.assertIs(empty, frames.deflated(empty, 15, 0))

    def test_no_window(self) -> None:
        """For a client without compression it stays as it is."""
        frame = frames.text(b"a" * 1000)
        self.assertIs(frame, frames.deflated(frame, 0, 0))

    def test_not_smaller(self) -> None:
        """A payload that does not become smaller stays as it is."""
        for size in (1, 3, 500, 70000):
            frame = frames.binary(random.Random(1).randbytes(size))
            self.assertIs(frame, frames.deflated(frame, 15, 0))

    def test_as_large_as_before(self) -> None:
        """A frame that takes as many bytes as before stays as it is: reading it needs no work."""
        found = 0
        for size in range(20, 60):
            payload = _noise(size) + b"a" * 4
            if len(squeezed(payload)) == len(payload):
                frame = frames.text(payload)
                self.assertIs(frame, frames.deflated(frame, 15, 0))
                found += 1
        self.assertTrue(found)
