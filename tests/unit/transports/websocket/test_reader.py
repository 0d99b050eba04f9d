"""Tests for `wsredis.transports.websocket.reader`."""

from __future__ import annotations

import random
import zlib
from functools import partial
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.deflate import OFFER, compressed
from tests.support.fakes import messages
from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase
from tests.support.raw import BINARY, CLOSE, PING, PONG, TEXT, frame
from tests.support.search import search
from wsredis.config import GatewayConfig, Limits
from wsredis.gateway.client import PauseReason
from wsredis.transports.websocket.deflate import Inflater
from wsredis.transports.websocket.lean import LeanProtocol, State, lean_class

_LIMIT = 1500


class _Recorder:
    """What a protocol hears and sends."""

    heard: list[tuple[bytes, bool]]
    sent: bytes

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.heard.append((payload, isBinary))

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        self.sent += data


class _Ours(_Recorder, LeanProtocol):
    """Reads by itself."""

    def __init__(self) -> None:
        self.heard, self.sent = [], b""
        self.pauses = 0
        self.work = 0
        self.kept: list[tuple[int, int]] = []

    def turn_over(self) -> None:
        self.pauses += 1
        self.pause_reasons = 1

    def charge(self, work: int) -> None:
        # At once, unlike the original.
        self.work += work

    def input_kept(self, waiting: int) -> None:
        self.kept.append((waiting, 0 if self.unfinished is None else self.unfinished.size))

    def end_connection(self, abort: bool) -> None:
        pass

    def feed(self, data: bytes) -> None:
        """Take *data* as a connection does, and all turns that it needs."""
        self.data = self.data[self.position :] + data
        self.position = 0
        self.consumeData()
        while self.pause_reasons:
            self.pause_reasons = 0
            self.consumeData()


class _Batches(_Ours):
    """Takes several messages at a time, but never all of many."""

    takes_batches = True

    def messages_received(self, payloads: Any) -> int:
        taken = payloads[:3]
        self.heard += [(payload, False) for payload in taken]
        if len(taken) < len(payloads):
            self.pause_reasons = 1
        return len(taken)


class _Theirs(_Recorder, WebSocketServerProtocol):  # type: ignore[misc]
    """Reads as Autobahn does."""

    def __init__(self, factory: WebSocketServerFactory) -> None:
        super().__init__()
        self.heard, self.sent = [], b""
        self.factory = factory
        self._connectionMade()
        self.state = State.OPEN
        self.inside_message = False
        self.current_frame = None
        self.websocket_version = 13

    def _onMessageEnd(self) -> None:
        if not self.failedByMe:
            self.onMessage(b"".join(self.message_data), self.message_is_binary)

    def _closeConnection(self, abort: bool = False) -> None:
        pass

    def unregisterProducer(self) -> None:
        pass


class _Case(SynchronousTestCase):
    """A test with protocols of both kinds."""

    def setUp(self) -> None:
        """Make the factory."""
        self.factory = WebSocketServerFactory(reactor=MemoryReactorClock(), server="")
        self.factory.setProtocolOptions(
            openHandshakeTimeout=0,
            closeHandshakeTimeout=0,
            failByDrop=False,
            echoCloseCodeReason=True,
            maxFramePayloadSize=_LIMIT - 100,
            maxMessagePayloadSize=_LIMIT,
        )

    def ours(self, kind: type[_Ours] = _Ours, **shared: object) -> _Ours:
        """An open connection that is read by us."""
        made = lean_class(kind, self.factory, **shared)()
        made.state = State.OPEN
        made.takes_batches = kind.takes_batches
        return made


