"""A gateway without Redis and time: our factory on a fake clock, with sockets in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IProtocolFactory, IPushProducer, ITransport
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from zope.interface import implementer

from tests.support.raw import CLOSE, Frame, frame, handshake
from wsredis.auth.admission import Admission
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.brokers.memory import MemoryBroker, MemoryServer
from wsredis.config import GatewayConfig
from wsredis.dialects import from_config
from wsredis.gateway.dialect import Dialect
from wsredis.gateway.handler import Handler
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Authenticator, Policy
from wsredis.gateway.metrics import Metrics
from wsredis.transports.websocket.protocol import GatewayFactory, GatewayProtocol
from wsredis.web.site import GatewaySite

__all__ = ["MemoryGateway", "MemoryGatewayCase", "Socket"]

#: The Unix time when the clock of a gateway in memory says 0.
EPOCH = 1_700_000_000.0

#: A transport asks its producer to pause when this much waits.
_FULL = 65536


@implementer(ITransport, IConsumer, IPushProducer)
class Socket:
    """
    The client's end of a connection, and the transport that the gateway sees.

    Nothing arrives after the connection is closed, and nothing is written twice: whoever calls what
    a real transport does not bear gets an AssertionError.

    Attributes:
        received: What the gateway wrote and this client read, as bytes.
        reading: The client reads; else what is written waits.
        paused: The gateway does not read.
        aborted: The gateway reset the connection.
        closed: The connection is gone.
    """

    def __init__(self, factory: IProtocolFactory) -> None:
        self.received = b""
        self.reading = True
        self.paused = False
        self.aborted = False
        self.closed = False
        self.disconnecting = False
        self._address = IPv4Address("TCP", "192.0.2.1", 54321)
        self._unread: deque[bytes] = deque()
        self._producer: Any = None
        self._streaming = False
        protocol: Any = factory.buildProtocol(self._address)
        self.protocol = protocol
        self.protocol.makeConnection(self)

    # -- The client

    def send(self, data: bytes) -> None:
        """Send bytes; a gateway that is paused or gone does not take them."""
        assert not self.paused, "it would wait in the kernel"
        if not self.closed:
            self.protocol.dataReceived(data)

    def read(self) -> None:
        """Read all that waits, and all that comes."""
        self.reading = True
        while self._unread:
            self.received += self._unread.popleft()
            if not self._unread and self._producer is not None:
                self._producer.resumeProducing()
        if self.disconnecting:
            self._gone(ConnectionDone("closed"))

    def leave(self) -> None:
        """The client is gone without a word."""
        self._gone(ConnectionLost("gone"))

    def take(self) -> bytes:
        """What was received since the last time."""
        data, self.received = self.received, b""
        return data

    def frames(self) -> list[Frame]:
        """The frames that were received since the last time; they are whole, and nothing else."""
        data, found = self.take(), []
        while data:
            size, start = data[1] & 0x7F, 2
            if size >= 126:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big")
            assert len(data) >= start + size, "a part of a frame"
            payload = data[start : start + size]
            found.append(Frame(data[0] & 0x0F, payload, bool(data[0] & 0x80), data[0] >> 4 & 7))
            data = data[start + size :]
        return found

    # -- ITransport, ITCPTransport and IConsumer

    def write(self, data: bytes) -> None:
        """Take what the gateway sends."""
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
        """Take what the gateway sends."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when all is read, and when no producer is left that has more."""
        self.disconnecting = True
        if not self._unread:
            self._gone(ConnectionDone("closed"))

    def abortConnection(self) -> None:
        """Close at once."""
        if not self.closed:
            self.aborted = True
            self._gone(ConnectionLost("aborted"))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Take the producer that is told of a full and an empty buffer."""
        assert self._producer is None, "two producers"
        self._producer = producer
        self._streaming = streaming

    def unregisterProducer(self) -> None:
        """Let go of it."""
        self._producer = None
        self._streaming = False

    def pauseProducing(self) -> None:
        """The gateway reads no more."""
        self.paused = True

    def resumeProducing(self) -> None:
        """The gateway reads again."""
        self.paused = False

    def stopProducing(self) -> None:
        """The gateway wants no more."""
        self.loseConnection()

    def getPeer(self) -> Any:
        """The address of the client."""
        return self._address

    def getHost(self) -> Any:
        """The address of the gateway."""
        return IPv4Address("TCP", "192.0.2.2", 80)

    def _gone(self, reason: Exception) -> None:
        if not self.closed:
            self.closed = True
            if self._producer is not None:
                self._producer.stopProducing()
            self.protocol.connectionLost(Failure(reason))


class MemoryGateway:
    """
    All parts of a gateway but its ports and its Redis.

    Attributes:
        redis: What a backend sees.
        broker: The link to it.
        site: What answers requests that are no handshakes.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        authenticator: Authenticator | None = None,
        policy: Policy | None = None,
        handler: Handler | None = None,
        pages: Resource | None = None,
        dialects: Sequence[Dialect] = (),
    ) -> None:
        self.clock = MemoryReactorClock()
        self.redis = MemoryServer(self.clock)
        self.broker = MemoryBroker(self.redis)
        self.metrics = Metrics()
        self.hub = Hub(self.broker, config.limits.max_publication, self.metrics)
        self.admission = Admission(
            self.clock,
            self.hub,
            [] if authenticator is None else [authenticator],
            [policy or OriginPolicy(config.allow_origin)],
            prefix=config.prefix,
            timeout=config.auth_timeout,
            recheck=config.recheck,
            wall_clock=lambda: EPOCH + self.clock.seconds(),
        )
        limits = config.limits
        self.site = GatewaySite(
            self.clock,
            config.url_prefix,
            lambda: self.broker.up,
            "the page" if pages is None else None,
            pages,
            max_body=limits.max_body,
            max_channels=limits.max_handshakes,
        )
        self.factory = GatewayFactory(
            self.clock,
            config,
            self.hub,
            dialects or from_config(config),
            self.admission,
            self.site,
            handler,
        )
        self.broker.start(self.hub)
        self.factory.start()

    def connect(self) -> Socket:
        """A new TCP connection."""
        return Socket(self.factory)

    def open(self, path: str = "/ws/a?subscribe-broadcast", *headers: str) -> Socket:
        """A new WebSocket."""
        client = self.connect()
        client.send(handshake(path, *headers))
        head, _, rest = client.take().partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        client.received = rest
        return client

    def answer(self, request: bytes) -> tuple[int, bytes]:
        """Send a request on a connection of its own. Returns: The status, and the whole answer."""
        client = self.connect()
        client.send(request)
        data = client.take()
        return int(data.split(b" ", 2)[1]) if data else 0, data


