"""The state of a gateway: each thing that is wrong, and since when."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple, TypeAlias

__all__ = ["Health", "Probes", "Problem", "Problems", "Situation", "is_good"]


class Problem(NamedTuple):
    """
    One thing that is wrong.

    Attributes:
        text: A sentence for an operator. Strangers can read it: it holds no secret, no name or
            address of a server, and no name that a client chose. The log has those.
        since: Seconds since 1970 at which it began.
        is_blocking: Whether the gateway is not ready while it lasts.
    """

    text: str
    since: float
    is_blocking: bool


#: The problems of one process by the names of the things, in the order in which they began.
Problems: TypeAlias = Mapping[str, Problem]

#: The problems of each process by its number. 0 is the process that is asked, or, with workers,
#: nobody; workers count from 1.
Situation: TypeAlias = Mapping[int, Problems]

#: What an answer about health says, by the last part of its path.
Probes: TypeAlias = Mapping[str, Callable[[], Situation]]


def is_good(situation: Situation) -> bool:
    """Tell whether no problem is a blocking one."""
    return not any(
        each.is_blocking for problems in situation.values() for each in problems.values()
    )


class Health:
    """
    Everything that is wrong with one gateway now.

    Args:
        now: Returns the seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._problems: dict[str, Problem] = {}

    @property
    def is_ready(self) -> bool:
        """Whether no problem is a blocking one."""
        return is_good({0: self._problems})

    @property
    def problems(self) -> Problems:
        """The problems by the name of the thing, in the order in which they began."""
        return MappingProxyType(self._problems)

    def report(self, name: str, text: str | None, *, is_blocking: bool = True) -> None:
        """
        Report the state of one thing. A problem that goes on keeps its beginning.

        Args:
            name: The thing.
            text: See `Problem.text`. If None, nothing is wrong with it.
            is_blocking: See `Problem`.
        """
        if text is None:
            self._problems.pop(name, None)
            return
        before = self._problems.get(name)
        since = self._now() if before is None else before.since
        self._problems[name] = Problem(text, since, is_blocking)
