"""Import of objects that settings name as ``package.module:name``."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from importlib import import_module
from typing import Any

from wsredis.errors import ConfigError

__all__ = [
    "import_named",
    "patched_by",
    "reactor_kept",
    "refuse_patched",
    "search_here",
    "uwsgi_hint",
]

#: Libraries that may replace modules of Python, the functions that tell whether they have done so,
#: and the names of modules that the gateway itself works with.
_PATCHES: dict[str, tuple[str, tuple[str, ...]]] = {
    "gevent.monkey": ("is_module_patched", ("thread", "threading", "socket", "ssl", "select")),
    "eventlet.patcher": ("is_monkey_patched", ("thread", "socket", "select")),
}

#: Modules that exist only inside of uWSGI.
_OF_UWSGI = ("uwsgi", "uwsgidecorators")

#: The module that Twisted puts the reactor of the process in the place of.
_REACTOR = "twisted.internet.reactor"

#: How Daphne's complaint about the reactor begins. Its advice is of no use here.
_COMPLAINT = "Something has already installed a non-asyncio Twisted reactor"

#: Characters of the message of an error.
_MAX_MESSAGE = 500


def search_here(*, first: bool) -> None:
    """
    Find modules of the working directory from now on.

    Args:
        first: Tells whether they are found before all other modules, or after them.
    """
    # The script twistd does not add the working directory to the path.
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0 if first else len(sys.path), here)


def import_named(label: str, name: str) -> Callable[..., Any]:
    """
    Import a function or another object that can be called.

    Args:
        label: The message of an error begins with it.
        name: ``package.module:name``; the name may have dots.

    Raises:
        ConfigError: It cannot be imported, it cannot be called, or see `refuse_patched`. The
            message is one line.
    """
    module, _, path = name.partition(":")
    try:
        with reactor_kept():
            found: Any = reduce(getattr, path.split("."), import_module(module))
    except (Exception, SystemExit) as error:
        # A module that ends the program while it is imported reports an error that way.
        raise ConfigError(f"{label}: {_in_one_line(error)}") from None
    if not callable(found):
        raise ConfigError(f"{label}: it is not callable")
    refuse_patched(label)
    function: Callable[..., Any] = found
    return function


@contextmanager
def reactor_kept() -> Iterator[None]:
    """
    Keep the reactor of the process, whatever is imported meanwhile.

    Daphne, which many projects of Channels name in INSTALLED_APPS, takes the reactor that it finds
    away and installs another one. A gateway on the first of two reactors would wait for ever.
    """
    before = sys.modules.get(_REACTOR)
    warnings.filterwarnings("ignore", _COMPLAINT)
    try:
        yield
    finally:
        if before is not None and sys.modules.get(_REACTOR) is not before:
            sys.modules[_REACTOR] = before
            # Functions that import it when they are called find this one.
            sys.modules["twisted.internet"].reactor = before  # type: ignore[attr-defined]


def patched_by() -> str | None:
    """Return the library that has replaced Python's threads or sockets. If None, none has."""
    for module, (question, names) in _PATCHES.items():
        ask = getattr(sys.modules.get(module), question, None)
        if ask is not None and any(map(ask, names)):
            return module.partition(".")[0]
    return None


def refuse_patched(label: str) -> None:
    """
    Refuse a process in which an import has replaced Python's threads or sockets.

    Args:
        label: The message of an error begins with it.

    Raises:
        ConfigError: One has. The message names the library.
    """
    library = patched_by()
    if library is not None:
        raise ConfigError(
            f"{label}: an import has replaced threads and sockets by those of {library} "
            "(monkey patching), with which the gateway cannot work"
        )


def uwsgi_hint(error: BaseException) -> str:
    """
    Explain the failure of an import that needs uWSGI, or the servers of django-websocket-redis.

    Returns:
        The end of a message, which begins with a colon. Empty for all other failures.
    """
    frames = traceback.walk_tb(error.__traceback__)
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in frames]
    needs_uwsgi = isinstance(error, ImportError) and error.name in _OF_UWSGI
    if not needs_uwsgi and not any(each.startswith("ws4redis.") for each in modules):
        return ""
    return (
        ": the gateway takes the place of uWSGI and of the servers in ws4redis; leave out what "
        "imports them"
    )


def _in_one_line(error: BaseException) -> str:
    message = " ".join(str(error).split())[:_MAX_MESSAGE]
    last = traceback.extract_tb(error.__traceback__)[-1]
    is_ours = last.filename == __file__ or "importlib" in last.filename
    where = "" if is_ours else f" ({last.filename}:{last.lineno})"
    return f"{type(error).__name__}: {message}{where}{uwsgi_hint(error)}"
