"""Hooks for ``WS4REDIS_PROCESS_REQUEST`` and ``WS4REDIS_ALLOWED_CHANNELS`` in tests."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.urls import reverse


def deny_by_header(request: HttpRequest, channels: list[str]) -> list[str]:
    """Refuse clients with the header ``Deny-Channels: YES``."""
    if request.META.get("HTTP_DENY_CHANNELS") == "YES":
        raise PermissionDenied("No channels for you")
    return channels


async def only_users(request: HttpRequest, channels: list[str]) -> list[str]:
    """Grant users all flags that they request, and other clients none."""
    known = await User.objects.filter(username=request.user.get_username()).aexists()
    return channels if known else []


def only_by_tls(request: HttpRequest, channels: list[str]) -> list[str]:
    """Refuse clients that did not come by TLS."""
    if not request.is_secure():
        raise PermissionDenied("TLS only")
    return channels


def fail(request: HttpRequest, channels: list[str]) -> list[str]:
    """Raise an exception."""
    return list(request.no_such_thing)


def hang(request: HttpRequest, channels: list[str]) -> None:
    """Read the file that the header ``X-Hang`` names, as a database that does not answer."""
    path = request.headers.get("X-Hang")
    if path is not None:
        Path(path).read_bytes()


def user_from_header(request: HttpRequest) -> None:
    """Believe the header ``X-User``."""
    request.user = User.objects.get(username=request.headers["X-User"])


def show_path(request: HttpRequest, channels: list[str]) -> None:
    """Refuse each client with the path and a link that a page would have."""
    raise PermissionDenied(f"{request.path} {reverse('listen')} {request.get_host()}")


def cookies_of(request: HttpRequest) -> str:
    """Return a short text that differs if cookies or user of a request do."""
    seen = (sorted(request.COOKIES.items()), request.user.get_username())
    return sha256(repr(seen).encode(errors="surrogateescape")).hexdigest()


def tell_cookies(request: HttpRequest, channels: list[str]) -> None:
    """Refuse everybody, and tell what Django sees."""
    raise PermissionDenied(cookies_of(request))
