"""The subprotocol ``wsredis`` on real sockets: hello, heartbeats, and refusals that are told."""

from __future__ import annotations

import json
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.support.raw import BINARY, CLOSE, TEXT, RawClient, frame, handshake, response
from tests.support.require import missing
from tests.support.wire import WireCase

OFFER = "Sec-WebSocket-Protocol: wsredis"

_NOTHING = "there is nothing here: sockets are below /ws/"


class HelloTests(WireCase):
    """A client is told of itself first."""

    skip = missing("redis")

    def test_first(self) -> None:
        """The hello comes before the stored message, and is no text."""
        self.redis.command("SET", "broadcast:hello-first", "stored")
        client = self.open("/ws/hello-first?subscribe-broadcast&subscribe-user", OFFER)
        hello = client.receive()
        self.assertEqual(BINARY, hello.opcode)
        told = json.loads(hello.payload)["hello"]
        self.assertEqual((["broadcast"], None), (told["subscribe"], told["user"]))
        self.assertEqual((TEXT, b"stored"), client.receive()[:2])

    def test_stream(self) -> None:
        """The first event of a stream tells the same."""
        with RawClient(self.gateway.port) as client:
            client.send(
                b"GET /ws/hello-stream?subscribe-broadcast&publish-user HTTP/1.1\r\n"
                b"Host: localhost\r\nAccept: text/event-stream\r\n\r\n"
            )
            client.head()
            data = b""
            while not (b"event: open" in data and data.endswith(b"\n\n")):
                data += client.take(1)
        (line,) = [each for each in data.split(b"\n") if each.startswith(b"data: ")]
        told = json.loads(line[6:])["hello"]
        self.assertEqual((["broadcast"], []), (told["subscribe"], told["publish"]))

    def poll(self, path: str) -> dict[str, Any]:
        """The answer to a poll."""
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        found: dict[str, Any] = json.loads(response(self.gateway.port, request.encode())[2])
        return found

    def test_poll(self) -> None:
        """So does the first answer to a poll, and no later one."""
        path = "/ws/hello-poll?subscribe-broadcast&wait=5"
        first = self.poll(path)
        self.assertEqual(["broadcast"], first["hello"]["subscribe"])
        self.redis.command("PUBLISH", "broadcast:hello-poll", "a")
        second = self.poll(f"{path}&cursor={first['cursor']}")
        self.assertEqual((["a"], False), (second["messages"], "hello" in second))


class HeartbeatTests(WireCase):
    """Both sides show that they live."""

    skip = missing("redis")
    options = ("--ping-interval", "1")

    def test_heartbeat(self) -> None:
        """A heartbeat comes in place of a ping; who answers stays, and who does not goes."""
        alive = self.open("/ws/beat?subscribe-broadcast&publish-broadcast&echo", OFFER)
        mute = self.open("/ws/beat?subscribe-broadcast", OFFER)
        alive.receive()
        for _ in range(3):
            self.assertEqual((BINARY, b""), alive.receive()[:2])
            alive.send(frame(BINARY, b""))
        data = b""
        try:
            while part := mute.socket.recv(4096):
                data += part
        except ConnectionResetError:
            pass
        self.assertTrue(data.endswith(b"\x82\x00"))
        self.gateway.child.wait_for("no answer to the heartbeat of wsredis from ")
        alive.send(frame(TEXT, b"still here"))
        while not (heard := alive.receive()).payload:
            pass
        self.assertEqual(b"still here", heard.payload)


class RefusalTests(WireCase):
    """A page learns why it is refused."""

    skip = missing("redis")
    options = ("--handshake-rate", "1000")

    def told(self, path: str, *headers: str) -> tuple[int | None, str]:
        """Be refused. Returns: The code and the reason."""
        with RawClient(self.gateway.port) as client:
            client.send(handshake(path, OFFER, *headers))
            self.assertIn(" 101 ", client.head())
            close = client.receive()
            self.assertEqual(CLOSE, close.opcode)
            client.send(frame(CLOSE, close.payload) + frame(TEXT, b"x" * 100))
            # A clean end, although the client has said more.
            self.assertEqual(b"", client.socket.recv(4096))
            return close.close_code, close.payload[2:].decode()

    def test_codes(self) -> None:
        """The code and the reason of a close frame are in the place of the status and the body."""
        origin = "Origin: http://elsewhere.example"
        self.assertEqual((4400, _NOTHING), self.told("/wss/x"))
        self.assertEqual((4400, "the facility is not UTF-8"), self.told("/ws/%ff"))
        code, reason = self.told("/ws/x?subscribe-user", origin)
        self.assertEqual(4403, code)
        self.assertTrue(reason)
        self.gateway.child.wait_for("refused .* 403 ")

    def test_early_words(self) -> None:
        """What a client says before it hears of it does not reset the answer away."""
        with RawClient(self.gateway.port) as client:
            client.send(handshake("/wss/x", OFFER) + frame(TEXT, b"early") * 100)
            client.head()
            self.assertEqual(4400, client.receive().close_code)

    def test_library(self) -> None:
        """An independent client library hears the code, by a closing handshake that is complete."""
        url = f"ws://127.0.0.1:{self.gateway.port}/wss/x"
        with connect(url, subprotocols=[Subprotocol("wsredis")]) as client:
            error = self.assertRaises(ConnectionClosed, client.recv)
        assert error.rcvd is not None
        self.assertEqual((4400, _NOTHING), (error.rcvd.code, error.rcvd.reason))
        self.assertEqual(error.rcvd, error.sent)
