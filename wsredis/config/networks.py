"""IP addresses and networks as text: as settings, headers and logs have them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

__all__ = [
    "UNIX",
    "Networks",
    "is_private",
    "network",
    "parse_address",
    "shown_address",
    "split_address",
]

#: Stands for the peer of a UNIX socket, in logs and in the setting ``trusted-proxy``.
UNIX = "unix"

#: Hosts of which `Networks` remembers whether it has them. When there are more, all are forgotten.
_MAX_REMEMBERED = 1024

_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([0-9.]+))(?::([0-9]{1,5}))?")


def network(value: object) -> str:
    """
    Check an IP address, a network, or the word ``unix``.

    Raises:
        ValueError: *value* is something else, or has bits after the length of its prefix.
    """
    text = str(value).strip()
    if text.lower() == UNIX:
        return UNIX
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise ValueError(f"{error}; write 10.0.0.0/8, 2001:db8::/32 or 'unix'") from None


class Networks:
    """
    A set of networks.

    Args:
        names: As `network` returns them.
    """

    def __init__(self, names: Iterable[str]) -> None:
        texts = set(names)
        self._has_unix = UNIX in texts
        self._networks = [ip_network(each) for each in texts - {UNIX}]
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        """Tell whether it has any network."""
        return self._has_unix or bool(self._networks)

    def __contains__(self, host: str) -> bool:
        """Tell whether the client *host* is in one of them; "" is a peer of a UNIX socket."""
        known = self._known.get(host)
        if known is None:
            if len(self._known) >= _MAX_REMEMBERED:
                self._known.clear()
            known = self._known[host] = self._has(host)
        return known

    def _has(self, host: str) -> bool:
        if not host:
            return self._has_unix
        address = _address(host)
        return address is not None and any(address in each for each in self._networks)


_PRIVATE = Networks(
    [
        *(UNIX, "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    ]
)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    """Read an IP address without its zone. An IPv4-mapped one is the IPv4 address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def is_private(host: str) -> bool:
    """Tell whether *host* is a UNIX socket, this machine, or one of a private network."""
    return host in _PRIVATE


def parse_address(text: str) -> str | None:
    """
    Read the IP address of a client, as a proxy writes it.

    Args:
        text: An address; a port may follow, and then an IPv6 address is in brackets.
    Returns:
        The address without port and brackets; an IPv4-mapped one as the IPv4 address. None if
        *text* is anything else, for example a name or ``unknown``.
    """
    parts = _HOST_PORT.fullmatch(text)
    address = _address((parts[1] or parts[2]) if parts else text)
    return None if address is None else str(address)


def shown_address(host: str, port: int = 0) -> str:
    """
    Return the address of a client in the form in which one would type it.

    Args:
        host: An IPv6 address gets brackets, an IPv4-mapped one is shown as the IPv4 address. ""
            stands for a UNIX socket.
        port: If 0, it is not known, and left out.
    """
    if not host:
        return UNIX
    if ":" in host:
        mapped = _address(host)
        host = str(mapped) if isinstance(mapped, IPv4Address) else f"[{host}]"
    return f"{host}:{port}" if port else host


def split_address(shown: str) -> tuple[str, str]:
    """
    Take an address of `shown_address` apart.

    Returns:
        The host without brackets and the port. Both are "" for a UNIX socket, and the port if it
        is not known.
    """
    parts = _HOST_PORT.fullmatch(shown)
    return (parts[1] or parts[2], parts[3] or "") if parts else ("", "")
