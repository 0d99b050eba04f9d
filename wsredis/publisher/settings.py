"""Settings that the program does not give: those of Django, else of the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from wsredis.config import RedisConfig, all_settings
from wsredis.errors import ConfigError

__all__ = [
    "check",
    "check_seconds",
    "configured_expire",
    "configured_heartbeat",
    "configured_prefix",
    "redis_arguments_of_project",
    "redis_of_environment",
]

_SETTINGS = {setting.name: setting for setting in all_settings()}


def configured_prefix() -> str:
    """
    Return the prefix, checked.

    Raises:
        ConfigError: The setting cannot be used; the text names it.
    """
    return str(check("prefix", _setting("prefix")))


def configured_heartbeat() -> str | None:
    """
    Return the text of the heartbeat, checked. If None, there is none.

    Raises:
        ConfigError: The setting cannot be used; the text names it.
    """
    heartbeat: str | None = check("heartbeat", _setting("heartbeat"))
    return heartbeat


def configured_expire() -> int:
    """
    Return the seconds that messages are stored. 0 or less stores none.

    Raises:
        ConfigError: The setting cannot be used; the text names it.
    """
    value = _setting("expire")
    try:
        return 0 if value is None else check_seconds(value)
    except ValueError as error:
        raise ConfigError(f"WS4REDIS_EXPIRE: {error}") from None


def check(name: str, value: object) -> Any:
    """
    Check a value as the gateway checks its setting *name*.

    Returns:
        The value that counts.

    Raises:
        ConfigError: It cannot be used; the text names the setting.
    """
    try:
        return _SETTINGS[name].check(value)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from None


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
        ConfigError: It is not a dictionary.
    """
    connection = getattr(_project(), "WS4REDIS_CONNECTION", None)
    if connection is None:
        return None
    if not isinstance(connection, Mapping):
        raise ConfigError("WS4REDIS_CONNECTION: this is not a dictionary")
    return dict(connection)


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
    project = _project()
    attribute = f"WS4REDIS_{name.upper()}"
    if hasattr(project, attribute):
        return getattr(project, attribute)
    return _variable(name)


def _variable(name: str) -> Any:
    setting = _SETTINGS[name]
    variable = f"WSREDIS_{name.upper().replace('-', '_')}"
    value = os.environ.get(variable)
    if not value:
        return setting.default
    try:
        return setting.check(value)
    except ValueError as error:
        raise ConfigError(f"{variable}: {error}") from None


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
