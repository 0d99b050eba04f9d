"""Tests for `wsredis.service.why`."""

from __future__ import annotations

from typing import Any, cast

import redis
from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError
from wsredis.service.why import Answers, check_channel, explain, list_gateways

QUIET = {"publishers": 0, "incidents": []}
NOBODY = {**QUIET, "near": []}


class _Redis:
    """
    The part of redis-py that is used.

    Attributes:
        refuses: Whether it refuses everything, as an ACL may.
    """

    refuses = False

    def __init__(self, size: int = 0, left: int = -2) -> None:
        self._size, self._left = size, left
        self.keys: list[bytes] = []

    def pubsub_numsub(self, name: bytes) -> list[tuple[bytes, int]]:
        self._check()
        return [(name, 2)]

    def strlen(self, key: bytes) -> int:
        self._check()
        self.keys.append(key)
        return self._size

    def ttl(self, key: bytes) -> int:
        return self._left

    def _check(self) -> None:
        if self.refuses:
            raise redis.ResponseError("NOPERM no permission")


def answer(channel: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Return the answer of one gateway."""
    found = {
        "gateway": "web:1",
        "version": "26.11",
        "uptime": 7300.0,
        "connections": 3,
        "ready": True,
        "problems": {},
        **more,
    }
    return found if channel is None else {**found, "channel": channel}


class ChannelTests(SynchronousTestCase):
    """The name of a channel on the command line."""

    def test_right(self) -> None:
        """The prefix may be given or not."""
        for channel in ("broadcast:a:b", "user:john:a", "session:key:", "broadcast:"):
            self.assertEqual(channel, check_channel(channel, ""))
            self.assertEqual(f"p:{channel}", check_channel(channel, "p"))
            self.assertEqual(f"p:{channel}", check_channel(f"p:{channel}", "p"))

    def test_wrong(self) -> None:
        """A facility alone is answered with the channel that is probably meant."""
        error = self.assertRaises(ConfigError, check_channel, "news", "")
        self.assertIn("did you mean 'broadcast:news'?", str(error))
        error = self.assertRaises(ConfigError, check_channel, "user:john", "")
        self.assertIn("has no facility: user:NAME:FACILITY", str(error))


class ListTests(SynchronousTestCase):
    """The list of gateways."""

    def test_lines(self) -> None:
        """Each has a line, sorted by name; those that are mute are counted."""
        problems = {"proof": "lost"}
        found = [answer(), answer(gateway="api:9", uptime=3.0, ready=False, problems=problems)]
        self.assertEqual(
            [
                "1 of 3 gateways did not answer in time",
                "gateway api:9: wsredis 26.11, up 3.0 s, 3 connections, NOT READY; proof: lost",
                "gateway web:1: wsredis 26.11, up 2 h, 3 connections, ready",
            ],
            [*list_gateways(Answers(3, found))],
        )

    def test_nobody(self) -> None:
        """Nobody is there: the reasons that there may be."""
        (line,) = list_gateways(Answers(0, []))
        self.assertIn("no gateway is connected to this Redis", line)


class ExplainTests(SynchronousTestCase):
    """The answers about a channel, in words."""

    def explain(
        self, *states: dict[str, Any], server: _Redis | None = None, stored_prefix: str = ""
    ) -> list[str]:
        """Return the lines after those about the gateways themselves."""
        self.redis = server or _Redis()
        client = cast("redis.Redis", self.redis)
        answers = Answers(len(states), [answer(each) for each in states])
        lines = [*explain(client, "broadcast:news", stored_prefix, answers)]
        self.assertEqual("broadcast:news", lines[0])
        return [each.strip() for each in lines[1:] if not each.startswith("gateway")]

    def test_heard(self) -> None:
        """Clients hear it, and messages came."""
        state = {
            "publishers": 1,
            "incidents": [{"text": "left out: too large", "times": 2, "age": 90.0}],
            "listeners": 4,
            "age": 200.0,
            "publications": 9,
            "newest": 1.5,
            "size": 12,
        }
        self.assertEqual(
            [
                "Redis: 2 subscribers (a gateway is one, however many clients it has)",
                "stored message: 12 bytes, 2 min left",
                "subscribed for 3 min; 4 connections hear it; 1 of its clients may publish on it",
                "newest message: 1.5 s ago, 12 bytes; 9 since the first connection came",
                "2 x left out: too large (last 2 min ago)",
                "not subscribed: no connection hears it; 0 of its clients may publish on it",
                "=> a message that is published now reaches 4 connections",
            ],
            self.explain(state, NOBODY, server=_Redis(12, 110)),
        )

    def test_nothing_published(self) -> None:
        """Clients hear it, and nothing came: the publisher is elsewhere."""
        state = {**QUIET, "listeners": 1, "age": 5.0, "publications": 0, "newest": None, "size": 0}
        lines = self.explain(state)
        self.assertIn("no message since the first connection came", lines)
        self.assertIn("compare the name, the prefix, the database and the Redis", lines[-1])

    def test_nobody_hears(self) -> None:
        """Nobody hears it; a channel with nearly the same name is named."""
        lines = self.explain({**QUIET, "near": ["broadcast:new"]}, server=_Redis(1, -1))
        self.assertEqual("stored message: 1 bytes, for ever", lines[1])
        self.assertEqual("connections hear broadcast:new", lines[-2])
        self.assertTrue(lines[-1].startswith("=> nobody hears this channel"))

    def test_stored_elsewhere(self) -> None:
        """The stored message is looked for under its own key."""
        self.assertEqual("stored message: none", self.explain(NOBODY, stored_prefix="kept")[1])
        self.assertEqual([b"kept:broadcast:news"], self.redis.keys)

    def test_not_allowed(self) -> None:
        """Redis may refuse to tell what it knows; the gateways answer all the same."""
        server = _Redis()
        server.refuses = True
        lines = self.explain(NOBODY, server=server)
        self.assertEqual("stored message: not told: NOPERM no permission", lines[1])
        self.assertTrue(lines[-1].startswith("=> nobody hears this channel"))

    def test_no_gateway(self) -> None:
        """Without a gateway there is no verdict."""
        self.assertIn("no gateway is connected to this Redis", self.explain()[-1])

    def test_mute(self) -> None:
        """A gateway that does not answer may have clients that hear it: nothing is sure."""
        answers = Answers(2, [answer(NOBODY)])
        *_, last = explain(cast("redis.Redis", _Redis()), "broadcast:news", "", answers)
        self.assertEqual("=> nobody hears this channel at the gateways that answered", last)

    def test_not_ready(self) -> None:
        """A gateway that is not ready is pointed out."""
        answers = Answers(1, [answer(NOBODY, ready=False)])
        *_, last = explain(cast("redis.Redis", _Redis()), "broadcast:news", "", answers)
        self.assertEqual("=> a gateway is not ready: see its line", last)
