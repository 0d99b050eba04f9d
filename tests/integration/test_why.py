"""Operators ask real gateways over a real Redis, in the shell."""

from __future__ import annotations

import subprocess
import sys

from tests.integration.test_life import LifeCase
from tests.support.children import clean_environment
from tests.support.raw import RawClient
from tests.support.require import missing


class AskTests(LifeCase):
    """``wsredis why`` and ``gateways``."""

    skip = missing("redis")

    def setUp(self) -> None:
        """A gateway and a Redis."""
        super().setUp()
        self.redis = self.redis_server()
        self.server = self.gateway("--redis", self.redis.url, "--prefix", "p", ready=True)

    def ask(self, *words: str, prefix: str = "p") -> tuple[int, str]:
        """Run a command. Returns: Its status and its output."""
        run = subprocess.run(
            [sys.executable, "-m", "wsredis", *words, "--redis", self.redis.url],
            env={**clean_environment(None), "WSREDIS_PREFIX": prefix},
            capture_output=True,
            text=True,
            timeout=60,
        )
        return run.returncode, run.stdout + run.stderr

    def test_gateways(self) -> None:
        """All that are there are listed, workers and all."""
        workers = ("--redis", self.redis.url, "--prefix", "p", "--workers", "2")
        # The first of them is connected before the second.
        self.gateway(*workers).child.wait_for(r"\] all 2 workers are ready")
        status, output = self.ask("gateways")
        self.assertEqual((0, 3), (status, output.count(", 0 connections, ready\n")), output)

    def test_why(self) -> None:
        """The reasons for which a message does not arrive are told apart."""
        for flags in ("subscribe-broadcast", "subscribe-broadcst"):
            client = RawClient.opened(self.server.port, f"/ws/news?{flags}")
            self.addCleanup(client.__exit__, None, None, None)
        status, output = self.ask("why", "broadcast:nws")
        self.assertEqual(0, status, output)
        self.assertIn("connections hear p:broadcast:news", output)
        self.assertIn("=> nobody hears this channel", output)
        # The publisher has another prefix.
        status, output = self.ask("publish", "news", "--broadcast", "secret", prefix="q")
        self.assertIn("with the prefix 'q'; there are some with the prefix 'p': compare", output)
        status, output = self.ask("publish", "nws", "--broadcast", "secret")
        self.assertIn("0 subscriber(s) received it", output)
        self.assertIn("nobody hears p:broadcast:nws", output)
        self.assertIn("there are listeners of p:broadcast:news", output)
        status, output = self.ask("why", "broadcast:news")
        self.assertIn("=> clients listen, and nothing was published", output)
        self.assertIn("did you mean subscribe-broadcast?", output)
        self.ask("publish", "news", "--broadcast", "secret")
        status, output = self.ask("why", "p:broadcast:news")
        self.assertIn("=> a message that is published now reaches 1 connections", output)
        self.assertIn("6 bytes; 1 since the first connection came", output)
        self.assertNotIn("secret", output)

    def test_nobody(self) -> None:
        """Without a gateway with this prefix there is a line about it; a mistake is one line."""
        for words, expected in ((("gateways",), 1), (("why", "broadcast:a"), 0)):
            status, output = self.ask(*words, prefix="*")
            self.assertEqual(expected, status, output)
            self.assertIn("no gateway is connected to this Redis with this prefix", output)
        status, output = self.ask("why", "news")
        self.assertEqual((2, 1), (status, output.count("\n")), output)
        self.assertIn("did you mean 'broadcast:news'?", output)
