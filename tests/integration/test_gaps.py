"""Times in which messages may be lost, and sockets that hear nothing: how each learns of it."""

from __future__ import annotations

import re

from tests.integration.test_redis_faults import FaultCase, answers_pings

_GAP = (
    r"generation (\d+): what was published within (\d+\.\d) s may be lost on (\d+) channels; (.*)"
)


class GapCase(FaultCase):
    """A gateway whose Redis is ended and started."""

    def restart_redis(self) -> None:
        """End Redis as a crash would, start it, and wait until the gateway serves again."""
        since = self.kill_redis()
        self.redis.start()
        self.wait_back(since)

    def gaps(self) -> list[tuple[str, ...]]:
        """Return all that the log says of gaps."""
        return re.findall(_GAP, self.gateway.log)


class KeepTests(GapCase):
    """By default clients stay."""

    def test_restart(self) -> None:
        """Each restart of Redis is a generation, and clients go on."""
        client = self.open("/ws/kept?subscribe-broadcast")
        for number in ("1", "2"):
            self.restart_redis()
            generation, seconds, channels, rest = self.gaps()[-1]
            self.assertEqual(
                (number, "stored messages that changed are sent again"), (generation, rest)
            )
            self.assertGreater(float(seconds), 0.0)
            self.assertGreaterEqual(int(channels), 1)
            self.assert_hears(client, "kept", b"still here")
        self.assertEqual(2, len(self.gaps()))

    def test_cut_off(self) -> None:
        """The same if only the subscriber is cut off: the stored message comes, then the rest."""
        client = self.open("/ws/cut?subscribe-broadcast")
        since = self.position()
        self.redis.pipeline(
            ("CLIENT", "KILL", "TYPE", "pubsub"),
            ("SETEX", "broadcast:cut", 60, "missed"),
            ("PUBLISH", "broadcast:cut", "missed"),
        )
        self.wait_lost(since)
        self.wait_back(since)
        self.assertEqual(b"missed", client.message())
        self.assert_hears(client, "cut", b"live")
        self.assertEqual(["1"], [generation for generation, *_ in self.gaps()])

    def test_publisher_cut_off(self) -> None:
        """The loss of the connection that publishes is no gap."""
        client = self.open("/ws/other?subscribe-broadcast")
        since = self.position()
        self.redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        self.wait_lost(since)
        self.wait_back(since)
        self.assert_hears(client, "other", b"live")
        self.assertEqual([], self.gaps())


class CloseTests(GapCase):
    """With ``on-gap close``, clients that may have lost a message are closed."""

    options = (*GapCase.options, "--on-gap", "close", "--drain-spread", "1")

    def test_restart(self) -> None:
        """Each is closed with 1012; one that only publishes stays, and so does one that is new."""
        clients = [self.open("/ws/news?subscribe-broadcast") for _ in range(5)]
        speaker = self.open("/ws/news?publish-broadcast")
        self.restart_redis()
        late = self.open("/ws/news?subscribe-broadcast")
        self.assertEqual([1012] * 5, [client.closing() for client in clients])
        answers_pings([speaker], 0.0)
        speaker.send_text("hello")
        self.assertEqual(b"hello", late.message())
        self.assertNotIn("Traceback", self.gateway.log)


class DeafTests(FaultCase):
    """A socket that hears nothing."""

    def test_log(self) -> None:
        """The log says why, once a minute for each mistake."""
        for path in (
            "/ws/deaf?subscribe-brodcast",
            "/ws/deaf",
            "/ws/deaf?subscribe-user",
            "/ws/deaf?subscribe-user",
        ):
            self.open(path)
        wait = self.gateway.child.wait_for
        wait("hears nothing on 'deaf': unknown flag \"subscribe-brodcast\": ")
        wait(r"did you mean subscribe-broadcast\?")
        wait("no flag: this socket hears nothing; add ")
        wait("subscribe-user has no effect: this gateway knows no users")
        self.assertEqual(3, self.gateway.log.count("hears nothing on"))

    def test_speaks_in_vain(self) -> None:
        """A message of a client that may not publish is not lost in silence."""
        client = self.open("/ws/mute?subscribe-broadcast")
        client.send_text("a secret")
        self.gateway.child.wait_for("is discarded: it may publish nowhere")
        self.assertNotIn("secret", self.gateway.log)
