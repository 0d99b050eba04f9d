"""Garbage collection in a process that does nothing but serve a gateway."""

from __future__ import annotations

import gc

__all__ = ["freeze"]

#: Python looks through its young objects after so many new ones. By default the connections of 50
#: clients are enough. The search through 10,000 takes some milliseconds.
_THRESHOLD = 10_000


def freeze() -> None:
    """
    Keep all that is there now out of the way of garbage collection, and collect less often.

    To be called once, when a process has started. Connections leave no garbage that needs a
    collection, so that it is needed only for what handlers and libraries leave. A program that
    embeds a gateway decides for itself: nothing there calls this.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_THRESHOLD, *gc.get_threshold()[1:])
