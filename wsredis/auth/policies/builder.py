"""The policies that the settings ask for."""

from __future__ import annotations

from wsredis.auth.policies.function_policy import CallPolicy
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.auth.policies.rules import RulePolicy
from wsredis.config import GatewayConfig
from wsredis.gateway.identity import Policy

__all__ = ["policies"]


def policies(config: GatewayConfig) -> list[Policy]:
    """
    In the order in which they are asked: the one for origins, the rules, the function.

    Raises:
        ConfigError: The function cannot be had.
    """
    found: list[Policy] = [OriginPolicy(config.allow_origin)]
    if config.rules:
        found.append(RulePolicy(config.rules))
    if config.policy is not None:
        found.append(CallPolicy(config.policy))
    return found
