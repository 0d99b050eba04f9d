"""Tests of `wsredis.config.people`."""

from __future__ import annotations

from types import SimpleNamespace
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.people import group_name, is_user, listed_groups, memberships, user_name


class PeopleTests(SynchronousTestCase):
    """The names of objects of a project."""

    def test_users(self) -> None:
        """A user is an object that tells its name; any value of the field becomes a string."""
        number = UUID("b63a92b5-4119-4908-8fcc-28e045a2cbbc")
        for name, expected in (("john", "john"), (number, str(number)), (7, "7"), ("", "")):
            user = SimpleNamespace(get_username=lambda name=name: name)
            self.assertTrue(is_user(user))
            self.assertEqual(expected, user_name(user))
        for other in ("john", number, SimpleNamespace(get_username="john"), None):
            self.assertFalse(is_user(other))

    def test_memberships(self) -> None:
        """The groups are those of the relation; a model may have none, or no names."""
        groups = [SimpleNamespace(name="a"), SimpleNamespace(title="b"), SimpleNamespace(name=5)]
        for user, expected in (
            (SimpleNamespace(groups=SimpleNamespace(all=lambda: groups)), ("a",)),
            (SimpleNamespace(groups=["a"]), ()),
            (SimpleNamespace(groups=None), ()),
            (SimpleNamespace(), ()),
        ):
            self.assertEqual(expected, memberships(user))
        self.assertEqual(["a", None, None], list(map(group_name, groups)))

    def test_listed(self) -> None:
        """A list of the session counts by its strings; without one there is none."""
        for listed, expected in (
            (["a", "b"], ("a", "b")),
            (("a", 5, None), ("a",)),
            ([], ()),
            ("ab", ()),
            ({"a": 1}, ()),
            (None, None),
        ):
            self.assertEqual(expected, listed_groups({"ws4redis:memberof": listed}))
        self.assertIsNone(listed_groups({}))
