"""System checks of code and names: rules of the project that would not be what they seem to be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning

from wsredis.auth.sources.django.old_code import remarks_on
from wsredis.config.other_settings import unknown_settings
from wsredis.config.ws4redis import is_of_ws4redis, project_value
from wsredis.errors import ConfigError

__all__ = ["check_rules", "wrong_arguments"]

#: The hooks, and their arguments.
_HOOKS = {
    "WS4REDIS_PROCESS_REQUEST": ("request",),
    "WS4REDIS_ALLOWED_CHANNELS": ("request", "channels"),
}


def check_rules() -> Iterator[CheckMessage]:
    """Check the names of all settings for WebSockets, and the source of the hooks."""
    for name, meant in unknown_settings(settings).items():
        if meant:
            yield Warning(
                f"{name}: there is no such setting for WebSockets, and it has no effect",
                hint=f"Is it {meant}?",
                id="wsredis.W050",
            )
    for name, arguments in _HOOKS.items():
        try:
            hook = project_value(settings, name)
        except ConfigError:
            # Another check reports it.
            continue
        if hook is not None:
            yield from _wrong_hook(name, hook, arguments)
    application = getattr(settings, "WSGI_APPLICATION", None)
    if is_of_ws4redis(application):
        yield Warning(
            f"WSGI_APPLICATION: {application!r} is the runserver of ws4redis, whose release 0.6.0 "
            "cannot be imported with Django 3.0 and newer; that of wsredis.django serves Django's "
            "own application in its place",
            hint="Name the application of your wsgi.py. With wsredis.django in INSTALLED_APPS, "
            "runserver serves WebSockets.",
            id="wsredis.W053",
        )


def _wrong_hook(
    name: str, hook: Callable[..., Any], arguments: tuple[str, ...]
) -> Iterator[CheckMessage]:
    for remark in remarks_on(hook):
        yield Warning(
            f"{name}: {remark.place}: {remark.problem}", hint=remark.hint, id="wsredis.W051"
        )
    yield from wrong_arguments(f"{name}: the function", hook, arguments)


def wrong_arguments(
    name: str, function: Callable[..., Any], arguments: tuple[str, ...]
) -> Iterator[CheckMessage]:
    """
    Check that a function takes the arguments with which the gateway calls it.

    Args:
        name: The setting and the function, for the message.
        function: A function, or something else that can be called.
        arguments: Their names.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        # Not every function in C has one.
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        yield Warning(
            f"{name} is called with ({', '.join(arguments)}), and takes {signature}",
            hint="Every call fails until it takes them.",
            id="wsredis.W052",
        )
