"""
A pytest plugin that puts our server in the place of uvicorn in uvicorn's own tests.

Tests of WebSockets reach the server only by ``tests.utils.run_server``, those of HTTP only by
``get_connected_protocol``, those of lifespan by ``LifespanOn`` and ``LifespanOff``.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from peers.grounds import Settings, run, the_ground
from peers.left_out import LeftOut
from peers.wire import open_wires

_make_wire, _end_wires = open_wires()

#: The parameters choose a parser of uvicorn's; one pair of them is enough.
_VARIANTS = ("[h11", "h11]", "-h11-", "zttp", "websockets-sansio")

_LEFT_OUT: dict[str, str] = {}


def pytest_configure(config: pytest.Config) -> None:
    """Put our server in its place before the tests are imported."""
    config.pluginmanager.register(LeftOut(_LEFT_OUT, _VARIANTS, 1))
    config.addinivalue_line("markers", "anyio: is run in the loop of the application")

    import tests.utils

    tests.utils.run_server = _run_server


def pytest_collection_finish(session: pytest.Session) -> None:
    """Replace what the module of the tests of HTTP defines itself."""
    for item in session.items:
        module = getattr(item, "module", None)
        if hasattr(module, "get_connected_protocol"):
            module.get_connected_protocol = _connected


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a coroutine: in the loop of the application, unless it uses a `Wire`."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    coroutine = pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names})
    if hasattr(pyfuncitem.module, "get_connected_protocol"):
        asyncio.run(coroutine)
    else:
        run(the_ground(), coroutine)
    return True


@pytest.fixture(autouse=True)
def _wires() -> Iterator[None]:
    yield
    _end_wires()


def _settings(config: Any) -> Settings:
    """Translate uvicorn's settings into ours."""
    options: dict[str, Any] = {
        "asgi-root-path": config.root_path,
        "max-message": config.ws_max_size,
        "compress": config.ws_per_message_deflate,
        "ping-interval": config.ws_ping_interval or 0,
    }
    return Settings(config.lifespan, options)


class _Running:
    """What ``run_server`` gives to a test."""

    def __init__(self, site: Any) -> None:
        self._site = site

    async def shutdown(self) -> None:
        """Stop."""
        await self._site.stop()


@asynccontextmanager
async def _run_server(config: Any, sockets: Any = None) -> AsyncIterator[_Running]:
    site = await the_ground().start(config.app, _settings(config), config.port)
    try:
        yield _Running(site)
    finally:
        await site.stop()


def _connected(app: Any, http_protocol_cls: Any, lifespan: Any = None, **kwargs: Any) -> Any:
    import uvicorn

    settings = _settings(uvicorn.Config(app, lifespan="off", log_config=None, **kwargs))
    if lifespan is None:
        return _make_wire(the_ground(), app, settings)
    state = lifespan.state

    async def with_state(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            scope["state"].update(state)
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await app(scope, receive, send)

    return _make_wire(the_ground(), with_state, Settings("on", settings.options))