class TurnTests(_Case):
    """A client is read for one turn at a time."""

    def test_turns(self) -> None:
        """A turn ends after its work; the rest stays where it is, and nothing is moved."""
        reader = self.ours(turn=10)
        data = b"".join(frame(TEXT, b"%d" % number) for number in range(25))
        reader.data = data
        reader.consumeData()
        self.assertEqual(10, len(reader.heard))
        self.assertIs(data, reader.data)
        reader.pause_reasons = 0
        reader.consumeData()
        self.assertIs(data, reader.data)
        reader.pause_reasons = 0
        reader.consumeData()
        self.assertEqual((b"", 0, 2), (reader.data, reader.position, reader.pauses))
        self.assertEqual([b"%d" % number for number in range(25)], [p for p, _ in reader.heard])
        self.assertEqual(25, reader.work)

    def test_any_frame_is_work(self) -> None:
        """Each kind of frame counts, and so does each KiB."""
        start = frame(TEXT, b"", fin=False)
        for data, work in (
            (frame(PING) * 5, 5),
            (frame(PONG, b"x") * 5, 5),
            (start + frame(0, b"", fin=False) * 9, 10),
            (frame(TEXT, b"") * 5, 5),
            (frame(BINARY, b"\xff" * 1400) * 2, 4),
        ):
            reader = self.ours()
            reader.feed(data)
            self.assertEqual(work, reader.work, data[:9])
            for turn in (1, 2, 3):
                other = self.ours(turn=turn)
                other.feed(data)
                self.assertEqual((reader.heard, work), (other.heard, other.work))

    def test_inflating_is_work(self) -> None:
        """A message that becomes large ends the turn, before the next one is inflated."""
        self.factory.setProtocolOptions(maxMessagePayloadSize=1 << 20, maxFramePayloadSize=1 << 20)
        reader = self.ours(turn=100)
        reader.decompress_with(Inflater())
        reader.data = compressed(bytes(1 << 20)) * 3
        reader.consumeData()
        self.assertEqual(1, len(reader.heard))
        self.assertGreater(reader.work, 1024)
        self.assertEqual(1, reader.pauses)

    def test_no_turn_for_nothing(self) -> None:
        """A turn that ends with the last byte is followed by no other."""
        reader = self.ours(turn=2)
        reader.feed(frame(TEXT, b"a") * 2)
        self.assertEqual((0, b""), (reader.pauses, reader.data))

    def test_pongs(self) -> None:
        """The pings of a turn are answered in one write."""
        writes: list[bytes] = []
        reader = self.ours(turn=150)
        reader.sendData = writes.append  # type: ignore[method-assign,assignment]
        reader.feed(b"".join(frame(PING, b"%d" % number) for number in range(200)))
        self.assertEqual([150, 50], [len(messages(each)) for each in writes])

    def test_batches(self) -> None:
        """Messages that are not taken of a batch come again, and in order."""
        reader = self.ours(_Batches)
        data = b"".join(frame(TEXT, b"%d" % number) for number in range(25))
        reader.feed(data + frame(PING, b"p") + frame(TEXT, b"end"))
        expected = [*(b"%d" % number for number in range(25)), b"end"]
        self.assertEqual(expected, [payload for payload, _ in reader.heard])
        self.assertEqual(27, reader.work)
        self.assertEqual([b"p"], [each.payload for each in messages(reader.sent)])


class RowTests(_Case):
    """Many frames with the same head are read together."""

    def read(self, data: bytes, turn: int = 1 << 30) -> tuple[list[bytes], int | None]:
        """Read *data*, and return the messages and the code of the close frame."""

        class All(_Batches):
            def messages_received(self, payloads: Any) -> int:
                self.heard += [(payload, False) for payload in payloads]
                return len(payloads)

        reader = self.ours(All, turn=turn)
        reader.feed(data)
        return [payload for payload, _ in reader.heard], reader.localCloseCode

    def test_same(self) -> None:
        """The messages are the same as one by one, whatever comes before, after and between."""
        maker = random.Random(1)
        for size in (0, 1, 2, 3, 4, 5, 9, 32, 33):
            for count in (1, 15, 16, 17, 40, 700):
                row = [bytes(maker.choices(b"abc", k=size)) for _ in range(count)]
                for before, after in (([], []), ([b"before"], [b"after"]), ([], [b"x" * 200])):
                    payloads = [*before, *row, *after]
                    data = b"".join(frame(TEXT, payload) for payload in payloads)
                    for turn in (1 << 30, 20):
                        self.assertEqual((payloads, None), self.read(data, turn))

    def test_masks(self) -> None:
        """Each frame has its own mask."""
        maker = random.Random(1)
        payloads = [b"%05d" % number for number in range(100)]
        data = b""
        for payload in payloads:
            mask = maker.randbytes(4)
            masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
            data += b"\x81\x85" + mask + masked
        self.assertEqual((payloads, None), self.read(data))

    def test_not_ascii(self) -> None:
        """Text is checked, binary messages are not."""
        row = ["\u00e9".encode()] * 40
        self.assertEqual((row, None), self.read(b"".join(frame(TEXT, each) for each in row)))
        row[20] = b"\xff\xff"
        self.assertEqual((row, None), self.read(b"".join(frame(BINARY, each) for each in row)))
        found = self.read(b"".join(frame(TEXT, each) for each in row))
        self.assertEqual((row[:20], 1007), found)

    def test_wrong_frame(self) -> None:
        """A wrong frame in a row is found."""
        right = frame(TEXT, b"a")
        for wrong in (b"\x83" + right[1:], right[:1] + b"\x01" + right[2:], b"\xc1" + right[1:]):
            self.assertEqual(([b"a"] * 30, 1002), self.read(right * 30 + wrong + right * 30))


