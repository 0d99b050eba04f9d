"""Frames, right and wrong (RFC 6455, 5 to 8)."""

from __future__ import annotations

import select
import struct
import zlib

from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, Frame, RawClient, frame
from tests.support.require import missing
from tests.support.wire import WireCase, memory_growth, settle

_CONTINUATION = 0
_MEBIBYTE = 1048576

#: Byte sequences that are not UTF-8, each for another reason.
_BAD_UTF8 = {
    "a continuation byte alone": b"\x80",
    "a first byte without its continuation": b"\xc3\x28",
    "an overlong form of two bytes": b"\xc0\xaf",
    "an overlong form of three bytes": b"\xe0\x80\xaf",
    "a surrogate": b"\xed\xa0\x80",
    "beyond U+10FFFF": b"\xf4\x90\x80\x80",
    "a byte that never occurs": b"\xff",
    "Latin-1": b"caf\xe9!",
}


def _close(code: int, reason: bytes = b"") -> bytes:
    """A close frame of a client."""
    return frame(CLOSE, struct.pack("!H", code) + reason)


class _FrameCase(WireCase):
    """A client that sends any bytes, and a listener for the publications."""

    def setUp(self) -> None:
        """Open both."""
        super().setUp()
        self.facility = self.id().rsplit(".", 1)[1]
        self.listener = self.open(f"/ws/{self.facility}?subscribe-broadcast")

    def speaker(self) -> RawClient:
        """A client that may publish to the facility of this test."""
        return self.open(f"/ws/{self.facility}?publish-broadcast")

    def fails(self, data: bytes, *codes: int, about: object = "") -> None:
        """Check that after *data* the gateway closes with one of *codes*, and publishes nothing."""
        client = self.speaker()
        client.send(data)
        self.assertIn(client.closing(), codes, about or data[:40])
        client.socket.close()

    def nothing_published(self) -> None:
        """Check that the listener has heard nothing until now, and still hears."""
        speaker = self.speaker()
        speaker.send_text("end")
        self.assertEqual(b"end", self.listener.message())


