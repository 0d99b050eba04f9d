"""Tests for `wsredis.dialects.urls`; those of facilities are in `test_plain`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.channels import Access, Audience
from wsredis.dialects.urls import parse_access
from wsredis.errors import BadRequest


class AccessTests(SynchronousTestCase):
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
        """A parameter that only resembles a flag gives no right."""
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

    def test_harmless(self) -> None:
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

    def test_hints(self) -> None:
        """A parameter that looks like a slip gives a hint with the flag that was meant."""
        for query, word, meant in (
            ("subscribe-brodcast", "subscribe-brodcast", "subscribe-broadcast"),
            ("subscribe_broadcast", "subscribe_broadcast", "subscribe-broadcast"),
            ("SubscribeBroadcast", "subscribebroadcast", "subscribe-broadcast"),
            ("x=1&Subscribe-Usr=0", "subscribe-usr", "subscribe-user"),
            ("publish-grup", "publish-grup", "publish-group"),
            ("broadcast", "broadcast", "subscribe-broadcast"),
            ("subscribe", "subscribe", "subscribe-broadcast"),
            ("a&b&c&publish", "publish", "publish-broadcast"),
            ("subscribe-user,echo", "subscribe-user,echo", "subscribe-user&echo"),
            ("subscribe-user?echo", "subscribe-user?echo", "subscribe-user&echo"),
            ("subscribe=usr", "subscribe", "subscribe-user"),
            ("subscribe-user%00", r"subscribe-user\x00", "subscribe-user"),
        ):
            hint = f'unknown flag "{word}": did you mean {meant}?'
            self.assertEqual((hint,), parse_access("a", query).hints)
        (hint,) = parse_access("a", "publish-all").hints
        listed = "publish-broadcast, publish-group, publish-user and publish-session"
        self.assertEqual(f'unknown flag "publish-all": there are {listed}', hint)

    def test_flags_in_facility(self) -> None:
        """Flags without the question mark are part of the facility: a hint says so."""
        access = parse_access("a&subscribe-broadcast&b", "")
        self.assertEqual(("a&subscribe-broadcast&b", []), (access.facility, access.flags))
        hint = 'flags come after a "?": did you mean ?subscribe-broadcast?'
        self.assertEqual((hint,), access.hints)
        for facility, query in (("a&b", ""), ("a", ""), ("a&subscribe-user", "echo")):
            self.assertEqual((), parse_access(facility, query).hints)

    def test_no_hints(self) -> None:
        """Flags, parameters of applications, and what may be a secret, give none."""
        for query in (
            "",
            "subscribe-broadcast&echo=0",
            "token=abc&user=john&group=&_=17",
            "eyJhbGciOiJIUzI1NiJ9",
            "subscribe-user" * 4,
        ):
            self.assertEqual((), parse_access("a", query).hints, query)

    def test_hints_hide(self) -> None:
        """A hint quotes no value, has one line, and does not make two accesses different."""
        for query in (
            *("subscribe-brodcast=SECRET", "subscribe=SECRETSE", "publish=sessSECRET"),
            *("subscribe-brodcast%3DSECRET", "subscribe-users%3dSECRET=x"),
        ):
            (hint,) = parse_access("a", query).hints
            self.assertNotIn("secret", hint.lower())
        (hint,) = parse_access("a", "subscribe-broadcas%0At%E2%80%A8x").hints
        self.assertTrue(hint.isascii() and hint.isprintable())
        self.assertEqual(parse_access("a", ""), parse_access("a", "broadcast"))

    def test_hints_are_few(self) -> None:
        """Four parameters are looked at, and each hint comes once."""
        words = [f"subscribe-use{each}" for each in "abcdefg"]
        self.assertEqual(4, len(parse_access("a", "&".join(words)).hints))
        self.assertEqual(1, len(parse_access("a", "broadcast&broadcast&broadcast").hints))

    def test_flags(self) -> None:
        """The flags of an access are those of the URL, without echo, in one order."""
        access = parse_access("x", "publish-user&echo&subscribe-group&subscribe=broadcast")
        self.assertEqual(["subscribe-broadcast", "subscribe-group", "publish-user"], access.flags)
        self.assertEqual([], parse_access("x", "echo").flags)
