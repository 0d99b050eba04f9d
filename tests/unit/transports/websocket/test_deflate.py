"""Tests for `wsredis.transports.websocket.deflate`."""

from __future__ import annotations

import random
import zlib
from typing import Any

from autobahn.exception import PayloadCorruptError, PayloadExceededError
from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.trial.unittest import SynchronousTestCase

from tests.support.deflate import OFFER, compressed, inflated, squeezed
from tests.support.memory_gateway import MemoryGatewayCase, Socket
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, Frame, frame, handshake
from tests.unit.transports.websocket.case import BOTH, LISTEN, codes
from wsredis.config import GatewayConfig, Limits
from wsredis.transports.websocket.deflate import Inflater, negotiate

_MEBIBYTE = 1024 * 1024


class NegotiateTests(SynchronousTestCase):
    """The answer to the offers of a client."""

    def answer(self, header: str) -> tuple[int, str] | None:
        """The outcome for a header, which Autobahn parses."""
        return negotiate(WebSocketServerProtocol()._parseExtensionsHeader(header))

    def test_accepted(self) -> None:
        """No side keeps a context; the window is the next one in use that the client can read."""
        both = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
        for offer, window in (
            ("", 15),
            ("; client_max_window_bits", 15),
            ("; client_max_window_bits=9", 15),
            ("; client_max_window_bits=8", 15),
            ("; server_no_context_takeover", 15),
            ("; client_no_context_takeover", 15),
        ):
            self.assertEqual((window, both), self.answer(f"permessage-deflate{offer}"))
        for bits in range(9, 16):
            self.assertEqual(
                (used := bits // 3 * 3, f"{both}; server_max_window_bits={used}"),
                self.answer(f'permessage-deflate; server_max_window_bits="{bits}"'),
            )

    def test_declined(self) -> None:
        """An offer with something unknown, doubled or out of range is declined, and no error."""
        for offer in (
            "server_max_window_bits",
            "server_max_window_bits=8",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=ten",
            "client_max_window_bits=7",
            "client_max_window_bits=16",
            "client_max_window_bits=",
            "server_no_context_takeover=1",
            "client_no_context_takeover=true",
            "server_no_context_takeover; server_no_context_takeover",
            "client_max_window_bits; client_max_window_bits=10",
            "unknown",
            "",
        ):
            self.assertIsNone(self.answer(f"permessage-deflate; {offer}"), offer)
        for header in ("", "permessage-bzip2", "x-unknown; a=1", "permessage-deflate2"):
            self.assertIsNone(self.answer(header), header)

    def test_first_that_fits(self) -> None:
        """The client's order counts, among the offers that are in order."""
        ten = "permessage-deflate; server_max_window_bits=10"
        eight = "permessage-deflate; server_max_window_bits=8"
        for header in (f"x-other, {ten}, permessage-deflate", f"{eight}, {ten}"):
            agreed = self.answer(header)
            assert agreed is not None
            self.assertEqual(9, agreed[0])


class InflaterTests(SynchronousTestCase):
    """Reading compressed messages."""

    def setUp(self) -> None:
        """Make one, as each connection has it."""
        self.inflater = Inflater()

    def read(self, *parts: bytes, limit: int = _MEBIBYTE) -> bytes:
        """One message that comes in parts."""
        self.inflater.start_decompress_message()
        out = b""
        for part in parts:
            out += self.inflater.decompress_message_data(part, limit - len(out))
        self.inflater.end_decompress_message()
        return out

    def test_messages(self) -> None:
        """Messages of any size come back, one after the other, in parts or not."""
        for payload in (b"", b"a", b"hello" * 10, bytes(range(256)) * 300):
            data = squeezed(payload)
            self.assertEqual(payload, self.read(data))
            self.assertEqual(payload, self.read(*(data[n : n + 1] for n in range(len(data)))))
            self.assertEqual(payload, self.read(b"", data[:1], b"", data[1:], b""))

    def test_far_reference(self) -> None:
        """A message may refer back as far as the largest window reaches."""
        for distance in (16_385, 20_000, 32_000):
            block = random.Random(distance).randbytes(distance)
            data = squeezed(block * 2)
            self.assertLess(len(data), 1.1 * distance, "it does not refer back")
            self.assertEqual(block * 2, self.read(data))

    def test_stored(self) -> None:
        """So does what its sender could not make smaller."""
        self.assertEqual(b"hello", self.read(b"\x00\x05\x00\xfa\xffhello\x00"))

    def test_looks_back_far(self) -> None:
        """A client may refer back as far as the widest window allows: more than 16 KiB."""
        noise = random.Random(1).randbytes((1 << 15) - 262)
        data = squeezed(noise + noise[:1000])
        self.assertRaises(zlib.error, zlib.decompressobj(-14).decompress, data)
        self.assertEqual(noise + noise[:1000], self.read(data))
        parts = [data[n : n + 1000] for n in range(0, len(data), 1000)]
        self.assertEqual(noise + noise[:1000], self.read(*parts))

    def test_last_block(self) -> None:
        """A block that is marked as the last may be the last (RFC 7692, 7.2.3.4)."""
        final = bytes.fromhex("f348cdc9c90700")
        self.assertEqual(b"Hello", self.read(final + b"\x00"))
        self.assertEqual(b"Hello", self.read(final, b"\x00"))
        self.assertEqual(b"Hello", self.read(final))

    def test_behind_the_last_block(self) -> None:
        """No other byte may follow it."""
        final = bytes.fromhex("f348cdc9c90700")
        for parts in ((final + final,), (final, final), (final + b"\x00\x00",), (final, b"x")):
            self.inflater = Inflater()
            self.assertRaises(PayloadCorruptError, self.read, *parts)

    def test_idle(self) -> None:
        """Between two messages nothing is held, whatever the last one was."""
        for parts in ((squeezed(b"a" * 1000),), (bytes.fromhex("f348cdc9c90700"),)):
            self.read(*parts)
            self.assertIsNone(self.inflater._stream)

    def test_no_context(self) -> None:
        """A message that looks back to an earlier one is corrupt."""
        deflater = zlib.compressobj(wbits=-15)
        first, second = (
            (deflater.compress(b"wsredis " * 9) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]
            for _ in range(2)
        )
        self.assertEqual(b"wsredis " * 9, self.read(first))
        self.assertRaises(PayloadCorruptError, self.read, second)

    def test_limit(self) -> None:
        """As many bytes as allowed pass, one more does not, in one part or in many."""
        data = squeezed(b"x" * 1000)
        self.assertEqual(b"x" * 1000, self.read(data, limit=1000))
        for parts in ((data,), tuple(data[n : n + 1] for n in range(len(data)))):
            self.inflater = Inflater()
            self.assertRaises(PayloadExceededError, self.read, *parts, limit=999)

    def test_bomb(self) -> None:
        """No more than one byte beyond the limit is made of 64 MiB in 64 KiB."""
        made: list[int] = []
        real = zlib.decompressobj(-15)

        class Counting:
            """The real stream, counted."""

            unused_data = b""

            def decompress(self, data: bytes, most: int) -> bytes:
                out = real.decompress(data, most)
                made.append(len(out))
                return out

        self.inflater._stream = Counting()
        data = squeezed(b"\x00" * 64 * _MEBIBYTE)
        self.assertRaises(
            PayloadExceededError, self.inflater.decompress_message_data, data, _MEBIBYTE
        )
        self.assertEqual([_MEBIBYTE + 1], made)

    def test_garbage(self) -> None:
        """A message that is not deflated, or ends too early, is corrupt."""
        whole = squeezed(b"to be or not to be, that is the question")
        cut = [(whole[:n],) for n in range(len(whole))]
        # Each of these reads the bytes put after a message as a part of it, or as its end.
        cut += [(b"\x00\x04\x00\xfb\xff",), (b"\xcc\x28",), (b"\x01",)]
        for parts in (*cut, (b"\xff\xff\xff",), (b"hello",), (whole, whole[:5])):
            self.inflater = Inflater()
            self.assertRaises(PayloadCorruptError, self.read, *parts)

    def test_after_a_failure(self) -> None:
        """Autobahn goes on with the rest: it is not looked at, and nothing is held."""
        for error, data in (
            (PayloadCorruptError, b"\xff\xff"),
            (PayloadExceededError, squeezed(b"x" * 100)),
        ):
            self.inflater = Inflater()
            self.assertRaises(error, self.read, data, limit=10)
            self.assertEqual(b"", self.inflater.decompress_message_data(b"\xff", 10))
            self.inflater.end_decompress_message()
            self.assertEqual(b"", self.read(squeezed(b"x")))
            self.assertIsNone(self.inflater._stream)


class CompressTests(MemoryGatewayCase):
    """permessage-deflate (RFC 7692), where it is switched on."""

    config = GatewayConfig(compress=True, heartbeat="--hb--", limits=Limits(max_message=2000))
    large = b"0123456789" * 100

    def opened(self, *headers: str) -> Socket:
        """A client that has read the heartbeat which it is greeted with."""
        client = self.open(BOTH, *(headers or (OFFER,)))
        self.assertEqual([Frame(TEXT, b"--hb--")], client.frames())
        return client

    def fails(self, data: bytes) -> int | None:
        """Send what is wrong. Returns: The code that this is answered with, and nothing else."""
        client = self.opened()
        listener = self.opened()
        client.send(data)
        (code,) = codes(client.frames())
        self.assertEqual([], listener.frames())
        self.close(client)
        self.close(listener)
        self.nothing_of(client)
        return code

    def nothing_of(self, client: Socket) -> None:
        """The closing handshake was finished, whatever came before."""
        self.assertTrue(client.closed)
        self.assertFalse(client.aborted)

    def test_answer(self) -> None:
        """The answer names what was agreed; without an offer that is in order it does not."""
        for offer, answer in (
            ("permessage-deflate; server_max_window_bits=10", b"; server_max_window_bits=9\r\n"),
            ("permessage-deflate; client_max_window_bits", b"; client_no_context_takeover\r\n"),
            ("permessage-deflate; nonsense", None),
            ("x-other", None),
        ):
            client = self.connect()
            client.send(handshake(LISTEN, f"Sec-WebSocket-Extensions: {offer}"))
            head = client.take()
            self.assertTrue(head.startswith(b"HTTP/1.1 101 "), head)
            self.assertEqual(answer is not None, b"\r\nSec-WebSocket-Extensions: " in head)
            if answer is not None:
                self.assertIn(answer, head)

    def test_both_ways(self) -> None:
        """Large messages are compressed for clients that agreed on it; small ones are not."""
        deflating, narrow = self.opened(), self.opened(f"{OFFER}; server_max_window_bits=9")
        plain = self.opened("X-Nothing: 1")
        for payload, rsv in ((self.large, 4), (b"small", 0)):
            deflating.send(compressed(payload))
            for client, window in ((deflating, 15), (narrow, 9)):
                (got,) = client.frames()
                self.assertEqual((TEXT, rsv), (got.opcode, got.rsv))
                self.assertEqual(payload, inflated(got, window))
            self.assertEqual([Frame(TEXT, payload)], plain.frames())

    def test_mixed(self) -> None:
        """A client may send plain messages as well, binary ones, in pieces and in fragments."""
        client = self.opened()
        client.send(frame(TEXT, b"plain") + compressed(b"\xff\xfe", BINARY))
        data = squeezed(b"fragments")
        parts = [frame(TEXT, data[:4], fin=False, rsv=4), frame(PING, b"x"), frame(0, data[4:])]
        for byte in b"".join(parts):
            client.send(bytes([byte]))
        client.send(frame(TEXT, b"plain"))
        got = [each for each in client.frames() if each.opcode != PONG]
        self.assertEqual(
            [(TEXT, b"plain"), (BINARY, b"\xff\xfe"), (TEXT, b"fragments"), (TEXT, b"plain")],
            [(each.opcode, each.payload) for each in got],
        )

    def test_heartbeat(self) -> None:
        """A compressed heartbeat is one, and is answered with a plain one."""
        client = self.opened()
        client.send(compressed(b"--hb--"))
        self.assertEqual([Frame(TEXT, b"--hb--")], client.frames())

    def test_too_large(self) -> None:
        """A message that is too large after inflating closes with 1009, in one frame or in many."""
        for size in (2001, 10_000_000):
            data = squeezed(b"x" * size)
            self.assertEqual(1009, self.fails(frame(TEXT, data[:1900], rsv=4)), size)
            middle = len(data) // 2
            first = frame(TEXT, data[:middle], fin=False, rsv=4)
            self.assertEqual(1009, self.fails(first + frame(0, data[middle : middle + 1900])))
        client = self.opened()
        client.send(compressed(b"x" * 2000))
        self.assertEqual([b"x" * 2000], [inflated(each) for each in client.frames()])

    def test_garbage(self) -> None:
        """A message that cannot be inflated, and text that is not UTF-8, close with 1007."""
        self.assertEqual(1007, self.fails(frame(TEXT, b"\xff\xff\xff", rsv=4)))
        self.assertEqual(1007, self.fails(frame(BINARY, squeezed(b"cut off")[:-3], rsv=4)))
        self.assertEqual(1007, self.fails(frame(TEXT, b"", rsv=4)))
        self.assertEqual(1007, self.fails(compressed(b"caf\xe9!")))

    def test_reserved_bits(self) -> None:
        """Other bits, or this one on a control frame or a continuation, close with 1002."""
        for opcode in (PING, PONG, CLOSE):
            self.assertEqual(1002, self.fails_hard(frame(opcode, rsv=4)))
        for rsv in (1, 2, 3, 5, 6, 7):
            self.assertEqual(1002, self.fails_hard(frame(TEXT, squeezed(b"a"), rsv=rsv)))
        for rsv in (0, 4):
            start = frame(TEXT, squeezed(b"a"), fin=False, rsv=rsv)
            self.assertEqual(1002, self.fails_hard(start + frame(0, b"", rsv=4)))

    def fails_hard(self, data: bytes) -> int | None:
        """As `fails`; the rest cannot be read, so that the client is not heard any more."""
        client = self.opened()
        client.send(data)
        (code,) = codes(client.frames())
        return code

    def test_not_offered(self) -> None:
        """A compressed message of a client that did not offer it closes with 1002."""
        client = self.opened("X-Nothing: 1")
        client.send(compressed(b"a"))
        self.assertEqual([1002], codes(client.frames()))

    def test_idle(self) -> None:
        """An idle connection holds no state of zlib, and Autobahn sees no extension of its own."""
        client = self.opened()
        client.send(compressed(self.large))
        inflater: Any = self.protocol(client)._perMessageCompress
        self.assertIsNone(inflater._stream)
        self.assertFalse(hasattr(inflater, "__dict__"))
