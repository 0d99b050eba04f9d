"""Proofs that Redis does not allow: a gateway works without them, and says that it lacks them."""

from __future__ import annotations

from twisted.logger import Logger

from wsredis.gateway.health import Health
from wsredis.gateway.metrics import Metrics

__all__ = ["Unproven"]


class Unproven:
    """
    The rights that are missing for a proof: each is logged once, and does not stop the gateway.

    Args:
        health: Told all of them as ``unproven``.
        metrics: Has their number.
    """

    _log = Logger()

    def __init__(self, health: Health, metrics: Metrics) -> None:
        self._health = health
        self._metrics = metrics
        self._missing: dict[str, str] = {}

    def note(self, kind: str, text: str) -> None:
        """
        Take note that something cannot be proven.

        Args:
            kind: One of a few names.
            text: A sentence that names the right that is missing.
        """
        if kind not in self._missing:
            self._log.warn("{text}", event="unproven", text=text)
        self._missing[kind] = text
        self._report()

    def clear(self, kind: str) -> None:
        """Take note that it can be proven. Harmless if that is known."""
        if self._missing.pop(kind, None) is not None:
            self._report()

    def _report(self) -> None:
        self._metrics.unproven = len(self._missing)
        # Everybody may read it; the log has the names of the rights.
        text = "delivery is not proven: the user of Redis lacks a right, which the log names"
        self._health.report("unproven", text if self._missing else None, is_blocking=False)
