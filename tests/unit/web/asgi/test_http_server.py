"""Tests of what all connections of an ASGI application share."""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs

from tests.unit.web.asgi.http_case import GET, HttpCase, answers, request
from wsredis.config import GatewayConfig, Limits
from wsredis.web.asgi.events import ClientDisconnected


class ServerTests(HttpCase):
    """`HttpServer`."""

    config = GatewayConfig(access_log=True, limits=Limits(max_handshakes=8, max_connections=10))

    def test_date(self) -> None:
        """The Date goes with the time."""
        client = self.connect()
        before = self.ask(client, GET)[0].headers["date"]
        self.pass_time(5)
        after = self.ask(client, GET)[0].headers["date"]
        self.assertEqual(("22:13:20", "22:13:25"), (before[17:25], after[17:25]))
        client.leave()

    def test_metrics(self) -> None:
        """Answers are counted by their class, and the time is taken."""

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": int(scope["path"][1:])})
            await send({"type": "http.response.body"})

        self.application = application
        client = self.connect()
        for status in (200, 204, 302, 404, 503, 599, 700):
            self.ask(client, request(f"GET /{status}"))
        self.assertEqual({"2xx": 2, "3xx": 1, "4xx": 1, "5xx": 2, "other": 1}, self.metrics.answers)
        self.assertEqual(7, sum(self.metrics.answer_latency.counts))
        client.leave()

    def test_access_log(self) -> None:
        """Each answer has a line as pages have it, a failure too; queries are not in it."""
        client = self.connect()
        with capturedLogs() as logs:
            self.ask(
                client, request("POST /a?b=secret", "User-Agent: me", "Content-Length: 2") + b"hi"
            )
        (line,) = [each for each in logs if each.get("event") == "page"]
        self.assertEqual(
            ("192.0.2.1", "POST", "/a?...", "HTTP/1.1", 200, 10, "me"),
            tuple(
                line[key]
                for key in ("peer", "method", "path", "protocol", "status", "bytes", "agent")
            ),
        )

        async def fail(scope: Any, receive: Any, send: Any) -> None:
            raise ZeroDivisionError

        self.application = fail
        with capturedLogs() as logs:
            self.ask(client, GET)
        self.assertEqual([500], [each["status"] for each in logs if each.get("event") == "page"])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_not_logged(self) -> None:
        """An error that is about nothing but a client that has gone is not logged."""
        errors = []
        for make in (
            lambda: ClientDisconnected("x"),
            lambda: ExceptionGroup("x", [ClientDisconnected("x")]),
            self._chained,
        ):
            errors.append(make())
        release: list[Any] = []

        async def fail(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await receive()
            release.append(None)
            raise errors[len(release) - 1]

        self.application = fail
        with capturedLogs() as logs:
            for _ in errors:
                client = self.connect()
                client.send(GET)
                self.turn()
                client.leave()
                self.turn()
        self.assertEqual(3, len(release))
        self.assertEqual([], logs)
        errors[:] = [ExceptionGroup("x", [ClientDisconnected("x"), ZeroDivisionError()])]
        release.clear()
        client = self.connect()
        client.send(GET)
        self.turn()
        client.leave()
        self.turn()
        self.assertEqual(1, len(self.flushLoggedErrors(ExceptionGroup)))

    def _chained(self) -> Exception:
        try:
            try:
                raise ClientDisconnected("x")
            except OSError:
                raise ValueError("a framework's own") from None
        except ValueError as error:
            return error

    def test_stop(self) -> None:
        """A stop resets the connections that are left; their calls hear of it."""
        client = self.connect()
        client.send(request("POST /x", "Content-Length: 5"))
        self.turn()
        self.site.stop()
        self.assertTrue(client.aborted)
        self.turn()
        self.assertEqual({"type": "http.disconnect"}, self.events[-1])
        self.assertEqual(b"", client.take())
        self.assertRaises(ValueError, answers, b"HTTP/1.1 200 OK\r\n")

    def test_failing_connection(self) -> None:
        """A connection that fails when its time is looked at does not disturb the others."""
        first, second = self.connect(), self.connect()
        for each in (first, second):
            self.ask(each, GET)
        for channel in [*self.server.channels][:1]:
            # A transport that is as no transport should be.
            self.patch(channel.transport, "loseConnection", None)
        self.pass_time(77)
        self.assertTrue(second.closed)
        self.assertTrue(self.flushLoggedErrors(TypeError))
        first.leave()
