"""Parts that the tests of plain HTTP share: sites in memory, and requests to them."""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET

from tests.support.memory_gateway import MemoryGatewayCase, SiteGateway, Socket
from wsredis.config import GatewayConfig, Limits
from wsredis.web.resources import ApplicationResource
from wsredis.web.site import GatewaySite

__all__ = ["BOTH", "ApplicationCase", "Echo", "SiteCase", "make_request"]

#: A target that subscribes and publishes.
BOTH = "/ws/a?subscribe-broadcast&publish-broadcast&echo"


def make_request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Make a request of a first line without its version, and headers besides Host."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", ""]).encode() + body


class SiteCase(SynchronousTestCase):
    """A site without an application."""

    def setUp(self) -> None:
        """A site that is ready."""
        self.clock = MemoryReactorClock()
        self.ready = True
        self.site = GatewaySite(self.clock, "/ws/", lambda: self.ready, "<p>the page</p>")

    def ask(self, request: bytes) -> tuple[int, str, bytes]:
        """Returns: Status, head and body of the answer."""
        client = Socket(self.site)
        client.send(request)
        head, _, body = client.take().partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head.decode().lower(), body


class Echo(ApplicationResource):
    """An application that answers with the path and the body; the test answers ``/later``."""

    def render(self, request: Any) -> Any:
        """Answer."""
        if request.path == b"/later":
            self.later = request
            return NOT_DONE_YET
        return request.path + b" " + request.content.read()


class ApplicationCase(MemoryGatewayCase):
    """A gateway with an application: connections are kept, limited, and may become WebSockets."""

    config = GatewayConfig(limits=Limits(max_handshakes=4, max_connections=10))

    def setUp(self) -> None:
        """A gateway with an application."""
        self.application = Echo()
        self.use(SiteGateway(self.config, application=self.application))
        self.site = self.gateway.site

    def ask(self, client: Socket, request: bytes) -> tuple[int, bytes]:
        """Returns: Status and body of the answer on a connection that there is."""
        client.send(request)
        head, _, body = client.take().partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body

    def assert_nothing_left(self) -> None:
        """No connection has left anything."""
        self.assertEqual([], [*self.site.channels])
        self.nothing_left()
