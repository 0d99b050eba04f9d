"""
The PROXY protocol: bytes in, addresses out.

A proxy that passes bytes on unread sends this header before them: a line of text (version 1), or a
binary header (version 2). Nothing here knows a socket.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

__all__ = ["Header", "parse"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_PROXY = b"PROXY "

#: Bytes of the longest line of version 1.
_MAX_LINE = 107

#: Bytes after the fixed part of version 2: addresses, and extensions that nobody here reads.
_MAX_REST = 4096
_FIXED = 16

_LINE = re.compile(
    rb"PROXY TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5})\r\n"
)
_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?\r\n")


class Header(NamedTuple):
    """
    A whole header.

    Attributes:
        size: The length of the header in bytes.
        source: Host and port of the client. If None, the proxy speaks for itself, as in a health
            check, or does not know the address.
        destination: Host and port that the client has connected to; None together with *source*.
    """

    size: int
    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None


def parse(data: bytes) -> Header | None:
    """
    Read the header at the start of *data*.

    Returns:
        None if it is not complete.

    Raises:
        ValueError: There is none, or it is malformed.
    """
    if data[:1] == _SIGNATURE[:1]:
        return _parse_binary(data)
    return _parse_line(data)


def _parse_line(data: bytes) -> Header | None:
    if not data.startswith(_PROXY[: len(data)]):
        raise ValueError("there is no PROXY header")
    end = data.find(b"\r\n", 0, _MAX_LINE) + 2
    if end == 1:
        if len(data) >= _MAX_LINE:
            raise ValueError("the PROXY header is too long")
        return None
    if _UNKNOWN.fullmatch(data, 0, end):
        return Header(end)
    found = _LINE.fullmatch(data, 0, end)
    if found is None:
        raise ValueError("the PROXY header is malformed")
    hosts = [ip_address(each.decode("ascii")) for each in found.group(2, 3)]
    ports = [int(each) for each in found.group(4, 5)]
    if any(host.version != int(found[1]) for host in hosts) or max(ports) > 65535:
        raise ValueError("the PROXY header is malformed")
    return Header(end, (str(hosts[0]), ports[0]), (str(hosts[1]), ports[1]))


def _parse_binary(data: bytes) -> Header | None:
    if not data.startswith(_SIGNATURE[: len(data)]):
        raise ValueError("there is no PROXY header")
    if len(data) < _FIXED:
        return None
    command, family = data[12:14]
    rest = int.from_bytes(data[14:16], "big")
    if command not in (0x20, 0x21):
        raise ValueError("the version of the PROXY header is unknown")
    if rest > _MAX_REST:
        raise ValueError("the PROXY header is too long")
    size = _FIXED + rest
    if len(data) < size:
        return None
    # TCP over IPv4 and over IPv6. Of another family, such as a UNIX socket, is no address.
    length = {0x11: 4, 0x21: 16}.get(family)
    if command == 0x20 or length is None:
        return Header(size)
    end = _FIXED + 2 * length
    if size < end + 4:
        raise ValueError("the PROXY header is malformed")
    kind = IPv4Address if length == 4 else IPv6Address
    source, destination = (
        (str(kind(data[start : start + length])), int.from_bytes(data[at : at + 2], "big"))
        for start, at in ((_FIXED, end), (_FIXED + length, end + 2))
    )
    return Header(size, source, destination)
