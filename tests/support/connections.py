"""Connections of the plain dialect on a hub, a broker in memory, and clients that record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import FakeClient, HeldBroker
from wsredis.channels import Access, Audience
from wsredis.config import ForwardConfig, Limits
from wsredis.dialects.forwarding import Forwarder
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.connection import Connection, ConnectionParts
from wsredis.gateway.handler import Handler
from wsredis.gateway.hub import Hub
from wsredis.gateway.identity import Identity
from wsredis.gateway.metrics import Metrics
from wsredis.transports.websocket.encoding import Encodings

BROADCAST, GROUP, USER, SESSION = Audience
ALL = frozenset(Audience)
JOHN = Identity("john", ("admins", "users"), "s3ss10n")
CHANNEL = b"broadcast:chat"
HEARTBEAT = "--heartbeat--"


def encode_event(event: Mapping[str, object]) -> bytes:
    """Make bytes of an event, as anyone can read them."""
    return repr(dict(event)).encode()


class ConnectionCase(SynchronousTestCase):
    """Connections of one gateway."""

    limits = Limits(max_channels=8, max_queue=500, max_queue_hard=2000, max_publication=5000)
    heartbeat: str | None = None
    prefix = ""
    handler: Handler | None = None
    window = 0
    #: If given, clients of facilities that it has a channel for are heard by workers.
    forward = ForwardConfig()

    def setUp(self) -> None:
        """Start the gateway's parts."""
        self.metrics = Metrics()
        self.broker = HeldBroker(Clock())
        self.server = self.broker.server
        self.hub = Hub(self.broker, self.limits.max_publication, self.metrics)
        forwarder = Forwarder(self.forward, encode_event) if self.forward.channels else None
        self.dialect = PlainDialect(self.heartbeat, prefix=self.prefix, forwarder=forwarder)
        self.encodings = Encodings(100)
        self.broker.start(self.hub)

    def new(
        self,
        subscribe: Any = (BROADCAST,),
        publish: Any = (),
        *,
        echo: bool = False,
        identity: Identity = JOHN,
        forward: bool = False,
    ) -> tuple[Connection, FakeClient]:
        """A connection that is not open yet."""
        client = FakeClient()
        access = Access("chat", frozenset(subscribe), frozenset(publish), echo, forward=forward)
        encoding = self.encodings[self.dialect, self.window]
        parts = (self.hub, self.limits, self.handler, client, encoding, identity, access)
        client.connection = self.dialect.connection(ConnectionParts(*parts))
        return client.connection, client

    def opened(self, *args: Any, **kwargs: Any) -> tuple[Connection, FakeClient]:
        """An open connection."""
        connection, client = self.new(*args, **kwargs)
        connection.opened(self.successResultOf(self.opening(connection)))
        return connection, client

    def opening(self, connection: Connection) -> Deferred[Mapping[bytes, bytes]]:
        """Start to open *connection*."""
        opening = maybeDeferred(connection.open)
        return opening

    def stranger_says(self, payload: bytes, channel: bytes = CHANNEL) -> None:
        """Publish as another client of Redis does."""
        self.server.publish(channel, payload)
