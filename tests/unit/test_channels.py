"""Tests for `wsredis.channels`: names, flags and patterns."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.channels import (
    Access,
    Audience,
    audiences_of,
    channel_names,
    control_channel,
    loggable_channel,
    matches,
    parse_flags,
    read_flag,
)

BROADCAST, GROUP, USER, SESSION = Audience


class NameTests(SynchronousTestCase):
    """`channel_names`."""

    def names(
        self,
        *audiences: Audience,
        prefix: str = "",
        facility: str = "chat",
        user: str | None = "john",
        groups: tuple[str, ...] = ("admins", "users"),
        session: str | None = "s3ss10n",
    ) -> list[bytes]:
        """The channels of John's *audiences*."""
        names = channel_names(
            prefix, facility, audiences, user=user, groups=groups, session=session
        )
        return list(names)

    def test_each(self) -> None:
        """The names are those of django-websocket-redis, to the byte."""
        self.assertEqual([b"broadcast:chat"], self.names(BROADCAST))
        self.assertEqual([b"user:john:chat"], self.names(USER))
        self.assertEqual([b"group:admins:chat", b"group:users:chat"], self.names(GROUP))
        self.assertEqual([b"session:s3ss10n:chat"], self.names(SESSION))

    def test_order(self) -> None:
        """The order is broadcast, group, user, session, however they are asked for."""
        expected = [b"broadcast:chat", b"group:g:chat", b"user:john:chat", b"session:s3ss10n:chat"]
        self.assertEqual(expected, self.names(SESSION, USER, GROUP, BROADCAST, groups=("g",)))

    def test_prefix(self) -> None:
        """A prefix stands in front, with a colon."""
        self.assertEqual([b"app:broadcast:chat"], self.names(BROADCAST, prefix="app"))
        self.assertEqual([b"app:user:john:chat"], self.names(USER, prefix="app"))

    def test_facility(self) -> None:
        """A facility may be empty, have colons, slashes and any letter."""
        self.assertEqual([b"broadcast:"], self.names(BROADCAST, facility=""))
        self.assertEqual([b"broadcast:a:b/c"], self.names(BROADCAST, facility="a:b/c"))
        self.assertEqual(["broadcast:é".encode()], self.names(BROADCAST, facility="é"))

    def test_nobody(self) -> None:
        """Where the identity has no name, or an empty one, there is no channel."""
        every = tuple(Audience)
        nobody = self.names(*every, user=None, groups=(), session=None)
        self.assertEqual([b"broadcast:chat"], nobody)
        self.assertEqual(nobody, self.names(*every, user="", groups=("",), session=""))
        self.assertEqual([], self.names())

    def test_colons(self) -> None:
        """An owner with a colon has no channel, since it would be that of somebody else."""
        self.assertEqual([], self.names(USER, user="john:a", facility="b"))
        self.assertEqual([b"user:john:a:b"], self.names(USER, user="john", facility="a:b"))
        self.assertEqual([b"group:b:chat"], self.names(GROUP, groups=("a:x", "b", ":")))
        self.assertEqual([], self.names(SESSION, session="a:b"))

    def test_once(self) -> None:
        """Nothing is named twice."""
        self.assertEqual([b"group:a:chat"], self.names(GROUP, GROUP, groups=("a", "a")))


class AudienceTests(SynchronousTestCase):
    """`audiences_of`."""

    def test_names(self) -> None:
        """The audience is read from the name, each once, in the order of stored messages."""
        names = [b"user:a:f", b"group:b:f", b"group:c:f", b"broadcast:", b"users:a:f", b"\xff:a"]
        self.assertEqual(["broadcast", "group", "user"], audiences_of("", names))
        self.assertEqual([], audiences_of("", []))

    def test_prefix(self) -> None:
        """A channel without the prefix, or with another one, belongs to none."""
        names = [b"app:user:a:f", b"session:k:f", b"app2:group:a:f", b"broadcast:app:f"]
        self.assertEqual(["user"], audiences_of("app", names))


class SharedNameTests(SynchronousTestCase):
    """The channel that all clients share is one object, and is remembered in bounds."""

    def broadcast(self, facility: str) -> tuple[bytes, ...]:
        """Name the channel for an anonymous client."""
        return channel_names("", facility, Audience, user=None, groups=(), session=None)

    def test_shared(self) -> None:
        """Clients share names."""
        self.assertIs(self.broadcast("a"), self.broadcast("a"))

    def test_bounds(self) -> None:
        """Of many, the oldest is forgotten; a long one is not remembered."""
        first = self.broadcast("0")
        for number in range(4096):
            self.broadcast(f"x{number}")
        self.assertIsNot(first, self.broadcast("0"))
        self.assertIsNot(self.broadcast("x" * 256), self.broadcast("x" * 256))

    def test_identities(self) -> None:
        """Names of identities are not remembered."""
        names = [
            channel_names("", "a", [SESSION], user=None, groups=(), session="k") for _ in range(2)
        ]
        self.assertIsNot(names[0], names[1])


