"""Tests for `wsredis.transports.stream.encoding`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.event_stream import Reader, dechunked, message_of
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication
from wsredis.transports.stream.encoding import EventEncodings, Mute, PollEncodings, is_recorded
from wsredis.transports.stream.ring import Ring
from wsredis.transports.websocket.encoding import Encodings


class _Fixed(PlainDialect):
    """A dialect whose messages all have one type."""

    def __init__(self, is_binary: bool) -> None:
        super().__init__()
        self.is_binary = is_binary


def _publication(payload: bytes, number: int = 0) -> Publication:
    made = Publication(b"broadcast:a", payload)
    made.number = number
    return made


class EncodingTests(SynchronousTestCase):
    """One encoding for each dialect and kind of body."""

    def setUp(self) -> None:
        """Make the encodings of a gateway."""
        clock = Clock()
        hub = Hub(MemoryBroker(MemoryServer(clock)), 1000, Metrics())
        self.ring = Ring(clock, hub, 1000, is_recorded)
        self.encodings = EventEncodings(self.ring)
        self.dialect = PlainDialect("beat")

    def test_one_object(self) -> None:
        """Clients alike have the same encoding; others have another."""
        chunked, bare = (self.encodings[self.dialect, each] for each in (True, False))
        self.assertIs(chunked, self.encodings[self.dialect, True])
        self.assertIsNot(chunked, bare)
        self.assertIsNot(chunked, self.encodings[PlainDialect(), True])

    def test_chunk(self) -> None:
        """The bytes are those of one chunk, with the cursor; or those of the event alone."""
        publication = _publication(b"hello", 7)
        bare = publication[self.encodings[self.dialect, False]]
        self.assertEqual(f"id: {self.ring.prefix}7\ndata: hello\n\n".encode(), bare)
        chunked = publication[self.encodings[self.dialect, True]]
        self.assertEqual((bare, b"", False), dechunked(chunked))

    def test_without_number(self) -> None:
        """A publication without a number, as a stored message, does not change the cursor."""
        encoding = self.encodings[self.dialect, False]
        self.assertEqual(b"data: x\n\n", encoding.encode(_publication(b"x")))

    def test_row(self) -> None:
        """Several in a row are the same events, in one chunk."""
        items = [_publication(b"1", 1), _publication(b"\xff", 2), _publication(b"a\rb")]
        encoding = self.encodings[self.dialect, True]
        row = encoding.join(items)
        body, rest, _ = dechunked(row)
        self.assertEqual(1, row.count(b"\r\n") // 2)
        self.assertEqual(b"".join(dechunked(encoding.encode(each))[0] for each in items), body)
        self.assertEqual(b"", rest)

    def test_types(self) -> None:
        """A dialect may have one type of message for all."""
        for is_binary, wanted in ((True, b"a\rb"), (False, "a\rb"), (None, "a\rb")):
            dialect = PlainDialect() if is_binary is None else _Fixed(is_binary)
            made = self.encodings[dialect, False].encode(_publication(b"a\rb"))
            self.assertEqual([wanted], [message_of(each) for each in Reader().feed(made)])

    def test_message(self) -> None:
        """A handler's message has its type."""
        encoding = self.encodings[self.dialect, False]
        for message in ("a\r\nb", b"\xff", b"text"):
            found = Reader().feed(encoding.message(message))
            self.assertEqual([message], [message_of(each) for each in found])

    def test_no_heartbeat(self) -> None:
        """There is no text heartbeat, whatever the dialect has: comments are for that."""
        self.assertIsNone(self.encodings[self.dialect, True].heartbeat)

    def test_recorded(self) -> None:
        """Clients with these encodings have cursors; WebSockets and publishers have none."""
        self.assertTrue(is_recorded(self.encodings[self.dialect, True]))
        for other in (None, Mute(), Encodings(0)[self.dialect, 0]):
            self.assertFalse(is_recorded(other))

    def test_mute(self) -> None:
        """Whatever is said to a client that only publishes is nothing."""
        mute = Mute()
        item = _publication(b"x")
        said = (mute.encode(item), mute.join([item]), mute.message("x"), mute.heartbeat)
        self.assertEqual((b"",) * 4, said)


class PollEncodingTests(SynchronousTestCase):
    """The encoding of polls."""

    def test_one_object(self) -> None:
        """There is one for each dialect, and clients with it come back with a cursor."""
        encodings, dialect = PollEncodings(), PlainDialect()
        self.assertIs(encodings[dialect], encodings[dialect])
        self.assertIsNot(encodings[dialect], encodings[PlainDialect()])
        self.assertTrue(is_recorded(encodings[dialect]))

    def test_row(self) -> None:
        """A message ends with a comma, so that several in a row are one after the other."""
        encoding = PollEncodings()[PlainDialect()]
        items = [_publication(b"1", 1), _publication(b"\xff", 2)]
        self.assertEqual(b'"1",{"base64":"/w=="},', encoding.join(items))
        self.assertEqual(encoding.join(items), b"".join(each[encoding] for each in items))

    def test_types(self) -> None:
        """A dialect may have one type of message for all; a single message has its own."""
        text, binary = (PollEncodings()[_Fixed(each)] for each in (False, True))
        self.assertEqual(b'"x",', text.encode(_publication(b"x")))
        self.assertEqual(b'{"base64":"eA=="},', binary.encode(_publication(b"x")))
        for encoding in (text, binary):
            self.assertEqual(b'"x",', encoding.message("x"))
            self.assertEqual(b'{"base64":"eA=="},', encoding.message(b"x"))
