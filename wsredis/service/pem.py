"""PEM files with a certificate, its chain and its key: read, checked, and read again on change."""

from __future__ import annotations

import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from twisted.internet.ssl import CertificateOptions

from wsredis.config import GatewayConfig, setting_of
from wsredis.config.files import FileStamp, file_stamp
from wsredis.errors import ConfigError

__all__ = ["TLS_CERT", "TLS_FOLDER", "TLS_KEY", "MakeOptions", "PemFiles", "ServerCertificate"]

#: The names of the settings that name files.
TLS_CERT = setting_of(GatewayConfig, "tls_cert").name
TLS_FOLDER = setting_of(GatewayConfig, "tls_folder").name
TLS_KEY = setting_of(GatewayConfig, "tls_key").name

#: Makes the options of OpenSSL from a private key, a certificate and its chain.
MakeOptions = Callable[[Any, x509.Certificate, list[x509.Certificate]], CertificateOptions]

_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----.+?-----END \1?PRIVATE KEY-----", re.S)


@dataclass(frozen=True, slots=True)
class ServerCertificate:
    """
    A certificate with its key, in the form that OpenSSL takes.

    Attributes:
        options: Makes connections.
        context: Given to a connection whose client asks for one of *names*.
        names: The DNS names of the certificate in lower case; they may be wildcards.
        expires: The time from which clients refuse it.
    """

    options: CertificateOptions
    context: SSL.Context
    names: tuple[bytes, ...]
    expires: datetime


class PemFiles:
    """
    The files of one certificate.

    Args:
        setting: The name of the setting that named the certificate.
        path: The file with the certificate and its chain.
        key: The file with the key. If None, it is in *path*.

    Attributes:
        path: The file with the certificate.
        certificate: The last one that was read and could be used. None before the first.
    """

    def __init__(self, setting: str, path: Path, key: Path | None) -> None:
        self.path = path
        self.certificate: ServerCertificate | None = None
        self._setting = setting
        self._key = key
        self._stamps: list[FileStamp] = []
        self._contents: list[bytes] = []

    def read(self, make: MakeOptions, *, force: bool) -> bool:
        """
        Read the files if they have changed.

        Args:
            make: Makes the options of OpenSSL.
            force: Read them even if times and sizes are the same.

        Returns:
            True if there is a new certificate. Files with the same content give none.

        Raises:
            ConfigError: The files cannot be used. The old certificate stays, and the files are not
                read again until they change.
        """
        files = [(self._setting, self.path)]
        if self._key is not None:
            files.append((TLS_KEY, self._key))
        # Taken before reading: a change while the files are read is noticed the next time.
        stamps = [file_stamp(path) for _, path in files]
        if stamps == self._stamps and not force:
            return False
        self._stamps = stamps
        contents = [_read(setting, path) for setting, path in files]
        if contents == self._contents:
            return False
        certificate = self._parse(contents[0], contents[-1], make)
        self._contents, self.certificate = contents, certificate
        return True

    def _parse(self, certificates: bytes, key: bytes, make: MakeOptions) -> ServerCertificate:
        where = f"{self._setting}: {self.path}"
        try:
            chain = x509.load_pem_x509_certificates(certificates)
        except Exception:
            # cryptography raises many kinds of errors; no file may end the program with one.
            raise ConfigError(f"{where}: it contains no certificate that can be read") from None
        private = self._private_key(key)
        public = _public_key(private)
        leaf = next((each for each in chain if _public_key(each) == public), None)
        if leaf is None:
            owner = f"{TLS_KEY}: {self._key}" if self._key is not None else where
            raise ConfigError(f"{owner}: the key does not belong to the certificate")
        try:
            options = make(private, leaf, [each for each in chain if each is not leaf])
            context = options.getContext()
            names = tuple(_names(leaf))
            expires = leaf.not_valid_after_utc
        except Exception as error:
            raise ConfigError(f"{where}: it cannot be used: {_reason(error)}") from None
        return ServerCertificate(options, context, names, expires)

    def _private_key(self, content: bytes) -> Any:
        where = (
            f"{TLS_KEY}: {self._key}" if self._key is not None else f"{self._setting}: {self.path}"
        )
        block = _KEY.search(content)
        if block is None:
            is_single = self._setting == TLS_CERT and self._key is None
            hint = f", and {TLS_KEY} is not given" if is_single else ""
            raise ConfigError(f"{where}: it contains no private key{hint}")
        try:
            return load_pem_private_key(block[0], None)
        except TypeError:
            raise ConfigError(f"{where}: the private key is encrypted") from None
        except Exception:
            raise ConfigError(f"{where}: the private key cannot be read") from None


def _read(setting: str, path: Path) -> bytes:
    try:
        # A pipe can be read once only: the second time it would block the process.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{setting}: {path}: it is not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}: {path}: {error.strerror}") from None


def _public_key(owner: Any) -> bytes | None:
    """Return the public key of a certificate or a private key. None if its kind is not known."""
    try:
        key = owner.public_key()
        encoded: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except Exception:
        return None
    return encoded


def _names(certificate: x509.Certificate) -> Iterator[bytes]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return
    for name in found.value.get_values_for_type(x509.DNSName):
        yield name.lower().encode()


def _reason(error: Exception) -> str:
    if isinstance(error, SSL.Error) and error.args and error.args[0]:
        # Triples of library, function and reason.
        return str(error.args[0][-1][-1])
    return (str(error) or type(error).__name__).splitlines()[0]
