"""From the target of a URL to a Twisted endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import ssl
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint

from wsredis.config.redis_url import RedisTarget
from wsredis.errors import ConfigError

__all__ = ["CONNECT_TIMEOUT", "make_endpoint"]

#: Seconds for one attempt to connect to an address. The lookup of the host name comes before.
CONNECT_TIMEOUT = 5.0


def make_endpoint(target: RedisTarget, reactor: Any) -> IStreamClientEndpoint:
    """
    Make the endpoint of *target*. It resolves the host name anew for each connection.

    Raises:
        ConfigError: The file with the CA cannot be read, or has no certificate.
    """
    if target.path is not None:
        return UNIXClientEndpoint(reactor, target.path, timeout=CONNECT_TIMEOUT)
    assert target.host is not None and target.port is not None
    endpoint: IStreamClientEndpoint = HostnameEndpoint(
        reactor, target.host, target.port, timeout=CONNECT_TIMEOUT
    )
    if target.tls:
        trust = None if target.ca is None else ssl.trustRootFromCertificates(_read_ca(target.ca))
        endpoint = wrapClientTLS(ssl.optionsForClientTLS(target.host, trustRoot=trust), endpoint)
    return endpoint


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
