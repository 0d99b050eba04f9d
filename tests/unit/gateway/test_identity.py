"""Tests of `wsredis.gateway.identity`."""

from __future__ import annotations

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from wsredis.channels import Access, Audience
from wsredis.gateway.identity import Handshake, Identity


class HandshakeTests(SynchronousTestCase):
    """`Handshake`."""

    def make(self, cookie: str | None) -> Handshake:
        """Make a handshake with a Cookie header."""
        headers = {} if cookie is None else {"cookie": cookie}
        return Handshake(Access("x"), "/ws/x", headers, "peer", "token=secret")

    def test_cookies(self) -> None:
        """Cookies are not decoded; the first of a name counts."""
        for header, expected in (
            (None, {}),
            ("", {}),
            ("a=1", {"a": "1"}),
            ("a=1; b=2;c = 3 ", {"a": "1", "b": "2", "c": "3"}),
            ("a=1; a=2", {"a": "1"}),
            ("a; =x; b=c=d", {"": "x", "b": "c=d"}),
            ('a="quoted"', {"a": '"quoted"'}),
        ):
            self.assertEqual(expected, self.make(header).cookies(), header)

    def test_secrets(self) -> None:
        """A printed handshake shows neither its query nor its headers."""
        text = repr(self.make("sessionid=secret"))
        self.assertNotIn("secret", text)
        self.assertIn("/ws/x", text)


class IdentityTests(SynchronousTestCase):
    """`Identity`."""

    def test_session(self) -> None:
        """A printed identity does not show the key of its session, which works like a password."""
        self.assertNotIn("secret", repr(Identity("john", session="secret")))

    def test_channels(self) -> None:
        """The channels are those of the names that the identity has."""
        identity = Identity("john", ("a", "b"), "key")
        self.assertEqual(
            [
                b"p:broadcast:x",
                b"p:group:a:x",
                b"p:group:b:x",
                b"p:user:john:x",
                b"p:session:key:x",
            ],
            identity.channels("p", "x", Audience),
        )
        self.assertEqual([b"user:john:x"], identity.channels("", "x", [Audience.USER]))
        self.assertEqual([b"broadcast:x"], Identity().channels("", "x", Audience))

    def test_following(self) -> None:
        """Groups follow; fixed ones stay, until the user leaves a group of their name."""
        followed = Identity("john", ("a", "b"))
        room = Identity("john", ("room", "a", "b"), has_fixed_groups=True, memberships=("a", "c"))
        for opened, now, expected in (
            # None is fixed: all follow.
            (followed, Identity("john", ("b", "c")), ("b", "c")),
            # The session has got a list since.
            (followed, Identity("john", ("other",), None, None, None, True, ("b", "c")), ("b",)),
            # Another page names another room, or none, or the list is gone.
            (room, replace(room, groups=("other",)), ("room", "a", "b")),
            (room, replace(room, groups=()), ("room", "a", "b")),
            (room, Identity("john", ("a", "c")), ("room", "a", "b")),
            # A group is lost, and one that the list did not name is new.
            (room, replace(room, memberships=("c", "d")), ("room", "b")),
            (room, Identity("john", ("c", "d")), ("room", "b")),
            # The name of a group in which the user never was is that of a room.
            (room, replace(room, memberships=("a", "c", "b")), ("room", "a", "b")),
        ):
            self.assertEqual(expected, now.following(opened).groups, (opened, now))

    def test_following_on(self) -> None:
        """A group that is lost stays lost, and one that is gained can be lost later."""
        room = Identity("john", ("room", "a"), has_fixed_groups=True, memberships=("a",))
        gone = replace(room, groups=("other",), memberships=()).following(room)
        again = room.following(gone)
        self.assertEqual((("room",), ("room",)), (gone.groups, again.groups))
        member = replace(room, memberships=("room",)).following(gone)
        self.assertEqual(("room",), member.groups)
        self.assertEqual((), Identity("john").following(member).groups)


class AnonymousTests(SynchronousTestCase):
    """`Identity.is_anonymous`."""

    def test_anonymous(self) -> None:
        """An identity without a name is anonymous, whatever it was granted."""
        self.assertTrue(Identity().is_anonymous)
        self.assertTrue(Identity(granted=Access("a")).is_anonymous)
        for identity in (
            Identity("john"),
            Identity(""),
            Identity(groups=("a",)),
            Identity(session="key"),
            Identity(expires=0.0),
        ):
            self.assertFalse(identity.is_anonymous, identity)
