"""Import of objects that settings name as ``package.module:name``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from typing import Any

from wsredis.errors import ConfigError

__all__ = ["import_named", "search_here"]

#: Libraries that may replace parts of Python's own, and whether they have done so.
_PATCHED: dict[str, Callable[[Any], bool]] = {
    "gevent.monkey": lambda module: (
        module.is_module_patched("threading") or module.is_module_patched("socket")
    ),
    "eventlet.patcher": lambda module: (
        module.is_monkey_patched("thread") or module.is_monkey_patched("socket")
    ),
}

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
        ConfigError: It cannot be imported, it cannot be called, or an import has patched Python's
            own modules. The message is one line.
    """
    module, _, path = name.partition(":")
    try:
        found: Any = reduce(getattr, path.split("."), import_module(module))
    except (Exception, SystemExit) as error:
        # A module that ends the program while it is imported reports an error that way.
        raise ConfigError(f"{label}: {_in_one_line(error)}") from None
    if not callable(found):
        raise ConfigError(f"{label}: it is not callable")
    for library, is_patched in _PATCHED.items():
        if library in sys.modules and is_patched(sys.modules[library]):
            library = library.partition(".")[0]
            raise ConfigError(
                f"{label}: an import has replaced threads and sockets by those of {library} "
                "(monkey patching), with which the gateway cannot work"
            )
    function: Callable[..., Any] = found
    return function


def _in_one_line(error: BaseException) -> str:
    message = " ".join(str(error).split())[:_MAX_MESSAGE]
    last = traceback.extract_tb(error.__traceback__)[-1]
    is_ours = last.filename == __file__ or "importlib" in last.filename
    where = "" if is_ours else f" ({last.filename}:{last.lineno})"
    return f"{type(error).__name__}: {message}{where}"
