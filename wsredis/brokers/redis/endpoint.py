"""From the target of a URL to a Twisted endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from wsredis.config.redis_url import RedisTarget
from wsredis.errors import ConfigError
from wsredis.gateway.resolver import with_resolver

__all__ = ["CONNECT_TIMEOUT", "make_endpoint"]

#: Seconds for one attempt to connect to an address. The lookup of the host name comes before.
CONNECT_TIMEOUT = 5.0


def make_endpoint(target: RedisTarget, reactor: Any) -> IStreamClientEndpoint:
    """
    Make the endpoint of *target*.

    It resolves the host name and reads the file with the CA anew for each connection.

    Raises:
        ConfigError: The file with the CA cannot be read, or has no certificate.
    """
    if target.path is not None:
        return UNIXClientEndpoint(reactor, target.path, timeout=CONNECT_TIMEOUT)
    assert target.host is not None and target.port is not None
    endpoint: IStreamClientEndpoint = HostnameEndpoint(
        with_resolver(reactor), target.host, target.port, timeout=CONNECT_TIMEOUT
    )
    if target.tls:
        endpoint = _TLSEndpoint(target.host, target.ca, endpoint)
        # What cannot be used is found now.
        endpoint.options()
    return endpoint


@implementer(IStreamClientEndpoint)
class _TLSEndpoint:
    """An endpoint with TLS."""

    def __init__(self, host: str, ca: str | None, endpoint: IStreamClientEndpoint) -> None:
        self._host, self._ca, self._endpoint = host, ca, endpoint

    def options(self) -> Any:
        """Read the CA. Raises ConfigError."""
        trust = None if self._ca is None else ssl.trustRootFromCertificates(_read_ca(self._ca))
        return ssl.optionsForClientTLS(self._host, trustRoot=trust)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """See `IStreamClientEndpoint`."""
        try:
            endpoint = wrapClientTLS(self.options(), self._endpoint)
        except ConfigError as error:
            return fail(error)
        connected: Deferred[Any] = endpoint.connect(protocolFactory)
        return connected


def _read_ca(path: str) -> list[Any]:
    end = b"-----END CERTIFICATE-----"
    try:
        parts = Path(path).read_bytes().split(end)[:-1]
        certificates = [ssl.Certificate.loadPEM(part + end) for part in parts]
    except OSError as error:
        raise ConfigError(f"redis-ca: {path}: {error.strerror}") from None
    except Exception:
        certificates = []
    if not certificates:
        raise ConfigError(f"redis-ca: {path}: not a certificate in PEM form")
    return certificates
