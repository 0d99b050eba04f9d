"""Clients of all kinds that come and go."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from collections import Counter
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from tests.support.raw import CLOSE, PING, TEXT, frame, handshake

__all__ = ["Steady", "Visitors", "open_socket"]

#: Seconds that a client waits for an answer.
_PATIENCE = 20.0

#: A close of the socket resets the connection.
_RESET = struct.pack("ii", 1, 0)


async def open_socket(url: str, is_compressing: bool) -> ClientConnection:
    """Open a WebSocket that sends no pings of its own."""
    return await connect(
        url,
        compression="deflate" if is_compressing else None,
        ping_interval=None,
        open_timeout=_PATIENCE,
        close_timeout=_PATIENCE,
        max_queue=None,
    )


def _reset(transport: asyncio.Transport | asyncio.WriteTransport) -> None:
    """Lose a connection as a network does."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()


class Steady:
    """
    A client that stays, and remembers the numbers of the messages that it hears.

    Attributes:
        numbers: The numbers in the order in which they came.
        lost: Tells that the connection ended before `close`.
    """

    def __init__(self, url: str, is_compressing: bool) -> None:
        self._url, self._is_compressing = url, is_compressing
        self.numbers: list[int] = []
        self.lost = False

    async def open(self) -> None:
        """Connect, and listen from now on."""
        self._client = await open_socket(self._url, self._is_compressing)
        self._task = asyncio.create_task(self._listen())

    async def _listen(self) -> None:
        try:
            async for message in self._client:
                self.numbers.append(int(message.split()[0]))
        except ConnectionClosed:
            pass
        self.lost = True

    async def close(self) -> None:
        """Leave politely."""
        self._task.cancel()
        await self._client.close()


class Visitors:
    """
    Clients that stay for a moment.

    Attributes:
        outcomes: How often what happened to one.
    """

    def __init__(self, start: str, chance: random.Random) -> None:
        self._start = start
        address = urlsplit(start)
        assert address.hostname is not None and address.port is not None
        self._address = (address.hostname, address.port)
        self._chance = chance
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0
        self.outcomes: Counter[str] = Counter()

    def invite(self, count: int) -> None:
        """Let some come."""
        for _ in range(count):
            self._count += 1
            task = asyncio.create_task(self._visit(self._count))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def leave(self) -> None:
        """Wait until all are gone."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=3 * _PATIENCE)

    async def _visit(self, number: int) -> None:
        kinds = [self._half, self._wrong, self._deaf, *[self._polite] * 3, *[self._cut] * 3]
        kind = self._chance.choice(kinds)
        # Every fourth shares its facility.
        name = f"shared{number % 20}" if number % 4 == 0 else f"own{number}"
        path = f"/ws/{name}?subscribe-broadcast&publish-broadcast"
        try:
            await kind(path, number)
            self.outcomes[kind.__name__[1:]] += 1
        except (OSError, TimeoutError, EOFError, ConnectionClosed, InvalidMessage) as error:
            self.outcomes[type(error).__name__] += 1
        except InvalidStatus as error:
            self.outcomes[f"answer {error.response.status_code}"] += 1

    async def _stay(self) -> None:
        await asyncio.sleep(min(15.0, self._chance.expovariate(0.5)))

    async def _half(self, path: str, number: int) -> None:
        """A handshake that stops in the middle."""
        _, writer = await asyncio.open_connection(*self._address)
        writer.write(handshake(path)[: self._chance.randrange(1, 120)])
        await asyncio.sleep(self._chance.random())
        writer.transport.abort()

    async def _wrong(self, path: str, number: int) -> None:
        """A frame without a mask, an unfinished message, or a request for nothing."""
        reader, writer = await asyncio.open_connection(*self._address)
        last = self._chance.choice(
            [
                frame(TEXT, b"x", masked=False),
                frame(TEXT, b"x" * 500, fin=False) + frame(PING) * 20,
                frame(CLOSE, b"x"),
            ]
        )
        writer.write(handshake(self._chance.choice([path, path, "/x", "/ws/%ff"])) + last)
        await reader.read(4096)
        await self._stay()
        _reset(writer.transport)

    async def _deaf(self, path: str, number: int) -> None:
        """One that reads nothing, and goes."""
        _, writer = await asyncio.open_connection(*self._address)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(handshake(path) + frame(TEXT, b"y" * 300) * 5)
        await self._stay()
        _reset(writer.transport)

    async def _polite(self, path: str, number: int) -> None:
        """One that says goodbye."""
        async with await open_socket(f"{self._start}{path}", number % 2 == 0) as client:
            await client.send("hello " + "y" * 300)
            await self._stay()

    async def _cut(self, path: str, number: int) -> None:
        """One whose network is lost."""
        client = await open_socket(f"{self._start}{path}", number % 2 == 0)
        await client.send(f"{number}")
        await self._stay()
        _reset(client.transport)
