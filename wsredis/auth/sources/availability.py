"""
Which sources of identities cannot be asked: one problem of the gateway, ``identities``.

It blocks if no client at all is let in while it lasts. Otherwise it does not: all gateways ask the
same backend, and if all of them were not ready, nobody would serve those who need no identity.
"""

from __future__ import annotations

from typing import Protocol

from wsredis.errors import HandshakeRejected
from wsredis.gateway.health import Health

__all__ = ["Availability", "Report", "SourceAway", "nobody"]


class SourceAway(HandshakeRejected):
    """
    The backend of a source cannot be asked now, or did not answer as it must: 503.

    Args:
        hint: See `HandshakeRejected`.
    """

    def __init__(self, hint: str) -> None:
        super().__init__("try again later", 503, hint, cause="identities-away")


class Report(Protocol):
    """Takes the state of one source."""

    def __call__(self, text: str | None, *, is_blocking: bool = False) -> None:
        """
        Note the state of the source, after each question to its backend.

        Args:
            text: See `wsredis.gateway.health.Problem`. If None, it could be asked.
            is_blocking: Whether no client is let in.
        """


def nobody(text: str | None, *, is_blocking: bool = False) -> None:
    """Be a `Report` for a source whose state interests nobody."""


class Availability:
    """
    The state of all sources.

    Args:
        health: Told of it.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._away: dict[str, tuple[str, bool]] = {}

    def of(self, source: str, *, is_only: bool = True) -> Report:
        """
        Return the function by which a source reports.

        Args:
            is_only: If False, clients of another source are let in without it: it never blocks.
        """

        def report(text: str | None, *, is_blocking: bool = False) -> None:
            if text is None:
                if self._away.pop(source, None) is None:
                    return
            else:
                self._away[source] = text, is_blocking and is_only
            texts = "; ".join(text for text, _ in self._away.values())
            blocks = any(is_blocking for _, is_blocking in self._away.values())
            self._health.report("identities", texts or None, is_blocking=blocks)

        return report
