"""
The origin policy: which web pages may open a WebSocket.

It prevents cross-site WebSocket hijacking (CWE-1385): a browser sends the cookies of a site with a
WebSocket that any other site opens, and names that other site in the Origin header (RFC 6454). So
a page of a foreign origin may only subscribe to broadcasts, as any stranger may, and no worker
hears what it says. A request without Origin does not come from a browser.

The own origin is the one that the Host header names, or X-Forwarded-Host of a proxy. A page can
choose that name, by pointing a name of its own at the address of the gateway (DNS rebinding). So no
handshake is accepted that has another name than one of the gateway's own, if the operator lists
them. If not, a page that came without TLS and from a port other than 80 is the own one only by a
name that nobody else can point here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from enum import Enum
from functools import lru_cache

from wsredis.channels import Access
from wsredis.config.origins import (
    HOST_HEADER,
    ORIGIN,
    check_allowed_host,
    check_allowed_origin,
    default_port,
    written_out,
)
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

__all__ = ["OriginPolicy"]

#: Pairs of Origin and Host whose verdict is remembered, and their length in characters.
_MAX_VERDICTS = 1024
_MAX_PAIR = 256


#: Characters of an origin that is named in a hint.
_SHOWN = 100

#: Endings of names that have no address in the public DNS, or are the browser's own machine.
_PRIVATE = (".localhost", ".local", ".internal", ".home.arpa", ".test")


#: The protocol between browser and proxy, as a proxy tells it; some say ws and wss.
_PROXIED_TLS = re.compile(r"proto=[\s\"]*(?:https|wss)\b", re.IGNORECASE)


class _Way(Enum):
    """How a handshake came: by TLS to the gateway, to a proxy before it, or nobody says."""

    TLS = 1
    TLS_OF_PROXY = 2
    UNKNOWN = 3


class OriginPolicy:
    """
    Grants the requested access, unless a page of a foreign origin asks for too much.

    Args:
        allowed: Origins that are not foreign, apart from that of the gateway itself.
            ``https://example.com`` allows this origin, ``https://*.example.com`` every host below
            it, ``*.example.com`` the same with any scheme and port, ``*`` every origin.
        hosts: Names of the gateway: ``example.com``, ``*.example.com`` for every name below it,
            ``.example.com`` for both, ``*`` for every name. If there are none, see above.
        forwarded_host: Tells whether X-Forwarded-Host counts in place of Host.
        secure_header: Header and value, with "=" between them, by which a proxy tells that it
            speaks TLS with the browser. X-Forwarded-Proto and Forwarded count besides. If None,
            there is no other.
    Raises:
        ValueError: An entry of *allowed* or of *hosts* has another form.
    """

    def __init__(
        self,
        allowed: Iterable[str] = (),
        hosts: Iterable[str] = (),
        *,
        forwarded_host: bool = False,
        secure_header: str | None = None,
    ) -> None:
        entries = frozenset(check_allowed_origin(entry) for entry in allowed)
        self._everything = "*" in entries
        self._origins = entries
        self._suffixes = tuple(entry[1:] for entry in entries if entry.startswith("*."))
        self._below = [entry.split("*") for entry in entries if "://*." in entry]
        self._hosts = frozenset(check_allowed_host(entry) for entry in hosts)
        self._host_suffixes = tuple(
            entry.removeprefix("*") for entry in self._hosts if entry[0] in ".*" and entry != "*"
        )
        self._host_header = "x-forwarded-host" if forwarded_host else "host"
        #: The header by which a proxy tells that the browser speaks TLS with it. "" if none is set.
        self.secure_header, _, self._secure_value = (secure_header or "").partition("=")
        self._known = lru_cache(_MAX_VERDICTS)(self._judge)
        self._known_host = lru_cache(_MAX_VERDICTS)(self._has_host)

    def check_host(self, handshake: Handshake) -> None:
        """
        Check the name by which a client reached the gateway, as Django does for pages.

        Without names of the gateway, and without a Host header, there is nothing to check.

        Raises:
            HandshakeRejected: With 400 if it is not a name of the gateway.
        """
        if not self._hosts or "*" in self._hosts or "host" not in handshake.headers:
            return
        host = self._host(handshake)
        known = self._known_host if len(host) <= _MAX_PAIR else self._has_host
        if not known(host):
            own = HOST_HEADER.fullmatch(host.strip().lower())
            name = "*" if own is None else own[1].removesuffix(".")
            # Behind a proxy, the option with the name of the proxy would be the wrong remedy.
            option = f"--allow-host {name} or ALLOWED_HOSTS allows it"
            raise HandshakeRejected(
                "this is not a name of this gateway",
                400,
                cause="foreign-host",
                advice=f"pass on Host in the proxy, or {option}",
            )

    def is_foreign(self, handshake: Handshake) -> bool:
        """Tell whether *handshake* comes from a page of a foreign origin."""
        if self._everything or "origin" not in handshake.headers:
            return False
        origin, host = handshake.headers["origin"], self._host(handshake)
        judge = self._known if len(origin) + len(host) <= _MAX_PAIR else self._judge
        return judge(origin, host, self._came_by(handshake))

    def allow(self, identity: Identity, handshake: Handshake) -> Access:
        """See `wsredis.gateway.identity.Policy.allow`."""
        requested = handshake.requested
        is_harmless = requested.only_listens_to_broadcast
        if (is_harmless and not requested.forward) or not self.is_foreign(handshake):
            return requested
        if is_harmless:
            return replace(requested, forward=False)
        raise HandshakeRejected(
            "this page may not open this WebSocket",
            hint=self._hint_of_proxy(handshake),
            cause="foreign-page",
            advice=f"{self.remedy(handshake)[1]} would allow it",
        )

    def remedy(self, handshake: Handshake) -> tuple[str, str]:
        """
        Tell what would make the page of a foreign handshake one of the gateway's own.

        Returns:
            Words for the origin of the page, and an option with its value.
        """
        # The header may hold anything: only a well-formed origin goes to the log.
        match = _match(handshake.headers["origin"])
        if match is None or len(match[0]) > _SHOWN:
            # The option can name none; an asterisk would admit the pages of everybody.
            return "an origin without a name", "a web server whose address --allow-origin names"
        if _is_same(match, self._host(handshake), self._came_by(handshake)):
            return match[0], f"--allow-host {match[2]}"
        return match[0], f"--allow-origin {match[0]}"

    def _hint_of_proxy(self, handshake: Handshake) -> str:
        """Tell of a proxy that names itself in Host. Empty if it does not look like that."""
        match = _match(handshake.headers["origin"])
        host = HOST_HEADER.fullmatch(self._host(handshake).strip().lower())
        if match is None or host is None or _is_local(match[2] or "") or not _is_local(host[1]):
            return ""
        return f"Host is {host[0][:_SHOWN]}: a proxy in front must pass on the Host of the browser"

    def _host(self, handshake: Handshake) -> str:
        headers = handshake.headers
        return headers.get(self._host_header) or headers.get("host", "")

    def _came_by(self, handshake: Handshake) -> _Way:
        """
        Tell how a handshake came.

        Whoever sent the header is believed: it takes rights away, and no page can send it.
        """
        if handshake.secure:
            return _Way.TLS
        headers = handshake.headers
        if "x-forwarded-proto" in headers or "forwarded" in headers:
            passed = f"proto={headers.get('x-forwarded-proto', '')};{headers.get('forwarded', '')}"
            if _PROXIED_TLS.search(passed):
                return _Way.TLS_OF_PROXY
        if self.secure_header:
            passed = headers.get(self.secure_header, "").partition(",")[0]
            if passed.strip() == self._secure_value:
                return _Way.TLS_OF_PROXY
        return _Way.UNKNOWN

    def _judge(self, origin: str, host: str, way: _Way) -> bool:
        match = _match(origin)
        return match is None or not self._is_allowed(match, host, way)

    def _is_allowed(self, origin: re.Match[str], host: str, way: _Way) -> bool:
        if _is_same(origin, host, way) and self._is_own(origin):
            return True
        shown = written_out(origin)
        return (
            shown in self._origins
            or (origin[2] or "").endswith(self._suffixes)
            or any(shown.startswith(start) and shown.endswith(end) for start, end in self._below)
        )

    def _is_own(self, origin: re.Match[str]) -> bool:
        """Tell whether the name that a browser called the gateway by is a name of the gateway."""
        scheme, name, port = origin.groups()
        name = name.removesuffix(".")
        if self._hosts:
            return self._is_host(name)
        return (
            # A certificate is for a name that its owner controls.
            scheme == "https"
            # A proxy on this port chooses by names, as a rule.
            or port in (None, "80")
            or _is_local(name)
        )

    def _has_host(self, header: str) -> bool:
        own = HOST_HEADER.fullmatch(header.strip().lower())
        return own is not None and self._is_host(own[1].removesuffix("."))

    def _is_host(self, name: str) -> bool:
        return (
            name in self._hosts
            or "*" in self._hosts
            or f".{name}" in self._hosts
            or name.endswith(self._host_suffixes)
        )


def _is_same(origin: re.Match[str], host: str, way: _Way) -> bool:
    """Tell whether *origin* is the one at which a browser reached the gateway."""
    scheme, name, port = origin.groups()
    if scheme not in ("http", "https"):
        return False
    own = HOST_HEADER.fullmatch(host.strip().lower())
    if own is None or own[1] != name:
        return False
    if scheme == "http" and (
        way is _Way.TLS or (way is _Way.TLS_OF_PROXY and own[2] != default_port("http"))
    ):
        # Anyone in the network can serve such a page, whose browser adds the cookies of the site.
        return False
    default = default_port(scheme)
    return (own[2] or default) == (port or default)


def _is_local(name: str) -> bool:
    """Tell whether a name is one that programs in one network have for each other."""
    is_address = name.startswith("[") or name.rpartition(".")[2].isdigit()
    return is_address or "." not in name or name.endswith(_PRIVATE)


def _match(header: str) -> re.Match[str] | None:
    """Match the Origin header. None if it is not an origin, such as "null" and "http://"."""
    match = ORIGIN.fullmatch(header.strip().lower())
    if match is None:
        return None
    scheme, name, port = match.groups()
    # Pages of an app may have no host, and then no port.
    return match if name or not (port or default_port(scheme)) else None
