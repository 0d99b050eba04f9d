"""
The checks of what an application sends on a WebSocket: an event that is wrong raises.

They are as those of `wsredis.web.asgi.events`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsredis.web.asgi.events import header_lines

__all__ = ["bytes_of", "check_accept", "check_close"]

#: Bytes of the reason in a close frame (RFC 6455, 5.5).
_MAX_REASON = 123

#: Codes below 3000 that may stand in a close frame (RFC 6455, 7.4.1, and IANA's list).
_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))

#: Headers of the answer that are the gateway's, beside those that begin with Sec-WebSocket-.
_OURS = frozenset((b"connection", b"content-length", b"transfer-encoding", b"upgrade"))


def bytes_of(event: Mapping[str, Any]) -> bytes:
    """Return the bytes of a ``websocket.send`` that has no text, or raise what is wrong with it."""
    text, data = event.get("text"), event.get("bytes")
    if data is None and text is None:
        raise ValueError("websocket.send needs text or bytes")
    if text is not None:
        if data is not None:
            raise ValueError("websocket.send has text or bytes, not both")
        raise TypeError(f"text is a str, not {type(text).__name__}")
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"bytes are bytes, not {type(data).__name__}")
    # What could change later is copied.
    return bytes(data)


def check_accept(
    event: Mapping[str, Any], offered: Sequence[str]
) -> tuple[str | None, list[tuple[str, str]]]:
    """
    Check ``websocket.accept``.

    Args:
        offered: The subprotocols that the client offers.

    Returns:
        The subprotocol, if any, and names and values of headers.
    """
    subprotocol = event.get("subprotocol")
    if subprotocol is not None:
        if not isinstance(subprotocol, str):
            raise TypeError(f"subprotocol is a str, not {type(subprotocol).__name__}")
        if subprotocol not in offered:
            raise ValueError("the client did not offer this subprotocol")
    headers = event.get("headers") or ()
    header_lines(headers)
    pairs = []
    for name, value in headers:
        lower = bytes(name).lower()
        if lower == b"sec-websocket-protocol":
            raise ValueError("the subprotocol is not given as a header, but as subprotocol")
        if lower in _OURS or lower.startswith(b"sec-websocket-"):
            raise ValueError(f"the header {lower.decode()} is the gateway's")
        pairs.append((bytes(name).decode("latin-1"), bytes(value).decode("latin-1")))
    return subprotocol, pairs


def check_close(event: Mapping[str, Any]) -> tuple[int, str]:
    """Check ``websocket.close``; return the code and the reason."""
    code, reason = event.get("code"), event.get("reason") or ""
    if code is None:
        code = 1000
    if not isinstance(code, int):
        raise TypeError(f"code is an int, not {type(code).__name__}")
    if code not in _CODES and not 3000 <= code <= 4999:
        raise ValueError(f"{int(code)} is not a code for a close frame")
    if not isinstance(reason, str):
        raise TypeError(f"reason is a str, not {type(reason).__name__}")
    if len(reason.encode()) > _MAX_REASON:
        raise ValueError(f"reason has more than {_MAX_REASON} bytes")
    return int(code), reason
