"""Tests of the answers about health."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.memory_gateway import Socket
from tests.unit.web.case import make_request
from wsredis.gateway.health import Problem, Situation
from wsredis.web.health import HealthResource


class HealthResourceTests(SynchronousTestCase):
    """What is wrong, and since when."""

    def ask(self, situation: Situation, method: str = "GET") -> tuple[int, str, bytes]:
        """Ask at 1000 s. Returns: Status, head and body of the answer."""
        from twisted.web.server import Site

        client = Socket(Site(HealthResource("ready", lambda: situation, lambda: 1000.4)))
        client.send(make_request(f"{method} /", "Connection: close"))
        head, _, body = client.take().partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), head.decode().lower(), body

    def problems(self, situation: Situation) -> tuple[int, Any]:
        """Returns: Status and problems."""
        status, _, body = self.ask(situation)
        return status, json.loads(body)["problems"]

    def test_good(self) -> None:
        """Without a problem it is 200, which no cache keeps and no browser takes for a page."""
        status, head, body = self.ask({0: {}})
        self.assertEqual(200, status)
        self.assertEqual({"ready": True, "problems": []}, json.loads(body))
        self.assertTrue(body.endswith(b"}\n"))
        for header in (
            "content-type: application/json",
            "cache-control: no-store",
            "x-content-type-options: nosniff",
        ):
            self.assertIn(f"\r\n{header}", head)

    def test_blocking(self) -> None:
        """A problem that blocks is a 503, and has its beginning in UTC and in seconds."""
        status, found = self.problems({0: {"redis": Problem("is away", 990.1, True)}})
        expected = {
            "name": "redis",
            "text": "is away",
            "since": "1970-01-01T00:16:30Z",
            "seconds": 10,
            "blocking": True,
        }
        self.assertEqual((503, [expected]), (status, found))

    def test_notes(self) -> None:
        """One that does not block is a 200, and comes after those that do."""
        note, block = Problem("is odd", 1.0, False), Problem("is bad", 2.0, True)
        self.assertEqual(200, self.problems({0: {"a": note}})[0])
        status, found = self.problems({0: {"a": note, "b": block}})
        self.assertEqual((503, ["b", "a"]), (status, [each["name"] for each in found]))

    def test_workers(self) -> None:
        """A problem of a worker has its number, one of the process that answers has none."""
        bad = Problem("is bad", 2.0, True)
        _, found = self.problems({2: {"a": bad}, 1: {"a": bad}, 0: {"b": bad}})
        names = [(each["name"], each.get("worker")) for each in found]
        self.assertEqual([("b", None), ("a", 1), ("a", 2)], names)

    def test_clock_set_back(self) -> None:
        """A problem that will begin tomorrow has lasted for no time."""
        _, (found,) = self.problems({0: {"a": Problem("is bad", 5000.0, True)}})
        self.assertEqual(0, found["seconds"])

    def test_head(self) -> None:
        """HEAD has the status and the length, and no body."""
        for situation in ({}, {0: {"a": Problem("is bad", 2.0, True)}}):
            status, _, body = self.ask(situation)
            same, head, nothing = self.ask(situation, "HEAD")
            self.assertEqual((status, b""), (same, nothing))
            self.assertIn(f"content-length: {len(body)}", head)
