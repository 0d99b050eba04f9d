"""
The Django project: set up once in a process, and asked for its settings.

Django is imported inside functions, so that a gateway without it can do without Django.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from wsredis.config.imports import reactor_kept, refuse_patched, search_here, uwsgi_hint
from wsredis.config.other_settings import moved_settings, unknown_settings
from wsredis.config.project_hosts import host_problems
from wsredis.config.redis_url import DEFAULT_URL, parse_url
from wsredis.config.settings import GatewayConfig
from wsredis.config.ws4redis import gateway_values, project_value
from wsredis.errors import ConfigError

__all__ = [
    "error_in_project",
    "error_place",
    "project_settings",
    "read_setting",
    "set_up",
    "warn_of_differences",
]

_log = Logger()

#: The environment variable with the name of the settings module.
_VARIABLE = "DJANGO_SETTINGS_MODULE"

#: Characters of the reason in an error.
_MAX_REASON = 200

#: How the names of the files of this package begin.
_OWN_FILES = str(Path(__file__).parents[3]) + os.sep


def set_up(module: str) -> None:
    """
    Set Django up. Repeating it is harmless.

    Args:
        module: The settings module of the project; the working directory is searched first.
    Raises:
        ConfigError: Django is not installed, this process has another project already, the
            project fails, or see `wsredis.config.imports.refuse_patched`.
    """
    # This is where manage.py is.
    search_here(first=True)
    try:
        import django
        from django.conf import settings as project
    except ImportError:
        raise ConfigError(
            "django: Django is not installed: pip install 'wsredis[django]'"
        ) from None
    if project.configured and os.environ.get(_VARIABLE) != module:
        raise ConfigError(f"django: {module}: this process has other settings of Django already")
    os.environ[_VARIABLE] = module
    is_first = not project.configured
    try:
        with reactor_kept():
            django.setup()
    except (Exception, SystemExit) as error:
        raise error_in_project(module, error) from None
    refuse_patched(f"django: {module}")
    if is_first:
        # Later, tests may vary the settings.
        _take_moved_settings(project)


def project_settings(module: str) -> dict[str, Any]:
    """
    Set Django up, and read the settings of the project that the gateway uses.

    Args:
        module: The settings module of the project; the working directory is searched first.
    Returns:
        Values by the names of the settings of wsredis. Those that the project does not have are
        missing.
    Raises:
        ConfigError: The project or one of its settings cannot be used. The text names ``django``,
            and does not show the value of a secret.
    """
    set_up(module)
    from django.conf import settings as project

    try:
        values, ignored = gateway_values(project)
    except ConfigError as error:
        raise ConfigError(f"django: {error}") from None
    if ignored:
        _log.warn(
            "WS4REDIS_CONNECTION: {_names} not used by the gateway",
            event="ws4redis-setting-unused",
            names=ignored,
            _names=" and ".join(ignored) + (" are" if len(ignored) > 1 else " is"),
        )
    for problem in host_problems(project):
        _log.warn("{problem}", event="host-setting-problem", problem=problem)
    for name, meant in unknown_settings(project).items():
        if meant:
            _log.warn(
                "{setting} is not a setting for WebSockets, and has no effect: is it {meant}?",
                event="ws4redis-setting-unknown",
                setting=name,
                meant=meant,
            )
    return values


def warn_of_differences(config: GatewayConfig, values: Mapping[str, Any]) -> None:
    """
    Warn of options that lead the gateway to another Redis, or prefix, than the pages of a project.

    Args:
        config: What the gateway uses.
        values: What `project_settings` found. Where the project says nothing, its publishers read
            the environment.
    """
    prefix = values.get("prefix", os.environ.get("WSREDIS_PREFIX", ""))
    if config.prefix != prefix:
        _differs("prefix", f"the prefix is {config.prefix!r} here, and {prefix!r}")
    # A private one is told to the publishers of this process.
    if config.redis.url in (None, "embedded") and "redis" not in values:
        return
    theirs = values.get("redis") or os.environ.get("WSREDIS_REDIS") or DEFAULT_URL
    try:
        pages = parse_url(theirs)
        own = None if config.redis.url == "embedded" else parse_url(config.redis.url or DEFAULT_URL)
    except ConfigError:
        # Whoever connects says so.
        return
    # Numbers of databases do not matter for PUBLISH.
    if own is None or own.place[:4] != pages.place[:4]:
        name = "a private one" if own is None else own.name
        _differs("redis", f"Redis is {name} here, and {pages.name}")


def _differs(setting: str, problem: str) -> None:
    _log.warn(
        "{problem} for the pages of the project: what they publish, such as messages and logouts, "
        "does not come here",
        event="project-setting-differs",
        setting=setting,
        problem=problem,
    )


def _take_moved_settings(project: object) -> None:
    """Set what the project has assigned to ``ws4redis.settings``, where ws4redis reads it."""
    for name, value in moved_settings(project).items():
        setattr(project, name, value)
        _log.info(
            "{setting}: the value that was assigned to ws4redis.settings counts",
            event="ws4redis-setting-moved",
            setting=name,
        )


def read_setting(project: object, name: str) -> Any:
    """
    Read one setting of the project, as `wsredis.config.ws4redis.project_value` does.

    Args:
        project: ``django.conf.settings``.
        name: Name of the setting.
    Returns:
        Its value, or None if the project does not have it.
    Raises:
        ConfigError: The value cannot be used, or see `wsredis.config.imports.refuse_patched`.
    """
    try:
        value = project_value(project, name)
    except ConfigError as error:
        raise ConfigError(f"django: {error}") from None
    # The module of a hook may be imported only now.
    refuse_patched(f"django: {name}")
    return value


def error_in_project(module: str, error: BaseException) -> ConfigError:
    """Make an error of one line from any that a project raises, without values of its settings."""
    from django.core.exceptions import ImproperlyConfigured

    # The texts of these name modules, settings, variables and lines. Those of others may quote.
    if isinstance(error, (ImportError, ImproperlyConfigured, KeyError, SyntaxError)):
        text = " ".join(str(error).split())[:_MAX_REASON]
        kind = type(error).__name__
        hint = uwsgi_hint(error)
        # A folder above that of manage.py has the name of the package, too, and is one for Python.
        own = (module.partition(".")[0], module)
        if isinstance(error, ModuleNotFoundError) and error.name in own:
            hint = ": is this the folder of manage.py?"
        return ConfigError(f"django: {module}: {kind}: {text}{hint}")
    return ConfigError(f"django: {module}: {error_place(error)}")


def error_place(error: BaseException) -> str:
    """
    Name the class and the place of an error.

    Its text is left out: it may hold data of a client or of a database. The place is the last one
    outside of wsredis, as the function that was called is the one to mend.
    """
    frames = traceback.extract_tb(error.__traceback__)
    others = [each for each in frames if not each.filename.startswith(_OWN_FILES)]
    if isinstance(error, TypeError) and frames and not others:
        return "TypeError: it takes other arguments"
    place = [*frames, *others][-1:]
    where = "".join(f" at {os.path.basename(each.filename)}:{each.lineno}" for each in place)
    return f"{type(error).__name__}{where}"
