"""Tests for `wsredis.service.inspector`."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.support.memory_gateway import MemoryGatewayCase
from wsredis import GatewayConfig, __version__
from wsredis.config import Limits
from wsredis.gateway.identity import Handshake, Identity
from wsredis.gateway.publication import Publication
from wsredis.service.inspector import Inspector
from wsredis.testing import MemoryGateway

TOKEN = "0123456789abcdef"


class _Named:
    """Knows clients by a header that names their session."""

    def identify(self, handshake: Handshake) -> Identity | None:
        session = handshake.headers.get("x-session")
        return None if session is None else Identity(session=session)


class _Listener:
    """Collects the answers."""

    direct = encoding = None

    def __init__(self, channel: bytes) -> None:
        self.channels = [channel]
        self.answers: list[Any] = []

    def deliver(self, items: list[Publication]) -> None:
        self.answers += [json.loads(each.payload) for each in items]

    def restore(self, item: Publication) -> None:
        raise AssertionError

    def forbid(self) -> None:
        raise AssertionError


class InspectorTests(MemoryGatewayCase):
    """A gateway answers questions that come over Redis."""

    def setUp(self) -> None:
        """A gateway whose clients say who they are, and someone who hears its answers."""
        config = GatewayConfig(prefix="p", limits=Limits(max_publication=2000))
        self.use(MemoryGateway(config, authenticator=_Named()))
        gateway = self.gateway
        members = gateway.factory.registry.connections
        self.inspector = Inspector(
            gateway.clock,
            gateway.hub,
            "p",
            lambda: filter(None, (each.connection for each in members)),
            lambda: gateway.health.problems,
        )
        self.inspector.start()
        self.listener = _Listener(f"p:wsredis-answers:{TOKEN}".encode())
        gateway.hub.subscribe(self.listener)

    def ask(self, **more: object) -> Any:
        """Ask a question. Returns: The answer."""
        self.say(json.dumps({"answer": TOKEN, **more}).encode())
        (answer,) = self.listener.answers
        self.listener.answers.clear()
        return answer

    def say(self, payload: bytes) -> None:
        """Send anything to the gateway."""
        self.inspector.received(payload)

    def state(self, channel: str) -> Any:
        """Ask about a channel."""
        return self.ask(channel=channel)["channel"]

    def test_gateway(self) -> None:
        """It says which one it is, how it is, and for how long."""
        self.gateway.open("/ws/news?subscribe-broadcast")
        self.gateway.wait(3)
        self.gateway.health.report("proof", "nothing arrives")
        answer = self.ask()
        self.assertTrue(answer.pop("gateway").endswith(f":{os.getpid()}"))
        self.assertAlmostEqual(3.0, answer.pop("uptime"), places=3)
        self.assertEqual(
            {
                "version": __version__,
                "connections": 1,
                "ready": False,
                "problems": {"proof": "nothing arrives"},
            },
            answer,
        )

    def test_channel(self) -> None:
        """It knows the listeners, the publishers, and the newest message, but no payload."""
        for flags in ("subscribe-broadcast", "subscribe-broadcast&publish-broadcast"):
            self.gateway.open(f"/ws/news?{flags}")
        state = self.state("p:broadcast:news")
        self.assertEqual((2, 1, 0), (state["listeners"], state["publishers"], state["newest"] or 0))
        for payload in (b"first", b"secret"):
            self.gateway.redis.publish(b"p:broadcast:news", payload)
        state = self.state("p:broadcast:news")
        self.assertEqual((2, 6, []), (state["publications"], state["size"], state["incidents"]))
        self.assertLess(state["newest"], 60)
        self.assertNotIn("secret", json.dumps(state))

    def test_after_an_outage(self) -> None:
        """A stored message that is read again is not one that has come."""
        self.gateway.open("/ws/news?subscribe-broadcast")
        self.gateway.hub.restore({b"p:broadcast:news": b"old"})
        state = self.state("p:broadcast:news")
        self.assertEqual((0, None), (state["publications"], state["newest"]))

    def test_near(self) -> None:
        """A channel that nobody hears is compared with others; no key of a session shows."""
        self.gateway.open("/ws/news?subscribe-broadcast")
        self.gateway.open("/ws/news?subscribe-session", "X-Session: abcdefgh")
        state = self.state("p:broadcast:nwes")
        self.assertNotIn("listeners", state)
        self.assertEqual(["p:broadcast:news"], state["near"])
        self.assertNotIn("abcdefgh", json.dumps(self.state("p:session:abcdefgg:news")))

    def test_other_audience(self) -> None:
        """A channel that nobody hears is compared with those of other audiences, too."""
        self.gateway.open("/ws/news?subscribe-broadcast")
        self.gateway.open("/ws/olds?subscribe-broadcast")
        self.assertEqual(["p:broadcast:news"], self.state("p:user:john:news")["near"])

    def test_incidents(self) -> None:
        """It tells what was left out, who was refused, and why a socket hears nothing."""
        self.gateway.open("/ws/news?subscribe-broadcast")
        self.gateway.redis.publish(b"p:broadcast:news", b"x" * 3000)
        self.gateway.open("/ws/news?subscribe-user")
        found = {
            each["text"]: each["times"] for each in self.state("p:broadcast:news")["incidents"]
        }
        self.assertEqual(1, found.pop("left out: larger than max-publication"))
        ((text, times),) = found.items()
        self.assertIn("nobody is logged in", text)
        self.assertEqual(1, times)
        # What concerns the facility concerns all of its channels.
        self.assertEqual(
            [text], [each["text"] for each in self.state("p:user:a:news")["incidents"]]
        )

    def test_malformed(self) -> None:
        """Other messages are ignored, with one line."""
        for payload in (
            b"",
            b"{}",
            b"[]",
            b"3",
            b"[" * 100_000,
            b'{"answer": "short"}',
            b'{"answer": 12345678}',
            b'{"answer": "1234567890", "channel": 3}',
            b'{"answer": "../../../etc:x"}',
        ):
            self.say(payload)
        self.assertEqual([], self.listener.answers)
        self.ask(channel="\ud800")
        self.ask(channel="")

    def test_rate(self) -> None:
        """Questions beyond a rate are not answered."""
        for _ in range(100):
            self.say(json.dumps({"answer": TOKEN}).encode())
        self.assertTrue(15 < len(self.listener.answers) < 25, len(self.listener.answers))
        self.gateway.wait(3)
        self.listener.answers.clear()
        self.ask()