class AccessTests(SynchronousTestCase):
    """`Access`."""

    def test_harmless(self) -> None:
        """It is harmless if it hears broadcast at most and publishes nothing."""
        for access, harmless in (
            (Access("x"), True),
            (Access("x", echo=True), True),
            (Access("x", frozenset({BROADCAST})), True),
            (Access("x", frozenset({BROADCAST, USER})), False),
            (Access("x", frozenset({SESSION})), False),
            (Access("x", publish=frozenset({BROADCAST})), False),
        ):
            self.assertIs(harmless, access.only_listens_to_broadcast, access)

    def test_flags(self) -> None:
        """Its flags are those of the URL, without echo, in one order."""
        access = Access("x", frozenset({GROUP, BROADCAST}), frozenset({USER}), echo=True)
        self.assertEqual(["subscribe-broadcast", "subscribe-group", "publish-user"], access.flags)
        self.assertEqual([], Access("x", echo=True).flags)


class HintedTests(SynchronousTestCase):
    """An access with hints."""

    def test_with_hints(self) -> None:
        """It is the same access, and connections with the same hints share the object."""
        access = Access("a")
        self.assertIs(access, access.with_hints(()))
        one, two = (Access("a").with_hints(("no flag",)) for _ in range(2))
        self.assertIs(one, two)
        self.assertEqual((access, ("no flag",)), (one, one.hints))


class ReadFlagTests(SynchronousTestCase):
    """`read_flag`."""

    def test_flags(self) -> None:
        """The key counts, or the value after a bare right."""
        for parameter, flag in {
            "subscribe-user": "subscribe-user",
            "subscribe-user=0": "subscribe-user",
            "%20Publish-Group+": "publish-group",
            "subscribe=broadcast": "subscribe-broadcast",
            "publish=%20USER": "publish-user",
            "subscribe": "subscribe",
            "publish=": "publish",
            "echo=no": "echo",
            "other=x": "other",
            "": "",
        }.items():
            self.assertEqual(flag, read_flag(parameter), parameter)


class FlagTests(SynchronousTestCase):
    """`parse_flags`."""

    def test_flags(self) -> None:
        """Words are the flags of URLs."""
        self.assertEqual(
            (frozenset({BROADCAST, USER}), frozenset({GROUP})),
            parse_flags(["subscribe-broadcast", "publish-group", "subscribe-user"]),
        )
        self.assertEqual((frozenset(), frozenset()), parse_flags([]))

    def test_all_audiences(self) -> None:
        """A verb alone stands for all audiences."""
        self.assertEqual((frozenset(Audience), frozenset()), parse_flags(["subscribe"]))
        self.assertEqual((frozenset(), frozenset(Audience)), parse_flags(["publish"]))

    def test_no_flags(self) -> None:
        """Other words are refused, and named."""
        for word in ("echo", "subscribe-", "subscribe-all", "Subscribe", "", "publish_user"):
            error = self.assertRaises(ValueError, parse_flags, [word])
            self.assertIn(repr(word), str(error))


class PatternTests(SynchronousTestCase):
    """`matches`."""

    def test_fits(self) -> None:
        """A star is any run of characters, and the whole facility has to fit."""
        for pattern, facility in (
            ("chat", "chat"),
            ("", ""),
            ("*", ""),
            ("*", "a/b:c"),
            ("chat.*", "chat."),
            ("chat.*", "chat.room"),
            ("*.room", "chat.room"),
            ("a*c", "abc"),
            ("a*b*c", "a-b-b-c"),
            ("a*ab*b", "aabb"),
            ("*aa*aa*", "aaaa"),
            ("**", "x"),
            ("[a]?", "[a]?"),
        ):
            self.assertTrue(matches(pattern, facility), (pattern, facility))

    def test_does_not_fit(self) -> None:
        """All else is literal."""
        for pattern, facility in (
            ("chat", "chats"),
            ("", "a"),
            ("chat.*", "chat"),
            ("chat.*", "Chat.room"),
            ("aba*aba", "aba"),
            ("ab*ba", "aba"),
            ("a*b*c", "acb"),
            ("a*x*c", "abc"),
            ("a*b*b", "ab"),
            # No character counts for two parts.
            ("*aa*aa*", "aaa"),
            ("a*ba*ab*b", "abab"),
            ("*aba*ab*", "ababa"),
            ("[a]", "a"),
            ("?", "a"),
            ("*.room", "chat.room2"),
        ):
            self.assertFalse(matches(pattern, facility), (pattern, facility))


class ControlTests(SynchronousTestCase):
    """`control_channel`."""

    def test_prefix(self) -> None:
        """It has the prefix of all channels, and then a name that no audience has."""
        self.assertEqual(b"wsredis-control", control_channel(""))
        self.assertEqual(b"a:b:wsredis-control", control_channel("a:b"))


class LoggableChannelTests(SynchronousTestCase):
    """`loggable_channel`."""

    def test_names(self) -> None:
        """The key of a session is left out, and a long name is cut; others stay as they are."""
        for channel, expected in (
            (b"session:KEY:chat", "session:...:chat"),
            (b"my:shop:session:KEY:a:b", "my:shop:session:...:a:b"),
            (b"user:john:chat", "user:john:chat"),
            (b"broadcast:mysession:1", "broadcast:mysession:1"),
            (b"broadcast:\xc3\xa9\xff", "broadcast:\u00e9\ufffd"),
            (b"broadcast:" + b"x" * 1000, "broadcast:" + "x" * 190),
        ):
            self.assertEqual(expected, loggable_channel(channel))
