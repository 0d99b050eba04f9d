"""Tests for `wsredis.transports.stream.messages`: the JSON of answers to polls."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as some
from twisted.trial.unittest import SynchronousTestCase

from wsredis.transports.stream import messages


class MessageTests(SynchronousTestCase):
    """Messages in a row, in the body of an answer."""

    def test_types(self) -> None:
        """Text is a string, and everything else Base64."""
        self.assertEqual('"hé\\n\\"",'.encode(), messages.message('hé\n"'.encode()))
        self.assertEqual(b'{"base64":"/wA="},', messages.message(b"\xff\x00"))
        self.assertEqual(b'{"base64":"eA=="},', messages.binary(b"x"))

    def test_empty(self) -> None:
        """A body without messages has an empty list."""
        found = json.loads(messages.body("p-1", b"", is_gap=True))
        self.assertEqual({"cursor": "p-1", "gap": True, "messages": []}, found)

    def test_hello(self) -> None:
        """What a client is told of itself stands beside the messages."""
        row = messages.message(b"a")
        found = json.loads(messages.body("p-1", row, is_gap=False, hello={"id": "x"}))
        self.assertEqual(
            {"cursor": "p-1", "gap": False, "hello": {"id": "x"}, "messages": ["a"]}, found
        )

    @given(some.lists(some.binary(min_size=1)))
    def test_any(self, payloads: list[bytes]) -> None:
        """Whatever was published, the body is JSON, and holds it in order."""
        row = b"".join(map(messages.message, payloads))
        found = json.loads(messages.body("p-1", row, is_gap=False))
        self.assertIs(False, found["gap"])
        self.assertEqual(len(payloads), len(found["messages"]))
        for payload, each in zip(payloads, found["messages"], strict=True):
            if isinstance(each, str):
                self.assertEqual(payload, each.encode())
            else:
                with self.assertRaises(UnicodeDecodeError):
                    payload.decode()