class InvalidFrameTests(_FrameCase):
    """Frames that the RFC forbids close their connection, and no other."""

    skip = missing("redis")

    def test_unmasked(self) -> None:
        """Frames without a mask are a protocol error, whatever they are."""
        for opcode in (TEXT, BINARY, PING, PONG):
            self.fails(frame(opcode, b"unmasked", masked=False), 1002)
        self.fails(frame(CLOSE, struct.pack("!H", 1000), masked=False), 1002)
        self.nothing_published()

    def test_reserved_bits(self) -> None:
        """Reserved bits are a protocol error, on any kind of frame."""
        for rsv in range(1, 8):
            for opcode in (TEXT, BINARY, PING, PONG, CLOSE):
                self.fails(frame(opcode, rsv=rsv), 1002, about=(opcode, rsv))
            start = frame(TEXT, b"start", fin=False)
            self.fails(start + frame(_CONTINUATION, b"end", rsv=rsv), 1002, about=rsv)
        self.nothing_published()

    def test_deflate(self) -> None:
        """A compressed message is a protocol error even where compression was offered."""
        deflater = zlib.compressobj(wbits=-15)
        payload = deflater.compress(b"hello") + deflater.flush(zlib.Z_SYNC_FLUSH)
        client = self.open(
            f"/ws/{self.facility}?publish-broadcast", "Sec-WebSocket-Extensions: permessage-deflate"
        )
        client.send(frame(TEXT, payload[:-4], rsv=4))
        self.assertEqual(1002, client.closing())
        self.nothing_published()

    def test_reserved_opcodes(self) -> None:
        """Opcodes without a meaning are a protocol error."""
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15):
            self.fails(frame(opcode, b"what?"), 1002, about=opcode)
            self.fails(frame(TEXT, b"a", fin=False) + frame(opcode), 1002, about=opcode)
        self.nothing_published()

    def test_control_frames(self) -> None:
        """Control frames in fragments, or of more than 125 bytes, are a protocol error."""
        for opcode in (PING, PONG, CLOSE):
            self.fails(frame(opcode, fin=False), 1002, about=opcode)
            self.fails(frame(opcode, b"x" * 126), 1002, about=opcode)
            self.fails(frame(opcode, b"", length=65536), 1002, about=opcode)
        self.nothing_published()

    def test_continuation(self) -> None:
        """A continuation of nothing, and a message within a message, are a protocol error."""
        for data in (
            frame(_CONTINUATION, b"of nothing"),
            frame(_CONTINUATION, b"of nothing", fin=False),
            frame(_CONTINUATION) + frame(TEXT, b"after"),
            frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"),
            frame(TEXT, b"a", fin=False) + frame(BINARY, b"b"),
            frame(TEXT, b"a", fin=False) + frame(TEXT, b"b", fin=False),
            frame(BINARY, b"a", fin=False) + frame(PING) + frame(TEXT, b"b"),
        ):
            self.fails(data, 1002)
        self.nothing_published()

    def test_lengths_that_could_be_shorter(self) -> None:
        """A length in a longer form than it needs is a protocol error (5.2)."""
        for header in (
            struct.pack("!BBH", 0x81, 0xFE, 5),
            struct.pack("!BBH", 0x81, 0xFE, 125),
            struct.pack("!BBQ", 0x81, 0xFF, 5),
            struct.pack("!BBQ", 0x81, 0xFF, 65535),
        ):
            self.fails(header + bytes(4) + b"hello", 1002, about=header)
        self.nothing_published()

    def test_claims(self) -> None:
        """An absurd length is refused at the header; the gateway neither waits nor makes room."""
        before = self.gateway.memory()
        for length in (_MEBIBYTE + 1, 2**30, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1):
            for opcode in (TEXT, BINARY):
                self.fails(frame(opcode, b"", length=length), 1009, 1002, about=length)
        self.assertLess(memory_growth(self.gateway, before), 16)

    def test_bad_utf8(self) -> None:
        """Text that is not UTF-8 is closed with 1007: at the start, in the middle, at the end."""
        for kind, bad in _BAD_UTF8.items():
            for payload in (bad, b"before " + bad + b" after", b"x" * 1000 + bad):
                self.fails(frame(TEXT, payload), 1007, about=kind)
        self.fails(frame(TEXT, "\N{EURO SIGN}".encode()[:2]), 1007)
        self.nothing_published()

    def test_bad_utf8_across_fragments(self) -> None:
        """Text that is not UTF-8 closes with 1007 in fragments, byte by byte, or cut short."""
        for kind, bad in _BAD_UTF8.items():
            data = frame(TEXT, b"", fin=False)
            for byte in bad + b".":
                data += frame(_CONTINUATION, bytes([byte]), fin=False)
            self.fails(data + frame(_CONTINUATION), 1007, about=kind)
        euro = "\N{EURO SIGN}".encode()
        self.fails(frame(TEXT, euro[:1], fin=False) + frame(_CONTINUATION, euro[1:2]), 1007)
        self.nothing_published()

    def test_bad_utf8_before_the_end(self) -> None:
        """Bytes that are not UTF-8 close the connection at once, not at the end of the message."""
        for kind, bad in _BAD_UTF8.items():
            self.fails(frame(TEXT, b"before " + bad + b" after", fin=False), 1007, about=kind)
        # The header claims more than has come.
        self.fails(frame(TEXT, b"caf\xe9 ", length=60000), 1007)
        self.nothing_published()

    def test_half_a_frame(self) -> None:
        """Nothing is left of a client that leaves within a frame."""
        whole = frame(TEXT, b"x" * 1000)
        for size in (1, 2, 5, 8, 500):
            client = self.speaker()
            client.send(whole[:size])
            client.socket.close()
        self.nothing_published()

    def test_rubbish(self) -> None:
        """Bytes that are not frames close the connection."""
        for data in (b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 100, b"hello", b"\r\n" * 50):
            self.fails(data, 1002, 1009)
        self.nothing_published()


