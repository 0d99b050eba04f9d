"""Publications as bytes: made once for each encoding in use, not once for each client."""

from __future__ import annotations

from typing import Protocol

from wsredis.gateway.broker import Publication

__all__ = ["EncodedPublication", "Encoding"]


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

    def encode(self, publication: EncodedPublication) -> bytes:
        """
        Return the bytes of *publication*.

        It is called once for each publication; `EncodedPublication` remembers the result.
        """

    def message(self, payload: str | bytes) -> bytes:
        """Return the bytes of one message for a single client, a text message if it is a `str`."""


class EncodedPublication(dict[Encoding, bytes]):
    """
    A publication on its way to connections, with its bytes by encoding.

    ``encoded[encoding]`` gives the bytes; they are made when they are first asked for.
    """

    __slots__ = ("publication",)

    def __init__(self, publication: Publication) -> None:
        self.publication = publication

    def __missing__(self, encoding: Encoding) -> bytes:
        made = self[encoding] = encoding.encode(self)
        return made
