"""
What a worker and its parent say to each other every second, and what their silence means.

A process that is stopped, or whose event loop is caught in something, still holds its sockets, and
nobody else would notice.
"""

from __future__ import annotations

from typing import Any

from wsredis.gateway.health import Problem, Situation

__all__ = ["FATAL", "INTERVAL", "MUTE", "Silence", "load_situation"]

#: Seconds between two reports of a worker, and between two messages of the parent.
INTERVAL = 1.0

#: Seconds of silence after which a process does not count as ready.
MUTE = 3.0

#: Seconds of silence after which only an end of the process helps.
FATAL = 10.0

#: Seconds that count at most when a timer was late: the listener may have been the stopped one.
_MOST = 1.0


class Silence:
    """
    The time for which another process has said nothing.

    Time in which this process did not run does not count: after a pause of the whole machine
    everybody has been silent.

    Args:
        interval: Seconds between two calls of `passed`.

    Attributes:
        seconds: The time.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self.seconds = 0.0

    def heard(self) -> None:
        """Begin anew: the other has spoken."""
        self.seconds = 0.0

    def passed(self, count: int) -> None:
        """Count so many intervals."""
        self.seconds += min(count * self._interval, _MOST)


def load_situation(values: Any) -> Situation:
    """
    Read what `json.dumps` made of a `Situation`.

    Raises:
        ValueError, TypeError, AttributeError: It is something else.
    """
    return {
        int(number): {
            str(name): Problem(str(text), float(since), bool(is_blocking))
            for name, (text, since, is_blocking) in problems.items()
        }
        for number, problems in values.items()
    }