class CloseTests(_FrameCase):
    """The end of a connection."""

    skip = missing("redis")

    def test_valid_codes(self) -> None:
        """A close with a valid code is answered with the same one, and the connection ends."""
        for code in (1000, 1001, 1002, 1003, *range(1007, 1014), 3000, 3999, 4000, 4999):
            for reason in (b"", "au revoir \N{WAVING HAND SIGN}".encode(), b"x" * 123):
                client = self.speaker()
                client.send(_close(code, reason))
                self.assertEqual(code, client.closing(), code)
                self.assertEqual(b"", client.rest())

    def test_without_code(self) -> None:
        """A close without a code is answered with 1000 or without a code."""
        client = self.speaker()
        client.send(frame(CLOSE))
        self.assertIn(client.closing(), (None, 1000))
        self.assertEqual(b"", client.rest())

    def test_invalid_codes(self) -> None:
        """A close with a code that must not be sent is a protocol error."""
        codes = (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
        for code in codes:
            self.fails(_close(code), 1002, about=code)

    def test_invalid_bodies(self) -> None:
        """A close of one byte, or with a reason that is not UTF-8, is a protocol error."""
        self.fails(frame(CLOSE, b"\x03"), 1002)
        for kind, bad in _BAD_UTF8.items():
            self.fails(_close(1000, bad), 1002, 1007, about=kind)

    def test_data_after_close(self) -> None:
        """A message after a close frame is not published, in the same packet or later."""
        client = self.speaker()
        client.send(_close(1000) + frame(TEXT, b"too late") + frame(PING, b"too late"))
        self.assertEqual(1000, client.closing())
        try:
            client.send(frame(TEXT, b"much too late"))
        except ConnectionError:
            pass
        self.assertEqual(b"", client.rest())
        self.nothing_published()

    def test_data_after_failure(self) -> None:
        """A message after a refused frame is not published."""
        client = self.speaker()
        client.send(frame(3) + frame(TEXT, b"too late"))
        self.assertEqual(1002, client.closing())
        client.send(frame(TEXT, b"much too late"))
        client.send(_close(1002))
        self.assertEqual(b"", client.rest())
        self.nothing_published()

    def test_data_before_close(self) -> None:
        """A message before the close frame, in the same packet, is published."""
        client = self.speaker()
        client.send(frame(TEXT, b"goodbye") + _close(1000))
        self.assertEqual(b"goodbye", self.listener.message())
        self.assertEqual(1000, client.closing())

    def test_within_a_message(self) -> None:
        """A close between fragments ends the connection; the message is not published."""
        client = self.speaker()
        client.send(frame(TEXT, b"unfinished", fin=False) + _close(1000))
        self.assertEqual(1000, client.closing())
        self.nothing_published()

    def test_twice(self) -> None:
        """A second close frame gets no second answer."""
        client = self.speaker()
        client.send(_close(1000) + _close(1001))
        self.assertEqual(1000, client.closing())
        self.assertEqual(b"", client.rest())


class ControlFrameTests(_FrameCase):
    """Pings and pongs."""

    skip = missing("redis")

    def test_ping(self) -> None:
        """A ping is answered with a pong of the same payload, empty or full."""
        client = self.speaker()
        for payload in (b"", b"hello", bytes(125), b"\xff\xfe"):
            client.send(frame(PING, payload))
            self.assertEqual(Frame(PONG, payload), client.receive())

    def test_unasked_pong(self) -> None:
        """A pong without a ping is ignored."""
        client = self.speaker()
        client.send(frame(PONG) + frame(PONG, b"surprise") + frame(TEXT, b"after"))
        self.assertEqual(b"after", self.listener.message())
        settle(client)

    def test_between_fragments(self) -> None:
        """A ping within a message is answered before the message ends."""
        client = self.speaker()
        client.send(frame(TEXT, b"one ", fin=False) + frame(PING, b"now"))
        self.assertEqual(Frame(PONG, b"now"), client.receive())
        client.send(frame(_CONTINUATION, b"two"))
        self.assertEqual(b"one two", self.listener.message())

    def test_many(self) -> None:
        """20 000 pings at once are answered in order, and cost no memory."""
        before = self.gateway.memory()
        client = self.speaker()
        client.send(b"".join(frame(PING, b"%d" % n) for n in range(20000)))
        for n in range(20000):
            self.assertEqual(Frame(PONG, b"%d" % n), client.receive())
        self.assertLess(memory_growth(self.gateway, before), 16)

    def test_byte_by_byte(self) -> None:
        """Frames may come in any pieces."""
        client = self.speaker()
        for byte in frame(TEXT, b"x" * 200) + frame(PING, b"hello") + frame(TEXT, b"end"):
            client.send(bytes([byte]))
        self.assertEqual(Frame(PONG, b"hello"), client.receive())
        self.assertEqual([b"x" * 200, b"end"], [self.listener.message() for _ in range(2)])


class FragmentTests(_FrameCase):
    """Messages in pieces, and too many of them."""

    skip = missing("redis")

    def test_endless_message(self) -> None:
        """Fragments without end are refused on the way, with 1009, and not kept."""
        before = self.gateway.memory()
        client = self.speaker()
        client.send(frame(BINARY, b"", fin=False))
        fragment = frame(_CONTINUATION, bytes(65536), fin=False)
        sent = 0
        while not select.select([client.socket], [], [], 0)[0]:
            client.send(fragment)
            sent += 65536
            self.assertLess(sent, 16 * _MEBIBYTE)
        self.assertEqual(1009, client.closing())
        self.assertLess(memory_growth(self.gateway, before), 24)

    def test_empty_fragments(self) -> None:
        """100 000 empty fragments are one message, cost little, and stop nobody else."""
        self._many(100000, b"", b"")

    def test_small_fragments(self) -> None:
        """200 000 fragments of two bytes are one message, cost little, and stop nobody else."""
        self._many(200000, b"ab", b"ab" * 200000)

    def _many(self, count: int, part: bytes, whole: bytes) -> None:
        before = self.gateway.memory()
        client, other = self.speaker(), self.speaker()
        client.send(frame(TEXT, b"start ", fin=False))
        client.send(frame(_CONTINUATION, part, fin=False) * count)
        settle(other)
        client.send(frame(_CONTINUATION, b" end"))
        self.assertEqual(b"start " + whole + b" end", self.listener.message())
        self.assertLess(memory_growth(self.gateway, before), 48)

    def test_text_across_fragments(self) -> None:
        """A character may be cut in two by a border of fragments."""
        text = "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve \N{PILE OF POO}".encode()
        parts = [frame(_CONTINUATION, bytes([byte]), fin=False) for byte in text]
        self.speaker().send(frame(TEXT, fin=False) + b"".join(parts) + frame(_CONTINUATION))
        self.assertEqual(Frame(TEXT, text), self.listener.receive())

    def test_each_starts_afresh(self) -> None:
        """UTF-8 is checked for each message by itself, and binary ones in between not at all."""
        self.speaker().send(
            frame(TEXT, b"caf\xc3", fin=False)
            + frame(_CONTINUATION, b"\xa9")
            + frame(BINARY, b"\xc3")
            + frame(TEXT, b"plain")
        )
        self.assertEqual(
            [Frame(TEXT, b"caf\xc3\xa9"), Frame(BINARY, b"\xc3"), Frame(TEXT, b"plain")],
            [self.listener.receive() for _ in range(3)],
        )


class PayloadTests(_FrameCase):
    """Payloads come back byte for byte."""

    skip = missing("redis")

    def test_bytes(self) -> None:
        """Each byte alone, and all together, come back: UTF-8 as text, anything else as binary."""
        client = self.speaker()
        payloads = [bytes([n]) for n in range(256)] + [bytes(range(256)), b"\x00" * 1000]
        client.send(b"".join(frame(BINARY, payload) for payload in payloads))
        for payload in payloads:
            opcode = TEXT if max(payload) < 0x80 else BINARY
            self.assertEqual(Frame(opcode, payload), self.listener.receive())

    def test_bad_utf8_in_binary(self) -> None:
        """A payload that is not UTF-8 goes out in a binary frame."""
        client = self.speaker()
        for bad in _BAD_UTF8.values():
            client.send(frame(BINARY, bad))
            self.assertEqual(Frame(BINARY, bad), self.listener.receive())

    def test_server_frames(self) -> None:
        """Frames of the gateway are whole, unmasked, and without reserved bits."""
        client = self.speaker()
        for size in (1, 125, 126, 65535, 65536, 200000):
            client.send(frame(TEXT, b"x" * size))
            self.assertEqual(Frame(TEXT, b"x" * size, True, 0), self.listener.receive())

    def test_empty(self) -> None:
        """Empty messages are ignored, and the connection stays open."""
        client = self.speaker()
        client.send(frame(TEXT) + frame(BINARY) + frame(TEXT, b"after"))
        self.assertEqual(b"after", self.listener.message())
        settle(client)
