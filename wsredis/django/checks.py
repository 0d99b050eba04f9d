"""What ``manage.py check`` and ``runserver`` say about the settings of the project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.module_loading import import_string

from wsredis.config import all_settings as gateway_settings
from wsredis.config.ws4redis import SUBSCRIBER, redis_settings
from wsredis.django.control import TIMEOUT
from wsredis.errors import ConfigError
from wsredis.publisher.client import connect_as_project

__all__ = ["check_settings"]

_CHECKS = {setting.name: setting.check for setting in gateway_settings()}

_MIDDLEWARE = (
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
)


def check_settings(**_: Any) -> list[CheckMessage]:
    """Look at all settings that concern WebSockets; no server is asked."""
    return [*_wrong_values(), *_wrong_apps()]


# -- Values


def _websocket_url(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not a text")
    parts = urlsplit(value)
    if (parts.scheme or parts.netloc) and (parts.scheme not in ("ws", "wss") or not parts.netloc):
        raise ValueError(f"{value!r} is neither a path nor a whole ws:// or wss:// URL")
    if parts.query or parts.fragment:
        raise ValueError(f"{value!r} has more than a path")
    if not (parts.path.startswith("/") and parts.path.endswith("/")):
        raise ValueError(f"{value!r} does not start and end with a slash")


def _connection(value: Any) -> None:
    redis_settings(value)
    # The gateway makes a text of anything, redis-py does not. No value shows.
    for name in ("host", "unix_socket_path", "username"):
        given = value.get(name)
        if given is not None and not isinstance(given, str):
            raise ValueError(f"{name!r} is not a text")
    try:
        connect_as_project(TIMEOUT)
    except ConfigError as error:
        raise ValueError(str(error).removeprefix("WS4REDIS_CONNECTION: ")) from None


def _expire(value: Any) -> None:
    if value is not None and type(value) is not int:
        raise ValueError(f"{value!r} is not a whole number of seconds")


def _named(value: Any) -> Any:
    """What a setting holds or names."""
    if not isinstance(value, str):
        return value
    try:
        return import_string(value)
    except (Exception, SystemExit) as error:
        raise ValueError(f"{value!r} cannot be imported ({type(error).__name__})") from None


def _hook(value: Any) -> None:
    hook = _named(value)
    if hook is not None and not callable(hook):
        raise ValueError("this is neither a function nor the name of one")


def _subscriber(value: Any) -> None:
    if value == SUBSCRIBER:
        return
    try:
        subscriber = _named(str(value))
        _ = [*subscriber.subscription_channels, *subscriber.publish_channels]
    except (AttributeError, TypeError):
        raise ValueError("the class has no lists of channels") from None


#: Settings, what looks at them, the number of the message, and how they are written.
_VALUES: tuple[tuple[str, Callable[[Any], object], int, str], ...] = (
    ("WEBSOCKET_URL", _websocket_url, 1, "Write it as '/ws/', or 'wss://live.example.org/ws/'."),
    (
        "WS4REDIS_CONNECTION",
        _connection,
        2,
        "Write it as {'host': 'localhost', 'port': 6379, 'db': 0, 'password': ...}.",
    ),
    ("WS4REDIS_PREFIX", _CHECKS["prefix"], 3, "Write it as 'site', or leave it out."),
    ("WS4REDIS_EXPIRE", _expire, 4, "Write it as 3600; with 0 no message is kept."),
    (
        "WS4REDIS_HEARTBEAT",
        _CHECKS["heartbeat"],
        5,
        "Write it as '--heartbeat--', or leave it out.",
    ),
    ("WS4REDIS_ALLOWED_CHANNELS", _hook, 6, "Write it as 'package.module.name'."),
    ("WS4REDIS_PROCESS_REQUEST", _hook, 7, "Write it as 'package.module.name'."),
    ("WS4REDIS_SUBSCRIBER", _subscriber, 8, "Write it as 'package.module.name'."),
)


def _wrong_values() -> Iterator[CheckMessage]:
    for name, look, number, hint in _VALUES:
        if hasattr(settings, name):
            try:
                look(getattr(settings, name))
            except ValueError as error:
                yield _error(number, f"{name}: {error}", hint)


# -- Apps and sessions


def _wrong_apps() -> Iterator[CheckMessage]:
    if apps.is_installed("ws4redis"):
        yield _warning(
            1,
            "ws4redis is in INSTALLED_APPS: it keeps the groups of users in their sessions at "
            "login, and then changed memberships are not noticed",
            "Remove it; wsredis.django and wsredis.publisher take its place.",
        )
    names = [each.name for each in apps.get_app_configs()]
    pages = "django.contrib.staticfiles"
    if pages in names and names.index(pages) < names.index("wsredis.django"):
        yield _warning(
            2,
            f"wsredis.django comes after {pages}: runserver serves no WebSockets",
            "Put it before.",
        )
    if apps.is_installed("django.contrib.auth"):
        yield from _wrong_sessions()
    else:
        yield _warning(
            3,
            "django.contrib.auth is not in INSTALLED_APPS: all WebSockets are anonymous, and a "
            "gateway with --django does not start",
            "Add it.",
        )


def _wrong_sessions() -> Iterator[CheckMessage]:
    engine = str(settings.SESSION_ENGINE)
    try:
        store = import_module(engine).SessionStore
        model = getattr(store, "get_model_class", lambda: None)()
        if model is not None:
            # It may have been imported for another reason than that its app is installed.
            apps.get_model(model._meta.label)
    except Exception as error:
        yield _warning(
            4,
            f"SESSION_ENGINE: {engine!r} cannot be used ({type(error).__name__}): a gateway with "
            "--django does not start, or knows nobody",
            "Add django.contrib.sessions, or the app of the engine, to INSTALLED_APPS.",
        )
    given = [_class(name) for name in settings.MIDDLEWARE]
    missing = [name for name in _MIDDLEWARE if not _is_among(given, name)]
    if missing:
        yield _warning(
            5,
            f"MIDDLEWARE lacks {' and '.join(missing)}: pages begin no sessions, by which the "
            "gateway would know users",
            "Add what is missing.",
        )
    if engine.endswith(".signed_cookies"):
        yield _warning(
            6,
            "SESSION_ENGINE: a copy of a signed cookie is good for WebSockets, as for pages, after "
            "its user has logged out",
            "Use django.contrib.sessions.backends.db, cached_db or cache.",
        )


def _class(name: str) -> Any:
    try:
        return import_string(name)
    except Exception:
        # Django tells, in its own words.
        return None


def _is_among(given: list[Any], name: str) -> bool:
    """Whether the class of that name, or an heir of it, is in use."""
    wanted = import_string(name)
    return any(isinstance(each, type) and issubclass(each, wanted) for each in given)


def _error(number: int, text: str, hint: str) -> CheckMessage:
    return Error(text, hint=hint, id=f"wsredis.E{number:03}")


def _warning(number: int, text: str, hint: str) -> CheckMessage:
    return Warning(text, hint=hint, id=f"wsredis.W{number:03}")
