"""
The names of users, groups and sessions, as the objects of a Django project have them.

The gateway, publishers and the app read them here, so that all of them mean the same channels.
Neither Django nor Twisted is imported.
"""

from __future__ import annotations

from typing import Any

from wsredis.config.ws4redis import MEMBER_OF

__all__ = ["group_name", "is_user", "listed_groups", "memberships", "user_name"]


def is_user(thing: object) -> bool:
    """Tell whether *thing* is a user, of Django's model or of another one; a proxy counts too."""
    return callable(getattr(thing, "get_username", None))


def user_name(user: Any) -> str:
    """Return the name of a user: the field that its model names, as a string. Empty for nobody."""
    name = user.get_username()
    return str(name) if name else ""


def group_name(group: object) -> str | None:
    """Return the name of a group. None if the model has no such field."""
    name = getattr(group, "name", None)
    return name if isinstance(name, str) else None


def memberships(user: object) -> tuple[str, ...]:
    """
    Name the groups of which a user is a member now. Asks the database.

    A user without a relation to groups has none, and a group without a name does not count.
    """
    related = getattr(getattr(user, "groups", None), "all", None)
    names = map(group_name, related()) if related else ()
    return tuple(name for name in names if name is not None)


def listed_groups(session: Any) -> tuple[str, ...] | None:
    """
    Return the groups that the session lists.

    Returns:
        The strings among them; none if there is something else in place of a list. If None, the
        session has no list, and the groups are those of `memberships`.
    """
    listed = session.get(MEMBER_OF)
    if listed is None:
        return None
    if not isinstance(listed, (list, tuple)):
        return ()
    return tuple(each for each in listed if isinstance(each, str))
