"""Ports behind a proxy that sends the PROXY protocol: ``haproxy:`` endpoints."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from wsredis.config.networks import Networks, shown_address
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.transports import proxy_protocol

__all__ = ["ProxiedEndpoint", "ProxiedProtocol"]


class ProxiedEndpoint:
    """
    A server endpoint whose connections begin with the header of the PROXY protocol.

    Args:
        endpoint: Listens.
        trusted: The peers whose header is believed. The header of any other is read as well, and
            has no effect. If there are none, every peer is believed: such a port is for a proxy,
            and for nobody else.
        clock: Knows the time of the last line in the log.
    """

    def __init__(self, endpoint: Any, trusted: Networks, clock: IReactorTime) -> None:
        self._endpoint = endpoint
        self._trusted = trusted
        self._throttle = LogThrottle(clock)

    def listen(self, factory: Any) -> Deferred[Any]:
        """See `twisted.internet.interfaces.IStreamServerEndpoint`."""
        wrapper: Any = WrappingFactory(factory)
        wrapper.noisy = False
        wrapper.protocol = ProxiedProtocol
        wrapper.trusted = self._trusted
        wrapper.throttle = self._throttle
        listening: Deferred[Any] = self._endpoint.listen(wrapper)
        return listening


class ProxiedProtocol(ProtocolWrapper):
    """
    One connection: it takes the header off, and then passes everything on.

    The protocol behind it, also behind TLS, is asked for ``peer_known()`` when the address of the
    client is certain.

    Attributes:
        awaits_client: Tells whether the header has not come yet, and will be believed.
    """

    _log = Logger()

    def __init__(self, factory: Any, wrappedProtocol: IProtocol) -> None:
        super().__init__(factory, wrappedProtocol)
        self.awaits_client = False
        self._head: bytes | None = b""
        self._source: IAddress | None = None
        self._destination: IAddress | None = None

    def makeConnection(self, transport: Any) -> None:
        """Begin to wait for the header."""
        trusted = self.factory.trusted
        host = getattr(transport.getPeer(), "host", "")
        self.awaits_client = not trusted or host in trusted
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Read the header, or pass bytes on."""
        if self._head is None:
            super().dataReceived(data)
            return
        self._head += data
        try:
            header = proxy_protocol.parse(self._head)
        except ValueError as error:
            self._refuse(str(error))
            return
        if header is None:
            return
        rest = self._head[header.size :]
        self._head = None
        if self.awaits_client:
            if header.source is not None and header.destination is not None:
                self._source = _address(*header.source)
                self._destination = _address(*header.destination)
            self.awaits_client = False
            _innermost(self.wrappedProtocol).peer_known()
        if rest and not self.disconnecting:
            super().dataReceived(rest)

    def getPeer(self) -> Any:
        """Return the address of the client, as far as it is known."""
        return self._source or super().getPeer()

    def getHost(self) -> Any:
        """Return the address that the client has connected to."""
        return self._destination or super().getHost()

    def _refuse(self, reason: str) -> None:
        """Reset a connection: nobody knows what the bytes are."""
        self._head = b""
        peer = super().getPeer()
        throttle: LogThrottle = self.factory.throttle
        if throttle.take("refused"):
            self._log.warn(
                "{reason} from {peer}: a haproxy: port is for proxies that send one",
                event="proxy-header-missing",
                reason=reason,
                peer=shown_address(getattr(peer, "host", ""), getattr(peer, "port", 0)),
            )
        transport: Any = self.transport
        transport.abortConnection()


def _address(host: str, port: int) -> IAddress:
    kind = IPv6Address if ":" in host else IPv4Address
    return kind("TCP", host, port)


def _innermost(protocol: Any) -> Any:
    while isinstance(protocol, ProtocolWrapper):
        protocol = protocol.wrappedProtocol
    return protocol
