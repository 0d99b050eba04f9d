"""Certificates made on the spot: a private authority and the certificates that it signs."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["Authority", "private_pem"]


class Authority:
    """
    A private certificate authority.

    Args:
        directory: Where the files go; it exists.
        name: Of the authority, and of its file.

    Attributes:
        path: Its own certificate, for clients that trust it.
    """

    def __init__(self, directory: Path, name: str = "ours") -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.path = directory / f"{name}.pem"
        self.path.write_bytes(_pem(self._sign(self._name, self._key.public_key(), (), days=1)))

    def issue(self, host: str = "localhost", *, days: int = 1) -> tuple[Path, Path]:
        """
        Make a key and a certificate for *host*.

        Args:
            days: Until it expires. Negative: it has expired.
        Returns: The file with the key, and that with the certificate.
        """
        start = self._directory / f"{host}{days}"
        paths = start.with_suffix(".key"), start.with_suffix(".crt")
        for path, text in zip(paths, self.pair(host, days=days), strict=True):
            path.write_bytes(text)
        return paths

    def pair(self, *hosts: str, days: int = 1) -> tuple[bytes, bytes]:
        """Make a key and a certificate for all of *hosts*. Returns: Both, as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_named(hosts[0]), key.public_key(), hosts, days=days)
        return private_pem(key), _pem(certificate)

    def bundle(self, path: Path, *hosts: str, days: int = 1) -> Path:
        """
        Put a key and a certificate for all of *hosts* into one file.

        An existing file is replaced at once, as programs that renew certificates do.
        """
        new = path.with_suffix(".new")
        new.write_bytes(b"".join(self.pair(*hosts, days=days)))
        return new.replace(path)

    def intermediate(self, name: str = "between") -> Authority:
        """An authority that this one has signed; its `path` belongs into the chains."""
        other = Authority(self._directory, name)
        signed = self._sign(other._name, other._key.public_key(), (), days=1)
        other.path.write_bytes(_pem(signed))
        return other

    def server(self, host: str = "localhost", *, days: int = 1) -> ssl.SSLContext:
        """Return the TLS context of a server with such a certificate."""
        key, certificate = self.issue(host, days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        return context

    def client(self) -> ssl.SSLContext:
        """Return the TLS context of a client that trusts this authority."""
        return ssl.create_default_context(cafile=self.path)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, hosts: Sequence[str], *, days: int
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=30))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.BasicConstraints(not hosts, None), critical=True)
            .add_extension(_usage(is_authority=not hosts), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if hosts:
            names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    # Python 3.13 and newer insist on the extensions that RFC 5280 demands of an authority.
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def private_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """A private key as PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase)
        if passphrase
        else serialization.NoEncryption(),
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
