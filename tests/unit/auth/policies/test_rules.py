"""Tests of `wsredis.auth.policies.rules`: the first rule that matches decides on each flag."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.policies.rules import RulePolicy
from wsredis.channels import Access, Audience
from wsredis.config.rules import Rule
from wsredis.dialects.urls import parse_access
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

JOHN = Identity(user="john", groups=("staff",), session="abc")
NOBODY = Identity()


class RulePolicyTests(SynchronousTestCase):
    """`RulePolicy`."""

    def allow(
        self, query: str, *rules: Rule, identity: Identity = NOBODY, facility: str = "chat"
    ) -> Access:
        """Return the access that is granted for a query."""
        handshake = Handshake(parse_access(facility, query), f"/ws/{facility}", {}, "peer")
        granted = RulePolicy(rules).allow(identity, handshake)
        self.assertIs(handshake.requested, granted)
        return granted

    def refused(self, query: str, *rules: Rule, identity: Identity = NOBODY) -> tuple[str, str]:
        """Return the reason for the client, and the hint for the log."""
        error = self.assertRaises(HandshakeRejected, self.allow, query, *rules, identity=identity)
        self.assertEqual(403, error.status)
        return error.reason, error.hint

    def test_replace(self) -> None:
        """Other rules may take the place of the first ones."""
        policy = RulePolicy([Rule(allow=False)])
        handshake = Handshake(parse_access("a", "subscribe-broadcast"), "/ws/a", {}, "peer")
        self.assertRaises(HandshakeRejected, policy.allow, NOBODY, handshake)
        policy.replace([Rule(allow=True)])
        self.assertIs(handshake.requested, policy.allow(NOBODY, handshake))

    def test_no_rule_fits(self) -> None:
        """Flags that no rule matches are granted."""
        everything = "subscribe-broadcast&subscribe-user&publish-group&publish-session&echo"
        self.allow(everything)
        self.allow(everything, Rule(allow=False, facility=("other",)))
        self.allow(everything, Rule(allow=False, who=("users",)))

    def test_denied(self) -> None:
        """The reason names the flag, the hint names the rule."""
        self.assertEqual(
            ("you may not publish-broadcast here", "rule 2"),
            self.refused(
                "subscribe-broadcast&publish-broadcast",
                Rule(allow=True, right=("subscribe",)),
                Rule(allow=False),
            ),
        )

    def test_first_match(self) -> None:
        """A later rule is not asked."""
        for first in (True, False):
            rules = (Rule(allow=first), Rule(allow=not first))
            if first:
                self.allow("subscribe-user", *rules)
            else:
                self.assertEqual("rule 1", self.refused("subscribe-user", *rules)[1])

    def test_each_flag(self) -> None:
        """One denied flag rejects the whole access; the first in order is named."""
        rule = Rule(allow=False, audience=("user",), right=("publish",))
        query = "publish-broadcast&publish-user&subscribe-user"
        self.assertEqual("you may not publish-user here", self.refused(query, rule)[0])
        self.assertEqual(
            "you may not subscribe-group here",
            self.refused("publish-user&subscribe-user&subscribe-group", Rule(allow=False))[0],
        )

    def test_identity(self) -> None:
        """Groups and users are those of the identity."""
        rules = (Rule(allow=True, who=("group:staff",)), Rule(allow=False))
        self.allow("publish-broadcast", *rules, identity=JOHN)
        self.refused("publish-broadcast", *rules)
        self.refused("publish-broadcast", *rules, identity=Identity(user="staff"))

    def test_flag_without_a_channel(self) -> None:
        """A rule also denies a flag that would give the client no channel."""
        self.refused("subscribe-user", Rule(allow=False))

    def test_nothing_asked(self) -> None:
        """A client that asks for nothing is not rejected."""
        self.allow("", Rule(allow=False))
        self.allow("echo", Rule(allow=False))

    def test_flags_of_a_project(self) -> None:
        """A flag that only a subscriber class knows is met by the rules for all audiences."""
        policy = RulePolicy(
            [
                Rule(allow=True, right="subscribe", who="users"),  # type: ignore[arg-type]
                Rule(allow=False, audience=("broadcast", "group", "user")),
                Rule(allow=False, facility=("secret",)),
            ]
        )

        def allow(flag: str, facility: str, identity: Identity = NOBODY) -> Access:
            handshake = Handshake(Access(facility, own=(flag,)), "/ws/a", {}, "peer")
            return policy.allow(identity, handshake)

        self.assertEqual(("subscribe-server",), allow("subscribe-server", "a").own)
        self.assertEqual(("subscribe-server",), allow("subscribe-server", "secret", JOHN).own)
        for flag, identity in (("subscribe-server", NOBODY), ("Publish-server", JOHN)):
            error = self.assertRaises(HandshakeRejected, allow, flag, "secret", identity)
            self.assertEqual(f"you may not {flag} here", error.reason)
            self.assertEqual("rule 3", error.hint)

    def test_forward(self) -> None:
        """A client that may not be heard by workers is let in without the right."""
        asked = Access("chat", frozenset({Audience.USER}), forward=True)
        handshake = Handshake(asked, "/ws/chat", {}, "peer")
        without = Access("chat", frozenset({Audience.USER}))
        right = ("forward",)
        for rules, expected in (
            ((), asked),
            ((Rule(allow=False, right=("publish",)),), asked),
            ((Rule(allow=False, right=right),), without),
            ((Rule(allow=False, right=right, facility=("news",)),), asked),
            (
                (Rule(allow=True, right=right, who=("users",)), Rule(allow=False, right=right)),
                asked,
            ),
            # It belongs to no audience.
            ((Rule(allow=False, right=right, audience=("broadcast", "group", "user")),), asked),
            ((Rule(allow=True, audience=("user",)), Rule(allow=False)), without),
        ):
            self.assertEqual(expected, RulePolicy(rules).allow(JOHN, handshake), rules)
