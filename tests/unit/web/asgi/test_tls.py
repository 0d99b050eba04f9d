"""Tests of the extension ``tls``."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.web.asgi.tls import tls_extension


class _Name:
    def rfc4514_string(self) -> str:
        return "CN=a"


class _Certificate:
    """A certificate of pyOpenSSL."""

    subject = _Name()

    def to_cryptography(self) -> Any:
        return self

    def public_bytes(self, encoding: Any) -> bytes:
        return b"PEM"


class _Connection:
    """A connection of pyOpenSSL."""

    own: Any = _Certificate()
    chain: Any = None

    def get_certificate(self) -> Any:
        return self.own

    def get_peer_cert_chain(self) -> Any:
        return self.chain

    def get_protocol_version(self) -> int:
        return 0x304

    def get_cipher_name(self) -> str:
        return "TLS_AES_128_GCM_SHA256"


class _Transport:
    """A transport with TLS."""

    def __init__(self) -> None:
        self._tlsConnection = _Connection()


class TlsTests(SynchronousTestCase):
    """`tls_extension`."""

    def test_server(self) -> None:
        """The certificate of the server, the version and the suite are there."""
        self.assertEqual(
            {
                "server_cert": "PEM",
                "client_cert_chain": [],
                "client_cert_name": None,
                "client_cert_error": None,
                "tls_version": 0x304,
                "cipher_suite": 0x1301,
            },
            tls_extension(_Transport()),
        )

    def test_client(self) -> None:
        """The client's chain is there, and the name in its first certificate."""
        transport = _Transport()
        transport._tlsConnection.chain = [_Certificate(), _Certificate()]
        transport._tlsConnection.own = None
        found = tls_extension(transport)
        assert found is not None
        self.assertEqual(["PEM", "PEM"], found["client_cert_chain"])
        self.assertEqual(("CN=a", None), (found["client_cert_name"], found["server_cert"]))

    def test_unknown(self) -> None:
        """A transport that does not tell has no extension."""
        self.assertIsNone(tls_extension(object()))
