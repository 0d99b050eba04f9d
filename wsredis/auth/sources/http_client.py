"""HTTP client helpers: size-limited bodies, no content decoding, no log lines."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone, _HTTP11ClientFactory
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from wsredis.gateway.resolver import with_resolver

__all__ = ["QuietPool", "UnencodedAgent", "read_body"]


class _QuietFactory(_HTTP11ClientFactory):
    """Makes connections without the two log lines that Twisted writes for each."""

    noisy = False


class QuietPool(HTTPConnectionPool):
    """
    A pool of connections that are not logged.

    Args:
        persistent: Tells whether connections are kept for further requests.
    """

    _factory = _QuietFactory


@implementer(IAgent)
class UnencodedAgent:
    """
    An agent that accepts no compressed answers, although treq offers to.

    A size limit after decompression would come too late: a small packet can expand to many
    megabytes at once.

    Args:
        reactor: Makes the connections.
        pool: Keeps them.
        timeout: Seconds to connect.
    """

    def __init__(self, reactor: Any, pool: QuietPool, timeout: float) -> None:
        self._agent = Agent(with_resolver(reactor), connectTimeout=timeout, pool=pool)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """See `twisted.web.iweb.IAgent.request`."""
        assert headers is not None
        headers.setRawHeaders("accept-encoding", [b"identity"])
        pending: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        return pending.addCallback(_without_encoding)


def _without_encoding(response: IResponse) -> IResponse:
    # treq decodes what this header names, and leaves the body alone without it.
    response.headers.removeHeader("content-encoding")
    return response


def read_body(response: IResponse, limit: int) -> Deferred[bytes]:
    """
    Read the body of an answer.

    Args:
        response: The answer.
        limit: Bytes. The connection of a larger body is closed.
    Returns:
        Fires with the body, or fails with ValueError if it is larger than *limit* or incomplete.
        The text of the error says which. Cancelling closes the connection.
    """
    body = _Body(limit)
    response.deliverBody(body)
    return body.done


class _Body(Protocol):
    def __init__(self, limit: int) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._hang_up())
        self._parts: list[bytes] = []
        self._limit = limit
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        self._parts.append(data)
        if self._size > self._limit and not self.done.called:
            self.done.errback(ValueError(f"the answer is larger than {self._limit} bytes"))
            self._hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        # HTTP/1.0 allows a body without a length: it ends with the connection.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(ValueError("the answer broke off"))

    def _hang_up(self) -> None:
        self._parts.clear()
        assert self.transport is not None
        self.transport.loseConnection()
