"""
Where the applications of a suite run: a server in this process, in a thread of its own.

An application in a suite is a closure over the variables of its test, so the server has to be in
the same process.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

__all__ = ["Application", "Ground", "Settings", "Site", "the_ground"]

_Result = TypeVar("_Result")

#: An ASGI application.
Application = Callable[[Any, Any, Any], Awaitable[None]]

#: Seconds that a server may take for anything.
PATIENCE = 20.0


@dataclass(frozen=True)
class Settings:
    """
    What a test wants of its server, in the words of our options.

    Attributes:
        lifespan: auto, on or off.
        options: More options, with their names as on the command line.
    """

    lifespan: str = "off"
    options: dict[str, Any] = field(default_factory=dict)


class Site(Protocol):
    """
    A server of one application.

    Attributes:
        port: The port of localhost on which it listens.
    """

    port: int

    async def stop(self) -> None:
        """Stop as at the end of the program."""


class Ground(Protocol):
    """
    A thread with the loop in which all applications run.

    Attributes:
        loop: That loop.
    """

    loop: asyncio.AbstractEventLoop

    async def start(self, application: Application, settings: Settings, port: int = 0) -> Site:
        """Start a server. Call it in the loop of the ground."""
        ...

    def settle(self) -> None:
        """Wait until everything is processed that was sent to a server. From another thread."""


def run(ground: Ground, coroutine: Coroutine[Any, Any, _Result]) -> _Result:
    """Run a coroutine in the loop of the ground, from another thread."""
    return asyncio.run_coroutine_threadsafe(coroutine, ground.loop).result()


# -- uvicorn itself, to prove the plugins


class _UvicornSite:
    def __init__(self, server: Any, task: asyncio.Task[None], port: int) -> None:
        self._server = server
        self._task = task
        self.port = port

    async def stop(self) -> None:
        self._server.should_exit = True
        await self._task


class UvicornGround:
    """uvicorn, in whose hands every suite of its own passes."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    async def start(self, application: Application, settings: Settings, port: int = 0) -> Site:
        """See `Ground.start`."""
        import uvicorn

        names = {
            "ping-interval": "ws_ping_interval",
            "asgi-root-path": "root_path",
            "max-message": "ws_max_size",
        }
        more = {names[name]: value for name, value in settings.options.items() if name in names}
        config = uvicorn.Config(
            application, port=port, lifespan=settings.lifespan, ws="wsproto", **more
        )
        server = uvicorn.Server(config)
        server.capture_signals = _nothing  # type: ignore[method-assign]
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():
            await asyncio.sleep(0.01)
        return _UvicornSite(server, task, server.servers[0].sockets[0].getsockname()[1])

    def settle(self) -> None:
        """See `Ground.settle`."""
        for _ in range(6):
            done: Future[None] = Future()
            self.loop.call_soon_threadsafe(done.set_result, None)
            done.result(PATIENCE)


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


_grounds: list[Ground] = []


def the_ground() -> Ground:
    """Return the ground that the variable PEERS_SERVER names; it is made once."""
    if not _grounds:
        if os.environ.get("PEERS_SERVER") == "uvicorn":
            _grounds.append(UvicornGround())
        else:
            from peers.our_ground import OurGround

            _grounds.append(OurGround())
    return _grounds[0]
