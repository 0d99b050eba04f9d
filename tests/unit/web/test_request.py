"""Tests of plain requests: the answers that the gateway itself gives, and what they do not say."""

from __future__ import annotations

from typing import Any

from twisted.logger import capturedLogs

from tests.unit.web.case import ApplicationCase, SiteCase, make_request


class AnswerTests(SiteCase):
    """Answers and the log repeat nothing of the request."""

    def test_methods(self) -> None:
        """HEAD is a GET without a body, and any other method a 405; nothing is logged."""
        with capturedLogs() as events:
            for path in ("/", "/health/live", "/health/ready", "/wsredis.js", "/nothing", "/ws/a"):
                secret = f"{path}?s3cret"
                status, head, body = self.ask(make_request(f"HEAD {secret}"))
                self.assertEqual((self.ask(make_request(f"GET {secret}"))[0], b""), (status, body))
                self.assertRegex(head, r"\r\ncontent-length: [1-9]")
                for method in ("POST", "OPTIONS", "S3CRET"):
                    status, head, body = self.ask(make_request(f"{method} {secret}"))
                    self.assertIn(status, (400, 404, 405))
                    self.assertNotIn("s3cret", head + body.decode().lower())
        self.assertEqual([], events)

    def test_allow(self) -> None:
        """A 405 names the methods."""
        status, head, _ = self.ask(make_request("DELETE /health/live"))
        self.assertEqual(405, status)
        self.assertIn("allow: get, head\r\n", head)


class FailureTests(ApplicationCase):
    """A request that fails on its way is answered."""

    def test_half_an_answer(self) -> None:
        """An answer that breaks does not look like a whole one; its producer is let go of."""

        def render(request: Any) -> Any:
            request.registerProducer(self, True)
            request.write(b"half")
            raise ZeroDivisionError

        self.patch(self.application, "render", render)
        client = self.connect()
        client.send(make_request("GET /x?s3cret"))
        self.assertTrue(client.closed)
        self.assertNotIn(b"\r\n0\r\n", client.take())
        (failure,) = self.flushLoggedErrors()
        failure.trap(ZeroDivisionError)

    def pauseProducing(self) -> None:
        """Do nothing."""

    resumeProducing = stopProducing = pauseProducing

    def test_client_left(self) -> None:
        """A failure after the client left is only logged."""

        def render(request: Any) -> Any:
            client.leave()
            raise ZeroDivisionError

        self.patch(self.application, "render", render)
        client = self.connect()
        client.send(make_request("GET /x"))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
