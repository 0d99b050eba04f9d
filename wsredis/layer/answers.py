"""Waiting in any loop for what a carrier tells in any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from wsredis.layer.home import Home

__all__ = ["Answer", "ask", "settle"]


class Answer:
    """
    Takes a result, in any thread.

    Attributes:
        is_there: Whether it has come.
    """

    __slots__ = ("_future", "_result", "is_there")

    def __init__(self) -> None:
        self.is_there = False
        self._result: Any = None
        self._future: asyncio.Future[Any] | None = None

    def __call__(self, result: Any) -> None:
        """Take the result. A second one does not count."""
        if self.is_there:
            return
        self._result = result
        self.is_there = True
        future = self._future
        if future is not None:
            settle(future, result)

    def expect(self, future: asyncio.Future[Any]) -> None:
        """Hand the result to *future*."""
        self._future = future
        # It may have come meanwhile; to set it twice does no harm.
        if self.is_there:
            settle(future, self._result)

    def result(self) -> Any:
        """
        Return the result, which has come.

        Raises:
            Exception: The result, if it is one.
        """
        if isinstance(self._result, Exception):
            raise self._result
        return self._result


async def ask(home: Home | None, start: Callable[[Answer], None]) -> Any:
    """
    Start something and wait for its end.

    Args:
        home: Finds the loop that reads. If None, the carriers need none.
        start: Takes what is to be called with the result, in any thread, maybe at once.

    Returns: The result.

    Raises:
        Exception: The result, if it is one.
    """
    loop = asyncio.get_running_loop()
    answer = Answer()
    if home is not None and home.loop is not loop and home.is_empty(loop):
        start(answer)
        if not answer.is_there:
            home.read_until(lambda: answer.is_there)
    else:
        start(answer)
    if answer.is_there:
        return answer.result()
    future: asyncio.Future[Any] = loop.create_future()
    answer.expect(future)
    return await (future if home is None else home.wait(future))


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