class MemoryTests(_Case):
    """A message that has begun is accounted for."""

    def test_fragments(self) -> None:
        """Fragments are kept in one piece; empty ones cost nothing."""
        reader = self.ours()
        reader.feed(frame(BINARY, b"a", fin=False) + frame(0, b"b", fin=False) * 99)
        assert reader.unfinished is not None
        self.assertEqual(bytearray(b"a" + b"b" * 99), reader.unfinished.buffer)
        self.assertEqual([(0, 612)], reader.kept)
        reader.feed(frame(0, b"", fin=False) * 99)
        self.assertEqual((0, 612), reader.kept[-1])
        reader.feed(frame(0, b"c"))
        self.assertEqual((0, 0), reader.kept[-1])
        self.assertEqual([(b"a" + b"b" * 99 + b"c", True)], reader.heard)
        reader.feed(frame(TEXT, b"whole"))
        self.assertEqual(3, len(reader.kept), "a whole message is kept nowhere")

    def test_part_of_a_frame(self) -> None:
        """Bytes of a long frame are kept as they come, those of a short one until it is whole."""
        reader = self.ours()
        data = frame(TEXT, b"x" * 1300)
        reader.feed(data[:500])
        self.assertEqual(b"", reader.data)
        assert reader.unfinished is not None
        self.assertEqual(500 - 8, len(reader.unfinished.buffer or b""))
        reader.feed(data[500:])
        short = frame(TEXT, b"x" * 100)
        reader.feed(short[:50])
        self.assertEqual(short[:50], reader.data)
        self.assertIsNone(reader.unfinished)
        reader.feed(short[50:])
        self.assertEqual([1300, 100], [len(payload) for payload, _ in reader.heard])

    def test_waiting(self) -> None:
        """Input that waits for its turn counts, until it is worked off."""
        reader = self.ours(turn=1)
        reader.data = frame(TEXT, b"a") * 3
        for waiting in (21, 21, 0):
            reader.pause_reasons = 0
            reader.consumeData()
            self.assertEqual((waiting, 0), reader.kept[-1])

    def test_rest_of_a_read(self) -> None:
        """A small rest that waits keeps no large read in memory; a large one is not copied."""
        one = frame(TEXT, b"x" * 100)
        for left, kept in ((40, 106 * 40), (60, 106 * 100)):
            reader = self.ours(turn=100 - left)
            reader.data = one * 100
            reader.consumeData()
            self.assertEqual((kept, (kept, 0)), (len(reader.data), reader.kept[-1]))
            reader.pause_reasons, reader.turn = 0, 100
            reader.consumeData()
            self.assertEqual(100, len(reader.heard))

    def test_compressed(self) -> None:
        """zlib's memory counts with a compressed message that is not complete."""
        reader = self.ours()
        reader.decompress_with(Inflater())
        data = zlib.compress(b"text", wbits=-15)
        reader.feed(frame(TEXT, data[:2], fin=False, rsv=4))
        self.assertGreater(reader.kept[-1][1], 40_000)

    def test_dropped(self) -> None:
        """A connection that is being closed keeps nothing, and finds the close frame."""
        whole = frame(BINARY, b"x" * 1300, fin=False)
        for begun, rest in ((whole[:500], whole[500:]), (whole, b""), (whole[:20], whole[20:])):
            reader = self.ours()
            reader.feed(begun)
            reader.sendCloseFrame(1001)
            reader.drop_message()
            reader.feed(rest + frame(0, b"y"))
            self.assertEqual(0, reader.unfinished.size if reader.unfinished else 0)
            reader.feed(frame(PING, b"p") + frame(TEXT, b"late") + frame(CLOSE, b"\x03\xe9"))
            self.assertEqual((State.CLOSED, []), (reader.state, reader.heard))
            self.assertTrue(reader.wasClean)


