"""Telling consumers that messages may have been lost."""

from __future__ import annotations

import inspect
import sys
from functools import partial
from typing import Any
from weakref import ref

from wsredis.errors import ConfigError
from wsredis.layer.messages import Parcel

__all__ = ["ON_GAP", "calling_consumer", "check_on_gap", "gap_parcel", "hears_gaps"]

#: What may happen to consumers that have no method ``layer_gap``: nothing, or they close their
#: WebSocket with 1012.
ON_GAP = ("tell", "close")

#: The close code that tells browsers to come back.
_RESTART = 1012


def check_on_gap(value: object) -> str:
    """
    Check the setting ``on_gap``.

    Raises:
        ConfigError: It is not one of `ON_GAP`.
    """
    if value not in ON_GAP:
        raise ConfigError(f"on_gap: {value!r} is not one of {', '.join(ON_GAP)}")
    return str(value)


def gap_parcel(seconds: float) -> Parcel:
    """Make the event, for all consumers."""
    event = {"type": "layer.gap", "seconds": round(seconds, 3)}
    return Parcel(event, 0, event.copy)


def calling_consumer(layer: object) -> Any:
    """
    Return the consumer of Channels that calls the function which calls this one.

    A layer is not told which consumer asks for a channel, and only some have a method for the
    event: an event without a method ends the consumer.

    Args:
        layer: The consumer has it as its ``channel_layer``.
    Returns: The consumer. None if the caller is something else.
    """
    frame = sys._getframe(2)
    consumer = frame.f_locals.get("self")
    if consumer is not None and getattr(consumer, "channel_layer", None) is layer:
        return consumer
    return None


def hears_gaps(consumer: Any, on_gap: str) -> bool:
    """
    Tell whether a consumer is told of gaps.

    Args:
        on_gap: If it is "close", a consumer that has no method for the event gets one.
    """
    if callable(getattr(consumer, "layer_gap", None)):
        return True
    close = getattr(consumer, "close", None)
    if on_gap != "close" or not callable(close):
        return False
    handler = _close_later if inspect.iscoroutinefunction(close) else _close
    # By a weak reference: a circle would keep the consumer alive after its end.
    consumer.layer_gap = partial(handler, ref(consumer))
    return True


async def _close_later(consumer: ref[Any], event: object) -> None:
    found = consumer()
    if found is not None:
        await found.close(code=_RESTART)


def _close(consumer: ref[Any], event: object) -> None:
    found = consumer()
    if found is not None:
        found.close(code=_RESTART)
