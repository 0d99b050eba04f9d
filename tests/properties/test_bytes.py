"""
Bytes of clients, broken in any way: no exception, bounded memory, and the same result in any cut.

The inputs are valid conversations with some bytes changed, taken away, repeated or put in. They are
the same ones in each run; with the variable ``WSREDIS_EXAMPLES`` so many others are tried.
"""

from __future__ import annotations

import os
import random
import re
import secrets
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.deflate import OFFER, squeezed
from tests.support.memory_gateway import SiteGateway
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, frame, handshake
from wsredis.config import GatewayConfig, Limits
from wsredis.testing.wire import frames
from wsredis.transports.websocket.head import Kind, loggable_target, parse

_EXAMPLES = os.environ.get("WSREDIS_EXAMPLES")

_MAX_HEAD, _MAX_MESSAGE = 600, 300

#: Bytes that one connection may keep beside its head or its message: zlib's state, mostly.
_BESIDES = 45_000

_PATHS = ["/ws/a?subscribe-broadcast&publish-broadcast&echo", "/ws/a?echo", "/ws/%ff", "/", "/x"]

_HEADERS = [
    OFFER,
    'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10, x; y="z"',
    "Origin: http://localhost",
    "Cookie: sessionid=abc; a=b",
    "Content-Length: 0",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Sec-WebSocket-Protocol: a, b,, bearer.x",
    "X-Forwarded-For: 192.0.2.7, ::1",
    "Expect: 100-continue",
    "Host: other",
    "X: " + "x" * 400,
]

#: What is put in.
_JUNK = [
    *(
        b"\r\n",
        b"\r",
        b"\n",
        b"\r\n\r\n",
        b"\0",
        b" ",
        b"\t",
        b":",
        b",",
        b";",
        b"=",
        b"%",
        b"\x85",
    ),
    *(b"GET / HTTP/1.1\r\n", b"HTTP/1.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02"),
    *(b"\x81", b"\xff", b"\x88\x80", b"\x80\x80", b"\xc1\x80", b"\x89\xfe", b"\x7f", b"\xfe\xff"),
    *("\ud7ff\u20ac".encode(), b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"x" * 200, bytes(300)),
]

#: The time of an answer.
_DATE = re.compile(rb"\r\nDate: [^\r]*", re.IGNORECASE)


def _makers(name: str, examples: int) -> list[random.Random]:
    """One source of chance for each example; its seed is in the message of a failure."""
    if _EXAMPLES is not None:
        return [random.Random(secrets.token_hex(8)) for _ in range(int(_EXAMPLES))]
    return [random.Random(f"{name} {number}") for number in range(examples)]


def _head(maker: random.Random) -> bytes:
    headers = maker.sample(_HEADERS, maker.choice([0, 0, 1, 2, 4]))
    return handshake(maker.choice(_PATHS[:2] * 4 + _PATHS), *headers)


def _valid(maker: random.Random) -> bytes:
    """A message, whole or in fragments with pings among them, or pings alone."""
    text = maker.choice([b"", b"hello", "gr\u00fc\u00df".encode(), b"x" * 126])
    pings = [
        _masked(maker, frame(PING, b"%d" % n, masked=False)) for n in range(maker.randrange(3))
    ]
    parts = [text[:2], *[b""] * maker.randrange(3), text[2:]]
    opcodes = [maker.choice([TEXT, BINARY]), *[0] * (len(parts) - 1)]
    kind = maker.randrange(4)
    if kind == 0:
        return b"".join(pings)
    if kind == 1:
        return _masked(maker, frame(opcodes[0], text, masked=False)) * maker.choice([1, 1, 20])
    if kind == 2:
        parts, opcodes = [text], opcodes[:1]
    fragments = [
        _masked(maker, frame(opcode, part, fin=False, masked=False))
        for opcode, part in zip(opcodes[:-1], parts[:-1], strict=True)
    ]
    last = _masked(maker, frame(opcodes[-1], parts[-1], masked=False))
    places = [*fragments, *pings]
    # The fragments stay in their order.
    if fragments and pings and maker.random() < 0.5:
        places = [fragments[0], *pings, *fragments[1:]]
    return b"".join([*places, last])


