"""Tests for `wsredis.group_names`: groups of Django Channels that are the gateway's channels."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.channels import Audience
from wsredis.group_names import (
    MAX_GROUP,
    GatewayGroup,
    gateway_group,
    loggable_group,
    parse_gateway_group,
)


class GatewayGroupTests(SynchronousTestCase):
    """`gateway_group`."""

    def test_each(self) -> None:
        """Each audience has its form; what a group may not have in its name is escaped."""
        self.assertEqual("ws.broadcast.news", gateway_group("broadcast", "news"))
        self.assertEqual("ws.user.john.chat_2F1", gateway_group("user", "john", "chat/1"))
        self.assertEqual("ws.group.a_2Eb_5Fc-d.x_3Ay", gateway_group("group", "a.b_c-d", "x:y"))
        self.assertEqual("ws.session.k3y._C3_A9", gateway_group("session", "k3y", "é"))
        self.assertEqual("ws.broadcast.", gateway_group("broadcast", ""))

    def test_refused(self) -> None:
        """A channel that cannot be is refused; the text has no key of a session."""
        for arguments, text in (
            (("everybody", "news"), "'everybody' is not one of broadcast, group, user, session"),
            (("broadcast", "a", "b"), "broadcast takes facility, not 2 names"),
            (("user", "john"), "user takes user and facility, not 1 names"),
            (("user", "", "a"), "a user whose name is empty or has a colon has no channel"),
            (("session", "k:y", "a"), "a session whose name is empty or has a colon"),
            (("user", 5, "a"), "a name is a str, not int"),
            (("broadcast", "\ud800"), "surrogates not allowed"),
        ):
            error = self.assertRaises(ValueError, gateway_group, *arguments)
            self.assertIn(text, str(error))
            self.assertNotIn("k:y", str(error))

    def test_length(self) -> None:
        """The longest name has 99 characters, as Channels has it; one more is refused."""
        start = len("ws.broadcast.")
        self.assertEqual(99, len(gateway_group("broadcast", "x" * (MAX_GROUP - start))))
        error = self.assertRaises(
            ValueError, gateway_group, "broadcast", "x" * (MAX_GROUP - start + 1)
        )
        self.assertIn("100 characters, more than 99", str(error))


class ParseTests(SynchronousTestCase):
    """`parse_gateway_group`."""

    def test_each(self) -> None:
        """A name says which channel it stands for."""
        self.assertEqual(
            GatewayGroup(Audience.USER, "john", "chat/1"),
            parse_gateway_group("ws.user.john.chat_2F1"),
        )
        self.assertEqual(
            GatewayGroup(Audience.BROADCAST, "", "news"), parse_gateway_group("ws.broadcast.news")
        )

    def test_ordinary(self) -> None:
        """Any other name is that of an ordinary group."""
        for name in ("chat", "ws", "ws.", "ws.user", "ws.room.1", "wsx.user.a.b", "WS.user.a.b"):
            self.assertIsNone(parse_gateway_group(name), name)

    def test_malformed(self) -> None:
        """A name that only begins like one is an error that says the form, not another group."""
        for name in (
            "ws.user.john",
            "ws.user.john.a.b",
            "ws.user..a",
            "ws.broadcast.a.b",
            "ws.broadcast.a_2f",  # lower case
            "ws.broadcast.a_41",  # A needs no escape
            "ws.broadcast.a_b",
            "ws.broadcast.a/b",
            "ws.broadcast._FF",  # not UTF-8
            "ws.user.a_3Ab.c",  # a colon
            "ws.broadcast." + "x" * 90,
            "ws.broadcast.é",
        ):
            error = self.assertRaises(ValueError, parse_gateway_group, name)
            self.assertIn("gateway_group makes such names", str(error), name)
        error = self.assertRaises(ValueError, parse_gateway_group, "ws.user.john")
        self.assertIn("of the form ws.user.USER.FACILITY", str(error))
        error = self.assertRaises(ValueError, parse_gateway_group, "ws.broadcast.a.b")
        self.assertIn("of the form ws.broadcast.FACILITY", str(error))


class LogTests(SynchronousTestCase):
    """`loggable_group`."""

    def test_no_key(self) -> None:
        """The key of a session is left out; other names stay."""
        for group, shown in (
            ("ws.session.k3y.chat", "ws.session....chat"),
            ("ws.session.k3y", "ws.session..."),
            ("ws.user.john.chat", "ws.user.john.chat"),
            ("xws.session.a.b", "xws.session.a.b"),
        ):
            self.assertEqual(shown, loggable_group(group))
