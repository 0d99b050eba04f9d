"""Tests of `wsredis.publisher.ending`."""

from __future__ import annotations

from redis import ResponseError
from twisted.trial.unittest import SynchronousTestCase

from wsredis.publisher.ending import ending_commands, first_refusal


class EndingTests(SynchronousTestCase):
    """`ending_commands` and `first_refusal`."""

    def test_commands(self) -> None:
        """Each order is kept, for a day, and then published."""
        one, two = '{"end": {"session": "a"}}', '{"end": {"session": "b"}}'
        kept = ("XADD", b"my:wsredis-ended", "MAXLEN", "~", "10000", "*", "command")
        self.assertEqual(
            [
                (*kept, one),
                (*kept, two),
                ("EXPIRE", b"my:wsredis-ended", "86400"),
                ("PUBLISH", b"my:wsredis-control", one),
                ("PUBLISH", b"my:wsredis-control", two),
            ],
            ending_commands("my", "session", ["a", "b"]),
        )
        self.assertEqual([], ending_commands("", "session", []))

    def test_session_age(self) -> None:
        """Orders are kept for as long as sessions live, and for a day at least."""
        for age, kept in ((1209600, "1209600"), (1209600.5, "1209600"), (60, "86400")):
            commands = ending_commands("", "session", ["a"], age)
            self.assertEqual(("EXPIRE", b"wsredis-ended", kept), commands[1])

    def test_refusal(self) -> None:
        """An order that is not kept counts, one that nobody hears does not."""
        commands = ending_commands("", "user", ["john"])
        error = ResponseError("no")
        self.assertIsNone(first_refusal(commands, [b"1-1", 1, error]))
        self.assertIs(error, first_refusal(commands, [error, 0, 1]))
