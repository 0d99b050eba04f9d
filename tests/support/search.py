"""How far Hypothesis searches."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

__all__ = ["search"]

_EXAMPLES = os.environ.get("WSREDIS_EXAMPLES")


def search(examples: int, *, steps: int = 50) -> settings:
    """
    Try so many inputs, the same ones in each run: no run fails by chance.

    With the variable ``WSREDIS_EXAMPLES`` it tries as many as that says, and others each time.

    Args:
        steps: The most steps of one run of a state machine.
    """
    return settings(
        max_examples=int(_EXAMPLES or examples),
        derandomize=_EXAMPLES is None,
        database=None,
        deadline=None,
        stateful_step_count=steps,
        # They go by time, or by the class in which a test stands.
        suppress_health_check=list(HealthCheck),
    )
