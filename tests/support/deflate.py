"""permessage-deflate as a client does it, with zlib alone."""

from __future__ import annotations

import zlib

from tests.support.raw import TEXT, Frame, frame

__all__ = ["OFFER", "compressed", "inflated", "squeezed"]

OFFER = "Sec-WebSocket-Extensions: permessage-deflate"


def squeezed(payload: bytes) -> bytes:
    """The payload of a compressed message."""
    deflater = zlib.compressobj(wbits=-15)
    return (deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH))[:-4]


def compressed(payload: bytes, opcode: int = TEXT) -> bytes:
    """A compressed message of a client, in one frame."""
    return frame(opcode, squeezed(payload), rsv=4)


def inflated(got: Frame, window: int = 15) -> bytes:
    """
    The message in a frame of the server, compressed or not.

    Args:
        window: The bytes that this client can look back.
    """
    if not got.rsv:
        return got.payload
    assert got.rsv == 4, got
    return zlib.decompressobj(-window).decompress(got.payload + b"\x00\x00\xff\xff")
