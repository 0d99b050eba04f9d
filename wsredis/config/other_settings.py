"""
Rules of a Django project that are not where they are looked for: a slip, or another module.

They would be dropped without a word. Django is not imported.
"""

from __future__ import annotations

import sys
from difflib import get_close_matches
from typing import Any

from wsredis.config.ws4redis import MEANINGS, SUBSCRIBER

__all__ = ["moved_settings", "unknown_settings"]

_PREFIXES = ("WS4REDIS_", "WEBSOCKET")

#: Names with it can hardly be those of anything else.
_OWN_PREFIX = "WS4REDIS_"

#: Names of older versions of ws4redis, and their names today.
_RENAMED = {"WS4REDIS_STORE": "WS4REDIS_SUBSCRIBER"}

#: How alike two names are, from 0 to 1, if one may be a slip of the other.
_ALIKE = 0.85

#: The settings in which a project writes rules: who comes in, and what a client may do.
_RULES = ("WS4REDIS_ALLOWED_CHANNELS", "WS4REDIS_PROCESS_REQUEST", "WS4REDIS_SUBSCRIBER")


def unknown_settings(project: object) -> dict[str, str]:
    """
    List the settings for WebSockets that neither wsredis nor ws4redis knows.

    Args:
        project: The settings of the project.

    Returns:
        For each name the setting that may have been meant. It is empty if no name is like it, or
        if the project has that one as well: the setting may be one of the project's own.
    """
    known = [each for each in MEANINGS if each.startswith(_PREFIXES)]
    missing = [each for each in known if not hasattr(project, each)]
    found = {}
    for name in dir(project):
        if name.isupper() and name.startswith(_PREFIXES) and name not in known:
            renamed = [each for each in missing if each == _RENAMED.get(name)]
            alike = renamed or get_close_matches(name, missing, 1, _ALIKE)
            if alike or name.startswith(_OWN_PREFIX):
                found[name] = alike[0] if alike else ""
    return found


def moved_settings(project: object) -> dict[str, Any]:
    """
    Find the rules that a project has assigned to the module ``ws4redis.settings`` only.

    That module copies the settings of the project when it is imported, and ws4redis reads the
    copies.

    Args:
        project: The settings of the project, which is loaded.

    Returns:
        Values by the names of settings.
    """
    module = sys.modules.get("ws4redis.settings")
    found = {}
    for name in _RULES:
        value = getattr(module, name, None)
        given = getattr(project, name, SUBSCRIBER if name == "WS4REDIS_SUBSCRIBER" else None)
        if value is not None and value != given:
            found[name] = value
    return found
