"""Tests of `wsredis.auth.sources.http_client`."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from wsredis.auth.sources.http_client import QuietPool, UnencodedAgent, read_body

_OK = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"


class HttpTests(SynchronousTestCase):
    """A request, its answer, and the size limit of the answer."""

    def setUp(self) -> None:
        """A request that is under way."""
        self.reactor = MemoryReactorClock()
        agent = UnencodedAgent(self.reactor, QuietPool(self.reactor, persistent=False), 3.0)
        self.asked: Deferred[IResponse] = agent.request(b"GET", b"http://127.0.0.1/", Headers())
        (self.call,) = self.reactor.tcpClients
        self.client = self.call[2].buildProtocol(None)
        self.transport = StringTransport()
        self.client.makeConnection(self.transport)

    def answered(self, limit: int, body: bytes) -> Deferred[bytes]:
        """Answer, and read the body up to a limit."""
        self.client.dataReceived(_OK)
        self.response = self.successResultOf(self.asked)
        done = read_body(self.response, limit)
        self.client.dataReceived(body)
        return done

    def assertFails(self, words: str, done: Deferred[bytes]) -> None:
        """Check that the body failed with this error."""
        self.assertEqual(words, str(self.failureResultOf(done, ValueError).value))

    def test_body(self) -> None:
        """A body of the size of the limit is complete, and is not decoded."""
        done = self.answered(4, b"\x1f\x8bab")
        self.assertEqual(b"\x1f\x8bab", self.successResultOf(done))
        self.assertFalse(self.response.headers.hasHeader("content-encoding"))
        self.assertIn(b"Accept-Encoding: identity\r\n", self.transport.value())

    def test_too_large(self) -> None:
        """A larger body is not waited for, and its rest is ignored."""
        done = self.answered(2, b"abc")
        self.assertFails("the answer is larger than 2 bytes", done)
        self.assertTrue(self.transport.disconnecting)
        self.client.dataReceived(b"d")

    def test_broken_off(self) -> None:
        """An incomplete body is an error."""
        done = self.answered(4, b"ab")
        self.client.connectionLost(Failure(ConnectionLost()))
        self.assertFails("the answer broke off", done)

    def test_cancelled(self) -> None:
        """Cancelling closes the connection."""
        done = self.answered(4, b"ab")
        done.addErrback(lambda _: None)
        done.cancel()
        self.assertTrue(self.transport.disconnecting)

    def test_quiet(self) -> None:
        """A connection is not logged."""
        with capturedLogs() as events:
            self.call[2].doStart()
            self.call[2].doStop()
        self.assertEqual([], events)
        self.assertEqual(3.0, self.call[3])
