"""A gateway in memory with an authenticator that the test controls."""

from __future__ import annotations

import json
from typing import Any

from tests.support.memory_gateway import MemoryGateway, MemoryGatewayCase, Socket
from tests.support.raw import CLOSE
from wsredis.config import GatewayConfig
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.publication import Publication

__all__ = ["ALL", "JOHN", "AuthCase", "Register"]

#: A URL that asks for all audiences.
ALL = "/ws/a?subscribe-broadcast&subscribe-user&subscribe-group&subscribe-session"

JOHN = Identity("john", ("chatters",), "key-of-john")


class Register:
    """
    An authenticator that knows people by their Authorization header.

    Attributes:
        known: Answers by header; an exception is raised. Other headers are unknown.
        asked: The headers that it was asked about.
    """

    def __init__(self) -> None:
        self.known: dict[str, Any] = {"john": JOHN}
        self.asked: list[str] = []

    def identify(self, handshake: Handshake) -> Any:
        """Return or raise the answer for a header."""
        name = handshake.headers.get("authorization", "")
        self.asked.append(name)
        answer = self.known.get(name)
        if isinstance(answer, Exception):
            raise answer
        return answer


class AuthCase(MemoryGatewayCase):
    """A gateway with a register, and Redis in memory."""

    config = GatewayConfig(recheck=60.0, ping_interval=100000.0)

    def setUp(self) -> None:
        """Start it."""
        self.register = Register()
        self.use(MemoryGateway(self.config, authenticator=self.register))
        self.sessions = self.gateway.auth.sessions

    def come(self, name: str = "john", path: str = ALL) -> Socket:
        """Open a WebSocket with the Authorization header *name*."""
        return self.open(path, f"Authorization: {name}")

    def command(self, text: object, channel: bytes = b"wsredis-control") -> None:
        """Publish a command, as JSON unless it is bytes."""
        payload = text if isinstance(text, bytes) else json.dumps(text).encode()
        self.gateway.redis.publish(channel, payload)

    def command_at_once(self, text: object) -> None:
        """Deliver a command before anything that the broker still holds."""
        self.gateway.hub.deliver([Publication(b"wsredis-control", json.dumps(text).encode())])

    def codes(self, client: Socket) -> list[int | None]:
        """Return the close codes that *client* received."""
        return [each.close_code for each in client.frames() if each.opcode == CLOSE]

    def heard(self, client: Socket) -> list[bytes]:
        """Return the payloads that *client* received."""
        return [each.payload for each in client.frames() if each.opcode != CLOSE and each.payload]

    def check_nothing_left(self, *clients: Socket) -> None:
        """Disconnect clients, and check that no state of them is left."""
        for client in clients:
            client.leave()
        self.nothing_left()
