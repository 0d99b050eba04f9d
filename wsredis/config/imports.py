"""What settings name as ``package.module:name``, and where it is looked for."""

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

#: Characters of what an error says.
_MAX_WORDS = 500


def search_here(*, first: bool) -> None:
    """Have modules of the working directory found, before all others or behind them."""
    # The script twistd does not look there by itself.
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0 if first else len(sys.path), here)


def import_named(label: str, name: str) -> Callable[..., Any]:
    """
    Import something that can be called.

    Args:
        label: What the text of an error begins with.
        name: ``package.module:name``; the name may have dots.
    Raises:
        ConfigError: It cannot be imported, or not be called. The text is one line.
    """
    module, _, path = name.partition(":")
    try:
        found: Any = reduce(getattr, path.split("."), import_module(module))
    except (Exception, SystemExit) as error:
        # Whoever ends the program at import time wanted to say that something is wrong.
        raise ConfigError(f"{label}: {_in_one_line(error)}") from None
    if not callable(found):
        raise ConfigError(f"{label}: it is not callable")
    function: Callable[..., Any] = found
    return function


def _in_one_line(error: BaseException) -> str:
    words = " ".join(str(error).split())[:_MAX_WORDS]
    last = traceback.extract_tb(error.__traceback__)[-1]
    is_ours = last.filename == __file__ or "importlib" in last.filename
    where = "" if is_ours else f" ({last.filename}:{last.lineno})"
    return f"{type(error).__name__}: {words}{where}"
