"""
permessage-deflate (RFC 7692) without state that lasts longer than one message.

Neither side may look back to earlier messages. Thus one compressed frame serves all connections,
and an idle connection holds no zlib state; Autobahn's own extension keeps 100 KiB for each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from autobahn.exception import PayloadCorruptError, PayloadExceededError

__all__ = ["Inflater", "negotiate"]

_NAME = "permessage-deflate"

#: The bytes that the sender cuts off the end of a message, then the end of a whole stream.
_TAIL = b"\x00\x00\xff\xff\x01\x00\x00\xff\xff"

_FLAGS = ("server_no_context_takeover", "client_no_context_takeover")

_WINDOWS: dict[str | bool, int] = {str(bits): bits for bits in range(8, 16)}

#: The windows that are used. A message is compressed once for each of them that is in use.
_USED = (15, 12, 9)


def negotiate(
    offers: Iterable[tuple[str, Mapping[str, Sequence[str | bool]]]],
) -> tuple[int, str] | None:
    """
    Choose among the extensions that a client offers.

    Args:
        offers: In the client's order; each is a name and its parameters, with True for a parameter
            without a value.

    Returns:
        The window for the client, as a power of two, and the header of the answer. The window is
        the largest one in use that is not larger than the client's. None if no offer is known and
        valid; invalid ones are declined (RFC 7692, 5.1).
    """
    for name, parameters in offers:
        window = _window(parameters) if name == _NAME else None
        if window is not None:
            answer = "; ".join((_NAME, *_FLAGS))
            if "server_max_window_bits" in parameters:
                answer += f"; server_max_window_bits={window}"
            return window, answer
    return None


def _window(parameters: Mapping[str, Sequence[str | bool]]) -> int | None:
    window = 15
    for name, values in parameters.items():
        value = values[0] if len(values) == 1 else ""
        bits = _WINDOWS.get(value)
        if name == "server_max_window_bits" and bits:
            window = bits
        elif name == "client_max_window_bits":
            if value is not True and not bits:
                return None
        elif name not in _FLAGS or value is not True:
            return None
    # zlib has no raw stream with a window of 8.
    return next((used for used in _USED if used <= window), None)


class Inflater:
    """
    Reads the compressed messages of one connection, one after the other.

    It takes the place of Autobahn's extension object, and raises the same exceptions. Between two
    messages it holds nothing. After the first failure it ignores all input: the connection is being
    closed, and Autobahn goes on with the rest.
    """

    EXTENSION_NAME = _NAME

    __slots__ = ("_failed", "_stream")

    def __init__(self) -> None:
        self._failed = False
        self._stream: Any = None

    def start_decompress_message(self) -> None:
        """Begin a compressed message."""
        if not self._failed:
            self._stream = zlib.decompressobj(-15)

    def decompress_message_data(self, data: bytes, max_output_len: int) -> bytes:
        """
        Inflate a part of the message.

        Args:
            max_output_len: The most bytes that it may have inflated. At most one byte more is made.

        Raises:
            PayloadExceededError: It has more.
            PayloadCorruptError: It cannot be inflated.
        """
        stream = self._stream
        if stream is None:
            return b""
        try:
            # zlib takes 0 as 'no limit'.
            out: bytes = stream.decompress(data, max(0, max_output_len) + 1)
        except zlib.error:
            raise self._failure() from None
        if len(out) > max_output_len:
            self._fail()
            raise PayloadExceededError("the message is too large")
        # After a block that is marked as the last, only the start of an empty one may follow
        # (RFC 7692, 7.2.3.4).
        if stream.unused_data not in (b"", b"\x00"):
            raise self._failure()
        return out

    def end_decompress_message(self) -> None:
        """
        Finish the message.

        Raises:
            PayloadCorruptError: It is not complete.
        """
        stream, self._stream = self._stream, None
        if stream is None or stream.eof:
            return
        try:
            rest = stream.decompress(_TAIL)
        except zlib.error:
            raise self._failure() from None
        if rest or not stream.eof or stream.unused_data:
            raise self._failure()

    def _fail(self) -> None:
        self._failed = True
        self._stream = None

    def _failure(self) -> PayloadCorruptError:
        self._fail()
        return PayloadCorruptError("it is not deflated")
