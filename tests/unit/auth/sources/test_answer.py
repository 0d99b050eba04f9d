"""Tests of `wsredis.auth.sources.answer`; test_subrequest has more, through real HTTP."""

from __future__ import annotations

import json
from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.sources.answer import Answer, UnexpectedAnswer, read_answer
from wsredis.channels import Access, Audience
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Identity

NOW = 1_000_000.0
JSON = "application/json"


class ReadAnswerTests(SynchronousTestCase):
    """`read_answer`."""

    def read(self, value: object, status: int = 200, content_type: str = JSON) -> Answer:
        """Read an answer whose body is *value* in JSON."""
        return read_answer(status, content_type, json.dumps(value).encode(), NOW)

    def test_identity(self) -> None:
        """The values of a 200 become an identity and its limit; null is like a missing key."""
        for value, identity, channels in (
            ({}, Identity(), None),
            (
                dict.fromkeys(("user", "groups", "session", "channels", "expires")),
                Identity(),
                None,
            ),
            (
                {"user": "john", "groups": ["staff"], "session": "abc", "expires": NOW + 1},
                Identity("john", ("staff",), "abc", NOW + 1),
                None,
            ),
            ({"channels": {}}, Identity(), {}),
            ({"channels": {"a*": ["publish-user"]}}, Identity(), {"a*": {"publish-user"}}),
        ):
            answer = self.read(value)
            self.assertEqual(
                (200, identity, channels), (answer.status, answer.identity, answer.channels)
            )

    def test_time(self) -> None:
        """An identity is valid until, and not at, the moment at which it expires."""
        self.assertEqual(200, self.read({"expires": NOW + 0.5}).status)
        self.assertEqual(401, self.read({"expires": NOW}).status)
        self.assertEqual(253402300799.0, self.read({"expires": 253402300799}).identity.expires)
        self.assertRaises(UnexpectedAnswer, self.read, {"expires": 253402300800})

    def test_rejections(self) -> None:
        """A reason that can be shown goes to the client; else there is a default one."""
        for status, default in ((401, "you are not logged in"), (403, "you may not do this here")):
            self.assertEqual("pay first", self.read({"reason": "pay first"}, status).reason)
            self.assertEqual(default, self.read({"reason": "a\nb"}, status).reason)
            self.assertEqual(default, self.read({"reason": "pay"}, status, "text/html").reason)

    def test_unexpected(self) -> None:
        """Anything else is unexpected, and the error says what."""
        for value, status, content_type, text in (
            ({}, 204, JSON, "it answered 204"),
            ({}, 200, "", "its answer is not application/json"),
            ([], 200, JSON, "its answer is not a JSON object"),
            ({"b": 1, "a": 1}, 200, JSON, "its answer has an unknown key 'a'"),
            ({"x" * 50: 1}, 200, JSON, f"its answer has an unknown key '{'x' * 40}'"),
            ({"user": 1}, 200, JSON, "its 'user' is not a string, or has a forbidden character"),
            ({"groups": "a"}, 200, JSON, "its 'groups' is not a list"),
            ({"groups": [""]}, 200, JSON, "its 'groups' has a group without a name"),
            ({"expires": True}, 200, JSON, "its 'expires' is not a number"),
            ({"expires": -1}, 200, JSON, "its 'expires' is not a Unix time in seconds"),
            ({"channels": []}, 200, JSON, "its 'channels': it is not an object"),
        ):
            error = self.assertRaises(UnexpectedAnswer, self.read, value, status, content_type)
            self.assertEqual(text, str(error))
        error = self.assertRaises(UnexpectedAnswer, read_answer, 200, JSON, b"{", NOW)
        self.assertEqual("its answer is not JSON", str(error))


class AnswerTests(SynchronousTestCase):
    """`Answer`."""

    access = Access("chat", frozenset({Audience.USER}))

    def test_identity_for(self) -> None:
        """An access within the limit, or without a limit, gets the identity."""
        john = Identity("john")
        for channels in (None, {"chat": frozenset({"subscribe-user"})}):
            answer = Answer(200, identity=john, channels=channels)
            self.assertIs(john, answer.identity_for(self.access))

    def test_forward(self) -> None:
        """A limit that does not name it takes away that a worker hears the client."""
        john, asked = Identity("john"), replace(self.access, forward=True)
        for flags, expected in (
            ({"subscribe-user"}, self.access),
            ({"subscribe-user", "forward"}, None),
        ):
            answer = Answer(200, identity=john, channels={"chat": frozenset(flags)})
            self.assertEqual(expected, answer.identity_for(asked).granted)

    def test_stranger(self) -> None:
        """A stranger who is rejected by a limit is told that nobody is logged in."""
        for identity, told in (
            (Identity(), "you may not subscribe-user here: nobody is logged in here"),
            (Identity("john"), "you may not subscribe-user here"),
        ):
            answer = Answer(200, identity=identity, channels={})
            error = self.assertRaises(HandshakeRejected, answer.identity_for, self.access)
            self.assertEqual(told, error.told)

    def test_rejected(self) -> None:
        """An access beyond the limit is rejected, and so is every one with 401 or 403."""
        for answer, status, reason in (
            (Answer(200, channels={}), 403, "you may not subscribe-user here"),
            (Answer(401, "who?"), 401, "who?"),
            (Answer(403, "no"), 403, "no"),
        ):
            error = self.assertRaises(HandshakeRejected, answer.identity_for, self.access)
            self.assertEqual((status, reason), (error.status, error.reason))

    def test_secrets(self) -> None:
        """A printed answer shows neither the identity nor the limit."""
        answer = Answer(200, identity=Identity("john", session="secret"), channels={"hidden": {}})
        self.assertEqual("Answer(status=200, reason='')", repr(answer))
