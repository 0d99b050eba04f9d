"""The application: found by its name, and called in one way whichever version it is of."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from wsredis.config.imports import import_named, search_here
from wsredis.errors import ConfigError
from wsredis.web.application import with_static_files

__all__ = ["Application", "call_of", "load_application", "single_callable"]

#: An ASGI application, of version 3: it is called with scope, receive and send.
Application = Callable[..., Awaitable[None]]

#: The name of our channel layer in the settings of a project.
_LAYER = "wsredis.layer.ChannelLayer"


def load_application(name: str) -> Application:
    """
    Import an application.

    Under Django with ``DEBUG`` and ``django.contrib.staticfiles``, the application is wrapped so
    that it serves static files too, as Django's own runserver does.

    Args:
        name: ``package.module:name``.

    Raises:
        ConfigError: It cannot be imported. The message is one line.
    """
    search_here(first=True)
    label = f"asgi: {name!r} cannot be used"
    application = import_named(label, name)
    if not (_takes(application, 3) or _takes(application, 1)):
        hint = "; it may be a WSGI application, for --wsgi" if _takes(application, 2) else ""
        raise ConfigError(f"{label}: it cannot be called as an ASGI application{hint}")
    _check_layers(label)
    return with_static_files(single_callable(application), "ASGIStaticFilesHandler")


def single_callable(application: Callable[..., Any]) -> Application:
    """
    Return an application of version 3, also for one of version 2.

    One of version 2 is called with the scope, and what it returns with receive and send.
    """
    if _takes(application, 3) or not _takes(application, 1):
        return application

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await application(scope)(receive, send)

    return call


def _check_layers(label: str) -> None:
    """
    Make the channel layers of the project that are ours.

    Channels makes each when it is first used: a mistake would be told to the first client only.
    """
    django_conf, layers = map(sys.modules.get, ("django.conf", "channels.layers"))
    if django_conf is None or layers is None or not django_conf.settings.configured:
        return
    for name, settings in getattr(django_conf.settings, "CHANNEL_LAYERS", {}).items():
        if settings.get("BACKEND") == _LAYER:
            try:
                layers.channel_layers[name]
            except ConfigError as error:
                raise ConfigError(f"{label}: CHANNEL_LAYERS, {name!r}: {error}") from None


def _takes(function: Callable[..., Any], count: int) -> bool:
    """Tell whether a function can be called with so many arguments."""
    try:
        inspect.signature(function).bind(*range(count))
    except TypeError:
        return False
    except ValueError:
        # It tells nothing about itself.
        return count == 3
    return True


def call_of(application: Application) -> Callable[..., Coroutine[Any, Any, None]]:
    """Return a function whose call runs nothing: the application runs in the task of its call."""
    found: Any = application
    if any(map(inspect.iscoroutinefunction, (found, getattr(found, "__call__", None)))):  # noqa: B004, it is asked about, not whether it is there
        return found  # type: ignore[no-any-return]

    async def call(scope: Any, receive: Any, send: Any) -> None:
        await application(scope, receive, send)

    return call
