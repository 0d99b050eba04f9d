"""Origins in the form of RFC 6454, and the entries of the lists of allowed origins and hosts."""

from __future__ import annotations

import re

__all__ = [
    "HOST_HEADER",
    "ORIGIN",
    "check_allowed_host",
    "check_allowed_origin",
    "default_port",
    "written_out",
]

_HOST = r"(?:\[[0-9a-f:.]+\]|[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?)"

#: Scheme, host and port of an origin in lower case; the host is missing in ``file://``. A name may
#: end with the dot of the root, which makes another origin of it.
ORIGIN = re.compile(rf"([a-z][a-z0-9+.-]*)://({_HOST}\.?)?(?::([0-9]{{1,5}}))?")

#: Host and port of a Host header in lower case.
HOST_HEADER = re.compile(rf"({_HOST}\.?)(?::([0-9]{{1,5}}))?")

_WILDCARD = re.compile(rf"\*\.({_HOST})")
_ALLOWED_HOST = re.compile(rf"(?:\*\.|\.)?{_HOST}|\*")
#: The origin of pages that have no host: ``file://``, or that of a web view.
_APP_ORIGIN = re.compile(r"(?!(?:https?|wss?)://)[a-z][a-z0-9+.-]*://")
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


def default_port(scheme: str) -> str:
    """Return the port that an origin of *scheme* leaves out. Empty if the scheme has none."""
    return _DEFAULT_PORTS.get(scheme, "")


def written_out(origin: re.Match[str]) -> str:
    """Return a match of `ORIGIN` with its port, if the scheme has one. This form is compared."""
    scheme, host, port = origin.groups()
    port = port or default_port(scheme)
    host = host or ""
    return f"{scheme}://{host}:{port}" if port else f"{scheme}://{host}"


def check_allowed_origin(text: str) -> str:
    """
    Check one entry of a list of allowed origins.

    Returns:
        The entry in the form of `written_out`.

    Raises:
        ValueError: It is not ``*``, ``*.example.com``, ``https://example.com[:port]``,
            ``https://*.example.com[:port]`` or, for apps, ``file://`` and its like.
    """
    entry = text.strip().lower()
    if _APP_ORIGIN.fullmatch(entry):
        return entry
    entry = entry.rstrip("/")
    if entry == "*" or _WILDCARD.fullmatch(entry):
        return entry
    match = ORIGIN.fullmatch(entry.replace("://*.", "://", 1))
    if match is not None and match[2] and "://*." in entry and not match[2].endswith("."):
        return written_out(match).replace("://", "://*.", 1)
    if match is None or not match[2] or match[2].endswith("."):
        meant = _meant(entry)
        raise ValueError(
            f"{text!r} is not *, *.example.com or an origin like https://example.com"
            + (f"; did you mean {meant}?" if meant else "")
        )
    return written_out(match)


def _meant(entry: str) -> str:
    """Return the origin of a URL, or of a host and a port without a scheme. Empty if it is none."""
    url = entry if "://" in entry else f"http://{entry}"
    origin = re.match(r"[^/]*//[^/?#]*", url)
    match = origin and ORIGIN.fullmatch(origin[0])
    return match[0] if match and match[2] and not match[2].endswith(".") else ""


def check_allowed_host(text: str) -> str:
    """
    Check one entry of a list of names of the gateway.

    Returns:
        The entry in lower case.

    Raises:
        ValueError: It is not ``*``, a name such as ``example.com``, ``*.example.com`` for the names
            below it, ``.example.com`` for both, or an IP address (IPv6 in brackets).
    """
    entry = text.strip().lower()
    if not _ALLOWED_HOST.fullmatch(entry):
        host = HOST_HEADER.match(entry.partition("://")[2] or entry)
        meant = f"; did you mean {host[1]}?" if host else ""
        raise ValueError(
            f"{text!r} is not *, a host without a port, *.example.com or .example.com{meant}"
        )
    return entry
