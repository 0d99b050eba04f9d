"""axe-core in a real browser: what people who use a screen reader or a keyboard stumble over."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from tests.support.browser import Window
from tests.support.node import node_modules

__all__ = ["ALL_IMPACTS", "SERIOUS", "faults"]

ALL_IMPACTS = ("minor", "moderate", "serious", "critical")
SERIOUS = ("serious", "critical")

_RUN = """
const [selector, options] = arguments;
const target = selector ? { include: [selector] } : document;
const all = { resultTypes: ["violations"], ...options };
return axe.run(target, all).then((found) => found.violations);
"""


@cache
def _source() -> str:
    return (node_modules() / "axe-core" / "axe.min.js").read_text("utf-8")


def faults(
    window: Window,
    *,
    impacts: Sequence[str] = ALL_IMPACTS,
    ignore: Sequence[str] = (),
    selector: str | None = None,
) -> list[str]:
    """
    Look for faults in the page as it is now. Its Content-Security-Policy does not matter.

    Args:
        impacts: Only faults of these weights: `ALL_IMPACTS` or `SERIOUS`.
        ignore: Names of rules that are not asked for. Say why where it is used.
        selector: Look only at what this CSS selector matches. If None, at the whole page.
    Returns: A line for each fault: weight, rule, what to do, and the elements.
    """
    if not window.run("return typeof axe === 'object'"):
        # As an argument of a function it would need unsafe-eval.
        window.run(_source())
    options = {"rules": {name: {"enabled": False} for name in ignore}}
    found: list[dict[str, Any]] = window.run(_RUN, selector, options)
    return [
        f"{each['impact']} {each['id']}: {each['help']}: "
        + ", ".join(" ".join(map(str, node["target"])) for node in each["nodes"])
        for each in found
        if each["impact"] in impacts
    ]
