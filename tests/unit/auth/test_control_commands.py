"""Tests of `wsredis.auth.control_commands`."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.control_commands import (
    Command,
    RecentCommands,
    all_names,
    fixed_names,
    parse_command,
)
from wsredis.gateway.identity import Identity

JOHN = Identity("john", ("chatters",), "key-of-john")


class ParseCommandTests(SynchronousTestCase):
    """`parse_command`."""

    def test_commands(self) -> None:
        """Both verbs are read, with each selector."""
        for verb in ("end", "recheck"):
            for selector in ("user", "group", "session"):
                payload = b'{"%s": {"%s": "x:y"}}' % (verb.encode(), selector.encode())
                self.assertEqual((verb, selector, "x:y"), parse_command(payload))

    def test_malformed(self) -> None:
        """Anything else gives None."""
        for payload in (
            b"",
            b"\xff",
            b"[" * 100000,
            b"null",
            b"{}",
            b'{"end": {}}',
            b'{"end": {"user": 5}}',
            b'{"end": {"name": "john"}}',
            b'{"stop": {"user": "john"}}',
            b'{"end": {"user": "john"}, "recheck": {"user": "john"}}',
        ):
            self.assertIsNone(parse_command(payload), payload)


class NameTests(SynchronousTestCase):
    """`fixed_names` and `all_names`."""

    def test_names(self) -> None:
        """Groups are names that can change; a missing name is none."""
        fixed = [("user", "john"), ("session", "key-of-john")]
        self.assertEqual(fixed, fixed_names(JOHN))
        self.assertEqual([*fixed, ("group", "chatters")], all_names(JOHN))
        self.assertEqual([], all_names(Identity()))


class RecentCommandsTests(SynchronousTestCase):
    """`RecentCommands`."""

    def setUp(self) -> None:
        """Remember nothing yet."""
        self.clock = Clock()
        self.recent = RecentCommands(self.clock)

    def test_ended_session(self) -> None:
        """A session counts as ended for a day; a user or a recheck does not."""
        for command in (
            Command("end", "user", "john"),
            Command("end", "group", "chatters"),
            Command("recheck", "session", "key-of-john"),
        ):
            self.recent.add(command)
        self.assertFalse(self.recent.has_ended(JOHN))
        self.recent.add(Command("end", "session", "key-of-john"))
        self.assertTrue(self.recent.has_ended(JOHN))
        self.assertFalse(self.recent.has_ended(Identity("john")))
        self.clock.advance(86400.0)
        self.assertTrue(self.recent.has_ended(JOHN))
        self.clock.advance(0.5)
        self.assertFalse(self.recent.has_ended(JOHN))

    def test_session_age(self) -> None:
        """An ended session stays ended for as long as it could have lived."""
        recent = RecentCommands(self.clock, 1209600.0)
        recent.add(Command("end", "session", "key-of-john"), -86401.0)
        self.assertTrue(recent.has_ended(JOHN))
        self.clock.advance(1209600.0 - 86401.0)
        self.assertTrue(recent.has_ended(JOHN))
        self.clock.advance(0.5)
        self.assertFalse(recent.has_ended(JOHN))

    def test_given(self) -> None:
        """A command counts from the time at which it was given; the latest one counts."""
        self.clock.advance(100000.0)
        command = Command("end", "session", "key-of-john")
        self.recent.add(command, 13000.0)
        self.assertFalse(self.recent.has_ended(JOHN))
        self.recent.add(command, 99990.0)
        self.recent.add(command, 98000.0)
        self.assertTrue(self.recent.has_ended(JOHN))
        self.assertTrue(self.recent.came_since("end", JOHN, 99990.0))
        self.assertFalse(self.recent.came_since("end", JOHN, 99990.5))

    def test_came_since(self) -> None:
        """A command counts from the moment at which it came, by every name of an identity."""
        self.clock.advance(5.0)
        for selector, name in all_names(JOHN):
            recent = RecentCommands(self.clock)
            recent.add(Command("recheck", selector, name))
            self.assertTrue(recent.came_since("recheck", JOHN, 5.0))
            self.assertFalse(recent.came_since("recheck", JOHN, 5.5))
            self.assertFalse(recent.came_since("end", JOHN, 5.0))
            self.assertFalse(recent.came_since("recheck", Identity("ann"), 5.0))

    def test_bounded(self) -> None:
        """Commands are forgotten after a while, and the oldest when there are too many."""
        for number in range(10010):
            self.recent.add(Command("end", "session", f"s{number}"))
        self.assertEqual(10000, len(self.recent))
        self.assertNotIn(Command("end", "session", "s9"), self.recent)
        self.assertIn(Command("end", "session", "s10"), self.recent)
        self.clock.advance(31.0)
        for number in range(5010):
            self.recent.add(Command("end", "session", f"t{number}"))
        self.assertEqual(5010, len(self.recent))
