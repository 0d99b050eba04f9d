"""Tests for `wsredis.transports.stream.answers`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.transports.stream.answers import Sharing, answer, preflight, stream_head


def _headers(data: bytes) -> dict[str, str]:
    head = data.partition(b"\r\n\r\n")[0].decode("latin-1")
    return dict(line.split(": ", 1) for line in head.split("\r\n")[1:])


class SharingTests(SynchronousTestCase):
    """Which pages may read an answer (Fetch standard, 3.2)."""

    def test_own(self) -> None:
        """A page that is not foreign may, with the cookies of its visitor."""
        lines = Sharing("https://a.example", False).lines
        self.assertIn("Access-Control-Allow-Origin: https://a.example", lines)
        self.assertIn("Access-Control-Allow-Credentials: true", lines)
        self.assertIn("Vary: Origin", lines)

    def test_foreign(self) -> None:
        """A foreign page may, as any stranger: the cookies that came along meant nothing."""
        lines = Sharing("https://a.example", True).lines
        self.assertEqual(Sharing("https://a.example", False).lines, lines)

    def test_nobody(self) -> None:
        """Without an origin nothing is said, and caches know on what that depends."""
        self.assertEqual(("Vary: Origin",), tuple(Sharing("", False).lines))

    def test_strange(self) -> None:
        """Whatever would break the header is not written into it."""
        for origin in ("http://a b", "http://\xe4", "a\tb"):
            self.assertEqual(("Vary: Origin",), tuple(Sharing(origin, False).lines))


class AnswerTests(SynchronousTestCase):
    """The heads of answers."""

    def test_answer(self) -> None:
        """An answer has its length, and is never kept by a cache."""
        data = answer(202, ["X: y"], b"body", keeps=True)
        self.assertTrue(data.startswith(b"HTTP/1.1 202 Accepted\r\n"))
        self.assertTrue(data.endswith(b"\r\n\r\nbody"))
        headers = _headers(data)
        self.assertEqual(
            ("y", "4", "no-store", "keep-alive"),
            tuple(headers[each] for each in ("X", "Content-Length", "Cache-Control", "Connection")),
        )
        self.assertEqual("close", _headers(answer(202, [], b"", keeps=False))["Connection"])

    def test_no_content(self) -> None:
        """204 has no length (RFC 9110, 8.6)."""
        self.assertNotIn("Content-Length", _headers(answer(204, [], b"", keeps=True)))

    def test_preflight(self) -> None:
        """A page that is not foreign may send what our clients send; a foreign one may not."""
        data = preflight(Sharing("https://a.example", False), keeps=True)
        headers = _headers(data)
        self.assertTrue(data.startswith(b"HTTP/1.1 204 "))
        self.assertEqual("GET, POST", headers["Access-Control-Allow-Methods"])
        self.assertIn("Content-Type", headers["Access-Control-Allow-Headers"])
        data = preflight(Sharing("https://a.example", True), keeps=True)
        self.assertTrue(data.startswith(b"HTTP/1.1 403 "))
        self.assertNotIn("Access-Control-Allow-Methods", _headers(data))

    def test_stream(self) -> None:
        """Nobody on the way may keep, change or collect a stream."""
        headers = _headers(stream_head(["X: y"], is_chunked=True))
        self.assertEqual("text/event-stream; charset=utf-8", headers["Content-Type"])
        self.assertEqual("no-cache, no-transform", headers["Cache-Control"])
        self.assertEqual("no", headers["X-Accel-Buffering"])
        self.assertEqual("chunked", headers["Transfer-Encoding"])
        self.assertEqual("y", headers["X"])
        self.assertNotIn("Transfer-Encoding", _headers(stream_head([], is_chunked=False)))
