"""A policy that is a function of the operator: ``--policy package.module:name``."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from twisted.internet.defer import maybeDeferred

from wsredis.channels import Access
from wsredis.config.imports import import_named, search_here
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["FunctionPolicy"]


class FunctionPolicy:
    """
    Calls ``function(identity, handshake)``, which may return a Deferred or a coroutine.

    True grants the access of the handshake. A `wsredis.Access` is granted in its place. False and
    None deny it. Any other result is a mistake in the function, and rejects the handshake like an
    exception.

    Args:
        name: ``package.module:name``. The working directory is searched last.
    Raises:
        ConfigError: The function cannot be imported, or does not take two arguments.
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
            f"policy {self._name} must return a bool or an Access, not {type(answer).__name__}"
        )


def _load(name: str) -> Callable[..., Any]:
    search_here(first=False)
    found = import_named(f"policy: {name}", name)
    try:
        signature(found).bind(None, None)
    except TypeError:
        raise ConfigError(f"policy: {name}: it does not take (identity, handshake)") from None
    except ValueError:
        # Some functions that are written in C have no signature to check.
        pass
    return found
