"""Tests of what systemd is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.health import Health, Problem, Situation
from wsredis.service.systemd import Notifier, Supervision, supervision_from


class _Gateway:
    """A gateway with two processes whose health the test decides."""

    stop_time = 9.25

    def __init__(self, clock: Clock) -> None:
        self.one, self.two = Health(clock.seconds), Health(clock.seconds)
        self.stuck: Situation = {}

    def readiness(self) -> Situation:
        return {1: dict(self.one.problems), 2: dict(self.two.problems)}

    def liveness(self) -> Situation:
        return self.stuck


class SupervisionTests(SynchronousTestCase):
    """A gateway, and all that is sent to systemd."""

    def setUp(self) -> None:
        """Start, while Redis is not connected yet."""
        self.clock = Clock()
        self.gateway = _Gateway(self.clock)
        self.gateway.two.report("redis", "there is no connection to Redis")
        self.sent: list[str] = []
        self.service = Supervision(
            self.clock,
            lambda *lines: self.sent.extend(lines),
            self.gateway,
            watchdog=4.0,
            now=self.clock.seconds,
        )
        self.service.startService()

    def wait(self, seconds: float) -> list[str]:
        """Let time pass, and take what was sent."""
        self.clock.pump([0.1] * round(seconds * 10))
        sent, self.sent = self.sent, []
        return sent

    def test_ready(self) -> None:
        """It is started when it is ready for the first time, and the status follows its health."""
        away = "worker 2: there is no connection to Redis"
        self.assertEqual([f"STATUS=not ready; {away}"], self.wait(1))
        self.gateway.two.report("redis", None)
        self.assertEqual(["STATUS=ready", "READY=1"], self.wait(0.5))
        self.assertEqual(["WATCHDOG=1"], self.wait(1))
        self.gateway.one.report("unproven", "no right", is_blocking=False)
        self.assertEqual(["STATUS=ready; worker 1: no right"], self.wait(0.5))

    def test_redis_is_away(self) -> None:
        """After ten seconds it is started all the same, and says once what is wrong."""
        self.assertNotIn("READY=1", self.wait(9.5))
        self.assertEqual(1, self.wait(10).count("READY=1"))
        self.assertEqual(["WATCHDOG=1"] * 5, self.wait(10))

    def test_long_status(self) -> None:
        """The status is cut."""
        self.gateway.one.report("x", "y" * 10000)
        (status,) = self.wait(0.5)
        self.assertLess(len(status), 500)

    def test_stop(self) -> None:
        """It says how long the stop may take; the watchdog is fed until the end."""
        self.wait(11)
        self.service.stopService()
        expected = ["STOPPING=1", "STATUS=stopping", "EXTEND_TIMEOUT_USEC=19250000"]
        self.gateway.one.report("draining", "the gateway stops")
        self.assertEqual([*expected, "WATCHDOG=1"], self.wait(2))

    def test_reload(self) -> None:
        """Around a reload of a gateway that has started there are two words."""
        calls: list[str] = []
        self.service.reload(lambda: calls.append("early"))
        self.assertEqual(([], ["early"]), (self.sent, calls))
        self.wait(11)
        self.service.reload(lambda: self.sent.append("now"))
        first, time, *rest = self.sent
        self.assertEqual("RELOADING=1", first)
        self.assertRegex(time, r"\AMONOTONIC_USEC=\d+\Z")
        self.assertEqual(["now", "READY=1"], rest)

    def test_stuck(self) -> None:
        """What only a restart can cure ends the feeding, and has one line in the log."""
        self.wait(11)
        self.gateway.stuck = {1: {"timers": Problem("timers do not run", 1.0, True)}}
        with capturedLogs() as events:
            self.assertEqual([], self.wait(20))
        self.assertEqual(["error"], [event["log_level"].name for event in events])
        self.gateway.stuck = {}
        self.assertIn("WATCHDOG=1", self.wait(3))

    def test_proof(self) -> None:
        """A minute without a proof ends it too, unless an outage explains it."""
        self.gateway.one.report("proof", "no message came back")
        self.gateway.two.report("proof", "no message came back")
        self.assertEqual(29, self.wait(59).count("WATCHDOG=1"))
        with capturedLogs() as events:
            self.assertEqual(0, self.wait(20).count("WATCHDOG=1"))
        self.assertEqual(1, len(events))
        self.gateway.one.report("role", "it is a replica")
        self.assertEqual(5, self.wait(10).count("WATCHDOG=1"), "the other one has lost Redis")

    def test_busy(self) -> None:
        """A gateway that works off what has come is late for as long as that takes, and lives."""
        self.wait(11)
        self.gateway.one.report("proof", "messages arrive late", is_blocking=False)
        sent = self.wait(200)
        self.assertEqual(100, sent.count("WATCHDOG=1"))


class NotifierTests(SynchronousTestCase):
    """Datagrams to a socket."""

    def receiver(self, address: str) -> socket.socket:
        """The socket of systemd."""
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(address)
        receiver.setblocking(False)
        return receiver

    def test_addresses(self) -> None:
        """A path, and a name of the abstract namespace."""
        path = os.path.relpath(self.mktemp())
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        name = f"wsredis-test-{os.getpid()}"
        for address, bound in ((path, path), (f"@{name}", f"\0{name}")):
            receiver = self.receiver(bound)
            notifier = Notifier(address)
            notifier.send("READY=1", "STATUS=caf\xe9")
            self.assertEqual("READY=1\nSTATUS=caf\xe9", receiver.recv(100).decode())
            notifier.close()

    def test_nobody(self) -> None:
        """Without a receiver, or with an address that cannot be used, there is one line."""
        for address in ("/nonexistent/socket", "vsock:1:2", "x" * 200):
            with capturedLogs() as events:
                notifier = Notifier(address)
                notifier.send("READY=1")
                notifier.send("READY=1")
                notifier.close()
            (line,) = [formatEvent(event) for event in events]
            self.assertTrue(line.startswith("cannot notify systemd: "), line)

    def test_full(self) -> None:
        """A receiver that does not read delays nobody."""
        path = os.path.relpath(self.mktemp())
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.receiver(path)
        notifier = Notifier(path)
        with capturedLogs() as events:
            for _ in range(5000):
                notifier.send("WATCHDOG=1")
        self.assertEqual(1, len(events))
        notifier.close()


class EnvironmentTests(SynchronousTestCase):
    """What systemd asks for stands in the environment."""

    def made(self, **environ: str) -> Supervision | None:
        """Make it, and check that nothing of it is left for children."""
        self.patch(Notifier, "__init__", lambda self, address: None)
        clock = Clock()
        made = supervision_from(environ, clock, _Gateway(clock))
        self.assertEqual([], [name for name in environ if name != "HOME"])
        return made

    def test_nothing(self) -> None:
        """Without systemd there is nobody to tell."""
        self.assertIsNone(self.made())
        self.assertIsNone(self.made(WATCHDOG_USEC="1000000"))

    def test_watchdog(self) -> None:
        """It is for this process, if it is named at all, and twice as often as it must be."""
        for process, watched in (("", True), (str(os.getpid()), True), ("1", False)):
            made = self.made(NOTIFY_SOCKET="/x", WATCHDOG_USEC="3000000", WATCHDOG_PID=process)
            assert made is not None
            self.assertEqual(2 if watched else 1, len(made._tasks))
        for wrong in ("", "0", "x", "-1"):
            made = self.made(NOTIFY_SOCKET="/x", WATCHDOG_USEC=wrong)
            assert made is not None
            self.assertEqual(1, len(made._tasks))
