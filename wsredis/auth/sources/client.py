"""Asking other servers by HTTP, beyond what treq does: bounded, as it came, and without a word."""

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

__all__ = ["QuietPool", "UnencodedAgent", "read_body"]


class _Quiet(_HTTP11ClientFactory):
    """Makes connections without two lines in the log for each."""

    noisy = False


class QuietPool(HTTPConnectionPool):
    """
    Connections that are not logged.

    Args:
        persistent: Whether they are kept for further requests.
    """

    _factory = _Quiet


@implementer(IAgent)
class UnencodedAgent:
    """
    An agent that takes no compressed answers, though treq offers to.

    A bound on what is unpacked would come too late: a small packet becomes many megabytes at once.

    Args:
        timeout: Seconds to connect.
    """

    def __init__(self, reactor: Any, pool: QuietPool, timeout: float) -> None:
        self._agent = Agent(reactor, connectTimeout=timeout, pool=pool)

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
        asked: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer)
        # treq unpacks what this header names; without it everything stays as it came.
        return asked.addCallback(_as_it_came)


def _as_it_came(response: IResponse) -> IResponse:
    response.headers.removeHeader("content-encoding")
    return response


def read_body(response: IResponse, limit: int) -> Deferred[bytes]:
    """
    Read the body of an answer, and hang up on one that is too large.

    Args:
        limit: Bytes.
    Returns: Fires with the body, or fails with ValueError, whose text says why. Cancelling hangs
        up.
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
        # Without a length, which HTTP/1.0 does not demand, the end of the connection must do.
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._parts))
        else:
            self.done.errback(ValueError("the answer broke off"))

    def _hang_up(self) -> None:
        self._parts.clear()
        assert self.transport is not None
        self.transport.loseConnection()
