"""The recipients of a message: users, groups and sessions by their names, or those of a request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from wsredis.channels import Audience
from wsredis.config.people import group_name, is_user, listed_groups, memberships, user_name

__all__ = ["SELF", "Recipient", "owners_of", "recipients"]

#: An audience, and the name of the user, group or session; empty for everybody.
Recipient = tuple[Audience, str]


class _SelfType:
    def __repr__(self) -> str:
        return "SELF"


#: Stands for the user of the request among users, for the groups of the request among groups, and
#: for the session of the request among sessions.
SELF = _SelfType()


def recipients(
    request: Any, *, broadcast: bool, groups: object, users: object, sessions: object
) -> list[Recipient]:
    """
    List the recipients. The arguments are those of `wsredis.publisher.BasePublisher`.

    Raises:
        ValueError: An argument is not a collection of names.
    """
    found = [(Audience.BROADCAST, "")] if broadcast else []
    for audience, names in (
        (Audience.GROUP, groups),
        (Audience.USER, users),
        (Audience.SESSION, sessions),
    ):
        found += [(audience, name) for name in _names(audience, names, request)]
    return found


def owners_of(request: Any, audience: str) -> list[Recipient]:
    """
    List the recipients that *request* belongs to, the narrowest first.

    Args:
        request: The request of a visitor. If None, there is none.
        audience: ``session``, ``user``, ``group`` or ``broadcast``; ``any`` stands for all.
    """
    return [
        (each, name)
        for each, own in _OWN.items()
        if audience in (each.value, "any")
        for name in own(request)
    ]


def _names(audience: Audience, names: object, request: Any) -> list[str]:
    label = f"{audience.value}s"
    if names is None or names is False:
        return []
    if names is True:
        names = (SELF,)
    elif isinstance(names, str) or _is_self(names) or _named(audience, names) is not None:
        names = (names,)
    if isinstance(names, (bytes, bytearray)) or not isinstance(names, Iterable):
        raise ValueError(f"{label} must be a list of names, not {type(names).__name__}")
    found: dict[str, None] = {}
    for name in names:
        if isinstance(name, (bytes, bytearray)):
            raise ValueError(f"{label}: a name is a string, not bytes")
        for each in _OWN[audience](request) if _is_self(name) else (name,):
            if each is None:
                continue
            named = None if isinstance(each, str) else _named(audience, each)
            found[str(each) if named is None else named] = None
    found.pop("", None)
    return list(found)


def _named(audience: Audience, thing: Any) -> str | None:
    """Return the name of an object of Django. None if it is another one: its string is the name."""
    if audience is Audience.USER:
        # A lazy user is iterable for Python.
        return user_name(thing) if is_user(thing) else None
    if audience is Audience.GROUP:
        return group_name(thing)
    key = getattr(thing, "session_key", thing)
    return None if key is thing else str(key or "")


def _is_self(name: object) -> bool:
    # SELF of django-websocket-redis is another object with the same meaning.
    return name is SELF or type(name).__name__ == "SELF_TYPE"


def _user(request: Any) -> Any:
    """Return the user. If None, it is anonymous, or there is no request."""
    user = getattr(request, "user", None)
    return user if getattr(user, "is_authenticated", False) else None


def _user_of(request: Any) -> list[str]:
    user = _user(request)
    return [] if user is None else [user_name(user)]


def _groups_of(request: Any) -> list[str]:
    user = _user(request)
    if user is None:
        return []
    session = getattr(request, "session", None)
    listed = None if session is None else listed_groups(session)
    return list(memberships(user) if listed is None else listed)


def _session_of(request: Any) -> list[str]:
    key = getattr(getattr(request, "session", None), "session_key", None)
    return [key] if key else []


#: The names that belong to a request, by audience, the narrowest first.
_OWN: dict[Audience, Callable[[Any], Iterable[str]]] = {
    Audience.SESSION: _session_of,
    Audience.USER: _user_of,
    Audience.GROUP: _groups_of,
    Audience.BROADCAST: lambda _: [""],
}
