"""Publications, and their bytes: made once for each encoding in use, not once for each client."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

__all__ = ["ByEncoding", "Encoding", "Joined", "Publication"]


class Encoding(Protocol):
    """
    The bytes of one kind of client: a dialect on a transport, with its options.

    Clients share the bytes of a publication if they have the same encoding *object*. A transport
    therefore makes each of its encodings once.

    Attributes:
        heartbeat: The bytes of the dialect's heartbeat. If None, the dialect has none.
        heartbeat_interval: Seconds between two heartbeats.
    """

    heartbeat: bytes | None
    heartbeat_interval: float

    def encode(self, publication: Publication) -> bytes:
        """
        Return the bytes of *publication*.

        It is called once for each publication, which remembers the result; or once more, if the
        publication went out in a row of several before another listener needed it alone.
        """

    def join(self, publications: Sequence[Publication]) -> bytes:
        """Return the bytes of several publications in a row. They do not remember them."""

    def message(self, payload: str | bytes) -> bytes:
        """Return the bytes of one message for a single client, a text message if it is a `str`."""


class Publication(dict[Encoding, bytes]):
    """
    One message on a channel.

    ``publication[encoding]`` gives its bytes for a kind of client; they are made when they are
    first asked for. One object is all that a publication costs on its way from broker to socket.

    Attributes:
        channel: The name of the channel in Redis.
        payload: The message.
        number: The place among all that a `wsredis.gateway.hub.Recorder` has numbered. 0 if it has
            none.
        offset: The position in the history of the channel. None unless the broker keeps a history
            and makes a subclass with this attribute.
        tags: Metadata of the publisher. None unless the broker carries them, likewise.
    """

    __slots__ = ("channel", "number", "payload")

    offset: int | None = None
    tags: Mapping[str, str] | None = None

    def __init__(self, channel: bytes, payload: bytes) -> None:
        self.channel = channel
        self.payload = payload
        self.number = 0

    def __missing__(self, encoding: Encoding) -> bytes:
        made = self[encoding] = encoding.encode(self)
        return made

    def __eq__(self, other: object) -> bool:
        """Compare channel and payload."""
        if not isinstance(other, Publication):
            return NotImplemented
        return self.channel == other.channel and self.payload == other.payload

    def __ne__(self, other: object) -> bool:
        """Tell the opposite of ``==``: the one of dict would compare the bytes that were made."""
        return not self == other

    def __hash__(self) -> int:  # type: ignore[override]
        return hash((self.channel, self.payload))

    def __repr__(self) -> str:
        """Show the size of the payload only: it may be secret."""
        return f"<Publication of {len(self.payload)} bytes on {self.channel!r}>"


class Joined(dict[Encoding, bytes]):
    """
    The bytes of several publications in a row, by encoding.

    Args:
        again: The bytes of a single publication are needed again, for another encoding or another
            set of channels, and worth remembering.
    """

    __slots__ = ("_again", "_items")

    def __init__(self, items: Sequence[Publication], again: bool) -> None:
        self._items = items
        self._again = again

    def __missing__(self, encoding: Encoding) -> bytes:
        if self._again:
            made = b"".join([item[encoding] for item in self._items])
        else:
            made = encoding.join(self._items)
        self[encoding] = made
        return made


#: The bytes of one publication, or of several in a row, by encoding.
ByEncoding = Publication | Joined
