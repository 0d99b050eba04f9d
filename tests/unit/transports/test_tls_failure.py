"""Tests of `wsredis.transports.tls_failure`."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsredis.transports.tls_failure import tls_failure


class _SslError(Exception):
    """An error as OpenSSL raises it."""


class TlsFailureTests(SynchronousTestCase):
    """`tls_failure`."""

    def told(self, *arguments: object) -> str:
        """The words for an error with these arguments."""
        return tls_failure(Failure(_SslError(*arguments)))

    def test_words(self) -> None:
        """Frequent mistakes are told in words, with the remedy; others as OpenSSL tells them."""
        for reason, words in (
            ("http request", "wss:// in place of ws://"),
            ("tlsv1 alert unknown ca", "does not trust the certificate"),
            ("sslv3 alert certificate unknown", "does not trust the certificate"),
            ("no shared cipher", "no shared cipher"),
        ):
            self.assertIn(words, self.told([("SSL routines", "", reason)]))

    def test_no_failure(self) -> None:
        """A client that goes away, and an error of another kind, is none."""
        self.assertEqual("", self.told([("SSL routines", "", "unexpected eof while reading")]))
        for arguments in ((), ("text",), ([],), (["text"],)):
            self.assertEqual("", self.told(*arguments))
        self.assertEqual("", tls_failure(Failure(ConnectionDone())))
