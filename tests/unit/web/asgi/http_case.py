"""Parts that the tests of plain HTTP by ASGI share: a gateway in memory with an application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase, Socket
from wsredis.config import GatewayConfig, Limits
from wsredis.config.networks import Networks
from wsredis.testing.gateway import EPOCH
from wsredis.web.asgi.http_channel import AsgiChannel
from wsredis.web.asgi.http_server import HttpServer
from wsredis.web.asgi.link import make_link
from wsredis.web.asgi.room import Room
from wsredis.web.asgi.scopes import Place
from wsredis.web.site import GatewaySite

__all__ = ["GET", "Answer", "HttpCase", "answers", "request"]

GET = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Make a request of a first line without its version, and headers besides Host."""
    return "\r\n".join([f"{line} HTTP/1.1", "Host: x", *headers, "", ""]).encode() + body


class Answer:
    """
    One answer.

    Attributes:
        status: Its status.
        headers: Values by names in lower case.
        body: Its body, without chunks.
        trailers: The lines after the last chunk.
    """

    def __init__(self, status: int, headers: dict[str, str], body: bytes, trailers: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.trailers = trailers


def answers(data: bytes, *methods: str) -> list[Answer]:
    """Read answers; *methods* are those of the requests. Raises: ValueError: They are not whole."""
    found: list[Answer] = []
    while data:
        number = len(found)
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:
            raise ValueError("half a head")
        line, *lines = head.decode("latin-1").split("\r\n")
        status = int(line.split(" ")[1])
        headers = dict(each.lower().split(": ", 1) for each in lines)
        method = methods[number] if number < len(methods) else "GET"
        body, trailers = b"", b""
        if status < 200 or method == "HEAD" or status in (204, 304):
            pass
        elif headers.get("transfer-encoding") == "chunked":
            while True:
                size, _, data = data.partition(b"\r\n")
                if not int(size, 16):
                    break
                body += data[: int(size, 16)]
                data = data[int(size, 16) + 2 :]
            while not data.startswith(b"\r\n"):
                trailer, _, data = data.partition(b"\r\n")
                trailers += trailer + b"\n"
            data = data[2:]
        elif "content-length" in headers:
            size_of = int(headers["content-length"])
            if len(data) < size_of:
                raise ValueError("half a body")
            body, data = data[:size_of], data[size_of:]
        else:
            body, data = data, b""
        found.append(Answer(status, headers, body, trailers))
    return found


class _Gateway(MemoryGateway):
    """A gateway with an application."""

    def __init__(self, config: GatewayConfig, application: Callable[..., Any], case: Any) -> None:
        self._application = application
        self._case = case
        super().__init__(config)

    def make_site(self, config: GatewayConfig) -> GatewaySite:
        """Make it."""
        trusted = Networks(config.trusted_proxy)
        self.link = make_link(self.clock, config.asgi, self.metrics)
        self.room = Room(self._case.concurrency)
        self.server = HttpServer(
            self.clock,
            self.link,
            self._application,
            self.room,
            place=Place(trusted=trusted, state={}),
            metrics=self.metrics,
            access_log=config.access_log,
            now=lambda: EPOCH + self.clock.seconds(),
        )
        return GatewaySite(
            self.clock,
            config.url_prefixes,
            self.probes(),
            None,
            max_body=config.limits.max_body,
            max_channels=config.limits.max_handshakes,
            max_head=config.limits.max_head,
            trusted=trusted,
            asgi=self.server,
        )


class HttpCase(MemoryGatewayCase):
    """
    A gateway with an application that the test chooses for each request.

    Attributes:
        scopes: Those of the calls so far.
        events: What the default application has received.
    """

    config = GatewayConfig(limits=Limits(max_handshakes=4, max_connections=10, max_body=200_000))
    concurrency = 100

    def setUp(self) -> None:
        """Start it."""
        self.scopes: list[Any] = []
        self.events: list[Any] = []
        self.application: Callable[..., Any] = self.hello

        async def call(scope: Any, receive: Any, send: Any) -> None:
            self.scopes.append(scope)
            await self.application(scope, receive, send)

        gateway = _Gateway(self.config, call, self)
        self.use(gateway)
        self.site = gateway.site
        self.server, self.link, self.room = gateway.server, gateway.link, gateway.room
        self.link.start()
        self.site.start()
        self.addCleanup(self._stop)

    def _stop(self) -> None:
        self.site.stop()
        self.turn()
        self.link.stop()
        self.assertEqual({}, self.server.channels)
        self.assertEqual(0, self.room.taken)
        self.assertEqual([], [*self.site.channels])
        assert self.site.places is not None
        self.assertEqual(0, self.site.places.held)

    async def hello(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer with the method, the path and the body."""
        body = b""
        while True:
            event = await receive()
            self.events.append(event)
            if event["type"] != "http.request":
                return
            body += event["body"]
            if not event["more_body"]:
                break
        text = f"{scope['method']} {scope['path']} ".encode() + body
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    def turn(self) -> None:
        """Let the reactor and the application do what they have to do."""
        for _ in range(6):
            self.clock.advance(0)

    def pass_time(self, seconds: int) -> None:
        """Let time pass, second by second."""
        for _ in range(seconds):
            self.clock.advance(1)

    def ask(self, client: Socket, data: bytes, *methods: str) -> list[Answer]:
        """Send bytes, and return the answers."""
        client.send(data)
        self.turn()
        return answers(client.take(), *methods)

    def read_some(self, client: Socket) -> None:
        """Let a client read one piece of what waits for it, and no more."""
        client.received += client._unread.popleft()
        if not client._unread:
            client._producer.resumeProducing()
        self.turn()

    def channel(self) -> AsgiChannel:
        """The only channel that there is."""
        (channel,) = self.server.channels
        return channel
