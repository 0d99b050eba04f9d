"""The identity behind a request of Django, from its user and its session."""

from __future__ import annotations

from typing import Any

from wsredis.auth.sources.django.sessions import existing_key
from wsredis.channels import Access, Audience
from wsredis.config.people import is_user, listed_groups, memberships, user_name
from wsredis.gateway.identity import Identity

__all__ = ["identity_of"]

#: Audiences whose channels have the name of the user or of a group.
_NAMED = frozenset({Audience.USER, Audience.GROUP})


def identity_of(request: Any, granted: Access, access: Access | None) -> Identity:
    """
    Read the identity of a client. Blocks: to be called in a thread.

    Args:
        request: Its ``user`` and ``session`` are used.
        granted: What hooks have granted. If it needs no names, the user may be any object.
        access: See `Identity.granted`.

    Raises:
        Exception: As the database or cache of the project raises, or an object of a hook.
    """
    user, session = request.user, request.session
    if not is_user(user) and not _NAMED & (granted.subscribe | granted.publish):
        # A hook has set another object, which nothing here needs.
        name = ""
    else:
        name = user_name(user) if user.is_authenticated else ""
    if not name:
        return Identity(session=existing_key(session), granted=access)
    # A project may list the room of a page, and another page of the session moves it.
    listed, joined = listed_groups(session), memberships(user)
    is_fixed = listed is not None
    return Identity(
        name,
        joined if listed is None else listed,
        existing_key(session),
        granted=access,
        has_fixed_groups=is_fixed,
        memberships=joined if is_fixed else (),
    )
