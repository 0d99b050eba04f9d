"""A client's end of a TCP connection that looks like uvicorn's protocol with a mock transport."""

from __future__ import annotations

import asyncio
import queue
import re
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from asgiref.compatibility import is_double_callable
from peers.grounds import PATIENCE, Application, Ground, Settings, run

__all__ = ["Wire"]


class Wire:
    """
    What ``get_connected_protocol`` of uvicorn's tests returns, for any server.

    The test calls ``data_received`` where a client sends, ``loop.run_one`` where the application
    has to do its work, and looks at ``transport.buffer`` for what the client gets.

    Attributes:
        transport: Itself, as the transport.
        loop: Itself, as the loop.
        scope: The scope of the latest call of the application.
    """

    def __init__(self, ground: Ground, application: Application, settings: Settings) -> None:
        self.transport = self.loop = self
        self.scope: dict[str, Any] = {}
        self._ground = ground
        self._ended: queue.Queue[None] = queue.Queue()
        self._permits = asyncio.Semaphore(0)
        self._received = b""
        self._is_over = False
        watched = self._watch_old if is_double_callable(application) else self._watch
        self._site = run(ground, ground.start(watched(application), settings))
        self._socket = socket.create_connection(("127.0.0.1", self._site.port))
        self._socket.setblocking(False)

    def _watch(self, application: Application) -> Application:
        async def watched(scope: dict[str, Any], receive: Any, send: Any) -> Any:
            if scope["type"] == "lifespan":
                return await application(scope, receive, send)
            self.scope = scope
            await self._permits.acquire()
            try:
                return await application(scope, receive, send)
            finally:
                self._ended.put(None)

        return watched

    def _watch_old(self, application: Any) -> Any:
        def watched(scope: dict[str, Any]) -> Any:
            return partial(self._watch(lambda scope, *ends: application(scope)(*ends)), scope)

        return watched

    def end(self) -> None:
        """Close it, and stop the server."""
        self._socket.close()
        for _ in range(9):
            self._ground.loop.call_soon_threadsafe(self._permits.release)
        run(self._ground, self._site.stop())

    # -- As a protocol

    def data_received(self, data: bytes) -> None:
        """The client sends."""
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            self._is_over = True
        self._socket.setblocking(False)
        self._ground.settle()

    def eof_received(self) -> None:
        """The client ends its half."""
        self._socket.shutdown(socket.SHUT_WR)

    def connection_lost(self, reason: object) -> None:
        """The client goes."""
        self._socket.close()
        self._is_over = True

    # -- As a loop

    async def run_one(self) -> None:
        """Let one call of the application begin, and wait for its end."""
        self._ground.loop.call_soon_threadsafe(self._permits.release)
        try:
            await asyncio.to_thread(self._ended.get, True, 5.0)
        except queue.Empty:
            raise AssertionError("the application was not called, or did not end") from None
        self._ground.settle()

    # -- As a transport

    @property
    def buffer(self) -> bytes:
        """
        All that the client got since `clear_buffer`.

        The names of headers are in small letters, as uvicorn writes them.
        """
        self._read()
        head, gap, body = self._received.partition(b"\r\n\r\n")
        return re.sub(rb"\n[\w-]+:", lambda name: name[0].lower(), head) + gap + body

    def clear_buffer(self) -> None:
        """Forget what it got."""
        self._read()
        self._received = b""

    def is_closing(self) -> bool:
        """Tells whether the server has closed the connection."""
        self._read()
        return self._is_over

    @property
    def closed(self) -> bool:
        """See `is_closing`."""
        return self.is_closing()

    @property
    def read_paused(self) -> bool:
        """Tells whether bytes wait in the kernel for the server to read them."""
        return _unread(self._site.port, self._socket.getsockname()[1]) > 0

    def _read(self) -> None:
        self._ground.settle()
        while not self._is_over:
            try:
                data = self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            self._received += data
            self._is_over = not data


def _unread(server: int, client: int) -> int:
    ends = f":{server:04X}", f":{client:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if (words[1][8:], words[2][8:]) == ends:
            return int(words[4].partition(":")[2], 16)
    return 0


def open_wires() -> tuple[Callable[..., Wire], Callable[[], None]]:
    """Return a function that makes wires, and one that ends them all."""
    wires: list[Wire] = []

    def make(ground: Ground, application: Application, settings: Settings) -> Wire:
        wires.append(Wire(ground, application, settings))
        return wires[-1]

    def end() -> None:
        while wires:
            wires.pop().end()

    return make, end
