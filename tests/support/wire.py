"""Helpers for tests of the wire: watch Redis, wait until bytes are read, read the log."""

from __future__ import annotations

import socket
from types import TracebackType

from tests.support.case import GatewayCase
from tests.support.children import PATIENCE, Gateway, RedisServer, until
from tests.support.health import health
from tests.support.raw import PING, PONG, RawClient, frame, handshake, response

__all__ = ["LIVE", "Monitor", "WireCase", "memory_growth", "settle"]

_MEBIBYTE = 1024 * 1024

#: The body of ``/health/live`` while nothing is wrong.
LIVE = b'{\n "live": true,\n "problems": []\n}\n'


class Monitor:
    """
    All commands that a Redis executes, from the moment this is entered.

    Lines are those of MONITOR: words in double quotes, bytes outside of ASCII escaped.
    """

    def __init__(self, redis: RedisServer) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(redis.path)
        self._buffer = bytearray()

    def __enter__(self) -> Monitor:
        self._socket.sendall(b"MONITOR\r\n")
        first = self._line()
        assert first == "+OK", first
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def until(self, last: str, about: str) -> list[str]:
        """
        Read up to the first command that contains *last*.

        Args:
            about: Commands without this text are left out; the last one is left out always.
        Returns: The commands, without time and client.
        """
        commands: list[str] = []
        while True:
            _, _, command = self._line().partition("] ")
            if last in command:
                return commands
            if about in command:
                commands.append(command)

    def _line(self) -> str:
        while b"\r\n" not in self._buffer:
            data = self._socket.recv(65536)
            assert data, "Redis ended MONITOR"
            self._buffer += data
        line, end, _ = self._buffer.partition(b"\r\n")
        del self._buffer[: len(line) + len(end)]
        return line.decode("ascii")


def settle(client: RawClient) -> None:
    """
    Wait until the gateway has read all that *client* sent.

    Raises:
        AssertionError: The client heard something else than pings before.
    """
    client.send(frame(PING, b"settle"))
    while True:
        got = client.receive()
        if got.opcode == PONG:
            assert got.payload == b"settle", got
            return
        assert got.opcode == PING, got


def memory_growth(gateway: Gateway, before: int) -> float:
    """Return the growth of the gateway's memory since *before*, in MiB."""
    return (gateway.memory() - before) / _MEBIBYTE


class WireCase(GatewayCase):
    """Raw bytes against a shared gateway, which must come out of each test unhurt."""

    def setUp(self) -> None:
        """Remember where the log stood."""
        super().setUp()
        self._logged = len(self.gateway.log)
        self.addCleanup(self._unhurt)

    def connect(self) -> RawClient:
        """Connect without a handshake; each call of send is a TCP segment of its own, at once."""
        client = RawClient(self.gateway.port)
        self.addCleanup(client.socket.close)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client

    def open(self, path: str, *headers: str) -> RawClient:
        """Connect and shake hands."""
        client = self.connect()
        client.send(handshake(path, *headers))
        head = client.head()
        self.assertTrue(head.startswith("HTTP/1.1 101 "), head)
        return client

    @property
    def log(self) -> str:
        """Return the gateway's log since the test began, up to its latest action."""
        marker = f"/log-{id(self)}-{len(self.gateway.log)}"
        status, _, _ = response(self.gateway.port, handshake(marker))
        assert status == 404, status
        self.gateway.child.wait_for(marker, since=self._logged)
        return self.gateway.log[self._logged :]

    def publish(self, channel: str | bytes, payload: str | bytes) -> int:
        """Publish as a backend does. Returns: The number of connections that Redis sent it to."""
        heard = self.redis.command("PUBLISH", channel, payload)
        assert isinstance(heard, int)
        return heard

    def refused(self, request: bytes, *statuses: int) -> tuple[str, bytes]:
        """
        Send a request that must be answered with one of *statuses*.

        Returns: Head and body of the answer.
        """
        status, head, body = response(self.gateway.port, request)
        self.assertIn(status, statuses, f"{request[:200]!r} was answered with {head!r}")
        return head, body

    def _unhurt(self) -> None:
        # After a test in which Redis slept it takes a moment until it is proven again.
        until(lambda: health(self.gateway.port)[0] == 200)
        self.assertNotIn("Traceback", self.gateway.log[self._logged :])
