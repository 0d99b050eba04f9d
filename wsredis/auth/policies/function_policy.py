"""A policy that is a function of somebody's own: ``--policy package.module:name``."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from twisted.internet.defer import maybeDeferred

from wsredis.channels import Access
from wsredis.config.imports import import_named, search_here
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["CallPolicy"]


class CallPolicy:
    """
    Asks a function, ``function(identity, handshake)``, that may return a Deferred or a coroutine.

    True grants the access of the handshake, a `wsredis.Access` is granted in its place, False and
    None refuse. Any other answer is a mistake, and refuses like an exception.

    Args:
        name: ``package.module:name``. Modules in the working directory are found behind all others.
    Raises:
        ConfigError: It cannot be imported, or not be called so.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._function = _load(name)

    async def allow(self, identity: Identity, handshake: Handshake) -> Access:
        """See `wsredis.gateway.identity.Policy.allow`."""
        answer: object = await maybeDeferred(self._function, identity, handshake)
        if answer is True:
            return handshake.requested
        if isinstance(answer, Access):
            return answer
        if answer is False or answer is None:
            raise HandshakeRejected("you may not do this here", hint=f"policy {self._name}")
        raise TypeError(
            f"policy {self._name} returned {type(answer).__name__}, no bool and no Access"
        )


def _load(name: str) -> Callable[..., Any]:
    search_here(first=False)
    found = import_named(f"policy: {name}", name)
    try:
        signature(found).bind(None, None)
    except TypeError:
        raise ConfigError(f"policy: {name}: it does not take (identity, handshake)") from None
    except ValueError:
        # Something written in C does not say what it takes.
        pass
    return found
