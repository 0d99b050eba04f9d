"""A server that a test writes itself, for the client of ``wsredis connect``."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable

import txaio
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.connect.client import Client, ClientFactory, Listener
from wsredis.service.connect.target import read_target
from wsredis.testing.wire import frame

__all__ = ["ClientCase"]

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class _Transport(StringTransport):
    """As tolerant as a real one, and it ends like one."""

    def __init__(self, lose: Callable[[], None]) -> None:
        super().__init__()
        self.abortConnection = lose  # type: ignore[method-assign]

    def unregisterProducer(self) -> None:
        """There need not be one."""
        if self.producer is not None:
            super().unregisterProducer()


class ClientCase(SynchronousTestCase):
    """A client whose server is the test."""

    def setUp(self) -> None:
        """Timers of Autobahn run on a clock of ours."""
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)

    def connect(
        self,
        listener: Listener,
        *protocols: str,
        headers: dict[str, str] | None = None,
        origin: str | None = None,
    ) -> Client:
        """Make a client that has a TCP connection."""
        factory = ClientFactory(
            read_target("ws://h:81/ws/x?y"),
            listener,
            self.clock,
            protocols=protocols,
            headers=headers,
            origin=origin,
        )
        client: Client = factory.buildProtocol(None)
        self.transport = _Transport(self.lose)
        self.client = client
        client.makeConnection(self.transport)
        self.request = self.transport.value().decode()
        self.transport.clear()
        return client

    def lose(self) -> None:
        """The connection is gone."""
        self.clock.callLater(0, self.client.connectionLost, Failure(ConnectionDone()))
        self.clock.advance(0)

    def accept(self, protocol: str = "") -> None:
        """Answer the handshake."""
        found = re.search("Sec-WebSocket-Key: (.+)\r\n", self.request)
        assert found is not None
        digest = hashlib.sha1(found[1].encode() + _GUID, usedforsecurity=False).digest()
        head = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {base64.b64encode(digest).decode()}\r\n"
        )
        if protocol:
            head += f"Sec-WebSocket-Protocol: {protocol}\r\n"
        self.client.dataReceived(f"{head}\r\n".encode())

    def sent(self) -> list[tuple[int, bytes]]:
        """The opcodes and payloads of frames that the client has sent since the last call."""
        data = self.transport.value()
        self.transport.clear()
        found = []
        while data:
            # They are short, and masked.
            size, mask = data[1] & 0x7F, data[2:6]
            self.assertLess(size, 126)
            payload = bytes(each ^ mask[i % 4] for i, each in enumerate(data[6 : 6 + size]))
            found.append((data[0] & 0x0F, payload))
            data = data[6 + size :]
        return found

    def receive(self, opcode: int, payload: bytes = b"") -> None:
        """The server sends a frame."""
        self.client.dataReceived(frame(opcode, payload, masked=False))
