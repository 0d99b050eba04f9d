"""System checks of Django: they find mistakes in the settings of the project for WebSockets."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.management import find_commands, load_command_class
from django.utils.module_loading import import_string

from wsredis.config.project_hosts import host_problems
from wsredis.config.session_cookie import doubtful_sessions, lost_sessions
from wsredis.config.ws4redis import project_value
from wsredis.django.control import TIMEOUT
from wsredis.django.rule_checks import check_rules
from wsredis.django.subscriber_checks import check_subscriber
from wsredis.errors import ConfigError
from wsredis.publisher.redis_py import connect_as_project

__all__ = ["check_settings"]

_MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)

_RUNSERVER = "wsredis.django.management.commands.runserver"

_DOTTED_NAME = "Write it as 'package.module.name' of something that exists, or leave it out."

#: Settings, each with the number of its message and an example.
_VALUES = {
    "WEBSOCKET_URL": (1, "Write it as '/ws/', or 'wss://live.example.org/ws/'."),
    "WS4REDIS_CONNECTION": (
        2,
        "Write it as {'host': 'localhost', 'port': 6379, 'db': 0, 'password': ...}.",
    ),
    "WS4REDIS_PREFIX": (3, "Write it as 'site', or leave it out."),
    "WS4REDIS_EXPIRE": (4, "Write it as 3600; with 0 no message is stored."),
    "WS4REDIS_HEARTBEAT": (5, "Write it as '--heartbeat--', or leave it out."),
    "WS4REDIS_ALLOWED_CHANNELS": (6, _DOTTED_NAME),
    "WS4REDIS_PROCESS_REQUEST": (7, _DOTTED_NAME),
    "WS4REDIS_SUBSCRIBER": (8, _DOTTED_NAME),
}


def check_settings(**_: Any) -> list[CheckMessage]:
    """Check all settings for WebSockets. Neither Redis nor the gateway is asked."""
    return [*_wrong_values(), *_wrong_hosts(), *_wrong_apps(), *check_rules(), *check_subscriber()]


def _wrong_hosts() -> Iterator[CheckMessage]:
    for problem in host_problems(settings):
        yield _warning(
            30, problem, "Django treats pages likewise; change the entry, or leave it out."
        )


def _wrong_values() -> Iterator[CheckMessage]:
    for name, (number, hint) in _VALUES.items():
        try:
            # The same function reads it for the gateway, for publishers and for pages.
            project_value(settings, name)
            if name == "WS4REDIS_CONNECTION" and hasattr(settings, name):
                # Only redis-py knows which arguments there are.
                connect_as_project(TIMEOUT)
        except ConfigError as error:
            yield _error(number, str(error), hint)


# -- Apps and sessions


def _wrong_apps() -> Iterator[CheckMessage]:
    if apps.is_installed("ws4redis"):
        yield _warning(
            1,
            "ws4redis is in INSTALLED_APPS: it keeps the groups of users in their sessions at "
            "login, and then changed memberships are not noticed",
            "Remove it; wsredis.django and wsredis.publisher take its place.",
        )
    other = _other_runserver()
    if other is not None:
        yield _warning(
            2,
            f"runserver is that of {other}, which comes before wsredis.django: it serves no "
            "WebSockets of the gateway",
            f"Put wsredis.django before {other}.",
        )
    if apps.is_installed("django.contrib.auth"):
        yield from _wrong_sessions()
    else:
        yield _warning(
            3,
            "django.contrib.auth is not in INSTALLED_APPS: all WebSockets are anonymous, and a "
            "gateway with --django does not start",
            "Add django.contrib.auth.",
        )


def _other_runserver() -> str | None:
    """Return the app whose runserver is used if it does not serve those of the gateway."""
    if not apps.is_installed("wsredis.django"):
        return None
    for each in apps.get_app_configs():
        if "runserver" in find_commands(str(Path(each.path, "management"))):
            break
    name = str(each.name)
    if name == "wsredis.django":
        return None
    try:
        made = type(load_command_class(name, "runserver"))
    except Exception:
        # It serves nothing at all.
        return name
    # It may be an heir of ours, which must not be loaded for this: it loads Twisted.
    ours = (cls.__module__ == _RUNSERVER for cls in made.__mro__)
    return None if any(ours) else name


def _wrong_sessions() -> Iterator[CheckMessage]:
    engine = str(settings.SESSION_ENGINE)
    try:
        store = import_module(engine).SessionStore
        model = getattr(store, "get_model_class", lambda: None)()
        if model is not None:
            # A store can be imported even if its app is not installed.
            apps.get_model(model._meta.label)
    except Exception as error:
        yield _warning(
            4,
            f"SESSION_ENGINE: {engine!r} cannot be used ({type(error).__name__}): a gateway with "
            "--django does not start, or all its clients are anonymous",
            "Correct the name, or install the package of the engine."
            if isinstance(error, ImportError)
            else "Add django.contrib.sessions, or the app of the engine, to INSTALLED_APPS.",
        )
    given = [_class(name) for name in settings.MIDDLEWARE]
    missing = [name for name in _MIDDLEWARE if not _is_among(given, name)]
    if missing:
        yield _warning(
            5,
            f"MIDDLEWARE lacks {' and '.join(missing)}: pages start no sessions, and the gateway "
            "knows users by their sessions",
            "Add the missing middleware.",
        )
    if engine.endswith(".signed_cookies"):
        yield _warning(
            6,
            "SESSION_ENGINE: a copy of a signed cookie stays valid for WebSockets, as for pages, "
            "after its user has logged out",
            "Use django.contrib.sessions.backends.db, cached_db or cache.",
        )
    for problem in lost_sessions(settings):
        yield _warning(
            7,
            problem,
            "Change the setting, or all WebSockets are anonymous. If pages and sockets do share "
            "their sessions, put wsredis.W007 into SILENCED_SYSTEM_CHECKS.",
        )
    for problem in doubtful_sessions(settings):
        yield _warning(
            20,
            problem,
            "Use a cache or a folder that all processes share, or "
            "django.contrib.sessions.backends.db.",
        )


def _class(name: str) -> Any:
    try:
        return import_string(name)
    except Exception:
        # Django itself reports it.
        return None


def _is_among(given: list[Any], name: str) -> bool:
    """Tells whether one of the classes is the named one or a subclass of it."""
    wanted = import_string(name)
    return any(isinstance(each, type) and issubclass(each, wanted) for each in given)


def _error(number: int, text: str, hint: str) -> CheckMessage:
    return Error(text, hint=hint, id=f"wsredis.E{number:03}")


def _warning(number: int, text: str, hint: str) -> CheckMessage:
    return Warning(text, hint=hint, id=f"wsredis.W{number:03}")
