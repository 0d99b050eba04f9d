"""Grants: the channels that an identity is limited to, as a token or the application lists them."""

from __future__ import annotations

from collections.abc import Mapping

from wsredis.channels import Access, matches, parse_flags
from wsredis.errors import HandshakeRejected

__all__ = ["Channels", "granted", "read_channels"]

#: The limit of an identity: flags by patterns of facilities.
Channels = Mapping[str, frozenset[str]]


def read_channels(value: object) -> Channels:
    """
    Read the limit that came with an identity.

    Args:
        value: Decoded JSON: lists of flags, as `wsredis.channels.parse_flags` reads them, by
            patterns of facilities.
    Returns:
        The limit.
    Raises:
        ValueError: *value* has another form.
    """
    if not isinstance(value, dict):
        raise ValueError("it is not an object")
    found = {}
    for pattern, words in value.items():
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError("it has a value that is not a list of flags")
        found[pattern] = frozenset(Access("", *parse_flags(words)).flags)
    return found


def granted(access: Access, channels: Channels) -> Access:
    """
    Check an access against a limit. A facility has the flags of all patterns that match it.

    Returns:
        The same access.
    Raises:
        HandshakeRejected: With 403 if the access goes beyond the limit.
    """
    matching = [flags for pattern, flags in channels.items() if matches(pattern, access.facility)]
    allowed = frozenset().union(*matching)
    for flag in access.flags:
        if flag not in allowed:
            raise HandshakeRejected(f"you may not {flag} here")
    return access
