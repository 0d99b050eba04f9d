"""Settings that the program does not give: those of Django, else of the environment."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from wsredis.config import RedisConfig, all_settings
from wsredis.config.ws4redis import project_value, redis_values

__all__ = [
    "check",
    "check_seconds",
    "configured_expire",
    "configured_heartbeat",
    "configured_prefix",
    "configured_stored_prefix",
    "redis_arguments_of_project",
    "redis_of_environment",
    "redis_of_project",
]

_log = logging.getLogger(__name__)

_SETTINGS = {setting.name: setting for setting in all_settings()}


def configured_prefix() -> str:
    """
    Return the prefix, checked.

    Raises:
        ConfigError: The setting cannot be used; the text names it.
    """
    return str(_setting("prefix"))


def configured_stored_prefix() -> str:
    """
    Return the prefix of keys of stored messages, checked.

    Raises:
        ConfigError: The setting cannot be used; the text names it.
    """
    return str(_setting("stored-prefix"))


def configured_heartbeat() -> str | None:
    """
    Return the text of the heartbeat, checked. If None, there is none.

    Raises:
        ConfigError: The setting cannot be used; the text names it.
    """
    heartbeat: str | None = _setting("heartbeat")
    return heartbeat


def configured_expire() -> int:
    """
    Return the seconds that messages are stored. 0 or less stores none.

    Raises:
        ConfigError: The setting cannot be used; the text names it.
    """
    return int(_setting("expire"))


def check(name: str, value: object) -> Any:
    """
    Check a value as the gateway checks its setting *name*.

    Returns:
        The value that counts.

    Raises:
        ConfigError: It cannot be used; the text names the setting.
    """
    return _SETTINGS[name].read(value, name)


def check_seconds(value: object) -> int:
    """
    Check an expire time.

    Raises:
        ValueError: It is not a whole number: Redis keeps for whole seconds, and 0.5 would have to
            become 0 or 1.
    """
    if type(value) is not int:
        raise ValueError(f"expire: {value!r} is not a whole number of seconds")
    return value


def redis_arguments_of_project() -> dict[str, Any] | None:
    """
    Return ``WS4REDIS_CONNECTION`` of the Django project: arguments of redis-py.

    Returns:
        A new dictionary. If None, there is no project, or it does not say where Redis is.

    Raises:
        ConfigError: It cannot be used. The text shows no password.
    """
    arguments = project_value(_project(), "WS4REDIS_CONNECTION")
    return None if arguments is None else dict(arguments)


def redis_of_project() -> RedisConfig | None:
    """
    Read ``WS4REDIS_CONNECTION`` of the Django project as the gateway does, without redis-py.

    Arguments that only redis-py knows are named in a warning.

    Returns:
        Where Redis is. If None, there is no project, or it does not say so.

    Raises:
        ConfigError: It cannot be used. The text shows no password.
    """
    arguments = redis_arguments_of_project()
    if arguments is None:
        return None
    values, ignored = redis_values(arguments)
    if ignored:
        _log.warning("WS4REDIS_CONNECTION: only redis-py uses %s", " and ".join(ignored))
    return RedisConfig(
        url=values["redis"], ca=values.get("redis-ca"), password=values.get("redis-password")
    )


def redis_of_environment() -> RedisConfig:
    """
    Read the variables ``WSREDIS_REDIS``, ``WSREDIS_REDIS_CA`` and so on.

    Raises:
        ConfigError: One of them cannot be used; the text names it.
    """
    return RedisConfig(
        url=_variable("redis"),
        ca=_variable("redis-ca"),
        password_file=_variable("redis-password-file"),
        password=_variable("redis-password"),
    )


def _setting(name: str) -> Any:
    """Return the value of Django, else of the environment, else the default of the gateway."""
    project, project_name = _project(), f"WS4REDIS_{name.upper().replace('-', '_')}"
    if hasattr(project, project_name):
        return project_value(project, project_name)
    return _variable(name)


def _variable(name: str) -> Any:
    setting = _SETTINGS[name]
    value = os.environ.get(setting.variable)
    return setting.read(value, setting.variable) if value else setting.default


def _project() -> Any:
    """Return the settings of the Django project that this process belongs to. If None, to none."""
    chosen = bool(os.environ.get("DJANGO_SETTINGS_MODULE"))
    if not chosen and "django.conf" not in sys.modules:
        return None
    try:
        from django.conf import settings
    except ImportError:
        return None
    return settings if chosen or settings.configured else None