def _frame(maker: random.Random) -> bytes:
    """Any frame."""
    text = maker.choice([b"", b"hello", "gr\u00fc\u00df".encode(), b"x" * 126, b"\xff", b"y" * 400])
    kind = maker.randrange(10)
    if kind == 0:
        return _masked(maker, frame(TEXT, squeezed(text), rsv=4, masked=False))
    opcode = maker.choice([TEXT, TEXT, BINARY, PING, PONG, 0, CLOSE, 3])
    code = maker.choice([b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xed", b"\x03"])
    plain = frame(
        opcode,
        code if opcode == CLOSE else text,
        fin=maker.random() < 0.8,
        rsv=maker.choice([0] * 8 + [4, 1]),
        masked=False,
    )
    return plain if kind == 1 else _masked(maker, plain)


def _masked(maker: random.Random, plain: bytes) -> bytes:
    """Mask a frame; `frame` would take another mask in each run."""
    start = 2 if plain[1] < 126 else 4
    mask = maker.randbytes(4)
    body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(plain[start:]))
    return bytes([plain[0], plain[1] | 0x80]) + plain[2:start] + mask + body


def _broken(maker: random.Random, data: bytes, changes: int) -> bytes:
    for _ in range(changes):
        at = maker.randrange(len(data) + 1)
        end = min(len(data), at + maker.choice([1, 1, 2, 20]))
        kind = maker.randrange(5)
        if kind == 0:
            data = data[:at] + bytes([maker.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + data[end:]
        elif kind == 2:
            data = data[:end] + data[at:]
        elif kind == 3:
            data = data[:at] + maker.choice(_JUNK) + data[at:]
        else:
            data = data[:at]
    return data


def _cut(maker: random.Random, data: bytes) -> list[bytes]:
    if maker.random() < 0.2:
        return [data[at : at + 1] for at in range(len(data))]
    places = sorted(maker.randrange(len(data) + 1) for _ in range(maker.randrange(1, 6)))
    pairs = zip([0, *places], [*places, len(data)], strict=True)
    return [data[start:end] for start, end in pairs if start < end]


class HeadTests(SynchronousTestCase):
    """The reader of heads alone."""

    def test_any(self) -> None:
        """A head that comes in parts is read as one that comes at once."""
        for maker in _makers("head", 2000):
            data = _broken(maker, _head(maker), maker.randrange(4)) + maker.choice(
                [b"", b"\x81\x80"]
            )
            whole = parse(data, _MAX_HEAD)
            found, searched, so_far = whole, 0, b""
            for piece in _cut(maker, data):
                so_far += piece
                found = parse(so_far, _MAX_HEAD, searched)
                searched = len(so_far)
                if found.kind is not Kind.INCOMPLETE:
                    break
            self.assertEqual(whole, found, data)
            self.assertEqual((found.kind is Kind.HANDSHAKE), found.handshake is not None, data)
            self.assertLessEqual(len(loggable_target(data)), 200, data)


class ConversationTests(SynchronousTestCase):
    """The whole gateway: a handshake, a page or anything else, and frames."""

    def setUp(self) -> None:
        """No address is refused for what other examples did."""
        limits = Limits(
            max_head=_MAX_HEAD,
            max_message=_MAX_MESSAGE,
            max_frame=_MAX_MESSAGE,
            handshake_rate=10**9,
            max_rate=10**9,
            max_rate_per_address=10**9,
        )
        self.config = GatewayConfig(compress=True, limits=limits)

    def outcome(self, pieces: list[bytes]) -> tuple[object, ...]:
        """Send *pieces* to a gateway of their own, and return what the client sees."""
        gateway = SiteGateway(self.config)
        socket = gateway.connect()
        for piece in pieces:
            for _ in range(100):
                if not socket.paused or socket.closed:
                    break
                gateway.clock.advance(0.01)
            socket.send(piece)
            self.assertLessEqual(_kept(socket.protocol), _MAX_HEAD + _MAX_MESSAGE + _BESIDES)
        sent, closed = socket.take(), socket.closed
        socket.leave()
        gateway.clock.advance(20)
        left = (gateway.metrics.connections, len(gateway.hub), *gateway.factory.registry.handshakes)
        self.assertEqual((0, 0), left)
        head, _, rest = sent.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            return _DATE.sub(b"", sent), closed
        received = frames(rest)
        if any(each.opcode == CLOSE for each in received):
            # A ping before a violation need not be answered.
            received = [each for each in received if each.opcode != PONG]
        return head, received, closed

    def test_any(self) -> None:
        """The client sees the same, wherever the reads end, and nothing of it is left."""
        for maker in _makers("conversation", 500):
            data = _broken(maker, _head(maker), maker.choice([0] * 6 + [1, 2]))
            row = maker.choice([_valid, _valid, _frame])
            data += _broken(
                maker,
                b"".join(row(maker) for _ in range(maker.randrange(8))),
                maker.choice([0, 0, 0, 1, 3]),
            )
            with self.subTest(data=data):
                self.assertEqual(self.outcome([data]), self.outcome(_cut(maker, data)))


def _kept(protocol: Any) -> int:
    """The bytes that a connection keeps of what its client has sent."""
    message = getattr(protocol, "unfinished", None)
    data = getattr(protocol, "data", b"")
    return len(data) + (0 if message is None else message.size)
