"""A WebSocket server that a test controls step by step."""

from __future__ import annotations

import http
import json
import logging
import socket
import threading
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from tests.support.children import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from websockets.http11 import Request, Response
    from websockets.sync.server import ServerConnection
    from websockets.typing import Subprotocol

__all__ = ["Accepted", "ScriptedServer"]

#: Handshakes that fail on purpose need no log lines.
_log = logging.getLogger("tests.support.scripted")
_log.addHandler(logging.NullHandler())
_log.propagate = False


class Accepted:
    """One connection of a client."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._messages: SimpleQueue[str | bytes | None] = SimpleQueue()

    def run(self) -> None:
        """Take messages until the end. Called by the server."""
        with suppress(ConnectionClosed):
            for message in self._connection:
                self._messages.put(message)
        self._messages.put(None)

    def message(self) -> str | bytes | None:
        """
        Wait for the next message. Returns None when the connection is closed.

        Raises:
            queue.Empty: Nothing came in time.
        """
        return self._messages.get(timeout=PATIENCE)

    def send(self, message: str | bytes) -> None:
        """Send a message."""
        self._connection.send(message)

    def close(self, code: int, reason: str = "") -> None:
        """Close with a code, and wait for the client's answer."""
        self._connection.close(code, reason)

    def cut(self) -> None:
        """End the connection without a close frame."""
        with suppress(OSError):
            self._connection.socket.shutdown(socket.SHUT_RDWR)


class ScriptedServer:
    """
    The server.

    Attributes:
        port: The port on which it listens.
        offers: The subprotocols of each handshake, as the client wrote them, or None.
        targets: The path and the query of each handshake.
        refuse: Refuse handshakes with this status. If None, accept them.
        gate: While it is cleared, handshakes wait.
        hello: The first frame for clients that speak ``wsredis``. If None, there is none, as in an
            older gateway.
        chooses: Choose the first subprotocol of those that are offered. If False, choose none, as
            servers of ws4redis do.
    """

    def __init__(self) -> None:
        self.offers: list[str | None] = []
        self.targets: list[str] = []
        self.refuse: http.HTTPStatus | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.hello: dict[str, object] | None = {"id": "c-1", "heartbeat": 25}
        self.chooses = True
        self._accepted: SimpleQueue[Accepted] = SimpleQueue()
        self._all: list[Accepted] = []
        self._server = serve(
            self._handle,
            "127.0.0.1",
            0,
            process_request=self._admit,
            select_subprotocol=self._choose,
            compression=None,
            logger=_log,
        )
        self.port: int = self._server.socket.getsockname()[1]
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its URL."""
        return f"ws://127.0.0.1:{self.port}/"

    def accept(self) -> Accepted:
        """
        Wait for the next connection.

        Raises:
            queue.Empty: Nobody came in time.
        """
        return self._accepted.get(timeout=PATIENCE)

    def stop(self) -> None:
        """End it, and all connections."""
        self.gate.set()
        for each in self._all:
            each.cut()
        self._server.shutdown()
        self._thread.join()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.offers.append(request.headers.get("Sec-WebSocket-Protocol"))
        self.targets.append(request.path)
        self.gate.wait(PATIENCE)
        if self.refuse is None:
            return None
        return connection.respond(self.refuse, "not now\n")

    def _handle(self, connection: ServerConnection) -> None:
        accepted = Accepted(connection)
        self._all.append(accepted)
        if connection.subprotocol == "wsredis" and self.hello is not None:
            with suppress(ConnectionClosed):
                accepted.send(json.dumps({"hello": self.hello}).encode())
        self._accepted.put(accepted)
        accepted.run()

    def _choose(
        self, connection: ServerConnection, subprotocols: Sequence[Subprotocol]
    ) -> Subprotocol | None:
        return subprotocols[0] if subprotocols and self.chooses else None
