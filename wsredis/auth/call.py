"""A policy that is a function of somebody's own: ``--policy package.module:name``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import reduce
from importlib import import_module
from inspect import signature
from typing import Any

from twisted.internet.defer import maybeDeferred

from wsredis.auth import Handshake, Identity, Refused
from wsredis.channels import Wish
from wsredis.errors import ConfigError

__all__ = ["CallPolicy"]


class CallPolicy:
    """
    Asks a function, ``function(identity, handshake)``, that may return a Deferred or a coroutine.

    True grants the wish of the handshake, a `wsredis.Wish` is granted in its place, False and
    None refuse. Any other answer is a mistake, and refuses like an exception.

    Args:
        name: ``package.module:name``. Modules in the working directory are found behind all others.
    Raises:
        ConfigError: It cannot be imported, or not be called so.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._function = _load(name)

    async def allow(self, identity: Identity, handshake: Handshake) -> Wish:
        """See `wsredis.auth.Policy.allow`."""
        answer: object = await maybeDeferred(self._function, identity, handshake)
        if answer is True:
            return handshake.wish
        if isinstance(answer, Wish):
            return answer
        if answer is False or answer is None:
            raise Refused("you may not do this here", hint=f"policy {self._name}")
        raise TypeError(
            f"policy {self._name} returned {type(answer).__name__}, no bool and no Wish"
        )


def _load(name: str) -> Callable[..., Any]:
    module, _, path = name.partition(":")
    # The script twistd does not look there by itself.
    directory = os.getcwd()
    if directory not in sys.path:
        sys.path.append(directory)
    try:
        found = reduce(getattr, path.split("."), import_module(module))
    except (Exception, SystemExit) as error:
        # Whatever goes wrong in a module of somebody else, it is one line.
        raise ConfigError(f"policy: {name}: {_line(error)}") from None
    if not callable(found):
        raise ConfigError(f"policy: {name}: it is no function")
    try:
        signature(found).bind(None, None)
    except TypeError:
        raise ConfigError(f"policy: {name}: it does not take (identity, handshake)") from None
    except ValueError:
        # Something written in C does not say what it takes.
        pass
    return found


def _line(error: BaseException) -> str:
    words = str(error).split()
    return f"{type(error).__name__}: {' '.join(words)}" if words else type(error).__name__