class ClosingTests(_Case):
    """Frames that come while a connection is being closed are passed over."""

    def test_any(self) -> None:
        """None is judged, whatever it is, and wherever the reads end."""
        junk = (
            frame(TEXT, b"\xff")
            + frame(3, b"x" * 70_000)
            + frame(PING, b"x", fin=False)
            + frame(TEXT, b"x" * 200, masked=False)
            + frame(CLOSE, b"x")
            + frame(CLOSE, b"", masked=False)
        )
        data = junk + frame(CLOSE, b"\x03\xe9")
        for size in (1, 7, 1000, len(data)):
            reader = self.ours()
            reader.sendCloseFrame(1001)
            for start in range(0, len(data), size):
                reader.feed(data[start : start + size])
            self.assertEqual((State.CLOSED, True), (reader.state, reader.wasClean), size)

    def test_nothing_after_the_end(self) -> None:
        """What follows the close frame is not read, nor kept."""
        reader = self.ours()
        reader.feed(frame(CLOSE, b"\x03\xe8") + frame(TEXT, b"late") * 5)
        self.assertEqual((b"", []), (reader.data, reader.heard))


_payloads = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20).map(str.encode),
    st.sampled_from([b"x" * size for size in (125, 126, 127, 299, 1024, 1025, 1400, 1401)]),
)
#: A mask by chance would make other inputs in each run.
_masked = partial(frame, mask=b"\x37\xfa\x21\x3d")
_simple = st.builds(_masked, st.sampled_from((TEXT, BINARY)), _payloads)
_any = st.builds(
    _masked,
    st.sampled_from((0, TEXT, BINARY, CLOSE, PING, PONG, 3)),
    _payloads,
    fin=st.booleans(),
    rsv=st.sampled_from((0, 0, 0, 4, 1)),
    masked=st.sampled_from((True, True, True, False)),
    length=st.one_of(st.none(), st.none(), st.integers(0, 70_000)),
)
_fragments = st.builds(
    lambda opcode, parts, last: (
        _masked(opcode, b"", fin=False)
        + b"".join(_masked(0, part, fin=False) + _masked(PING, b"i") for part in parts)
        + _masked(0, last)
    ),
    st.sampled_from((TEXT, BINARY)),
    st.lists(_payloads, max_size=4),
    _payloads,
)
_long_form = st.just(b"\x81\xfe\0\5" + bytes(4) + b"hello")
_cuts = st.lists(st.integers(0, 5000), max_size=4)


@st.composite
def _streams(draw: st.DrawFn) -> bytes:
    """Frames of a client, mostly valid ones, with changed bytes."""
    kinds = st.one_of(_simple, _simple, _fragments, _any, _long_form)
    data = bytearray(b"".join(draw(st.lists(kinds, max_size=12))))
    if data:
        for position, value in draw(
            st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=2)
        ):
            data[position] = value
    return bytes(data)


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted(min(cut, len(data)) for cut in cuts)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


class DifferentialTests(_Case):
    """Whatever a client sends, it is read as Autobahn reads it."""

    @search(200)
    @given(_streams(), _cuts, st.integers(1, 9))
    def test_as_autobahn(self, data: bytes, cuts: list[int], turn: int) -> None:
        """The same messages, pongs and close codes, for any cut and any length of turns."""
        theirs = _Theirs(self.factory)
        try:
            theirs._dataReceived(data)
        except Exception:
            # Autobahn itself fails over some frames without a mask.
            return
        for kind in (_Ours, _Batches):
            ours = self.ours(kind, turn=turn)
            for piece in _cut(data, cuts):
                ours.feed(piece)
            binary = kind is _Ours
            heard = [(payload, flag and binary) for payload, flag in theirs.heard]
            self.assertEqual(heard, [(payload, flag and binary) for payload, flag in ours.heard])
            if ours.state == State.OPEN and ours.data:
                # A short frame is not judged before it is whole.
                self.assertLess(len(ours.data), 140)
                self.assertTrue(theirs.sent.startswith(ours.sent))
                continue
            found, expected = map(messages, (ours.sent, theirs.sent))
            self.assertEqual(self.closes(expected), self.closes(found))
            if not self.closes(found):
                self.assertEqual(expected, found)

    def closes(self, sent: list[Any]) -> list[bytes]:
        """The codes of the close frames. A ping before a violation need not be answered."""
        return [each.payload[:2] for each in sent if each.opcode == CLOSE]


