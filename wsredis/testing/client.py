"""Clients of a gateway in memory: a TCP connection, and a WebSocket on it."""

from __future__ import annotations

import json
from collections import deque
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IProtocolFactory, IPushProducer, ITransport
from twisted.python.failure import Failure
from zope.interface import implementer

from wsredis.gateway.hello import SUBPROTOCOL
from wsredis.testing.wire import BINARY, CLOSE, PING, PONG, TEXT, Frame, frame, frames, handshake

__all__ = ["Client", "HandshakeFailed", "Socket"]

#: A transport asks its producer to pause when more bytes than this wait.
_FULL = 65536


@implementer(ITransport, IConsumer, IPushProducer)
class Socket:
    """
    One TCP connection: the end of the client, and the transport that the gateway sees.

    It is as strict as a real transport: a call that Twisted's transports do not allow raises an
    AssertionError.

    Args:
        factory: Makes the server's protocol, as ``MemoryGateway.factory`` does.
        host: The IP address of the client. If empty, it comes by a UNIX socket.

    Attributes:
        received: The bytes that the client has read since the last `take`.
        reading: Tells whether the client reads. Set it to False to let the bytes of the gateway
            wait, and call `read` to go on.
        paused: Tells whether the gateway has stopped reading.
        aborted: Tells whether the gateway has reset the connection.
        closed: Tells whether the connection is gone.
        protocol: The server's protocol.
    """

    def __init__(self, factory: IProtocolFactory, host: str = "192.0.2.1") -> None:
        self.received = b""
        self.reading = True
        self.paused = False
        self.aborted = False
        self.closed = False
        self.disconnecting = False
        kind = IPv6Address if ":" in host else IPv4Address
        self._address: Any = kind("TCP", host, 54321) if host else UNIXAddress(None)
        self._unread: deque[bytes] = deque()
        self._producer: Any = None
        self._streaming = False
        protocol: Any = factory.buildProtocol(self._address)
        self.protocol = protocol
        self.protocol.makeConnection(self)

    # -- For the client

    def send(self, data: bytes) -> None:
        """
        Send bytes. If the connection is gone, they are dropped.

        Raises:
            AssertionError: The gateway does not read: the bytes would wait in the kernel.
        """
        assert not self.paused, "the gateway does not read now"
        if not self.closed:
            self.protocol.dataReceived(data)

    def read(self) -> None:
        """Read everything that waits, and from now on everything that comes."""
        self.reading = True
        while self._unread:
            self.received += self._unread.popleft()
            if not self._unread and self._producer is not None:
                self._producer.resumeProducing()
        if self.disconnecting:
            self._lose(ConnectionDone("closed"))

    def leave(self) -> None:
        """Lose the connection, as when the client's network is gone."""
        self._lose(ConnectionLost("gone"))

    def take(self) -> bytes:
        """Return the bytes that were read since the last call."""
        data, self.received = self.received, b""
        return data

    def frames(self) -> list[Frame]:
        """
        Return the frames that were read since the last call.

        Raises:
            ValueError: The bytes are not a row of whole frames.
        """
        return frames(self.take())

    # -- ITransport, ITCPTransport and IConsumer, for the gateway

    def write(self, data: bytes) -> None:
        """Send bytes to the client."""
        assert isinstance(data, bytes)
        if self.closed or self.disconnecting:
            return
        if self.reading:
            self.received += data
            return
        self._unread.append(data)
        if self._streaming and sum(map(len, self._unread)) > _FULL:
            self._producer.pauseProducing()

    def writeSequence(self, data: Any) -> None:
        """Send bytes to the client."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close the connection after the client has read everything."""
        self.disconnecting = True
        if not self._unread:
            self._lose(ConnectionDone("closed"))

    def abortConnection(self) -> None:
        """Close the connection at once."""
        if not self.closed:
            self.aborted = True
            self._lose(ConnectionLost("aborted"))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Tell *producer* from now on when the buffer is full, and when it is empty."""
        assert self._producer is None, "there is another producer"
        self._producer = producer
        self._streaming = streaming

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer = None
        self._streaming = False

    def pauseProducing(self) -> None:
        """Stop reading from the client."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Read from the client again."""
        self.paused = False

    def stopProducing(self) -> None:
        """Close the connection: nothing more is read."""
        self.loseConnection()

    def getPeer(self) -> Any:
        """Return the address of the client."""
        return self._address

    def getHost(self) -> Any:
        """Return the address of the gateway."""
        return IPv4Address("TCP", "192.0.2.2", 80)

    def _lose(self, reason: Exception) -> None:
        if not self.closed:
            self.closed = True
            if self._producer is not None:
                self._producer.stopProducing()
            self.protocol.connectionLost(Failure(reason))


