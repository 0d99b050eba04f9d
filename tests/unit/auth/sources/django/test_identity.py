"""Tests of `wsredis.auth.sources.django.identity`, without a database."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.django_project import missing_django
from wsredis.auth.sources.django.identity import identity_of
from wsredis.channels import Access, Audience
from wsredis.gateway.identity import Identity


def _user(name: Any, *groups: str, is_authenticated: bool = True) -> Any:
    members = [SimpleNamespace(name=each) for each in groups]
    return SimpleNamespace(
        get_username=lambda: name,
        is_authenticated=is_authenticated,
        groups=SimpleNamespace(all=lambda: members),
    )


class IdentityTests(SynchronousTestCase):
    """`identity_of`."""

    skip = missing_django()

    def found(self, user: Any, session: Any, *audiences: Audience) -> Identity:
        """The identity of a request."""
        granted = Access("f", frozenset(audiences))
        return identity_of(SimpleNamespace(user=user, session=session), granted, None)

    def test_groups(self) -> None:
        """The list of the session counts, and the groups of the user are known beside it."""
        listed = {"ws4redis:memberof": ["room"]}
        self.assertEqual(Identity("john", ("a", "b")), self.found(_user("john", "a", "b"), {}))
        self.assertEqual(
            Identity("john", ("room",), has_fixed_groups=True, memberships=("a", "b")),
            self.found(_user("john", "a", "b"), listed),
        )
        for nobody in (_user("", "a"), _user("john", "a", is_authenticated=False)):
            self.assertEqual(Identity(), self.found(nobody, listed))

    def test_other_objects(self) -> None:
        """A user that has no name of its own is nobody, where no channel needs the name."""
        self.assertEqual(Identity(), self.found({"id": 5}, {}, Audience.BROADCAST))
        for audience in (Audience.USER, Audience.GROUP):
            self.assertRaises(AttributeError, self.found, {"id": 5}, {}, audience)
