"""The WebSocket itself, by Autobahn, and the answer of a server that refuses it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from http.client import HTTPException, HTTPResponse
from typing import Any, NamedTuple, Protocol, cast

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from wsredis import __version__
from wsredis.service.connect.target import Target

__all__ = ["Client", "ClientFactory", "Listener", "Refusal", "read_refusal"]

#: Bytes of an answer other than 101 that are read.
_MAX_ANSWER = 65536

#: Bytes of a message that are taken.
_MAX_MESSAGE = 1 << 28

#: Seconds for the handshake, and for the answer to a close frame.
_HANDSHAKE, _CLOSE = 15.0, 3.0


class Refusal(NamedTuple):
    """
    An answer of HTTP in the place of a WebSocket.

    Attributes:
        status: The status, with its words.
        headers: The names, in lower case, and their values.
        body: As much of it as has arrived.
    """

    status: str
    headers: Mapping[str, str]
    body: bytes


class Listener(Protocol):
    """Hears what happens to a client."""

    def opened(self, client: Client) -> None:
        """The handshake is done."""

    def message_received(self, payload: bytes, is_binary: bool) -> None:
        """A message has come."""

    def ping_received(self, word: str, payload: bytes) -> None:
        """A ``ping`` or a ``pong`` has come. A ping has been answered."""

    def refused(self, refusal: Refusal) -> None:
        """The server has answered with HTTP. `closed` follows."""

    def closed(self, was_clean: bool, code: int, reason: str) -> None:
        """The connection is gone: the last call."""


class Client(WebSocketClientProtocol):  # type: ignore[misc]
    """One WebSocket."""

    factory: ClientFactory
    _is_refused = False

    @property
    def subprotocol(self) -> str:
        """The subprotocol that the server has chosen. Empty if it has chosen none."""
        return self.websocket_protocol_in_use or ""

    def processHandshake(self) -> None:
        """Read the answer of the server. Autobahn would drop the body of a refusal."""
        head, end, _ = self.data.partition(b"\r\n\r\n")
        words = head.split(None, 2)
        if not b"HTTP/".startswith(self.data[:5]) or (end and len(words) < 2):
            self._drop("the server does not speak HTTP")
        elif not end:
            if len(self.data) > _MAX_ANSWER:
                self._drop("the head of the answer does not end")
        elif words[1] == b"101":
            super().processHandshake()
        elif not self._is_refused and (is_complete(self.data) or len(self.data) > _MAX_ANSWER):
            self._refused()
            self.dropConnection(abort=True)

    def _drop(self, reason: str) -> None:
        self.wasNotCleanReason = reason
        self.dropConnection(abort=True)

    def _refused(self) -> None:
        self._is_refused = True
        self.factory.listener.refused(read_refusal(self.data))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell a refusal without a length, whose end is that of the connection."""
        head, end, _ = self.data.partition(b"\r\n\r\n")
        is_answer = bool(end) and self.state == self.STATE_CONNECTING
        if is_answer and not self._is_refused and head.split(None, 2)[1:2] != [b"101"]:
            self._refused()
        super().connectionLost(reason)

    def onOpen(self) -> None:
        """See `Listener.opened`."""
        self.factory.listener.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """See `Listener.message_received`."""
        self.factory.listener.message_received(payload, isBinary)

    def onPing(self, payload: bytes) -> None:
        """See `Listener.ping_received`."""
        super().onPing(payload)
        self.factory.listener.ping_received("ping", payload)

    def onPong(self, payload: bytes) -> None:
        """See `Listener.ping_received`."""
        self.factory.listener.ping_received("pong", payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """See `Listener.closed`."""
        self.factory.listener.closed(wasClean, code or 1005, reason or "")


class ClientFactory(WebSocketClientFactory):  # type: ignore[misc]
    """
    Makes one client.

    Args:
        target: Where it connects.
        listener: Hears what happens to it.
        protocols: The subprotocols that are offered.
        headers: Further headers of the handshake.
        origin: The origin of the page that it stands for. If None, it is no page.
    """

    protocol = Client
    noisy = False

    def __init__(
        self,
        target: Target,
        listener: Listener,
        reactor: Any,
        *,
        protocols: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        origin: str | None = None,
    ) -> None:
        super().__init__(
            target.url,
            origin=origin,
            protocols=[*protocols],
            useragent=f"wsredis/{__version__}",
            headers=dict(headers or {}),
            reactor=reactor,
        )
        self.listener = listener
        self.setProtocolOptions(
            openHandshakeTimeout=_HANDSHAKE,
            closeHandshakeTimeout=_CLOSE,
            maxMessagePayloadSize=_MAX_MESSAGE,
            maxFramePayloadSize=_MAX_MESSAGE,
            failByDrop=False,
            tcpNoDelay=True,
        )


class _Answer:
    """Looks like a socket to `http.client`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _parse(data: bytes) -> HTTPResponse:
    response = HTTPResponse(cast(Any, _Answer(data)))
    response.begin()
    return response


def is_complete(data: bytes) -> bool:
    """Tell whether an answer is there to its end, as far as its head says where that is."""
    try:
        response = _parse(data)
        if response.length is None and not response.chunked:
            return False
        response.read()
    except (HTTPException, ValueError):
        return False
    return True


def read_refusal(data: bytes) -> Refusal:
    """Read an answer of HTTP whose head is complete, as far as it has come."""
    try:
        response = _parse(data)
    except (HTTPException, ValueError):
        line = data.partition(b"\r\n")[0].decode("latin-1")
        return Refusal(line, {}, b"")
    try:
        body = response.read()
    except HTTPException as error:
        body = getattr(error, "partial", b"")
    except ValueError:
        body = b""
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Refusal(f"{response.status} {response.reason}".rstrip(), headers, body)
