"""
Requests of clients without WebSockets, broken in any way and in rows.

Wherever the reads end, the same requests are seen and answered in the same way, nothing fails, and
nothing is left: two readers that disagree about the end of a request would be a hole.
"""

from __future__ import annotations

import random
import re
from itertools import count

from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.properties.test_bytes import _broken, _cut, _makers
from tests.support.raw import handshake
from wsredis.config import GatewayConfig, Limits
from wsredis.gateway import connection_id
from wsredis.testing import MemoryGateway

_LINES = [
    *("POST /ws/a?publish-broadcast", "POST /ws/a?publish-broadcast&x", "POST /ws/%ff"),
    *("GET /ws/a?subscribe-broadcast", "GET /ws/a?wait=0&subscribe-broadcast", "GET /"),
    *("GET /ws/a?wait=0&cursor=0123abcd-1", "OPTIONS /ws/a", "POST http://x/ws/a", "HEAD /ws/a"),
]

_HEADERS = [
    *("Accept: text/event-stream", "Origin: http://x", "Access-Control-Request-Method: POST"),
    *(
        "Transfer-Encoding: chunked",
        "Content-Length: 3",
        "Content-Length: 0",
        "Expect: 100-continue",
    ),
    *(
        "Connection: close",
        "Host: y",
        "Content-Length: 5",
        "Last-Event-ID: 0123abcd-1",
        "Cookie: a=b",
    ),
]

#: The number of a process, of a cursor, and the time of an answer.
_OWN = re.compile(rb"[0-9a-f]{8}-[0-9]+|\r\nDate: [^\r]*")


def _request(maker: random.Random) -> bytes:
    if maker.random() < 0.1:
        return handshake("/ws/a?subscribe-broadcast")
    line = maker.choice(_LINES[:1] * 8 + _LINES)
    headers = maker.sample(_HEADERS, maker.choice([0] * 6 + [1, 2]))
    body = b""
    if line.startswith("POST") and maker.random() < 0.8:
        body = maker.choice([b"x", b"hello", b"0\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
        headers.append(f"Content-Length: {len(body)}")
    version = maker.choice(["HTTP/1.1"] * 8 + ["HTTP/1.0"])
    return "\r\n".join([f"{line} {version}", "Host: x", *headers, "", ""]).encode() + body


class RequestTests(SynchronousTestCase):
    """The whole gateway, and rows of requests."""

    def setUp(self) -> None:
        """No address is refused for what other examples did."""
        limits = Limits(
            max_head=600, max_message=100, handshake_rate=10**9, max_rate_per_address=10**9
        )
        self.config = GatewayConfig(limits=limits)

    def outcome(self, pieces: list[bytes]) -> tuple[object, ...]:
        """Send *pieces* to a gateway of their own. Returns: What the client and Redis see."""
        gateway = MemoryGateway(self.config)
        # Clients are told the names of their connections: both times they are the same.
        self.patch(connection_id, "_serials", count(1))
        published: list[bytes] = []
        publish = gateway.redis.publish

        def heard(channel: bytes, payload: bytes) -> int:
            published.append(payload)
            return publish(channel, payload)

        gateway.redis.publish = heard  # type: ignore[method-assign]
        socket = gateway.connect()
        for piece in pieces:
            for _ in range(200):
                if not socket.paused or socket.closed:
                    break
                gateway.clock.advance(0.001)
            socket.send(piece)
        for _ in range(50):
            gateway.clock.advance(0.001)
        sent, closed = socket.take(), socket.closed
        socket.leave()
        gateway.clock.advance(0)
        gateway.factory.stop()
        gateway.auth.stop()
        registry, streams = gateway.factory.registry, gateway.factory.streams
        assert streams is not None
        held = [each.held for each in (registry.slots.sockets, registry.slots.handshakes)]
        left = [*registry.connections, *registry.handshakes, *registry.closing, *streams.channels]
        self.assertEqual(([0, 0], [], 0), (held, left, len(gateway.hub)))
        self.assertEqual(0, gateway.metrics.event_streams)
        return _OWN.sub(b"", sent), published, closed

    def test_any(self) -> None:
        """The client and Redis see the same, wherever the reads end."""
        for maker in _makers("requests", 250):
            data = b"".join(_request(maker) for _ in range(maker.randrange(1, 6)))
            data = _broken(maker, data, maker.choice([0, 0, 0, 1, 3]))
            with self.subTest(data=data), capturedLogs() as logs:
                self.assertEqual(self.outcome([data]), self.outcome(_cut(maker, data)))
            self.assertEqual([], [each for each in logs if each["log_level"] >= LogLevel.error])
