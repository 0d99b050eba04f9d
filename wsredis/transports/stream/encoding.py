"""Publications as Server-Sent Events."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from wsredis.gateway.dialect import Dialect
from wsredis.gateway.publication import Encoding, Publication
from wsredis.transports.stream import events, messages
from wsredis.transports.stream.ring import Ring

__all__ = [
    "EventEncoding",
    "EventEncodings",
    "Mute",
    "PollEncoding",
    "PollEncodings",
    "StreamEncoding",
    "is_recorded",
]


def _as_it_is(data: bytes) -> bytes:
    return data


class StreamEncoding:
    """Base of the encodings of clients that come back with a cursor."""

    #: Such clients need no text for a sign of life.
    heartbeat: bytes | None = None
    heartbeat_interval = 0.0


class EventEncoding(StreamEncoding):
    """
    See `wsredis.gateway.publication.Encoding`: the messages of one dialect as events.

    Args:
        prefix: The begin of all cursors; the number of the publication follows.
        is_chunked: Each event is a chunk of the body. If False, the body ends with the connection.

    Attributes:
        wrap: Makes bytes of the body what is sent.
    """

    def __init__(self, dialect: Dialect, prefix: str, is_chunked: bool) -> None:
        # Looked up once, not for every publication.
        self._message_of = dialect.encode
        self._event: Callable[[bytes, bytes], bytes] = {
            None: events.message,
            False: events.text,
            True: events.binary,
        }[dialect.is_binary]
        self._mark = b"id: %b" % prefix.encode()
        self.wrap: Callable[[bytes], bytes] = events.chunk if is_chunked else _as_it_is

    def encode(self, publication: Publication) -> bytes:
        """Make the event of a publication. Without a number it does not change the cursor."""
        return self.wrap(self._made(publication))

    def join(self, publications: Sequence[Publication]) -> bytes:
        """Make events in a row, as one chunk."""
        return self.wrap(b"".join(map(self._made, publications)))

    def message(self, payload: str | bytes) -> bytes:
        """Make an event of a message by its type."""
        if isinstance(payload, str):
            return self.wrap(events.text(payload.encode()))
        return self.wrap(events.binary(payload))

    def _made(self, publication: Publication) -> bytes:
        number = publication.number
        mark = b"%b%d\n" % (self._mark, number) if number else b""
        return self._event(self._message_of(publication), mark)


class PollEncoding(StreamEncoding):
    """See `wsredis.gateway.publication.Encoding`: the messages of one dialect as JSON."""

    def __init__(self, dialect: Dialect) -> None:
        self._message_of = dialect.encode
        self._piece: Callable[[bytes], bytes] = {
            None: messages.message,
            False: messages.text,
            True: messages.binary,
        }[dialect.is_binary]

    def encode(self, publication: Publication) -> bytes:
        """See `wsredis.gateway.publication.Encoding.encode`."""
        return self._piece(self._message_of(publication))

    def join(self, publications: Sequence[Publication]) -> bytes:
        """See `wsredis.gateway.publication.Encoding.join`."""
        return b"".join(map(self.encode, publications))

    def message(self, payload: str | bytes) -> bytes:
        """See `wsredis.gateway.publication.Encoding.message`."""
        if isinstance(payload, str):
            return messages.text(payload.encode())
        return messages.binary(payload)


class PollEncodings(dict[Dialect, PollEncoding]):
    """The encodings of one gateway by dialect, each made once."""

    def __missing__(self, key: Dialect) -> PollEncoding:
        made = self[key] = PollEncoding(key)
        return made


class Mute:
    """The encoding of a client that only publishes: whatever is said to it is dropped."""

    #: The answer to a text heartbeat.
    heartbeat: bytes | None = b""
    heartbeat_interval = 0.0

    def encode(self, publication: Publication) -> bytes:
        """See `wsredis.gateway.publication.Encoding.encode`."""
        return b""

    def join(self, publications: Sequence[Publication]) -> bytes:
        """See `wsredis.gateway.publication.Encoding.join`."""
        return b""

    def message(self, payload: str | bytes) -> bytes:
        """See `wsredis.gateway.publication.Encoding.message`."""
        return b""


class EventEncodings(dict[tuple[Dialect, bool], EventEncoding]):
    """
    The encodings of one gateway by dialect and whether the body is chunked, each made once.

    Args:
        ring: Numbers the publications.
    """

    def __init__(self, ring: Ring) -> None:
        super().__init__()
        self._prefix = ring.prefix

    def __missing__(self, key: tuple[Dialect, bool]) -> EventEncoding:
        dialect, is_chunked = key
        made = self[key] = EventEncoding(dialect, self._prefix, is_chunked)
        return made


def is_recorded(encoding: Encoding | None) -> bool:
    """Tell whether clients with this encoding come back with a cursor."""
    return isinstance(encoding, StreamEncoding)
