"""Tests for `wsredis.auth.anonymous`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth import Handshake, Identity
from wsredis.auth.anonymous import AnonymousAuthenticator
from wsredis.channels import Wish


class AnonymousTests(SynchronousTestCase):
    """Everybody is nobody."""

    def test_nobody(self) -> None:
        """Whatever a client shows, it has no user, no group and no session."""
        headers = {"cookie": "sessionid=abcdefghijkl", "authorization": "Bearer x"}
        handshake = Handshake(Wish("chat"), "/ws/chat", headers, "192.0.2.1:4711")
        identity = AnonymousAuthenticator().identify(handshake)
        self.assertEqual(Identity(user=None, groups=(), session=None), identity)
