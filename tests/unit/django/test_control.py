"""Tests for `wsredis.django.control`."""

from __future__ import annotations

from typing import Any

from redis import ConnectionError as Unreachable
from redis import ResponseError

from tests.unit.django.case import AppCase


class ControlTests(AppCase):
    """Commands for the gateway."""

    def test_commands(self) -> None:
        """Each function sends its commands in one round trip, each name once, and no empty ones."""
        control = self.control()
        control.end_sessions("one", None, "two", "", "one")
        self.assertEqual(1, len(self.redis.trips))
        expected: list[object] = [("end", "session", "one"), ("end", "session", "two")]
        self.assertEqual(expected, self.commands())
        control.recheck_users("jörg", 'a"b')
        self.assertEqual([("recheck", "user", "jörg"), ("recheck", "user", 'a"b')], self.commands())
        control.recheck_groups("staff", using="default")
        self.assertEqual([("recheck", "group", "staff")], self.commands())

    def test_nobody(self) -> None:
        """Without a name nothing is sent."""
        control = self.control()
        control.end_sessions(None)
        control.recheck_users()
        self.assertEqual([], self.redis.trips)

    def test_prefix(self) -> None:
        """The channel has the prefix of the project."""
        self.vary(WS4REDIS_PREFIX="site")
        self.control().end_sessions("key")
        self.assertEqual([("end", "session", "key")], self.commands(b"site:wsredis-control"))

    def test_transaction(self) -> None:
        """In a transaction nothing is sent before it is committed."""
        from django.db import transaction

        control = self.control()
        with transaction.atomic():
            control.end_sessions("key")
            self.assertEqual([], self.redis.trips)
        self.assertEqual([("end", "session", "key")], self.commands())

    def test_rolled_back(self) -> None:
        """A command is never sent if its transaction is rolled back."""
        from django.db import transaction

        control = self.control()
        with self.assertRaises(ZeroDivisionError), transaction.atomic():
            control.end_sessions("key")
            raise ZeroDivisionError
        self.assertEqual([], self.redis.trips)

    def test_coroutine(self) -> None:
        """In a coroutine, where Django allows no database, it is sent at once."""
        from asgiref.sync import async_to_sync

        async def end() -> None:
            self.control().end_sessions("key")

        async_to_sync(end)()
        self.assertEqual([("end", "session", "key")], self.commands())

    def test_manual_transaction(self) -> None:
        """Where nobody knows when a transaction ends, it is sent at once; likewise without one."""
        from django.db import transaction

        control = self.control()
        transaction.set_autocommit(False)
        self.addCleanup(transaction.set_autocommit, True)
        self.addCleanup(transaction.rollback)
        control.end_sessions("key")
        self.assertEqual([("end", "session", "key")], self.commands())
        control.end_sessions("key", using="no such database")
        self.assertEqual([("end", "session", "key")], self.commands())


class OutageTests(AppCase):
    """A Redis that is away."""

    def warned(self, control: Any, key: str) -> list[str]:
        """End a session, and return the messages that were logged."""
        with self.assertLogs("wsredis.django.control") as logged:
            control.end_sessions(key)
        return [record.getMessage() for record in logged.records]

    def test_away(self) -> None:
        """A warning is logged, and nothing raised; for two seconds nobody tries again."""
        control = self.control()
        self.redis.refuse["PUBLISH"] = Unreachable("Connection refused.")
        said = self.warned(control, "secret")
        words = "ConnectionError: Connection refused."
        self.assertEqual([f"cannot notify the gateway of a changed identity: {words}"], said)
        self.redis.refuse.clear()
        self.redis.trips.clear()
        self.clock.advance(1.9)
        control.end_sessions("lost")
        self.assertEqual([], self.redis.trips)
        self.clock.advance(0.2)
        control.end_sessions("key")
        self.assertEqual([("end", "session", "key")], self.commands())

    def test_refused(self) -> None:
        """A refusal by Redis is logged without the command that it may quote."""
        command = '{"end": {"session": "secret"}}'
        refusal = f"unknown command 'PUBLISH', with: '{command}'"
        self.redis.refuse["PUBLISH"] = ResponseError(refusal)
        (said,) = self.warned(self.control(), "secret")
        self.assertIn("ResponseError: unknown command 'PUBLISH'", said)
        self.assertNotIn("secret", said)

    def test_not_kept(self) -> None:
        """A Redis that does not keep the end of a session publishes it, with one warning."""
        refusal = "unknown command 'XADD', with args beginning with: 'x' 'secret'"
        self.redis.refuse["XADD"] = ResponseError(refusal)
        control = self.control()
        (said,) = self.warned(control, "secret")
        self.assertIn("Redis does not keep the end of a session", said)
        self.assertIn("unknown command 'XADD'", said)
        self.assertNotIn("secret", said)
        with self.assertNoLogs("wsredis.django.control"):
            control.end_sessions("key")
        names = [words[0] for trip in self.redis.trips for words in trip]
        self.assertEqual(["XADD", "EXPIRE", "PUBLISH"] * 2, names)

    def test_settings(self) -> None:
        """Settings that are of no use are as harmless, and show no password."""
        self.vary(WS4REDIS_CONNECTION={"hots": "h", "password": "secret"})
        from wsredis.django.control import TIMEOUT, Control
        from wsredis.publisher.redis_py import connect_as_project

        control = Control(lambda: connect_as_project(TIMEOUT), self.clock.seconds)
        (said,) = self.warned(control, "key")
        self.assertIn("hots", said)
        self.assertNotIn("secret", said)
