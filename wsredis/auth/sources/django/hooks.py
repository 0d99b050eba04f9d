"""
Hooks of the project: functions of its settings, which fail closed.

All names are those of django-websocket-redis.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.logger import Logger

from wsredis.auth.sources.availability import SourceAway
from wsredis.auth.sources.django.old_code import remarks_on
from wsredis.auth.sources.django.project import error_place, read_setting
from wsredis.errors import HandshakeRejected

__all__ = ["Hook", "failing_closed", "load_hook", "unavailable", "warn_of_old_code"]

_log = Logger()

#: Characters of a reason, for the client.
_MAX_REASON = 200


class Hook:
    """
    A function of the project.

    Args:
        name: Name of the setting that holds the function.
        function: A plain function or a coroutine function.
        timeout: Time limit in seconds for a coroutine.
    """

    def __init__(self, name: str, function: Callable[..., Any], timeout: float) -> None:
        self.name = name
        self._function = function
        self._timeout = timeout

    def call(self, *args: Any) -> Any:
        """
        Call the function, in the thread of the caller.

        Returns:
            Its result.
        Raises:
            BaseException: As the function raises; see `failing_closed`.
            TimeoutError: A coroutine did not return in time. It was cancelled.
        """
        answer = self._function(*args)
        if inspect.isawaitable(answer):
            from asgiref.sync import async_to_sync

            answer = async_to_sync(self._in_time)(answer)
        return answer

    async def _in_time(self, answer: Any) -> Any:
        # The thread must not wait for ever after the client was told to try again.
        return await asyncio.wait_for(answer, self._timeout)


def load_hook(project: object, name: str, timeout: float) -> Hook | None:
    """
    Load the function that a setting holds or names.

    Args:
        project: ``django.conf.settings``.
        name: Name of the setting.
        timeout: Time limit in seconds for a coroutine.
    Returns:
        The hook, or None if the project does not have it.
    Raises:
        ConfigError: There is no such function.
    """
    function = read_setting(project, name)
    if function is None:
        return None
    warn_of_old_code(name, function)
    return Hook(name, function, timeout)


def warn_of_old_code(name: str, function: Callable[..., Any]) -> None:
    """Log what is wrong in the source of *function*, which the setting *name* leads to."""
    for remark in remarks_on(function):
        _log.warn(
            "{setting}: {place}: {problem}",
            event="hook-outdated",
            setting=name,
            place=remark.place,
            problem=remark.problem,
        )


@contextmanager
def failing_closed(name: str) -> Iterator[None]:
    """
    Run a hook so that any error of it rejects the handshake.

    Args:
        name: Name of the setting of the hook, for the log.
    Raises:
        HandshakeRejected: 403 for Django's PermissionDenied, with its text for the client; 400 for
            SuspiciousOperation; 500 for any other error. One that was raised stays as it is, such
            as SourceAway if the sessions cannot be asked.
        django.db.Error: As the hook raised it: the database is away.
        ConnectionError, TimeoutError: As the hook raised it, also those of redis-py: another server
            is away.
    """
    from django.core.exceptions import PermissionDenied, SuspiciousOperation
    from django.db import Error

    try:
        yield
    except (Error, ConnectionError, TimeoutError, HandshakeRejected, *_errors_of_redis()):
        raise
    except PermissionDenied as error:
        raise HandshakeRejected(_printable(str(error)) or "forbidden", 403, name) from None
    except SuspiciousOperation as error:
        raise HandshakeRejected("bad request", 400, f"{name}: {error_place(error)}") from None
    except BaseException as error:
        raise HandshakeRejected("internal error", 500, f"{name}: {error_place(error)}") from None


def _errors_of_redis() -> tuple[type[Exception], ...]:
    """Return the errors of redis-py that say that Redis is away, if the project has loaded it."""
    loaded = sys.modules.get("redis.exceptions")
    return () if loaded is None else (loaded.ConnectionError, loaded.TimeoutError)


@contextmanager
def unavailable() -> Iterator[None]:
    """
    Ask the project so that any error of it means "try again later".

    Raises:
        HandshakeRejected: As it was raised.
        SourceAway: For any other error.
    """
    try:
        yield
    except HandshakeRejected:
        raise
    except BaseException as error:
        raise SourceAway(f"--django: {error_place(error)}") from None


def _printable(text: str) -> str:
    """Reduce the text of a hook for the client to one line."""
    return "".join(each if each.isprintable() else " " for each in text)[:_MAX_REASON].strip()
