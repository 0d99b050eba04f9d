"""The extension ``tls`` of scopes: what a connection with TLS has agreed upon."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["tls_extension"]

#: The numbers of the suites of TLS 1.3, and of those of TLS 1.2 that are in use (IANA).
_SUITES = {
    "TLS_AES_128_GCM_SHA256": 0x1301,
    "TLS_AES_256_GCM_SHA384": 0x1302,
    "TLS_CHACHA20_POLY1305_SHA256": 0x1303,
    "ECDHE-ECDSA-AES128-GCM-SHA256": 0xC02B,
    "ECDHE-ECDSA-AES256-GCM-SHA384": 0xC02C,
    "ECDHE-RSA-AES128-GCM-SHA256": 0xC02F,
    "ECDHE-RSA-AES256-GCM-SHA384": 0xC030,
    "ECDHE-RSA-CHACHA20-POLY1305": 0xCCA8,
    "ECDHE-ECDSA-CHACHA20-POLY1305": 0xCCA9,
}


def tls_extension(transport: Any) -> Mapping[str, Any] | None:
    """
    Describe the TLS of a connection.

    Args:
        transport: A transport with TLS, whose handshake is complete.

    Returns:
        None if it does not tell: a proxy may have ended the TLS, or it is one in memory.
    """
    try:
        connection = transport._tlsConnection
    except AttributeError:
        return None
    server = connection.get_certificate()
    chain = connection.get_peer_cert_chain() or []
    return {
        "server_cert": None if server is None else _pem(server),
        "client_cert_chain": [_pem(each) for each in chain],
        "client_cert_name": _name(chain[0]) if chain else None,
        # A client whose certificate is wrong gets no connection.
        "client_cert_error": None,
        "tls_version": connection.get_protocol_version() or None,
        # pyOpenSSL has names, and the register numbers: only these have one that is certain.
        "cipher_suite": _SUITES.get(connection.get_cipher_name()),
    }


def _pem(certificate: Any) -> str:
    # Only few gateways have TLS of their own.
    from cryptography.hazmat.primitives.serialization import Encoding

    pem: bytes = certificate.to_cryptography().public_bytes(Encoding.PEM)
    return pem.decode("ascii")


def _name(certificate: Any) -> str:
    """Return the distinguished name as RFC 4514 writes it."""
    name: str = certificate.to_cryptography().subject.rfc4514_string()
    return name
