"""
Answers about the health of the gateway: what is wrong, and since when, as JSON.

Everybody who reaches the port may ask, so the body has names of things and sentences about them,
and no name, address or count that is nobody's business.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request

from wsredis.gateway.health import Problem, Situation, is_good

__all__ = ["HealthResource"]


class HealthResource(Resource):
    """
    The answer to one question about health: 200 if nothing prevents it, else 503.

    Args:
        name: The question, which is also the key of its answer in the body.
        ask: Returns what is wrong now.
        now: Returns the seconds since 1970.
    """

    isLeaf = True

    def __init__(
        self, name: str, ask: Callable[[], Situation], now: Callable[[], float] = time.time
    ) -> None:
        super().__init__()
        self._name = name
        self._ask = ask
        self._now = now

    def render_GET(self, request: Request) -> bytes:
        """Answer with the state of this moment."""
        situation = self._ask()
        good = is_good(situation)
        now = self._now()
        entries = [
            {**_entry(name, problem, now), **({"worker": number} if number else {})}
            for number, problems in sorted(situation.items())
            for name, problem in problems.items()
        ]
        entries.sort(key=lambda each: not each["blocking"])
        request.setResponseCode(200 if good else 503)
        request.setHeader("content-type", "application/json")
        request.setHeader("cache-control", "no-store")
        request.setHeader("x-content-type-options", "nosniff")
        return json.dumps({self._name: good, "problems": entries}, indent=1).encode() + b"\n"


def _entry(name: str, problem: Problem, now: float) -> dict[str, Any]:
    began = datetime.fromtimestamp(problem.since, UTC)
    return {
        "name": name,
        "text": problem.text,
        "since": f"{began:%Y-%m-%dT%H:%M:%SZ}",
        # The system's clock may have been set back.
        "seconds": max(0, round(now - problem.since)),
        "blocking": problem.is_blocking,
    }
