"""
The settings of a Django project about its own name: hosts, origins and the proxy in front.

Each counts for WebSockets as Django lets it count for pages. An entry that Django never finds equal
to anything has no effect here either, and `host_problems` names it. Neither Django nor Twisted is
imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from wsredis.config.origins import ORIGIN, check_allowed_host, check_allowed_origin, default_port
from wsredis.config.values import string

__all__ = [
    "LOCAL_HOSTS",
    "allowed_hosts",
    "host_problems",
    "script_name",
    "secure_header",
    "trusted_origins",
]

#: The names that Django allows with DEBUG, if ALLOWED_HOSTS is empty.
LOCAL_HOSTS = (".localhost", "127.0.0.1", "[::1]")


def trusted_origins(value: Any) -> tuple[str, ...]:
    """
    Read ``CSRF_TRUSTED_ORIGINS`` in the form of ``allow-origin``.

    Django's wildcards include the name itself.

    Raises:
        ValueError: It is not a list.
    """
    found: dict[str, None] = {}
    for entry in _entries(value):
        if _origin_problem(entry) is None:
            found.update(dict.fromkeys(_origins_of(entry)))
    return tuple(found)


def allowed_hosts(value: Any) -> tuple[str, ...]:
    """
    Read ``ALLOWED_HOSTS`` in the form of ``allow-host``.

    Raises:
        ValueError: It is not a list, or no entry can ever be the name in a request.
    """
    entries = _entries(value)
    found = tuple(entry.strip().lower() for entry in entries if _host_problem(entry) is None)
    if entries and not found:
        raise ValueError(f"{entries[0]!r} is not the name of a host, and there is no other entry")
    return found


def secure_header(value: Any) -> str | None:
    """
    Read ``SECURE_PROXY_SSL_HEADER`` in the form of ``secure-header``.

    Returns:
        None if there is none, or if its name is not that of a header in Django's form.

    Raises:
        ValueError: It is not a pair.
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError("this is not a tuple of a header and its value")
    name, wanted = map(str, value)
    if not name.startswith("HTTP_"):
        return None
    return f"{name.removeprefix('HTTP_').replace('_', '-').lower()}={wanted}"


def script_name(value: Any) -> str:
    """
    Read ``FORCE_SCRIPT_NAME`` in the form of ``script-name``.

    Raises:
        ValueError: It is not a string.
    """
    return "" if value is None else "/".join(["", *filter(None, string(value).split("/"))])


def host_problems(project: object) -> list[str]:
    """
    List what the settings of a project say without an effect.

    Args:
        project: The settings of the project. Those that cannot be used at all are left out.

    Returns:
        Sentences that begin with the name of a setting.
    """
    found = []
    hosts = getattr(project, "ALLOWED_HOSTS", None)
    if isinstance(hosts, (list, tuple)):
        found += _each("ALLOWED_HOSTS", _host_problem, hosts)
        if not hosts and not getattr(project, "DEBUG", False):
            found.append(
                "ALLOWED_HOSTS: it is empty, and Django answers each page with 400; WebSockets are "
                "served by any name"
            )
    origins = getattr(project, "CSRF_TRUSTED_ORIGINS", None)
    if isinstance(origins, (list, tuple)):
        found += _each("CSRF_TRUSTED_ORIGINS", _origin_problem, origins)
    header = getattr(project, "SECURE_PROXY_SSL_HEADER", None)
    if isinstance(header, (list, tuple)) and not str(header[0]).startswith("HTTP_"):
        found.append(
            f"SECURE_PROXY_SSL_HEADER: {str(header[0])!r} has no effect, Django calls headers "
            "'HTTP_X_FORWARDED_PROTO' and the like"
        )
    return found


def _entries(value: Any) -> list[str]:
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        raise ValueError(f"{value!r} is not a list")
    return [str(each) for each in value]


def _each(name: str, problem: Any, entries: Iterable[Any]) -> list[str]:
    found = ((str(each), problem(str(each))) for each in entries)
    return [f"{name}: {entry!r} has no effect, {why}" for entry, why in found if why]


def _host_problem(entry: str) -> str | None:
    if "*" in entry and entry != "*":
        rest = entry.removeprefix("*")
        return f"Django writes it as {rest!r}" if "*" not in rest else "it is not a name"
    try:
        check_allowed_host(entry)
    except ValueError:
        return "it is not a name without a port"
    return None


def _origins_of(entry: str) -> tuple[str, ...]:
    """
    Return the origins that an entry of CSRF_TRUSTED_ORIGINS stands for.

    Raises:
        ValueError: No page has such an origin.
    """
    if "://" not in entry:
        raise ValueError("it has no scheme: begin it with https://")
    if "*" not in entry:
        # Django compares the string with the header of the browser.
        return (_origin(entry),)
    parts = urlsplit(entry)
    name = parts.netloc.lstrip("*").lower()
    own = _origin(f"{parts.scheme}://{name.removeprefix('.')}")
    return (own.replace("://", "://*.", 1), own) if name.startswith(".") else (own,)


def _origin(text: str) -> str:
    match = ORIGIN.fullmatch(text)
    if match is not None and match[3] and match[3] == default_port(match[1]):
        raise ValueError(f"browsers write it without :{match[3]}")
    try:
        if match is not None:
            return check_allowed_origin(text)
    except ValueError:
        pass
    raise ValueError("it is not an origin like https://example.com or https://*.example.com")


def _origin_problem(entry: str) -> str | None:
    try:
        _origins_of(entry)
    except ValueError as error:
        return str(error)
    return None
