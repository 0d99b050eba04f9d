"""Coroutines that seldom wait: run at once, and made a Deferred only if they do wait."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

__all__ = ["run_eagerly"]

T = TypeVar("T")


def run_eagerly(coroutine: Coroutine[Deferred[Any], Any, T]) -> Deferred[T] | T:
    """
    Run *coroutine*, which awaits nothing but Deferreds.

    A handshake that asks nobody outside waits for nothing, and a Deferred would cost it more than
    the rest of its decision.

    Returns:
        The result, if *coroutine* awaited nothing. Else it fires with the result; cancelling it
        cancels what is awaited.
    Raises:
        Exception: As *coroutine* raises before it awaits anything.
    """
    # As with a Deferred: a context variable that one handshake sets is not seen by the next.
    context = copy_context()
    try:
        awaited = context.run(coroutine.send, None)
    except StopIteration as end:
        result: T = end.value
        return result
    return context.run(Deferred.fromCoroutine, _rest(coroutine, awaited))


def _rest(
    coroutine: Coroutine[Deferred[Any], Any, T], awaited: Deferred[Any]
) -> Generator[Deferred[Any], Any, T]:
    """Go on with a coroutine that has begun, and awaits *awaited*."""
    while True:
        try:
            step = partial(coroutine.send, (yield awaited))
        except BaseException as error:
            step = partial(coroutine.throw, error)
        try:
            awaited = step()
        except StopIteration as end:
            result: T = end.value
            return result
