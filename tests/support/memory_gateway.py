"""A test case around `wsredis.testing.MemoryGateway`."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tests.support.raw import CLOSE, frame
from wsredis.config import GatewayConfig
from wsredis.config.networks import Networks
from wsredis.gateway.identity import Authenticator
from wsredis.testing import MemoryGateway, Socket
from wsredis.testing.gateway import EPOCH
from wsredis.transports.websocket.protocol import GatewayProtocol
from wsredis.web.resources import ApplicationResource, PageResource
from wsredis.web.site import GatewaySite

__all__ = ["EPOCH", "MemoryGateway", "MemoryGatewayCase", "SiteGateway", "Socket"]


class SiteGateway(MemoryGateway):
    """
    A gateway with a page of one line.

    Args:
        application: Answers in the place of that page.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        application: ApplicationResource | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self._application = application
        super().__init__(config, authenticator=authenticator)

    def make_site(self, config: GatewayConfig) -> GatewaySite:
        """Make it of this page, or for this application."""
        return GatewaySite(
            self.clock,
            config.url_prefixes,
            self.probes(),
            {"/": PageResource("the page")} if self._application is None else None,
            self._application,
            max_body=config.limits.max_body,
            max_channels=config.limits.max_handshakes,
            max_head=config.limits.max_head,
            trusted=Networks(config.trusted_proxy),
        )


class MemoryGatewayCase(SynchronousTestCase):
    """A test case with a gateway in memory; each test checks that nothing of a client is left."""

    config = GatewayConfig()

    def setUp(self) -> None:
        """Start it."""
        self.use(SiteGateway(self.config))

    def use(self, gateway: MemoryGateway) -> None:
        """Go on with another gateway."""
        self.gateway = gateway
        self.clock = gateway.clock
        self.factory = gateway.factory
        self.metrics = gateway.metrics
        self.connect: Callable[..., Socket] = gateway.connect
        self.open = gateway.open
        self.answer = gateway.answer
        self.wait = gateway.wait

    def protocol(self, client: Socket) -> GatewayProtocol:
        """The gateway's end of a connection."""
        protocol = client.protocol
        assert isinstance(protocol, GatewayProtocol)
        return protocol

    def publish(self, payload: bytes, channel: bytes = b"broadcast:a") -> None:
        """Publish as a backend does."""
        self.gateway.redis.publish(channel, payload)

    def close(self, client: Socket, code: int = 1000) -> None:
        """Let a client say goodbye."""
        client.send(frame(CLOSE, code.to_bytes(2, "big")))

    def nothing_left(self) -> None:
        """Check that no connection, no handshake, no entry in the hub and no timer is left."""
        factory = self.factory
        registry = factory.registry
        self.assertEqual([], [*registry.connections, *registry.handshakes, *registry.closing])
        self.assertEqual(0, self.metrics.connections)
        slots = registry.slots
        held = [each.held for each in (slots.sockets, slots.handshakes, slots.websockets)]
        self.assertEqual([0, 0, 0], held)
        sessions = self.gateway.auth.sessions
        self.assertEqual(0, len(sessions))
        self.assertEqual({}, sessions._by_name)
        factory.stop()
        self.gateway.auth.stop()
        self.assertEqual(0, len(self.gateway.hub))
        self.assertEqual([], self.clock.getDelayedCalls())
