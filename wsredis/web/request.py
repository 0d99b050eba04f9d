"""
A plain HTTP request: its body, its target, and the answers that twisted.web would give itself.
"""

from __future__ import annotations

import re
from io import BytesIO
from time import monotonic
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.error import UnsupportedMethod
from twisted.web.server import NOT_DONE_YET, Request

from wsredis.web.channel import GatewayChannel
from wsredis.web.spool import SpooledBody, SpoolFull

__all__ = ["GatewayRequest"]

_TEXT = "text/plain; charset=utf-8"

_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)([/?][^#]*)?", re.IGNORECASE)


class GatewayRequest(Request):
    """
    A request with a limited body.

    Neither an answer nor a line of the log repeats the target, which twisted.web does in both.

    Attributes:
        began: The time at which the request was whole, in seconds of the monotonic clock.
    """

    _log = Logger()
    began = 0.0

    def gotLength(self, length: int | None) -> None:
        """Get ready for a body."""
        channel = cast(GatewayChannel, self.channel)
        self.content = BytesIO() if length == 0 else SpooledBody(channel.site.spool, channel.key)

    def handleContentChunk(self, data: bytes) -> None:
        """Take a part of the body."""
        channel = cast(GatewayChannel | None, self.channel)
        if channel is None or channel.transport is None:
            return
        assert self.content is not None
        if self.content.tell() + len(data) > channel.site.max_body:
            channel.refuse_body()
            return
        try:
            self.content.write(data)
        except SpoolFull:
            channel.refuse_for_now(len(data))
        except OSError:
            channel.body_failed()

    def parseCookies(self) -> None:
        """Do nothing: no resource asks for them in this form."""

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Take a whole request. The query is left as it is."""
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.args = {}
        self.began = monotonic()
        assert self.content is not None
        self.content.seek(0)
        self.process()

    def process(self) -> None:
        """Answer. A target with scheme and host (RFC 9112, 3.2.2) becomes a path and a Host."""
        absolute = _ABSOLUTE.fullmatch(self.uri)
        if absolute is not None:
            self.requestHeaders.setRawHeaders("host", [absolute[1]])
            rest = absolute[2] or b"/"
            self.uri = rest if rest.startswith(b"/") else b"/" + rest
            self.path = self.uri.partition(b"?")[0]
        super().process()

    def render(self, resrc: Any) -> None:
        """Answer with the body that a resource returns, which `write` leaves out for HEAD."""
        try:
            body = resrc.render(self)
        except UnsupportedMethod:
            self.setResponseCode(405)
            self.setHeader("allow", "GET, HEAD")
            self.setHeader("content-type", _TEXT)
            body = b"the method must be GET or HEAD\n"
        if body is not NOT_DONE_YET:
            self._answer(body)

    def processingFailed(self, reason: Failure) -> None:
        """Answer a request with 500 that failed before the application had it."""
        self._log.failure("a request failed", event="page-failed", failure=reason)
        if self.channel is None:
            return
        if self.producer is not None:
            self.unregisterProducer()
        if self.startedWriting:
            self.loseConnection()
        else:
            self.setResponseCode(500)
            self.setHeader("content-type", _TEXT)
            self._answer(b"internal error\n")

    def _answer(self, body: bytes) -> None:
        self.setHeader("content-length", str(len(body)))
        self.write(body)
        self.finish()

    def getClientAddress(self) -> IAddress:
        """
        Tell the address of the client.

        Returns:
            An address with a host. Clients of a UNIX socket have none; their host is empty.
        """
        address: Any = super().getClientAddress()
        return address if hasattr(address, "host") else IPv4Address("TCP", "", 0)

    def getHost(self) -> IAddress:
        """
        Tell the address at which the request arrived.

        Returns:
            An address with a host. A UNIX socket has no address that a client could use, and is
            shown as localhost.
        """
        address: Any = super().getHost()
        port = 443 if self.isSecure() else 80
        return address if hasattr(address, "host") else IPv4Address("TCP", "localhost", port)
