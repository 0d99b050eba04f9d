"""
Connections that go from twisted.web to the WebSocket protocol.

There are two ways. A gateway's own port gives every connection to the WebSocket protocol first,
which passes those with plain requests on to the channel of `wsredis.web.channel`; if a handshake
follows on such a connection, the channel gives it back. In a foreign site twisted.web has the
connection first, and `take_over` gives it to a new WebSocket protocol, which reads the head of the
request again, from the bytes that `request_head` makes.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocolFactory

__all__ = [
    "detach",
    "request_head",
    "take_over",
    "wants_websocket",
]


def wants_websocket(request: Any) -> bool:
    """Tell whether the Upgrade header of a request names WebSocket."""
    values = request.requestHeaders.getRawHeaders(b"upgrade", [])
    names = [name.strip(b" \t").lower() for value in values for name in value.split(b",")]
    return b"websocket" in names


def request_head(request: Any) -> bytes:
    """
    Write the head of a request again.

    Returns:
        The request line and all headers. The order of different headers, and the case of their
        names, may differ from what the client sent.
    """
    lines = [b"%s %s %s" % (request.method, request.uri, request.clientproto)]
    for name, values in request.requestHeaders.getAllRawHeaders():
        lines += [b"%s: %s" % (name, value) for value in values]
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


def take_over(request: Any, factory: IProtocolFactory) -> None:
    """Give the connection of a request to a new protocol, which reads the request again."""
    head = request_head(request)
    rest = request.channel.clearLineBuffer()
    transport = detach(request.channel)
    protocol: Any = factory.buildProtocol(transport.getPeer())
    # Under TLS the transport calls its protocol by another name.
    if hasattr(transport, "wrappedProtocol"):
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
    transport.resumeProducing()
    protocol.dataReceived(head + rest)
