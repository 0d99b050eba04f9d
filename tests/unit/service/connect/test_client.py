"""Tests for `wsredis.service.connect.client`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.unit.service.connect.case import ClientCase
from wsredis import __version__
from wsredis.service.connect.client import Client, Refusal, is_complete, read_refusal
from wsredis.testing.wire import BINARY, CLOSE, PING, PONG, TEXT


class Recorder:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def opened(self, client: Client) -> None:
        """See `Listener`."""
        self.heard.append(("opened", client.subprotocol))

    def message_received(self, payload: bytes, is_binary: bool) -> None:
        """See `Listener`."""
        self.heard.append((payload, is_binary))

    def ping_received(self, word: str, payload: bytes) -> None:
        """See `Listener`."""
        self.heard.append((word, payload))

    def refused(self, refusal: Refusal) -> None:
        """See `Listener`."""
        self.heard.append(refusal)

    def closed(self, was_clean: bool, code: int, reason: str) -> None:
        """See `Listener`."""
        self.heard.append(("closed", was_clean, code, reason))


class ClientTests(ClientCase):
    """A client, from the handshake to the end."""

    def setUp(self) -> None:
        """Somebody listens."""
        super().setUp()
        self.listener = Recorder()
        self.heard = self.listener.heard

    def test_request(self) -> None:
        """The handshake asks for the URL, and has what was asked for."""
        self.connect(
            self.listener, "a", "b", headers={"Cookie": "x=y"}, origin="http://page.example"
        )
        for line in (
            "GET /ws/x?y HTTP/1.1",
            "Host: h:81",
            "Cookie: x=y",
            "Origin: http://page.example",
            "Sec-WebSocket-Protocol: a,b",
            f"User-Agent: wsredis/{__version__}",
        ):
            self.assertIn(f"{line}\r\n", self.request)
        self.assertNotIn("Extensions", self.request)

    def test_life(self) -> None:
        """It opens, hears messages and pings, answers them, and is closed with code and reason."""
        self.connect(self.listener, "wsredis")
        self.accept("wsredis")
        self.receive(TEXT, b"hello")
        self.receive(BINARY, b"\x00")
        self.receive(PING, b"p")
        self.receive(PONG, b"q")
        self.assertEqual([(PONG, b"p")], self.sent())
        self.receive(CLOSE, b"\x03\xf0slow")
        self.lose()
        self.assertEqual(
            [
                ("opened", "wsredis"),
                *((b"hello", False), (b"\x00", True), ("ping", b"p"), ("pong", b"q")),
                ("closed", True, 1008, "slow"),
            ],
            self.heard,
        )

    def test_no_code(self) -> None:
        """A close frame without a code is 1005, and a lost connection is 1006."""
        self.connect(self.listener)
        self.accept()
        self.receive(CLOSE)
        self.lose()
        self.assertEqual(("closed", True, 1005, ""), self.heard[-1])
        self.connect(self.listener)
        self.accept()
        self.lose()
        self.assertEqual(("closed", False, 1006), self.heard[-1][:3])

    def test_refused(self) -> None:
        """A refusal is told with its whole body, as soon as that is there."""
        self.connect(self.listener)
        self.client.dataReceived(
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 7\r\nRetry-After: 3\r\n\r\nwr"
        )
        self.assertEqual([], self.heard)
        self.client.dataReceived(b"ong\n\n")
        refusal, (word, *_) = self.heard
        self.assertEqual(("403 Forbidden", b"wrong\n\n"), (refusal.status, refusal.body))
        self.assertEqual("3", refusal.headers["retry-after"])
        self.assertEqual("closed", word)

    def test_refused_without_length(self) -> None:
        """A body without a length ends with the connection."""
        self.connect(self.listener)
        self.client.dataReceived(b"HTTP/1.0 502 Bad Gateway\r\n\r\nno")
        self.client.dataReceived(b"body")
        self.assertEqual([], self.heard)
        self.lose()
        self.assertEqual(Refusal("502 Bad Gateway", {}, b"nobody"), self.heard[0])
        self.assertEqual(2, len(self.heard))

    def test_endless(self) -> None:
        """A body that does not end is cut."""
        self.connect(self.listener)
        self.client.dataReceived(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 70000)
        self.assertEqual("200 OK", self.heard[0].status)
        self.assertEqual(2, len(self.heard))

    def test_mute(self) -> None:
        """A server that does not answer is given up, and so is one that stops in its answer."""
        for data in (b"", b"HTTP/1.1 403 Forbidden\r\n\r\nx"):
            self.heard.clear()
            self.connect(self.listener)
            self.client.dataReceived(data)
            self.clock.advance(15)
            self.clock.advance(15)
            self.assertEqual("closed", self.heard[-1][0], data)

    def test_no_http(self) -> None:
        """A server of another protocol is named as such, at once."""
        for data in (b"SSH-2.0-x\r\n", b"-ERR wrong\r\n\r\n", b"\r\n\r\n"):
            self.heard.clear()
            self.connect(self.listener)
            self.client.dataReceived(data)
            ((word, was_clean, _, reason),) = self.heard
            self.assertEqual(("closed", False), (word, was_clean), data)
            self.assertIn("does not speak HTTP", reason)

    def test_wrong_answer(self) -> None:
        """An answer that is no right handshake is an end with a reason."""
        self.connect(self.listener)
        self.client.dataReceived(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: wrong\r\n\r\n"
        )
        ((word, was_clean, _, reason),) = self.heard
        self.assertEqual(("closed", False), (word, was_clean))
        self.assertTrue(reason)


class AnswerTests(SynchronousTestCase):
    """`is_complete` and `read_refusal`."""

    def test_complete(self) -> None:
        """The head says where an answer ends."""
        head = b"HTTP/1.1 400 Bad Request\r\n"
        for data, expected in (
            (head + b"Content-Length: 2\r\n\r\nab", True),
            (head + b"Content-Length: 3\r\n\r\nab", False),
            (head + b"Content-Length: 0\r\n\r\n", True),
            (head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", True),
            (head + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", False),
            (head + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", False),
            (head + b"\r\nab", False),
            (b"nonsense\r\n\r\n", False),
        ):
            self.assertIs(expected, is_complete(data), data)

    def test_read(self) -> None:
        """What has come of a body is shown, in whatever form it comes."""
        head = b"HTTP/1.1 400 Bad Request\r\n"
        for data, body in (
            (b"Content-Length: 3\r\n\r\nab", b"ab"),
            (b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n", b"ab"),
            (b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"ab"),
            (b"\r\nab", b"ab"),
        ):
            found = read_refusal(head + data)
            self.assertEqual(("400 Bad Request", body), (found.status, found.body), data)
        self.assertEqual(Refusal("nonsense", {}, b""), read_refusal(b"nonsense\r\n\r\n"))
