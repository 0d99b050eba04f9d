"""Publications as WebSocket messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wsredis.gateway.publication import Encoding, Publication
from wsredis.transports.websocket import frames

__all__ = ["Encodings"]


def _framed(payload: str | bytes) -> bytes:
    """Frame a message of any class by its type."""
    if isinstance(payload, str):
        return frames.text(payload.encode())
    return frames.binary(payload)


class Messages(Protocol):
    """The messages that are encoded: those of a dialect, or of applications."""

    @property
    def is_binary(self) -> bool | None:
        """See `wsredis.gateway.dialect.Dialect.is_binary`."""

    @property
    def heartbeat(self) -> bytes | None:
        """See `wsredis.gateway.dialect.Dialect.heartbeat`."""

    @property
    def heartbeat_interval(self) -> float:
        """See `wsredis.gateway.dialect.Dialect.heartbeat_interval`."""

    def encode(self, publication: Publication) -> bytes:
        """See `wsredis.gateway.dialect.Dialect.encode`."""


class _PlainEncoding:
    """Messages of one dialect in frames, without compression."""

    def __init__(self, dialect: Messages) -> None:
        # Looked up once, not for every publication.
        self._message_of = dialect.encode
        self._frame = {None: frames.message, False: frames.text, True: frames.binary}[
            dialect.is_binary
        ]
        self.heartbeat = None if dialect.heartbeat is None else self._frame(dialect.heartbeat)
        self.heartbeat_interval = dialect.heartbeat_interval

    def encode(self, publication: Publication) -> bytes:
        """Frame the message of the dialect."""
        return self._frame(self._message_of(publication))

    def join(self, publications: Sequence[Publication]) -> bytes:
        """Frame the messages of the dialect in a row."""
        payloads = [*map(self._message_of, publications)]
        if self._frame is frames.message:
            return frames.messages(payloads)
        return b"".join(map(self._frame, payloads))

    def message(self, payload: str | bytes) -> bytes:
        """Frame a message by its type."""
        return frames.text(payload.encode()) if type(payload) is str else _framed(payload)


class _DeflatedEncoding:
    """The same with permessage-deflate, for clients with one size of window."""

    def __init__(self, plain: Encoding, window: int, threshold: int) -> None:
        self.heartbeat = plain.heartbeat
        self.heartbeat_interval = plain.heartbeat_interval
        self._plain = plain
        self._window = window
        self._threshold = threshold

    def encode(self, publication: Publication) -> bytes:
        return frames.deflated(publication[self._plain], self._window, self._threshold)

    def join(self, publications: Sequence[Publication]) -> bytes:
        return b"".join(map(self.encode, publications))

    def message(self, payload: str | bytes) -> bytes:
        return frames.deflated(self._plain.message(payload), self._window, self._threshold)


class Encodings(dict[tuple[Messages, int], Encoding]):
    """
    The encodings of one gateway by dialect and window, each made when it is first asked for.

    The window is the one that was negotiated, as a power of two; 0 if nothing is compressed.

    Args:
        threshold: Bytes; a smaller message is not compressed.
    """

    def __init__(self, threshold: int) -> None:
        super().__init__()
        self._threshold = threshold

    def __missing__(self, key: tuple[Messages, int]) -> Encoding:
        dialect, window = key
        made: Encoding
        if window:
            made = _DeflatedEncoding(self[dialect, 0], window, self._threshold)
        else:
            made = _PlainEncoding(dialect)
        self[key] = made
        return made
