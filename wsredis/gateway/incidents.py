"""The memory of what went wrong on single channels and facilities, for those who ask why."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Incident", "Incidents"]

#: Channels that are remembered, as many facilities, and kinds of incidents of each. The one without
#: an incident for the longest time is forgotten first.
_MAX_SUBJECTS = 1000
_MAX_KINDS = 8

#: Characters of a text that are kept: a policy may have written it.
_MAX_TEXT = 200


class Incident(NamedTuple):
    """
    One kind of incident of a channel or a facility.

    Attributes:
        text: The description, for an operator. It holds no payload.
        times: How often it happened.
        last: Seconds since 1970 at which it happened last.
    """

    text: str
    times: int
    last: float


_Memory = OrderedDict[bytes | str, OrderedDict[str, Incident]]


class Incidents:
    """
    A bounded memory: channels by their names as bytes, and facilities by theirs as strings.

    Args:
        now: Returns the seconds since 1970.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        #: Of channels and of facilities: refused clients make up the names of the latter.
        self._memories: tuple[_Memory, _Memory] = (OrderedDict(), OrderedDict())

    def note(self, subject: bytes | str, text: str) -> None:
        """Remember that something happened to *subject* now."""
        text = text[:_MAX_TEXT]
        memory = self._memory(subject)
        kinds = memory.setdefault(subject, OrderedDict())
        memory.move_to_end(subject)
        times = kinds[text].times if text in kinds else 0
        kinds[text] = Incident(text, times + 1, self._now())
        kinds.move_to_end(text)
        if len(kinds) > _MAX_KINDS:
            kinds.popitem(last=False)
        if len(memory) > _MAX_SUBJECTS:
            memory.popitem(last=False)

    def of(self, subject: bytes | str) -> list[Incident]:
        """Return the incidents of *subject*, the newest first."""
        return list(reversed(self._memory(subject).get(subject, OrderedDict()).values()))

    def _memory(self, subject: bytes | str) -> _Memory:
        return self._memories[isinstance(subject, str)]
