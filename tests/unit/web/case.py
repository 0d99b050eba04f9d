"""Parts that the tests of plain HTTP share: sites in memory, and requests to them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import NOT_DONE_YET

from tests.support.memory_gateway import MemoryGatewayCase, SiteGateway, Socket
from tests.support.threads import ThreadReactor
from wsredis.config import GatewayConfig, Limits
from wsredis.gateway.health import Probes
from wsredis.web.application import WSGIResource
from wsredis.web.resources import ApplicationResource, PageResource
from wsredis.web.site import GatewaySite
from wsredis.web.spool import Spool

__all__ = [
    "BOTH",
    "GET",
    "PROBES",
    "ApplicationCase",
    "Echo",
    "SiteCase",
    "WSGICase",
    "make_request",
]

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"

#: A target that subscribes and publishes.
BOTH = "/ws/a?subscribe-broadcast&publish-broadcast&echo"

#: The health of a gateway that lacks nothing.
PROBES: Probes = {"live": dict, "ready": dict}


def make_request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Make a request of a first line without its version, and headers besides Host."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", ""]).encode() + body


class SiteCase(SynchronousTestCase):
    """A site without an application."""

    def setUp(self) -> None:
        """A site with a page."""
        self.clock = MemoryReactorClock()
        self.site = GatewaySite(
            self.clock, ("/ws/",), PROBES, {"/": PageResource("<p>the page</p>")}
        )

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
        for _ in range(3):
            # Long bodies take several turns.
            self.clock.advance(0)
        head, _, body = client.take().partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body

    def assert_nothing_left(self) -> None:
        """No connection has left anything."""
        self.assertEqual([], [*self.site.channels])
        self.nothing_left()


class WSGICase(SynchronousTestCase):
    """A site with a WSGI application, for which the test chooses the answer."""

    threads, queue = 1, 1
    max_spool = 400_000

    def setUp(self) -> None:
        """A site whose application is chosen by the test."""
        self.reactor = ThreadReactor()
        self.environ: dict[str, Any] = {}
        self.answer: Callable[..., Any] = self._hello
        self.spool = Spool(self.max_spool)
        self.resource = WSGIResource(
            self.reactor, self._application, self.threads, self.queue, spool=self.spool
        )
        self.site = GatewaySite(
            self.reactor, ("/ws/",), PROBES, None, self.resource, spool=self.spool
        )
        self.stopped = False
        self.before = sys.getswitchinterval()
        self.resource.start()
        self.addCleanup(self._stop)

    def _stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            self.resource.stop()
        self.assertEqual(0, self.spool.held)
        self.assertEqual(self.before, sys.getswitchinterval())

    def _application(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.environ = environ
        return self.answer(start_response)

    def _hello(self, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "5")])
        return [b"he", b"", b"llo"]

    def done(self) -> None:
        """Let the application and the reactor come to an end."""
        self.reactor.run_until(lambda: not self.resource.busy)
        self.reactor.advance(0)

    def ask(self, request: bytes = GET) -> Socket:
        """Send a request and have it answered."""
        client = Socket(self.site)
        client.send(request)
        self.done()
        return client

    def body(self, request: bytes = GET) -> tuple[bytes, bytes]:
        """Returns: Status and body of the answer."""
        head, _, body = self.ask(request).take().partition(b"\r\n\r\n")
        return head.split(b" ", 2)[1], body
