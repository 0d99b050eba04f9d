"""
Hooks as projects write them, for settings that hold them or name them.

They are imported by settings modules, so nothing here imports models at the top.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.signing import BadSignature, Signer
from django.http import Http404, HttpRequest
from django.utils.functional import SimpleLazyObject

_LISTENING = ["subscribe-broadcast", "subscribe-user", "subscribe-group"]


def mute_for_strangers(request: HttpRequest, channels: list[str]) -> list[str]:
    """Give visitors without a login a socket without channels."""
    if not request.user or not request.user.is_authenticated:
        return []
    return channels


def only_staff(request: HttpRequest, channels: list[str]) -> list[str]:
    """Refuse anybody but superusers, without a word."""
    if request.user and request.user.is_authenticated and request.user.is_superuser:
        return channels
    raise PermissionDenied


def of_old_django(request: HttpRequest, channels: list[str]) -> list[str]:
    """Call ``is_authenticated``, which was a method until Django 2."""
    if not request.user.is_authenticated():
        raise PermissionDenied("log in first")
    return channels


def only_listening(request: HttpRequest, channels: list[str]) -> set[str]:
    """Return a set, not a list."""
    return set(channels).intersection(_LISTENING)


def forgets_to_return(request: HttpRequest, channels: list[str]) -> None:
    """Refuse some, as the example of the original documentation, and return nothing for others."""
    if not request.user.is_authenticated:
        raise PermissionDenied("log in first")


def by_page(request: HttpRequest, channels: list[str]) -> set[str]:
    """Give the flags of a page, whatever the client asks for, if its session may see the page."""
    from django.urls.resolvers import RoutePattern

    route = RoutePattern("ws/<int:page>/events")
    try:
        found = route.match(request.environ["PATH_INFO"].lstrip("/"))
        if found is None or found[0]:
            raise Http404
        if found[2]["page"] not in request.session.get("pages", []):
            raise PermissionDenied("not your page")
    except Http404:
        raise PermissionDenied("no such page") from None
    return {"subscribe-broadcast"}


def members_by_database(request: HttpRequest, channels: list[str]) -> list[str]:
    """Ask the database whether the user belongs to the group that the facility names."""
    from django.conf import settings

    facility = request.path_info.replace(settings.WEBSOCKET_URL, "", 1)
    if not request.user.groups.filter(name=facility).exists():
        raise PermissionDenied(f"not a member of {facility}")
    return channels


def by_token(request: HttpRequest) -> None:
    """Believe a signed token in the query; on other paths do what the original does."""
    if not request.path_info.endswith("/api"):
        _by_cookie(request)
        return
    request.session = None
    try:
        name = Signer().unsign(request.GET.get("token", ""))
    except BadSignature:
        raise PermissionDenied from None
    request.user = _user(name)


def _by_cookie(request: HttpRequest) -> None:
    from django.conf import settings
    from django.contrib.auth import get_user

    request.session = None
    request.user = None
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if key is not None:
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
        request.user = SimpleLazyObject(lambda: get_user(request))


def _user(name: str) -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.get_by_natural_key(name)
