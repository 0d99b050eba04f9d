"""Tests for `wsredis.testing.wire`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.testing.wire import CLOSE, PING, TEXT, Frame, frame, frames, handshake


class FrameTests(SynchronousTestCase):
    """Frames in both directions."""

    def test_each_length(self) -> None:
        """A frame without a mask is read as it was written, whatever its length takes."""
        for size in (0, 1, 125, 126, 65535, 65536):
            data = frame(TEXT, b"x" * size, masked=False)
            self.assertEqual([Frame(TEXT, b"x" * size)], frames(data))

    def test_several(self) -> None:
        """Frames follow each other; each keeps its bits."""
        data = frame(TEXT, b"a", fin=False, masked=False) + frame(PING, rsv=4, masked=False)
        self.assertEqual([Frame(TEXT, b"a", False), Frame(PING, b"", True, 4)], frames(data))
        self.assertEqual([], frames(b""))

    def test_masked(self) -> None:
        """A client's frame is masked with a key of its own each time, and reads the same after."""
        first, second = frame(TEXT, b"hello"), frame(TEXT, b"hello")
        self.assertNotEqual(first, second)
        self.assertEqual(b"\x81\x85", first[:2])
        mask = first[2:6]
        self.assertEqual(
            b"hello", bytes(a ^ b for a, b in zip(first[6:], mask + mask, strict=False))
        )

    def test_false_length(self) -> None:
        """A header may lie about the length."""
        self.assertEqual(b"\x81\x05ab", frame(TEXT, b"ab", masked=False, length=5))
        self.assertEqual(b"\x81\x82\1\2\3\4\x60\x60", frame(TEXT, b"ab", mask=b"\1\2\3\4"))

    def test_refused(self) -> None:
        """A part of a frame, or a masked one, is refused: a server sends neither."""
        whole = frame(TEXT, b"x" * 200, masked=False)
        for data in (whole[:1], whole[:3], whole[:-1], whole + b"\x81", frame(TEXT, b"x")):
            self.assertRaises(ValueError, frames, data)

    def test_close_code(self) -> None:
        """A close frame has a code, or none."""
        self.assertEqual(1000, Frame(CLOSE, b"\x03\xe8bye").close_code)
        self.assertIsNone(Frame(CLOSE, b"").close_code)


class HandshakeTests(SynchronousTestCase):
    """The request that opens a WebSocket."""

    def test_handshake(self) -> None:
        """It has what RFC 6455 demands, and the headers that are added."""
        lines = handshake("/ws/a?echo", "Cookie: a=b", host="h", key="k").split(b"\r\n")
        self.assertEqual(b"GET /ws/a?echo HTTP/1.1", lines[0])
        self.assertEqual([b"", b""], lines[-2:])
        expected = {b"Host: h", b"Sec-WebSocket-Key: k", b"Cookie: a=b", b"Upgrade: websocket"}
        self.assertEqual(set(), expected - set(lines))
