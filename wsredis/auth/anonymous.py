"""Everybody is nobody."""

from __future__ import annotations

from wsredis.auth import Handshake, Identity

__all__ = ["AnonymousAuthenticator"]

_NOBODY = Identity()


class AnonymousAuthenticator:
    """Looks at nothing and knows no user, no group and no session."""

    def identify(self, handshake: Handshake) -> Identity:
        """See `wsredis.auth.Authenticator.identify`."""
        return _NOBODY
