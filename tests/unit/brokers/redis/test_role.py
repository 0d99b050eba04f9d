"""Tests of the role of a server: a master that is demoted is noticed."""

from __future__ import annotations

from tests.unit.brokers.redis.case import LinkCase
from wsredis.brokers.redis.role import RoleWatch, is_replica


class RoleTests(LinkCase):
    """A watch on one connection."""

    def setUp(self) -> None:
        """The connection is up, and asked every second."""
        super().setUp()
        self.start()
        self.demoted: list[int] = []
        self.watch = RoleWatch(self.clock, 1.0, lambda: self.demoted.append(1))
        self.watch.start()
        self.addCleanup(self.watch.stop)
        self.watch.watch(self.protocol())

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

    def test_is_replica(self) -> None:
        """Only the reply of a replica is one."""
        self.assertTrue(is_replica([b"slave", b"192.0.2.1", 6379, b"connected", 0]))
        for reply in ([b"master", 0, []], [b"sentinel", []], [], b"OK", ValueError("NOPERM")):
            self.assertFalse(is_replica(reply), reply)
