"""Coroutines that seldom wait: run at once, and made a Deferred only if they do wait."""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import copy_context
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
        context.run(coroutine.send, None)
    except StopIteration as end:
        result: T = end.value
        return result
    # The Deferred that it awaits is not lost: one that has not fired yields itself again.
    return context.run(Deferred.fromCoroutine, coroutine)
