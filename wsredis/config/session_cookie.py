"""
Settings of a Django project under which a WebSocket does not find the session of its user.

Everything is in order then, and everybody is anonymous. Of Django, only the classes are imported
that the project names.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from wsredis.config.ws4redis import project_value
from wsredis.errors import ConfigError

__all__ = ["cache_of_one_process", "doubtful_sessions", "lost_sessions"]

_LOCAL_MEMORY = "django.core.cache.backends.locmem.LocMemCache"

#: Caches that other processes do not see.
_OWN_CACHES = (_LOCAL_MEMORY, "django.core.cache.backends.dummy.DummyCache")

_LOCALHOST = ("localhost", "127.0.0.1", "::1")


def lost_sessions(project: object) -> list[str]:
    """
    List the reasons why browsers do not send the session cookie with a WebSocket, or why the
    gateway does not find the session.

    Args:
        project: The settings of the project.

    Returns:
        Sentences that begin with the name of a setting. None of them is certain to be a mistake:
        pages may be where these settings do not say.
    """
    try:
        url = urlsplit(str(project_value(project, "WEBSOCKET_URL", "/ws/")))
    except ConfigError:
        # Whoever uses the setting reports it.
        return []
    found = []
    path = str(getattr(project, "SESSION_COOKIE_PATH", None) or "/")
    if not _covers(path, url.path):
        found.append(
            f"SESSION_COOKIE_PATH: browsers do not send a cookie for {path} to WebSockets below "
            f"{url.path}"
        )
    host = url.hostname or ""
    secure = getattr(project, "SESSION_COOKIE_SECURE", False)
    if secure and url.scheme == "ws" and host not in _LOCALHOST:
        found.append(
            "SESSION_COOKIE_SECURE: browsers do not send such a cookie to a WEBSOCKET_URL that "
            "begins with ws://"
        )
    domain = str(getattr(project, "SESSION_COOKIE_DOMAIN", None) or "").lstrip(".").lower()
    if host and domain and host != domain and not host.endswith(f".{domain}"):
        found.append(
            f"SESSION_COOKIE_DOMAIN: browsers do not send a cookie for {domain} to {host}, the "
            "host of WEBSOCKET_URL"
        )
    # Pages at another host are of no use to the gateway without this setting.
    others = [each for each in _trusted_hosts(project) if each != host]
    if host and not domain and others and host not in _LOCALHOST:
        found.append(
            f"SESSION_COOKIE_DOMAIN: without it, browsers do not send the cookie of {others[0]} to "
            f"{host}, the host of WEBSOCKET_URL"
        )
    if _engine_is(project, "cache") and cache_of_one_process(project):
        found.append(
            "SESSION_ENGINE: the sessions are in a cache of one process: a gateway in another one "
            "does not find them"
        )
    return found


def doubtful_sessions(project: object) -> list[str]:
    """
    List the reasons why two processes may see different sessions, although it need not be so.

    Args:
        project: The settings of the project.

    Returns:
        Sentences that begin with the name of a setting.
    """
    found = []
    if _engine_is(project, "cached_db") and _cache_class(project) == _LOCAL_MEMORY:
        alias = getattr(project, "SESSION_CACHE_ALIAS", "default")
        found.append(
            f"SESSION_CACHE_ALIAS: the cache {alias!r} in front of the sessions is local to each "
            "process: pages of another process may know a user after the logout. The gateway asks "
            "the database instead"
        )
    if _engine_is(project, "file") and not getattr(project, "SESSION_FILE_PATH", None):
        found.append(
            "SESSION_FILE_PATH: without it, the sessions are in the folder for temporary files, "
            "which may be another one for the gateway (PrivateTmp of systemd, TMPDIR)"
        )
    return found


def cache_of_one_process(project: object) -> bool:
    """Tell whether the cache for sessions is one that other processes do not see."""
    return _cache_class(project) in _OWN_CACHES


def _cache_class(project: object) -> str | None:
    """Return the one of `_OWN_CACHES` that the cache for sessions is. None if it is another."""
    caches: Any = getattr(project, "CACHES", None)
    alias = getattr(project, "SESSION_CACHE_ALIAS", "default")
    cache = caches.get(alias) if isinstance(caches, Mapping) else None
    backend = cache.get("BACKEND") if isinstance(cache, Mapping) else None
    bases = _bases(str(backend))
    return next((each for each in _OWN_CACHES if each in bases), None)


def _engine_is(project: object, name: str) -> bool:
    """Tell whether sessions are those of an engine of Django, or of an heir of it."""
    engine = getattr(project, "SESSION_ENGINE", "")
    return f"django.contrib.sessions.backends.{name}.SessionStore" in _bases(
        f"{engine}.SessionStore"
    )


@lru_cache(maxsize=32)
def _bases(path: str) -> frozenset[str]:
    """Return the dotted names of a class and of all its bases. The name alone if it is missing."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
        return frozenset(f"{each.__module__}.{each.__qualname__}" for each in found.__mro__)
    except Exception:
        # Whoever uses the class reports it.
        return frozenset([path])


def _covers(cookie: str, path: str) -> bool:
    """Tell whether a cookie for one path is sent to another (RFC 6265, 5.1.4)."""
    return path == cookie or path.startswith(cookie.rstrip("/") + "/")


def _trusted_hosts(project: object) -> list[str]:
    """List the hosts of the pages that may open sockets from elsewhere."""
    origins: Any = getattr(project, "CSRF_TRUSTED_ORIGINS", ())
    if not isinstance(origins, (list, tuple)):
        return []
    hosts = [urlsplit(str(each).replace("*.", "", 1)).hostname for each in origins]
    return [each for each in hosts if each]
