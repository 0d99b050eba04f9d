"""Tests of the role of a server: a master that is demoted is noticed."""

from __future__ import annotations

from tests.unit.brokers.redis.case import LinkCase
from wsredis.brokers.redis.protocol import InvalidReply
from wsredis.brokers.redis.role import RoleWatch, wrong_role
from wsredis.brokers.redis.unproven import Unproven
from wsredis.gateway.health import Health
from wsredis.gateway.metrics import Metrics


class RoleTests(LinkCase):
    """A watch on one connection."""

    def setUp(self) -> None:
        """The connection is up, and asked every second."""
        super().setUp()
        self.start()
        self.demoted: list[int] = []
        self.health = Health()
        self.watch = self.make_watch()
        self.watch.start()
        self.addCleanup(self.watch.stop)
        self.watch.watch(self.protocol())

    def make_watch(self, *, is_any: bool = False) -> RoleWatch:
        """A watch that is not started."""
        return RoleWatch(
            self.clock,
            1.0,
            lambda: self.demoted.append(1),
            self.health,
            Unproven(self.health, Metrics()),
            is_any=is_any,
        )

    def asked(self) -> int:
        """The number of questions, without that of the login."""
        return len(self.server.sent(b"ROLE")) - 1

    def test_master(self) -> None:
        """A master is asked again and again."""
        self.wait(3)
        self.assertEqual(([], 3), (self.demoted, self.asked()))

    def test_replica(self) -> None:
        """A demotion is reported once for a connection."""
        self.server.replica = True
        self.wait(3)
        self.assertEqual(([1], 1), (self.demoted, self.asked()))

    def test_at_once(self) -> None:
        """A check that does not wait for the timer, while no other is under way."""
        self.server.replica = True
        self.watch.check()
        self.watch.check()
        self.server.pump()
        self.assertEqual(([1], 1), (self.demoted, self.asked()))

    def test_refused(self) -> None:
        """A server that does not tell is not asked again on this connection."""
        self.server.refuse["ROLE"] = "NOPERM"
        self.wait(3)
        self.assertEqual(([], 1), (self.demoted, self.asked()))

    def test_read_only(self) -> None:
        """A replica that may not be asked shows itself by what it refuses; it is reported once."""
        self.server.refuse["ROLE"] = "NOPERM"
        self.wait(1)
        self.watch.is_read_only()
        self.watch.is_read_only()
        self.assertEqual([1], self.demoted)
        self.watch.watch(self.protocol())
        self.watch.is_read_only()
        self.assertEqual([1], self.demoted, "another server would do the same")
        self.wait(6)
        self.watch.is_read_only()
        self.assertEqual([1, 1], self.demoted)

    def test_another_connection(self) -> None:
        """The answer of a connection that is watched no more does not count."""
        self.server.replica = True
        self.watch.check()
        self.watch.watch(None)
        self.wait(2)
        self.assertEqual(([], 1), (self.demoted, self.asked()))

    def test_lost(self) -> None:
        """A connection that is lost is no demotion."""
        self.watch.check()
        self.server.kill()
        self.assertEqual([], self.demoted)

    def test_health(self) -> None:
        """A wrong role is wrong until each connection has a master."""
        self.server.replica = True
        self.wait(1)
        self.assertIn("replica", self.health.problems["role"].text)
        self.watch.accept()
        self.assertEqual({}, dict(self.health.problems))

    def test_login(self) -> None:
        """A server of a wrong role is refused at the login, and told."""
        self.assertIsNone(self.watch.refuse([b"master", 0, []]))
        self.assertEqual({}, dict(self.health.problems))
        reason = self.watch.refuse([b"slave", b"192.0.2.1", 6379, b"connect", -1])
        self.assertEqual("this server is a replica, not the master", reason)
        self.assertEqual(reason, self.health.problems["role"].text)

    def test_unproven(self) -> None:
        """A refusal is told as a right that is missing, until an answer comes."""
        self.server.refuse["ROLE"] = "NOPERM"
        self.wait(1)
        self.assertEqual(["unproven"], list(self.health.problems))
        self.server.refuse.clear()
        self.watch.watch(self.protocol())
        self.wait(1)
        self.assertEqual([], list(self.health.problems))

    def test_busy(self) -> None:
        """A server that tells nothing for now is asked again."""
        self.server.refuse["ROLE"] = "BUSY a script is running"
        self.wait(3)
        self.assertEqual(({}, 3), (dict(self.health.problems), self.asked()))

    def test_any(self) -> None:
        """Where a replica is as good as a master, nothing is asked and nothing is wrong."""
        watch = self.make_watch(is_any=True)
        self.assertIsNone(watch.refuse([b"slave"]))
        watch.start()
        watch.watch(self.protocol())
        self.watch.watch(None)
        self.wait(3)
        watch.is_read_only()
        self.assertEqual(([], 0), (self.demoted, self.asked()))
        self.assertEqual({}, dict(self.health.problems))

    def test_wrong_role(self) -> None:
        """Every role but that of a master is wrong; an error says nothing."""
        for reply in ([b"slave", b"192.0.2.1", 6379, b"connected", 0], [b"replica", []]):
            self.assertIn("is a replica", str(wrong_role(reply)))
        self.assertIn("is a sentinel", str(wrong_role([b"sentinel", []])))
        for reply in ([b"master", 0, []], ValueError("NOPERM")):
            self.assertIsNone(wrong_role(reply), reply)
        for reply in ([], b"OK", 1, None, [1], [[b"master"]]):
            self.assertRaises(InvalidReply, wrong_role, reply)
