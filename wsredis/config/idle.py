"""Settings that have no effect, since another one is missing on which they depend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wsredis.config.settings import GatewayConfig, all_settings

__all__ = ["idle_settings"]

#: Settings, and those of which one must be there. Where that is certainly a mistake, and not a
#: variable for several programs, the setting is refused elsewhere.
_NEEDS = {
    "asgi-loop": ("asgi",),
    "asgi-lifespan": ("asgi",),
    "asgi-root-path": ("asgi",),
    "asgi-concurrency": ("asgi",),
    "asgi-budget": ("asgi",),
    "asgi-shutdown": ("asgi",),
    "asgi-slow": ("asgi",),
    "auth-concurrency": ("django", "auth-url"),
    "compress-threshold": ("compress",),
    "forward-capacity": ("forward",),
    "forward-expiry": ("forward",),
    "forward-key": ("forward",),
    "forward-prefix": ("forward",),
    "ignore-subscriber-methods": ("django",),
    "max-body": ("wsgi", "asgi"),
    "max-spool": ("wsgi", "asgi"),
    "script-name": ("django", "wsgi", "asgi"),
    "wsgi-queue": ("wsgi",),
    "wsgi-threads": ("wsgi",),
}


def idle_settings(config: GatewayConfig) -> Iterator[tuple[str, str]]:
    """
    List the settings that differ from their defaults and have no effect.

    Returns:
        Their names, and words for the settings of which one would have to be there.
    """
    settings = {each.name: each for each in all_settings()}

    def value(name: str) -> Any:
        each = settings[name]
        owner = config if each.part is None else getattr(config, each.part)
        return getattr(owner, each.attribute)

    for name, needs in _NEEDS.items():
        if value(name) != settings[name].default and not any(map(value, needs)):
            yield name, " or ".join(needs)
