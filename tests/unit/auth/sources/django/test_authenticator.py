"""Tests of `wsredis.auth.sources.django.authenticator`: its threads, and databases that fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Event, current_thread
from typing import Any

from twisted.internet.defer import CancelledError

from tests.unit.auth.sources.django.case import DjangoCase, engine
from wsredis.channels import Access
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity


class MissingTests(DjangoCase):
    """The credential that it looks for."""

    def test_missing(self) -> None:
        """It is the session cookie, by the name that the project gives it."""
        self.vary(SESSION_COOKIE_NAME="my-session")
        authenticator = self.make()
        for cookie, missing in (
            ("sessionid=x", "cookie my-session"),
            ("a=b; my-session=x", ""),
        ):
            given = Handshake(Access("a"), "/ws/a", {"cookie": cookie}, "peer")
            self.assertEqual(missing, authenticator.missing(given))


class FailureTests(DjangoCase):
    """Threads, and databases that fail."""

    def test_database(self) -> None:
        """A database that fails leads to 503; it is asked again for the next handshake."""
        from django.db import connections

        key = self.log_in("john")
        authenticator = self.make()
        path = Path(self.project.folder, "db.sqlite3")
        hidden = path.with_suffix(".hidden")
        path.rename(hidden)
        path.mkdir()
        error = self.refused(key, authenticator=authenticator)
        self.reactor.run_until(lambda: self.health.problems)
        self.assertEqual(
            "sessions cannot be checked: the database or the cache does not answer",
            self.health.problems["identities"].text,
        )
        self.assertIsNone(authenticator.identify(self.handshake()), "strangers are let in")
        self.assertTrue(self.health.is_ready)
        path.rmdir()
        hidden.rename(path)
        self.assertEqual((503, "try again later"), (error.status, error.reason))
        self.assertRegex(error.hint, r"^--django: OperationalError at \w+\.py:\d+$")
        self.assertEqual("john", self.identify(key, authenticator=authenticator).user)
        self.assertEqual({}, dict(self.health.problems))
        connections.close_all()

    def test_cache(self) -> None:
        """A cache that fails leads to 503, although Django reports a missing session."""
        away = "tests.unit.auth.sources.django.test_authenticator.BrokenCache"
        self.vary(SESSION_ENGINE=engine("cache"), CACHES={"default": {"BACKEND": away}})
        self.assertEqual(503, self.refused("a" * 32).status)

    def test_late(self) -> None:
        """
        A cancelled answer is dropped, and the thread is free again.

        It is a problem of the project if the time for it was over.
        """
        event = Event()
        self.addCleanup(event.set)

        def process(request: Any) -> None:
            assert event.wait(20)

        self.vary(WS4REDIS_PROCESS_REQUEST=process)
        authenticator = self.make(auth_concurrency=1)
        answer: Any = authenticator.identify(self.handshake())
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual({}, dict(self.health.problems))
        answer = authenticator.identify(self.handshake())
        self.reactor.advance(3)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.reactor.advance(3)
        self.assertFalse(self.health.is_ready, "nobody is let in")
        event.set()
        self.reactor.take()
        self.assertEqual(Identity(), self.identify(authenticator=authenticator))

    def test_concurrency(self) -> None:
        """No more threads than configured ask at a time."""
        event = Event()
        self.addCleanup(event.set)
        threads = set()

        def process(request: Any) -> None:
            threads.add(current_thread())
            assert event.wait(20)

        self.vary(WS4REDIS_PROCESS_REQUEST=process)
        authenticator = self.make(auth_concurrency=1)
        answers: list[Any] = [authenticator.identify(self.handshake()) for _ in range(2)]
        event.set()
        self.reactor.run_until(lambda: all(answer.called for answer in answers))
        self.assertEqual([Identity()] * 2, [self.successResultOf(answer) for answer in answers])
        self.assertEqual(1, len(threads))

    def test_one_connection(self) -> None:
        """Handshakes that wait for one thread share its connection to the database."""
        from django.db.backends.signals import connection_created

        event = Event()
        self.addCleanup(event.set)
        made: list[object] = []

        def connected(**_: object) -> None:
            made.append(current_thread())

        connection_created.connect(connected)
        self.addCleanup(connection_created.disconnect, connected)
        key = self.log_in("john")
        made.clear()
        authenticator = self.make(auth_concurrency=1)
        first = authenticator._threads.call(lambda: event.wait(20))
        answers: list[Any] = [authenticator.identify(self.handshake(key)) for _ in range(3)]
        event.set()
        self.reactor.run_until(lambda: all(answer.called for answer in answers))
        self.successResultOf(first)
        self.assertEqual(["john"] * 3, [self.successResultOf(each).user for each in answers])
        self.assertEqual(1, len(made))

    def seen_by_hooks(self, name: str, hook: Callable[[], object]) -> list[object]:
        """Call a hook for three handshakes that wait for one thread; return what it returned."""
        event = Event()
        self.addCleanup(event.set)
        seen: list[object] = []
        self.vary(**{name: lambda *_: seen.append(hook())})
        authenticator = self.make(auth_concurrency=1)
        first = authenticator._threads.call(lambda: event.wait(20))
        answers: list[Any] = [authenticator.identify(self.handshake()) for _ in range(3)]
        event.set()
        self.reactor.run_until(lambda: all(answer.called for answer in answers))
        self.successResultOf(first)
        for answer in answers:
            self.successResultOf(answer)
        return seen

    def test_hook_hides_an_error(self) -> None:
        """A hook that catches an error of the database does not leave it to the next handshake."""
        from django.db import DatabaseError, connection, connections

        # SQLite says that any connection is usable; others find out that it is broken.
        self.patch(type(connections["default"]), "is_usable", lambda _: False)

        def hook() -> str:
            try:
                with connection.cursor() as cursor:
                    cursor.execute("select 1")
                    if not broken:
                        broken.append(connection.connection)
                        connection.connection.close()
                    cursor.execute("select 1")
            except DatabaseError:
                return "failed"
            return "works"

        for name in ("WS4REDIS_PROCESS_REQUEST", "WS4REDIS_ALLOWED_CHANNELS"):
            broken: list[object] = []
            self.assertEqual(["failed", "works", "works"], self.seen_by_hooks(name, hook))

    def test_hook_leaves_a_transaction(self) -> None:
        """The same with a hook that leaves autocommit off: the next one sees new data."""
        from django.db import transaction

        def hook() -> bool:
            before = transaction.get_autocommit()
            transaction.set_autocommit(False)
            return before

        seen = self.seen_by_hooks("WS4REDIS_PROCESS_REQUEST", hook)
        self.assertEqual([True] * 3, seen)

    def test_stopped(self) -> None:
        """A stopped authenticator rejects with 503."""
        authenticator = self.make()
        authenticator.stop()
        error = self.assertRaises(
            HandshakeRejected, authenticator.identify, self.handshake("a" * 32)
        )
        self.assertEqual(503, error.status)

    def test_connections(self) -> None:
        """A thread closes its connections to the database when it ends."""
        from django.db import connections

        closed = Event()

        def process(request: Any) -> None:
            connection = connections["default"]
            connection.ensure_connection()
            real = connection.close

            def close() -> None:
                real()
                closed.set()

            connection.close = close

        self.vary(WS4REDIS_PROCESS_REQUEST=process)
        authenticator = self.make()
        self.identify(authenticator=authenticator)
        self.assertFalse(closed.is_set())
        authenticator.stop()
        self.assertTrue(closed.wait(20))


class BrokenCache:
    """A cache whose server is away."""

    def __init__(self, location: str, parameters: dict[str, Any]) -> None:
        pass

    def get(self, key: str, *args: object) -> object:
        raise ConnectionError("secret")

    def close(self) -> None:
        pass
