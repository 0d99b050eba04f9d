"""Tests for `wsredis.channels`: the grammar of URLs and of names."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.channels import (
    MAX_FACILITY_BYTES,
    Access,
    Audience,
    channel_names,
    control_channel,
    matches,
    parse_access,
    parse_facility,
    parse_flags,
)
from wsredis.errors import BadRequest

BROADCAST, GROUP, USER, SESSION = Audience


class FacilityTests(SynchronousTestCase):
    """`parse_facility`."""

    def check(self, path: str, facility: str | None, url_prefix: str = "/ws/") -> None:
        """*path* means *facility*."""
        self.assertEqual(facility, parse_facility(path, url_prefix), path)

    def refuse(self, path: str, word: str) -> None:
        """*path* is refused, with a text that has *word* and nothing of the path."""
        error = self.assertRaises(BadRequest, parse_facility, path, "/ws/")
        self.assertIn(word, str(error))
        self.assertNotIn("secret", str(error))

    def test_as_the_original(self) -> None:
        """Slashes stay, percent-encoding is decoded once, and nothing is normalised."""
        for path, facility in {
            "/ws/foobar": "foobar",
            "/ws/foobar/": "foobar/",
            "/ws/": "",
            "/ws/a/b/c": "a/b/c",
            "/ws/a%20b": "a b",
            "/ws/a+b": "a+b",
            "/ws/a%2Fb": "a/b",
            "/ws/a%2fb": "a/b",
            "/ws/%C3%A9": "é",
            "/ws/%F0%9F%98%80": "\N{GRINNING FACE}",
            "/ws/e%CC%81": "e\u0301",
            "/ws//x": "/x",
            "/ws/x/ws/y": "x/ws/y",
            "/ws/x*": "x*",
            "/ws/[a-z]?\\": "[a-z]?\\",
            "/ws/a%2525b": "a%25b",
            "/ws/a%b": "a%b",
            "/ws/a%zz": "a%zz",
            "/ws/../ws/y": "../ws/y",
            "/ws/%2e%2e/y": "../y",
            "/ws/x:user:admin:y": "x:user:admin:y",
            "/ws/%s%$(id)'\"{}": "%s%$(id)'\"{}",
            "/ws/Chat": "Chat",
        }.items():
            self.check(path, facility)

    def test_outside(self) -> None:
        """Other paths than those under the prefix name no facility."""
        for path in ("/ws", "/", "", "/other", "/WS/x", "/pre/ws/y", "ws/x", "/%77s/x", "*"):
            self.check(path, None)

    def test_other_prefixes(self) -> None:
        """The prefix may be anything between slashes, also a single one."""
        self.check("/chat", "chat", "/")
        self.check("/", "", "/")
        self.check("/a/b/c", "c", "/a/b/")

    def test_not_utf8(self) -> None:
        """What is not UTF-8 is refused: overlong forms and surrogates, too."""
        for path in ("%ff", "%C3", "%C0%AF", "%ED%A0%80", "secret%F5%80%80%80"):
            self.refuse(f"/ws/{path}", "UTF-8")

    def test_control_characters(self) -> None:
        """Control characters are refused: CR, LF, NUL, ESC, DEL and those of C1."""
        for path in ("x%0d%0aPING", "x%0A", "%00", "secret%1b[31m", "%7F", "%C2%85", "%09"):
            self.refuse(f"/ws/{path}", "control character")

    def test_length(self) -> None:
        """255 bytes are the limit, counted after decoding, and are still allowed."""
        self.check(f"/ws/{'x' * MAX_FACILITY_BYTES}", "x" * MAX_FACILITY_BYTES)
        self.check(f"/ws/{'%78' * MAX_FACILITY_BYTES}", "x" * MAX_FACILITY_BYTES)
        self.check(f"/ws/{'%C3%A9' * 127}", "é" * 127)
        self.refuse(f"/ws/{'x' * (MAX_FACILITY_BYTES + 1)}", "255 bytes")
        self.refuse(f"/ws/{'%C3%A9' * 128}", "255 bytes")


class WishTests(SynchronousTestCase):
    """`parse_access`."""

    def check(self, query: str, subscribe: str = "", publish: str = "", echo: bool = False) -> None:
        """*query* asks for these audiences, each named by its first letter."""
        letters = {audience.value[0]: audience for audience in Audience}
        expected = Access(
            "chat",
            frozenset(letters[letter] for letter in subscribe),
            frozenset(letters[letter] for letter in publish),
            echo,
        )
        self.assertEqual(expected, parse_access("chat", query), query)

    def test_eight_flags(self) -> None:
        """Every audience can be subscribed to and published to."""
        for audience in Audience:
            letter = audience.value[0]
            self.check(f"subscribe-{audience.value}", subscribe=letter)
            self.check(f"publish-{audience.value}", publish=letter)

    def test_all_together(self) -> None:
        """Flags add up; one that comes twice counts once."""
        self.check(
            "subscribe-broadcast&publish-user&echo&subscribe-group&subscribe-broadcast",
            subscribe="bg",
            publish="u",
            echo=True,
        )

    def test_none(self) -> None:
        """No flags are a valid access, and so are unknown ones."""
        for query in ("", "&", "&&&", "=", "=x", "token=subscribe-broadcast", "x"):
            self.check(query)

    def test_value_is_ignored(self) -> None:
        """Only the key counts: "0" does not switch off."""
        self.check("subscribe-broadcast=0", subscribe="b")
        self.check("echo=0", echo=True)
        self.check("echo=", echo=True)
        self.check("publish-user=session", publish="u")

    def test_spelling(self) -> None:
        """Case, surrounding blanks and percent-encoding do not matter."""
        self.check("SUBSCRIBE-Broadcast&ECHO", subscribe="b", echo=True)
        self.check("+subscribe-broadcast+", subscribe="b")
        self.check("%20subscribe-broadcast%09=1", subscribe="b")
        self.check("subscribe%2Dbroadcast", subscribe="b")

    def test_as_a_value(self) -> None:
        """``subscribe=broadcast`` is understood, with the same freedom of spelling."""
        self.check("subscribe=broadcast&publish=user", subscribe="b", publish="u")
        self.check("Subscribe=+Broadcast+", subscribe="b")
        self.check("subscribe=broadcast&subscribe=user", subscribe="bu")

    def test_look_alikes(self) -> None:
        """What only resembles a flag gives no right."""
        for query in (
            "subscribe_broadcast",
            "subscribe-broadcast,echo",
            "a;subscribe-broadcast",
            "subscribe-broadcast;publish-broadcast",
            "subscribe",
            "subscribe=",
            "subscribe-",
            "subscribe-=broadcast",
            "subscribe-user-broadcast",
            "subscribe--broadcast",
            "subscribebroadcast",
            "subscribe%3Dbroadcast",
            "subscribe-broadcast%00",
            "publish=everything",
            "unsubscribe-broadcast",
            "subscribe-broadcast%FF",
            "echo-broadcast",
            "-broadcast",
        ):
            self.check(query)

    def test_apart(self) -> None:
        """Subscribing gives no right to publish, nor the other way round."""
        self.check("subscribe-user", subscribe="u")
        self.check("publish-user", publish="u")

    def test_too_many(self) -> None:
        """A thousand parameters are allowed, one more is not."""
        self.check("&".join(["echo"] * 1000), echo=True)
        error = self.assertRaises(BadRequest, parse_access, "chat", "&".join(["echo"] * 1001))
        self.assertEqual("too many parameters", str(error))

    def test_harmless_access(self) -> None:
        """Only what hears broadcast at most, and says nothing, may be granted to a stranger."""
        for query, harmless in {
            "": True,
            "echo": True,
            "subscribe-broadcast": True,
            "publish-broadcast": False,
            "subscribe-broadcast&publish-broadcast": False,
            "subscribe-broadcast&subscribe-user": False,
            "subscribe-group": False,
            "subscribe-session": False,
        }.items():
            self.assertIs(harmless, parse_access("x", query).only_listens_to_broadcast, query)

    def test_flags(self) -> None:
        """The flags of a access are those of the URL, without echo, in one order."""
        access = parse_access("x", "publish-user&echo&subscribe-group&subscribe=broadcast")
        self.assertEqual(["subscribe-broadcast", "subscribe-group", "publish-user"], access.flags)
        self.assertEqual([], parse_access("x", "echo").flags)


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
        return channel_names(prefix, facility, audiences, user=user, groups=groups, session=session)

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
            ("[a]", "a"),
            ("?", "a"),
            ("*.room", "chat.room2"),
        ):
            self.assertFalse(matches(pattern, facility), (pattern, facility))


class ControlTests(SynchronousTestCase):
    """`control_channel`."""

    def test_prefix(self) -> None:
        """It has the prefix of all channels, and the name of no audience behind it."""
        self.assertEqual(b"wsredis-control", control_channel(""))
        self.assertEqual(b"a:b:wsredis-control", control_channel("a:b"))
