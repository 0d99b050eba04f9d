"""Grants: the channels that an identity is limited to, as a token or the application lists them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from wsredis.channels import Access, matches, parse_flags
from wsredis.errors import HandshakeRejected

__all__ = ["Channels", "check_access", "read_channels"]

#: The flag that lets a worker hear what a client says. No client asks for it in its URL.
_FORWARD = frozenset({"forward"})

#: The limit of an identity: flags by patterns of facilities.
Channels = Mapping[str, frozenset[str]]


def read_channels(value: object) -> Channels:
    """
    Read the limit that came with an identity.

    Args:
        value: Decoded JSON: lists of flags, as `wsredis.channels.parse_flags` reads them, or
            ``forward``, by patterns of facilities.
    Returns:
        The limit.
    Raises:
        ValueError: *value* has another form.
    """
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    found = {}
    for pattern, flags in value.items():
        if not isinstance(flags, list) or not all(isinstance(flag, str) for flag in flags):
            raise ValueError("it has a value that is not a list of flags")
        rights = Access("", *parse_flags(each for each in flags if each not in _FORWARD))
        found[pattern] = frozenset(rights.flags) | _FORWARD.intersection(flags)
    return found


def check_access(access: Access, channels: Channels) -> Access:
    """
    Check that an access stays within a limit.

    A facility has the flags of all patterns that match it.

    Returns:
        *access* itself, or without the right that a worker hears what the client says: that is
        no reason to refuse the client, which has not asked for it.
    Raises:
        HandshakeRejected: With 403 if the access goes beyond the limit.
    """
    matching = [flags for pattern, flags in channels.items() if matches(pattern, access.facility)]
    allowed = frozenset().union(*matching)
    for flag in access.flags:
        if flag not in allowed:
            raise HandshakeRejected(f"you may not {flag} here")
    if access.forward and "forward" not in allowed:
        return replace(access, forward=False)
    return access
