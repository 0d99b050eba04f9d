"""Tests for `wsredis.config.rules`: how rules are read, and to what they apply."""

from __future__ import annotations

import pickle
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.channels import Audience
from wsredis.config.rules import RIGHTS, Rule, read_rules

BROADCAST, GROUP, USER, SESSION = Audience


class RuleTests(SynchronousTestCase):
    """`Rule`."""

    def fits(
        self,
        rule: Rule,
        right: str = "subscribe",
        audience: Audience = BROADCAST,
        facility: str = "chat.room",
        user: str | None = None,
        groups: tuple[str, ...] = (),
    ) -> bool:
        """Whether *rule* is about this."""
        return rule.fits(right, audience, facility, user=user, groups=groups)

    def refused(self, **keys: Any) -> str:
        """The text of the refusal."""
        return str(self.assertRaises(ValueError, Rule, **{"allow": True, **keys}))

    def test_default(self) -> None:
        """A rule that leaves everything out is about everything."""
        rule = Rule(allow=False)
        for right in RIGHTS:
            for audience in Audience:
                self.assertTrue(self.fits(rule, right, audience))
        self.assertTrue(self.fits(rule, facility=""))
        self.assertTrue(self.fits(rule, user="john", groups=("staff",)))

    def test_facility(self) -> None:
        """One of the patterns must fit the whole facility, case and all."""
        rule = Rule(allow=True, facility=("chat.*", "news"))
        for facility in ("chat.", "chat.room", "news"):
            self.assertTrue(self.fits(rule, facility=facility), facility)
        for facility in ("chat", "Chat.room", "a.chat.b", "news ", "new", ""):
            self.assertFalse(self.fits(rule, facility=facility), facility)
        self.assertTrue(self.fits(Rule(allow=True, facility=""), facility=""))

    def test_audience_and_right(self) -> None:
        """Others are not meant."""
        rule = Rule(allow=True, audience=("group", "user"), right="publish")
        found = [
            (right, audience)
            for right in RIGHTS
            for audience in Audience
            if self.fits(rule, right, audience)
        ]
        self.assertEqual([("publish", GROUP), ("publish", USER)], found)

    def test_who(self) -> None:
        """Names are compared letter by letter; an empty one is nobody's."""
        people = {
            "nobody": (None, ()),
            "empty": ("", ()),
            "john": ("john", ("staff",)),
            "John": ("John", ("Staff",)),
            "staff": ("staff", ("users", "anyone", "john")),
            "members": (None, ("staff",)),
        }
        for who, expected in (
            ("anyone", list(people)),
            ("users", ["john", "John", "staff"]),
            ("user:john", ["john"]),
            ("group:staff", ["john", "members"]),
            ("group:users", ["staff"]),
            (["user:John", "group:john"], ["John", "staff"]),
            ("user:*", []),
            ("user:a:b", []),
        ):
            rule = Rule(allow=True, who=who)  # type: ignore[arg-type]
            found = [
                name
                for name, (user, groups) in people.items()
                if self.fits(rule, user=user, groups=groups)
            ]
            self.assertEqual(expected, found, who)
        self.assertTrue(self.fits(Rule(allow=True, who=("user:a:b",)), user="a:b"))

    def test_single_text(self) -> None:
        """A text is as good as a list of one."""
        rule = Rule(allow=True, facility="a", audience="user", right="publish", who="users")  # type: ignore[arg-type]
        self.assertEqual(
            (("a",), ("user",), ("publish",), ("users",)),
            (rule.facility, rule.audience, rule.right, rule.who),
        )

    def test_wrong(self) -> None:
        """A refusal names the mistake, and the values that would be right."""
        for keys, words in (
            ({"audience": "all"}, "audience: 'all' is not one of broadcast, group, user, session"),
            ({"audience": ["user", "User"]}, "audience: 'User' is not one of "),
            ({"right": "read"}, "right: 'read' is not one of subscribe, publish"),
            ({"right": ["subscribe-user"]}, "right: 'subscribe-user' is not one of "),
            ({"who": "john"}, "who: 'john' is not one of anyone, users, group:NAME, user:NAME"),
            ({"who": "user:"}, "who: 'user:' is not one of "),
            ({"who": ["group:"]}, "who: 'group:' is not one of "),
            ({"who": "users:x"}, "who: 'users:x' is not one of "),
            ({"who": ""}, "who: '' is not one of "),
            ({"facility": 5}, "facility: 5 is neither a string nor a list of strings"),
            ({"facility": ["a", 5]}, "facility: ['a', 5] is neither "),
            ({"facility": {"a": 1}}, "facility: {'a': 1} is neither "),
            ({"facility": None}, "facility: None is neither "),
            ({"facility": []}, "facility: the list is empty; without the key "),
            ({"audience": []}, "audience: the list is empty"),
            ({"right": []}, "right: the list is empty"),
            ({"who": []}, "who: the list is empty"),
            ({"allow": "yes"}, "allow: 'yes' is neither true nor false"),
            ({"allow": 1}, "allow: 1 is neither true nor false"),
        ):
            text = self.refused(**keys)
            self.assertTrue(text.startswith(words), text)

    def test_pickled(self) -> None:
        """A rule travels to another process."""
        rule = Rule(allow=True, facility=("a*",), who=("group:staff",))
        self.assertEqual(rule, pickle.loads(pickle.dumps(rule)))


class ReadTests(SynchronousTestCase):
    """`read_rules`."""

    def refused(self, value: Any) -> str:
        """The text of the refusal: one line."""
        text = str(self.assertRaises(ValueError, read_rules, value))
        self.assertEqual(1, len(text.splitlines()), text)
        return text

    def test_tables(self) -> None:
        """Each table is a rule, in their order."""
        self.assertEqual((), read_rules([]))
        rules = read_rules([{"allow": True, "who": "users"}, {"allow": False}])
        self.assertEqual((Rule(allow=True, who=("users",)), Rule(allow=False)), rules)

    def test_no_tables(self) -> None:
        """Anything but an array of tables is refused with words on how to write one."""
        for value in ({"allow": True}, True, "x", ["x"], [{"allow": True}, 5], None):
            self.assertIn("[[rule]]", self.refused(value))

    def test_number(self) -> None:
        """The refusal begins with the number of the rule, counted from one."""
        good = {"allow": True}
        text = self.refused([good, good, {"allow": True, "audience": "all"}])
        self.assertEqual(
            "rule 3: audience: 'all' is not one of broadcast, group, user, session", text
        )

    def test_allow_is_missing(self) -> None:
        """A rule has to say whether it allows."""
        self.assertEqual(
            "rule 1: allow: it is missing; write allow = true or allow = false",
            self.refused([{"who": "users"}]),
        )

    def test_unknown_key(self) -> None:
        """A key that is misspelt, or a setting that stands too late, is named."""
        self.assertEqual(
            "rule 1: port: a rule has no such key, only allow, facility, audience, right, who; "
            "settings stand before the first rule",
            self.refused([{"allow": True, "port": [80]}]),
        )
        self.assertIn("'a\\nb'", self.refused([{"a\nb": True}]))
