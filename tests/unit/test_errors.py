"""Tests for `wsredis.errors`."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

from wsredis import errors
from wsredis.errors import CLOSE_CODES, ClientError, CloseCode, WsredisError


class ErrorTests(SynchronousTestCase):
    """The tree of exceptions."""

    def test_one_root(self) -> None:
        """All exceptions of wsredis have one base class."""
        for name in errors.__all__:
            each = getattr(errors, name)
            if isinstance(each, type) and each is not CloseCode:
                self.assertTrue(issubclass(each, WsredisError), name)

    def test_documented_tree(self) -> None:
        """The list in the documentation of the module is the tree of the classes."""

        def lines(kind: type[Exception], depth: int) -> Iterator[str]:
            yield f"{'  ' * depth}* `{kind.__name__}`"
            for child in kind.__subclasses__():
                if child.__module__ == errors.__name__:
                    yield from lines(child, depth + 1)

        assert errors.__doc__ is not None
        documented = [line for line in errors.__doc__.splitlines() if line.lstrip().startswith("*")]
        self.assertEqual(list(lines(WsredisError, 0)), documented)

    def test_safe_to_repeat(self) -> None:
        """A handler of the error that is safe to repeat does not catch the other one."""
        self.assertFalse(issubclass(errors.PublishOutcomeUnknown, errors.BrokerUnavailable))
        for each in (errors.PublishOutcomeUnknown, errors.BrokerUnavailable):
            self.assertTrue(issubclass(each, errors.BrokerError))

    def test_client_error(self) -> None:
        """An error of a client carries its reason and the close code of its class."""
        for kind, code in (
            (ClientError, 1011),
            (errors.PermissionDenied, 1008),
            (errors.LimitExceeded, 1008),
        ):
            error = kind("because")
            self.assertEqual((code, "because", "because"), (error.code, error.reason, str(error)))

    def test_status(self) -> None:
        """A handshake is rejected with a status of HTTP that is an error, and no other."""
        error = errors.HandshakeRejected("no")
        self.assertEqual((403, ""), (error.status, error.hint))
        for status in (200, 399, 600):
            self.assertRaises(ValueError, errors.HandshakeRejected, "no", status)

    def test_advice(self) -> None:
        """Advice is for the log and for clients that can be told; a hint is for the log alone."""
        for hint, advice, told, hints in (
            ("", "", "no", ""),
            ("rule 3", "", "no", "rule 3"),
            ("", "log in", "no: log in", "log in"),
            ("rule 3", "log in", "no: log in", "rule 3; log in"),
        ):
            error = errors.HandshakeRejected("no", hint=hint, advice=advice)
            self.assertEqual(("no", told, hints), (str(error), error.told, error.hints))

    def test_incompatible(self) -> None:
        """Whatever a self-test finds is told in one line."""
        for problem, told in (("a\n b", "a b"), (KeyError("a"), "'a'"), (KeyError(), "KeyError")):
            error = errors.incompatible("Twisted", "1", problem)
            self.assertEqual(f"wsredis cannot work with Twisted 1: {told}", str(error))


class CloseCodeTests(SynchronousTestCase):
    """The table of close codes."""

    def test_may_be_sent(self) -> None:
        """The table has only codes that may stand in a close frame (RFC 6455, 7.4)."""
        for code in CLOSE_CODES:
            self.assertTrue(1000 <= code <= 1014 or 3000 <= code <= 4999, code)
            self.assertNotIn(code, (1004, 1005, 1006))

    def test_come_back(self) -> None:
        """A client comes back after a stop, a fault of ours, a loss and an outage."""
        again = {code for code, each in CLOSE_CODES.items() if each.retry}
        self.assertEqual({1001, 1011, 1012, 1013}, again)

    def test_for_a_status(self) -> None:
        """A refusal has a code of the same meaning, after which a client comes back if it may."""
        for status, code in (
            *((400, 4400), (401, 4401), (403, 4403), (404, 4400), (418, 4400), (429, 1013)),
            *((500, 1011), (502, 1011), (503, 1013)),
        ):
            self.assertEqual(code, errors.close_code_for(status))
            self.assertEqual(status == 429 or status >= 500, CLOSE_CODES[code].retry)

    def test_every_code_is_explained(self) -> None:
        """Each code says when it is sent."""
        for code, each in CLOSE_CODES.items():
            self.assertIn(":" if code != 1009 else "big", each.meaning)
