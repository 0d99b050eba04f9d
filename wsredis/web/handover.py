"""
Connections that go from twisted.web to the WebSocket protocol.

There are two ways. A gateway's own port gives every connection to the WebSocket protocol first,
which passes those with plain requests on to the channel of `wsredis.web.channel`; if a handshake
follows on such a connection, the channel gives it back. In a foreign site twisted.web has the
connection first, and `take_over` gives it to a new WebSocket protocol, which reads the head of the
request again, from the bytes that `request_head` makes.
"""

from __future__ import annotations

from os import SEEK_END
from typing import Any

from twisted.internet.interfaces import IProtocolFactory

from wsredis.transports.stream.request import kind_of

__all__ = [
    "detach",
    "request_head",
    "take_over",
    "wants_stream",
    "wants_websocket",
]

#: Headers about the length of a body, which twisted.web has read.
_LENGTHS = (b"content-length", b"expect", b"transfer-encoding")


def wants_websocket(request: Any) -> bool:
    """Tell whether the Upgrade header of a request names WebSocket."""
    values = request.requestHeaders.getRawHeaders(b"upgrade", [])
    names = [name.strip(b" \t").lower() for value in values for name in value.split(b",")]
    return b"websocket" in names


def wants_stream(request: Any) -> bool:
    """Tell whether a request is one of a client without WebSockets."""
    headers = {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1")
        for name, values in request.requestHeaders.getAllRawHeaders()
    }
    method, target = (each.decode("latin-1") for each in (request.method, request.uri))
    # In HTTP/2 the connection is not that of one request.
    return request.clientproto.startswith(b"HTTP/1.") and (
        kind_of(method, target, headers) is not None
    )


def request_head(request: Any, size: int | None = None) -> bytes:
    """
    Write the head of a request again.

    Args:
        size: The bytes of its body, which twisted.web has read. If None, its headers are kept.

    Returns:
        The request line and all headers. The order of different headers, and the case of their
        names, may differ from what the client sent.
    """
    lines = [b"%s %s %s" % (request.method, request.uri, request.clientproto)]
    for name, values in request.requestHeaders.getAllRawHeaders():
        if size is None or name.lower() not in _LENGTHS:
            lines += [b"%s: %s" % (name, value) for value in values]
    if size is not None:
        lines.append(b"Content-Length: %d" % size)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def detach(channel: Any) -> Any:
    """
    Take the transport away from a channel of twisted.web.

    The channel then writes nothing, and no timeout of its own is left. The caller has to read from
    the transport again with ``resumeProducing()``.

    Returns:
        The transport.
    """
    transport = channel.transport
    channel.setTimeout(None)
    transport.unregisterProducer()
    channel.transport = None
    return transport


def take_over(request: Any, factory: IProtocolFactory, max_body: int = 0) -> None:
    """
    Give the connection of a request to a new protocol, which reads the request again.

    The protocol serves no other request: that would be one for the site which had the connection.

    Args:
        max_body: The largest body that is worth reading again. Of a larger one, the protocol is
            told the length only.
    """
    body = b""
    if request.method == b"POST":
        request.content.seek(0, SEEK_END)
        size = request.content.tell()
        if size <= max_body:
            request.content.seek(0)
            body = request.content.read()
        head = request_head(request, size)
    else:
        head = request_head(request)
    request.content.close()
    rest = request.channel.clearLineBuffer()
    transport = detach(request.channel)
    protocol: Any = factory.buildProtocol(transport.getPeer())
    protocol.is_guest = True
    # Under TLS the transport calls its protocol by another name.
    if hasattr(transport, "wrappedProtocol"):
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    transport.resumeProducing()
    protocol.dataReceived(head + body + rest)
