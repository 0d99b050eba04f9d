"""Tests of `wsredis.service.nobody`; with real gateways in `tests.integration.test_why`."""

from __future__ import annotations

from typing import Any, cast

import redis
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.service.test_why import answer
from wsredis.service import nobody
from wsredis.service.nobody import why_nobody
from wsredis.service.why import Answers


class _Redis:
    """The part of redis-py that is used."""

    def __init__(self, *channels: bytes) -> None:
        self._channels = channels

    def pubsub_channels(self, pattern: bytes) -> list[bytes]:
        assert pattern == b"*wsredis-proof:*"
        return list(self._channels)


class NobodyTests(SynchronousTestCase):
    """`why_nobody`."""

    def lines(
        self, answers: Answers | Exception, *channels: bytes, prefix: str = "", others: Any = ()
    ) -> list[str]:
        """The lines about *channels*, of gateways that answer so."""
        asked = []

        def ask(client: object, prefix: str, channel: str, patience: float) -> Answers:
            asked.append(channel)
            if isinstance(answers, Exception):
                raise answers
            return answers

        self.patch(nobody, "ask", ask)
        client = cast("redis.Redis", _Redis(*others))
        found = list(why_nobody(client, "redis://h", prefix, channels or (b"broadcast:f",)))
        self.assertLessEqual(len(asked), 3)
        return found

    def test_no_gateway(self) -> None:
        """Without a gateway the Redis is named, or the prefixes of those that are there."""
        nobody_there = Answers(0, [])
        (line,) = self.lines(nobody_there, b"broadcast:a", b"broadcast:b")
        self.assertIn("no gateway is connected to redis://h: compare --redis", line)
        proofs = [b"q:wsredis-proof:1", b"q:wsredis-proof:2", b"wsredis-proof:3"]
        (line,) = self.lines(nobody_there, prefix="p", others=proofs)
        self.assertIn("with the prefix 'p'; there are some with the prefix '' and 'q'", line)
        (line,) = self.lines(nobody_there, others=proofs[:1])
        self.assertIn("without a prefix; there are some with the prefix 'q'", line)

    def test_nobody_hears(self) -> None:
        """Gateways without a listener tell of channels that are alike, and of what went wrong."""
        incident = {"text": "it hears nothing: no flag", "times": 2, "age": 7.0}
        state = {"publishers": 0, "incidents": [incident], "near": ["broadcast:chat"]}
        answers = Answers(2, [answer(state), answer(state)])
        first, *more = self.lines(answers, b"broadcast:cht")
        self.assertEqual(
            "nobody hears broadcast:cht: 6 clients are connected; "
            "there are listeners of broadcast:chat",
            first,
        )
        self.assertEqual(["it hears nothing: no flag (2 x, the last one 7 s ago)"] * 2, more)
        for count, words in (
            (0, "no client is connected to a gateway"),
            (1, "one client is connected"),
            (3, "3 clients are connected"),
        ):
            state = {"publishers": 0, "incidents": [], "near": []}
            lines = self.lines(Answers(1, [{**answer(state), "connections": count}]))
            self.assertEqual([f"nobody hears broadcast:f: {words}"], lines)

    def test_channel_as_facility(self) -> None:
        """A facility that is the name of a channel is told with the one that is meant."""
        answers = Answers(1, [answer({"publishers": 0, "incidents": [], "near": []})])
        for name in (b"p:broadcast:broadcast:chat", b"p:user:john:user:ann:chat"):
            first, _ = self.lines(answers, name, prefix="p")
            self.assertEqual("a facility has no audience before it; did you mean 'chat'?", first)
        for name in (b"p:broadcast:broadcasts:chat", b"p:user:john:chat"):
            self.assertEqual(1, len(self.lines(answers, name, prefix="p")))

    def test_key_of_a_session(self) -> None:
        """The key of a session is not told, and only three channels are asked about."""
        answers = Answers(1, [answer({"publishers": 0, "incidents": [], "near": []})])
        lines = self.lines(answers, *(b"session:SECRET%d:f" % each for each in range(5)))
        self.assertEqual(3, len(lines))
        self.assertNotIn("SECRET", "".join(lines))

    def test_refused(self) -> None:
        """If an ACL forbids the question, the line says so."""
        (line,) = self.lines(redis.ResponseError("NOPERM no permission"))
        self.assertIn("cannot be asked why: NOPERM", line)
