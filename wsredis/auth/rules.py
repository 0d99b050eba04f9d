"""The rules of the TOML file as a policy."""

from __future__ import annotations

from collections.abc import Iterable

from wsredis.auth import Handshake, Identity, Refused
from wsredis.channels import Audience, Wish
from wsredis.rules import Rule

__all__ = ["RulePolicy"]


class RulePolicy:
    """
    Holds every flag of a wish against the rules; what no rule is about is granted.

    A flag is held against them also where it gives no channel: an anonymous client that asks for
    ``subscribe-user`` asks for what a rule may deny.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)

    def allow(self, identity: Identity, handshake: Handshake) -> Wish:
        """See `wsredis.auth.Policy.allow`."""
        wish = handshake.wish
        for right, wanted in (("subscribe", wish.subscribe), ("publish", wish.publish)):
            for audience in Audience:
                if audience in wanted:
                    self._check(right, audience, wish.facility, identity)
        return wish

    def _check(self, right: str, audience: Audience, facility: str, identity: Identity) -> None:
        for number, rule in enumerate(self._rules, 1):
            if rule.fits(right, audience, facility, user=identity.user, groups=identity.groups):
                if rule.allow:
                    return
                flag = f"{right}-{audience.value}"
                raise Refused(f"you may not {flag} here", hint=f"rule {number}")
