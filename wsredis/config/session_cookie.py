"""
Settings of a Django project under which no WebSocket ever finds the session of its user.

Everything is in order then, and everybody is anonymous. Django is not imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from wsredis.config.ws4redis import project_value
from wsredis.errors import ConfigError

__all__ = ["cache_of_one_process", "lost_sessions"]

#: The ends of the names of caches that other processes do not see.
_OWN_CACHES = (".LocMemCache", ".DummyCache")

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
    engine = str(getattr(project, "SESSION_ENGINE", ""))
    if engine.endswith(".cache") and cache_of_one_process(project):
        found.append(
            "SESSION_ENGINE: the sessions are in a cache of one process: the gateway, which is "
            "another one, does not find them"
        )
    return found


def cache_of_one_process(project: object) -> bool:
    """Tell whether the cache for sessions is one that other processes do not see."""
    caches: Any = getattr(project, "CACHES", None)
    alias = getattr(project, "SESSION_CACHE_ALIAS", "default")
    cache = caches.get(alias) if isinstance(caches, Mapping) else None
    backend = cache.get("BACKEND") if isinstance(cache, Mapping) else None
    return str(backend).endswith(_OWN_CACHES)


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