class HandshakeFailed(Exception):
    """
    The gateway did not open a WebSocket.

    Attributes:
        status: The HTTP status of the answer. 0 if there is no answer, for example since an
            authenticator waits for a Deferred.
        answer: The whole answer.
    """

    def __init__(self, answer: bytes) -> None:
        self.status = int(answer.split(b" ", 2)[1]) if answer else 0
        self.answer = answer
        line = answer.split(b"\r\n", 1)[0].decode("latin-1")
        super().__init__(line or "there is no answer yet")


class Client:
    """
    A WebSocket client that speaks in messages.

    It answers the pings of the gateway, and closes when the gateway closes, whenever it is asked
    for something and while `wsredis.testing.MemoryGateway.wait` runs. With the header
    ``Sec-WebSocket-Protocol: wsredis`` it speaks that subprotocol, too.

    Args:
        socket: A new connection to the gateway.
        path: The path and the query of the URL.
        headers: More headers of the handshake, each as ``Name: value``.

    Attributes:
        socket: The connection, for what a well-behaved client does not do.
        head: The head of the answer to the handshake.
        close_code: The code of the close frame of the gateway; 1005 if it has none. None while the
            connection is open, and if it was lost without a close frame.
        close_reason: The reason in that frame.

    Raises:
        HandshakeFailed: The gateway refused, or has not answered yet.
    """

    def __init__(self, socket: Socket, path: str, *headers: str) -> None:
        self.socket = socket
        self.close_code: int | None = None
        self.close_reason = ""
        self._hello: dict[str, Any] = {}
        self._messages: list[str | bytes] = []
        self._closing = False
        socket.send(handshake(path, *headers))
        answer = socket.take()
        head, _, socket.received = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101 "):
            raise HandshakeFailed(answer)
        self.head = head.decode("latin-1")

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the gateway chose. If None, none is chosen."""
        for line in self.head.split("\r\n")[1:]:
            name, _, value = line.partition(":")
            if name.lower() == "sec-websocket-protocol":
                return value.strip()
        return None

    @property
    def hello(self) -> dict[str, Any]:
        """What the gateway last told it of itself. Empty without the subprotocol ``wsredis``."""
        self.read()
        return self._hello

    @property
    def is_open(self) -> bool:
        """Tells whether messages can be sent: no side has closed."""
        self.read()
        return not self._closing and not self.socket.closed

    def send(self, message: str | bytes) -> None:
        """
        Send one message: a string as a text message, bytes as a binary one.

        After the connection is closed it is dropped.

        Raises:
            AssertionError: The gateway does not read this client now, for example since a handler
                is busy with its last message.
        """
        if isinstance(message, str):
            self.socket.send(frame(TEXT, message.encode()))
        else:
            self.socket.send(frame(BINARY, message))

    def messages(self) -> list[str | bytes]:
        """Return the messages that came since the last call: text messages as strings."""
        self.read()
        found, self._messages = self._messages, []
        return found

    def close(self, code: int = 1000) -> None:
        """Close the connection. Harmless if it is closed."""
        if self.is_open:
            self._close(code.to_bytes(2, "big"))
            self.read()

    def read(self) -> None:
        """Read what has come, and answer it where the protocol demands an answer."""
        for each in self.socket.frames():
            if each.opcode == TEXT:
                self._messages.append(each.payload.decode())
            elif each.opcode == BINARY and not self._is_told(each.payload):
                self._messages.append(each.payload)
            elif each.opcode == PING and not self.socket.paused:
                self.socket.send(frame(PONG, each.payload))
            elif each.opcode == CLOSE:
                self.close_code = 1005 if each.close_code is None else each.close_code
                self.close_reason = each.payload[2:].decode()
                self._close(each.payload)

    def _is_told(self, payload: bytes) -> bool:
        """Act on a binary message of the gateway itself, if it is one."""
        if self.subprotocol != SUBPROTOCOL:
            return False
        try:
            payload.decode()
        except UnicodeDecodeError:
            return False
        if payload:
            self._hello = json.loads(payload)["hello"]
        elif not self.socket.paused:
            self.socket.send(frame(BINARY, b""))
        return True

    def _close(self, payload: bytes) -> None:
        if not self._closing:
            self._closing = True
            if not self.socket.paused:
                self.socket.send(frame(CLOSE, payload))
