"""The rules of the TOML file as a policy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from wsredis.channels import Access, Audience
from wsredis.config.rules import FORWARD, Rule
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["RulePolicy"]


class RulePolicy:
    """
    Checks every flag of an access against the rules. A flag that no rule matches is granted.

    A flag is also checked if it gives the client no channel: an anonymous client that asks for
    ``subscribe-user`` asks for something that a rule may deny. A flag of a project's own belongs to
    no audience: only rules for all audiences match it. So it is with the right to have a worker
    hear what the client says; as no client asks for it, a client that may not do this is let in
    without it.

    Args:
        rules: In the order of the file; the first that matches a flag decides on it.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.replace(rules)

    def replace(self, rules: Iterable[Rule]) -> None:
        """Use other rules from now on."""
        self._rules = tuple(rules)

    def allow(self, identity: Identity, handshake: Handshake) -> Access:
        """See `wsredis.gateway.identity.Policy.allow`."""
        access = handshake.requested
        for right, audiences in (("subscribe", access.subscribe), ("publish", access.publish)):
            for audience in Audience:
                if audience in audiences:
                    flag = f"{right}-{audience.value}"
                    self._check(right, audience, flag, access.facility, identity)
        for flag in access.own:
            right = "publish" if flag.lower().startswith("publish") else "subscribe"
            self._check(right, None, flag, access.facility, identity)
        if access.forward:
            found = self._first(FORWARD, None, access.facility, identity)
            if found is not None and not found[1].allow:
                return replace(access, forward=False)
        return access

    def _check(
        self, right: str, audience: Audience | None, flag: str, facility: str, identity: Identity
    ) -> None:
        found = self._first(right, audience, facility, identity)
        if found is not None and not found[1].allow:
            raise HandshakeRejected(f"you may not {flag} here", hint=f"rule {found[0]}")

    def _first(
        self, right: str, audience: Audience | None, facility: str, identity: Identity
    ) -> tuple[int, Rule] | None:
        """Find the rule that decides, and its number."""
        for number, rule in enumerate(self._rules, 1):
            if rule.fits(right, audience, facility, user=identity.user, groups=identity.groups):
                return number, rule
        return None
