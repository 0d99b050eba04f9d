"""Tests of `wsredis.service.mistakes`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis.service.mistakes import with_suggestion

KNOWN = ["publish", "subscribe", "--heartbeat", "--port", "--broadcast"]


class SuggestionTests(SynchronousTestCase):
    """`with_suggestion`."""

    def test_near(self) -> None:
        """The words of each parser are understood, and end with the word that was meant."""
        for message, meant in (
            ("option --hartbeat not recognized", "--heartbeat"),
            ("'heartbeet' is not an option", "--heartbeat"),
            ("'-port' is not an option", "--port"),
            ("unrecognized arguments: --brodcast x", "--broadcast"),
            ("unrecognized arguments: --brodcast=1", "--broadcast"),
            ("argument COMMAND: invalid choice: 'pubish' (choose from 'a', 'b')", "publish"),
        ):
            self.assertEqual(f"{message}; did you mean {meant}?", with_suggestion(message, KNOWN))

    def test_others(self) -> None:
        """Other messages, and words that are like none, are left as they are."""
        for message in (
            "option --port requires argument",
            "option --colour not recognized",
            "'redis://localhost' is not an option",
        ):
            self.assertEqual(message, with_suggestion(message, KNOWN))