class MemoryGatewayCase(SynchronousTestCase):
    """A test case with a gateway in memory; each test checks that nothing of a client is left."""

    config = GatewayConfig()

    def setUp(self) -> None:
        """Start it."""
        self.use(MemoryGateway(self.config))

    def use(self, gateway: MemoryGateway) -> None:
        """Go on with another gateway."""
        self.gateway = gateway
        self.clock = gateway.clock
        self.factory = gateway.factory
        self.metrics = gateway.metrics
        self.connect: Callable[[], Socket] = gateway.connect
        self.open = gateway.open
        self.answer = gateway.answer

    def protocol(self, client: Socket) -> GatewayProtocol:
        """The gateway's end of a connection."""
        protocol = client.protocol
        assert isinstance(protocol, GatewayProtocol)
        return protocol

    def publish(self, payload: bytes, channel: bytes = b"broadcast:a") -> None:
        """Publish as a backend does."""
        self.gateway.redis.publish(channel, payload)

    def wait(self, seconds: float) -> None:
        """Let time pass as it does: in steps that are shorter than those of the sweeps."""
        for _ in range(round(seconds / 0.04)):
            self.clock.advance(0.04)

    def close(self, client: Socket, code: int = 1000) -> None:
        """Let a client say goodbye."""
        client.send(frame(CLOSE, code.to_bytes(2, "big")))

    def nothing_left(self) -> None:
        """No connection, no handshake, no entry in the hub, no timer but the sweeps."""
        factory = self.factory
        self.assertEqual(set(), factory.connections)
        self.assertEqual([], [*factory.handshakes, *factory.closing])
        self.assertEqual(0, self.metrics.connections)
        self.assertEqual(0, factory._sockets)
        self.assertEqual({}, self.gateway.admission._members)
        self.assertEqual({}, self.gateway.admission._by_name)
        factory.stop()
        self.assertEqual(0, len(self.gateway.hub))
        self.assertEqual([], self.clock.getDelayedCalls())
