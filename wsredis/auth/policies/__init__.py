"""Policies decide what an identity may do: by origins, by rules, by a function of the operator."""

from __future__ import annotations

from wsredis.auth.policies.function_policy import FunctionPolicy
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.auth.policies.rules import RulePolicy
from wsredis.config import GatewayConfig
from wsredis.gateway.identity import Policy

__all__ = ["origin_policy", "policies"]


def origin_policy(config: GatewayConfig) -> OriginPolicy:
    """Make the policy for origins, as the settings say."""
    return OriginPolicy(
        config.allow_origin,
        config.allow_host,
        forwarded_host=config.forwarded_host,
        secure_header=config.secure_header,
    )


def policies(config: GatewayConfig) -> list[Policy]:
    """
    Make the policies that the settings ask for.

    Returns:
        They are to be asked in this order: the one for origins, the rules, the function. Those
        that *config* does not have are left out; the one for origins is always there, and the one
        for rules if there is a file that may have some.
    Raises:
        ConfigError: The function cannot be imported or called.
    """
    found: list[Policy] = [origin_policy(config)]
    # A file may get its first rule while the gateway runs.
    if config.rules or config.file is not None:
        found.append(RulePolicy(config.rules))
    if config.policy is not None:
        found.append(FunctionPolicy(config.policy))
    return found
