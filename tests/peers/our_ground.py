"""Our server as the ground of a suite: the reactor in a thread, and one loop for all services."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from peers.grounds import PATIENCE, Application, Settings, Site

__all__ = ["OurGround"]


class _OurSite:
    def __init__(self, ground: OurGround, service: Any, port: int) -> None:
        self._ground = ground
        self._service = service
        self._is_stopped = False
        self.port = port

    async def stop(self) -> None:
        """See `Site.stop`."""
        if not self._is_stopped:
            self._is_stopped = True
            await self._ground.in_reactor(self._service.stopService)


class OurGround:
    """
    Our server, with ``--asgi-loop`` as the variable PEERS_LOOP says.

    A test and its application share objects of asyncio, so they need one loop, and it outlives the
    services.

    Attributes:
        loop: See `Ground.loop`.
        link: Runs applications in it.
        reactor: Runs the services.
    """

    def __init__(self) -> None:
        ready: Future[None] = Future()
        threading.Thread(target=self._run, args=[ready], daemon=True).start()
        ready.result(PATIENCE)

    def _run(self, ready: Future[None]) -> None:
        from twisted.internet import epollreactor

        epollreactor.install()
        from twisted.internet import reactor

        from wsredis.config import load
        from wsredis.gateway.metrics import Metrics
        from wsredis.web.asgi import server
        from wsredis.web.asgi.link import make_link

        self.reactor: Any = reactor
        config = load({"asgi-loop": os.environ.get("PEERS_LOOP", "reactor")}, environ={})
        link: Any = make_link(reactor, config.asgi, Metrics())
        begin, link.start, link.stop = link.start, _nothing, _nothing
        server.make_link = lambda *args: link

        def started() -> None:
            begin()
            self.link, self.loop = link, link.loop
            ready.set_result(None)

        self.reactor.callWhenRunning(started)
        self.reactor.run(installSignalHandlers=False)

    async def start(self, application: Application, settings: Settings, port: int = 0) -> Site:
        """See `Ground.start`."""
        from peers.our_server import make_service, port_of

        service = await self.in_reactor(lambda: make_service(application, settings, port))
        failed: list[str] = []
        service.give_up = failed.append
        await self.in_reactor(service.startService)
        while not (number := port_of(service)):
            if failed:
                raise RuntimeError(failed[0])
            await asyncio.sleep(0.002)
        return _OurSite(self, service, number)

    async def in_reactor(self, function: Callable[[], Any]) -> Any:
        """Call a function in the reactor's thread, and wait for its result."""
        from twisted.internet.defer import maybeDeferred

        result: Future[Any] = Future()

        def call() -> None:
            done = maybeDeferred(function)
            done.addCallbacks(
                result.set_result, lambda failure: result.set_exception(failure.value)
            )

        self.reactor.callFromThread(call)
        return await asyncio.wrap_future(result)

    def settle(self) -> None:
        """See `Ground.settle`."""
        for _ in range(4):
            for call in (self.reactor.callFromThread, self.loop.call_soon_threadsafe):
                done: Future[None] = Future()
                call(done.set_result, None)
                done.result(PATIENCE)


def _nothing() -> None:
    pass
