"""Tests for `wsredis.errors`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from wsredis import errors
from wsredis.errors import CLOSE_CODES, BadRequest, ClientError, CloseCode, WsredisError


class ErrorTests(SynchronousTestCase):
    """The tree of exceptions."""

    def test_one_root(self) -> None:
        """Whatever wsredis raises on purpose can be caught by one name."""
        for name in errors.__all__:
            each = getattr(errors, name)
            if isinstance(each, type) and each is not CloseCode:
                self.assertTrue(issubclass(each, WsredisError), name)

    def test_bad_request(self) -> None:
        """A bad request is 400, or what was said."""
        self.assertEqual((400, "no"), (BadRequest("no").status, str(BadRequest("no"))))
        self.assertEqual(431, BadRequest("no", 431).status)

    def test_client_error(self) -> None:
        """An error of a client carries its reason and a close code, of its class or its own."""
        for kind, code in (
            (ClientError, 1011),
            (errors.BadMessage, 1007),
            (errors.PermissionDenied, 1008),
            (errors.LimitExceeded, 1008),
        ):
            error = kind("because")
            self.assertEqual((code, "because", "because"), (error.code, error.reason, str(error)))
            self.assertEqual(1013, kind("because", 1013).code)

    def test_own_code_stays_with_the_error(self) -> None:
        """A code given to one error is not that of the next."""
        ClientError("because", 1013)
        self.assertEqual(1011, ClientError("because").code)

    def test_temporary(self) -> None:
        """Whether to come back follows from the close code."""
        self.assertTrue(ClientError("because").temporary)
        self.assertTrue(ClientError("because", 1013).temporary)
        self.assertFalse(errors.PermissionDenied("because").temporary)


class CloseCodeTests(SynchronousTestCase):
    """The table of close codes."""

    def test_may_be_sent(self) -> None:
        """The table has only codes that may stand in a close frame (RFC 6455, 7.4)."""
        for code in CLOSE_CODES:
            self.assertTrue(1000 <= code <= 1014 or 3000 <= code <= 4999, code)
            self.assertNotIn(code, (1004, 1005, 1006))

    def test_come_back(self) -> None:
        """A client comes back after a stop, a fault of ours and an outage, and then only."""
        self.assertEqual({1001, 1011, 1013}, {n for n, each in CLOSE_CODES.items() if each.retry})

    def test_every_code_is_explained(self) -> None:
        """Each code says when it is sent."""
        for code, each in CLOSE_CODES.items():
            self.assertIn(":" if code != 1009 else "big", each.meaning)
