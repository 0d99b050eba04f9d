"""Several policies, one after the other, and the ones that the settings ask for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from twisted.internet.defer import maybeDeferred

from wsredis.auth import Handshake, Identity, Policy
from wsredis.auth.call import CallPolicy
from wsredis.auth.origin import OriginPolicy
from wsredis.auth.rules import RulePolicy
from wsredis.channels import Wish
from wsredis.config import GatewayConfig

__all__ = ["PolicyChain", "policies"]


class PolicyChain:
    """
    Asks policies in turn. Each sees the wish that the one before granted.

    The first that refuses decides; the rest is not asked.
    """

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._policies = tuple(policies)

    async def allow(self, identity: Identity, handshake: Handshake) -> Wish:
        """See `wsredis.auth.Policy.allow`."""
        for policy in self._policies:
            wish: Wish = await maybeDeferred(policy.allow, identity, handshake)
            if wish is not handshake.wish:
                handshake = replace(handshake, wish=wish)
        return handshake.wish


def policies(config: GatewayConfig) -> list[Policy]:
    """
    What the settings ask for: origins, then rules, then the function.

    Raises:
        ConfigError: The function cannot be had.
    """
    found: list[Policy] = [OriginPolicy(config.allow_origin)]
    if config.rules:
        found.append(RulePolicy(config.rules))
    if config.policy is not None:
        found.append(CallPolicy(config.policy))
    return found