class ReactionTests(MemoryGatewayCase):
    """Whatever a message leads to, the others come once each and in order."""

    config = GatewayConfig(compress=True, limits=Limits(max_message=300, handshake_rate=10**9))

    def outcome(self, reads: list[bytes], reactions: dict[int, str]) -> tuple[object, ...]:
        """Let one client send, and return all that can be seen."""
        client = self.open("/ws/a")
        protocol: Any = client.protocol
        heard: list[object] = []

        def on_message(payload: bytes, is_binary: bool) -> None:
            reaction = reactions.get(len(heard), "")
            heard.append((payload, is_binary))
            if reaction == "pause":
                protocol.pause(PauseReason.HANDLER)
            if reaction == "pause and resume":
                protocol.pause(PauseReason.HANDLER)
                protocol.resume(PauseReason.HANDLER)
            if reaction == "close":
                protocol.close(3000, "enough")
            if reaction == "leave":
                client.leave()

        protocol.onMessage = on_message
        protocol.takes_batches = False
        for data in reads:
            if client.closed:
                break
            client.send(data)
            while client.paused and not client.closed:
                protocol.resume(PauseReason.HANDLER)
        code = protocol.localCloseCode
        client.leave()
        return heard, code

    @search(200)
    @given(
        _streams(),
        _cuts,
        st.dictionaries(
            st.integers(0, 8),
            st.sampled_from(("pause", "pause and resume", "close", "leave")),
            max_size=3,
        ),
    )
    def test_pauses(self, data: bytes, cuts: list[int], reactions: dict[int, str]) -> None:
        """A pause changes nothing, wherever the reads end; after the end nothing comes."""
        ends = {at: kind for at, kind in reactions.items() if kind in ("close", "leave")}
        self.assertEqual(self.outcome([data], ends), self.outcome(_cut(data, cuts), reactions))

    def test_pong_first(self) -> None:
        """A ping is answered before a message that ends after it, however both come."""
        whole = frame(PING, b"p") + frame(TEXT, b"text")
        inside = frame(TEXT, b"te", fin=False) + frame(PING, b"p") + frame(0, b"xt")
        for data in (whole, inside):
            for size in (1, len(data)):
                name = f"{len(data)}-{size}"
                client = self.open(f"/ws/{name}?subscribe-broadcast&publish-broadcast&echo")
                for start in range(0, len(data), size):
                    client.send(data[start : start + size])
                got = [(each.opcode, each.payload) for each in client.frames()]
                self.assertEqual([(PONG, b"p"), (TEXT, b"text")], got)
                client.leave()

    def test_wrong_close_frame(self) -> None:
        """A wrong close frame is a client's last one: its answer ends the connection."""
        for data in (
            frame(CLOSE, b"x"),
            frame(CLOSE, b"\x03\xe8" + b"x" * 124),
            frame(CLOSE, b"", masked=False),
            frame(CLOSE, b"", fin=False),
            frame(CLOSE, b"", rsv=4),
        ):
            client = self.open("/ws/a")
            client.send(data + frame(TEXT, b"late"))
            (answer,) = client.frames()
            self.assertEqual((CLOSE, b"\x03\xea"), (answer.opcode, answer.payload[:2]))
            self.assertTrue(client.closed)
            self.assertFalse(client.aborted)

    def test_bug(self) -> None:
        """An exception ends the connection, and what was read of it is not kept."""
        client = self.open("/ws/a")
        protocol: Any = client.protocol

        def on_message(payload: bytes, is_binary: bool) -> None:
            raise ZeroDivisionError

        protocol.onMessage = on_message
        protocol.takes_batches = False
        self.assertRaises(ZeroDivisionError, client.send, frame(TEXT, b"x") * 3)
        self.assertEqual(b"", protocol.data)

    def test_compressed(self) -> None:
        """Compressed messages in fragments and parts, between others, are inflated."""
        self.use(MemoryGateway(self.config))
        client = self.open("/ws/a?subscribe-broadcast&publish-broadcast&echo", OFFER)
        whole = compressed(b"one") + frame(TEXT, b"two") + compressed(b"three" * 50)
        for size in (1, 3, len(whole)):
            for start in range(0, len(whole), size):
                client.send(whole[start : start + size])
            got = [each.payload for each in client.frames()]
            self.assertEqual([b"one", b"two", b"three" * 50], got)
