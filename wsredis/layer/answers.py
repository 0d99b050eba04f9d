"""Waiting in any loop for what a carrier tells in any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from wsredis.layer.home import Home

__all__ = ["ask", "settle"]


async def ask(home: Home | None, start: Callable[[Callable[[Any], None]], None]) -> Any:
    """
    Start something and wait for its end.

    Args:
        home: Finds the loop that reads. If None, the carriers need none.
        start: Takes a function that is to be called with the result, in any thread, maybe at once.
    Returns: The result.
    Raises:
        Exception: The result, if it is one.
    """
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    start(lambda result: settle(future, result))
    if future.done() or home is None:
        return await future
    return await home.wait(future)


def settle(future: asyncio.Future[Any], result: Any) -> None:
    """
    Set the result of a future of any loop, from any thread.

    Args:
        result: An exception is raised where it is waited for.
    """
    loop = future.get_loop()
    if loop is asyncio._get_running_loop():
        _set(future, result)
        return
    try:
        loop.call_soon_threadsafe(_set, future, result)
    except RuntimeError:
        # The loop is closed: nobody waits any more.
        pass


def _set(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():
        # Cancelled.
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
