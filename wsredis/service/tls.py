"""
TLS: certificates from PEM files, chosen by server name, and read again when the files change.

Twisted's own ``tls:`` endpoint reads its folder again for every name that it does not know, and
never because a file has changed. Here a name costs two look-ups in a dictionary, known or not; the
files are looked at by a sweep, and on demand. A connection keeps what it was opened with.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.logger import Logger
from zope.interface import implementer

from wsredis.config import GatewayConfig
from wsredis.config.files import FileStamp, file_stamp
from wsredis.errors import ConfigError
from wsredis.gateway.timers import PeriodicTask

__all__ = ["Certificates"]

#: Seconds between two looks at the files.
INTERVAL = 5.0

_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----.+?-----END \1?PRIVATE KEY-----", re.S)

#: What tells that a file was replaced or written to. None: it cannot be looked at.

_Load = Callable[[Any, x509.Certificate, list[x509.Certificate]], CertificateOptions]


@dataclass(frozen=True, slots=True)
class _Identity:
    """A certificate with its key, as OpenSSL takes it."""

    options: CertificateOptions
    context: SSL.Context
    names: tuple[bytes, ...]
    expires: datetime


class _Source:
    """
    The files of one certificate.

    Args:
        option: The setting that named the certificate.
        path: The certificate, and its chain.
        key: The file of the key. None: it is in *path*.

    Attributes:
        path: The first of them.
        identity: What was read last, and could be used.
    """

    def __init__(self, option: str, path: Path, key: Path | None) -> None:
        self.path = path
        self._option = option
        self._key = key
        self._stamps: list[FileStamp] = []
        self._texts: list[bytes] = []
        self.identity: _Identity | None = None

    def read(self, load: _Load, *, force: bool) -> bool:
        """
        Read the files if they have changed.

        Args:
            load: What serves a key, a certificate and its chain.
            force: Whatever their times say.
        Returns: Whether there is a new identity.
        Raises:
            ConfigError: The files cannot be used. The old identity stays, and they are not read
                again before they change.
        """
        files = [(self._option, self.path)]
        if self._key is not None:
            files.append(("tls-key", self._key))
        # Before reading: what is written meanwhile is seen the next time.
        stamps = [file_stamp(path) for _, path in files]
        if stamps == self._stamps and not force:
            return False
        self._stamps = stamps
        texts = [_text(option, path) for option, path in files]
        if texts == self._texts:
            return False
        identity = self._parse(texts[0], texts[-1], load)
        self._texts, self.identity = texts, identity
        return True

    def _parse(self, certificates: bytes, key: bytes, load: _Load) -> _Identity:
        where = f"{self._option}: {self.path}"
        try:
            chain = x509.load_pem_x509_certificates(certificates)
        except Exception:
            # Whatever is wrong with a file, it must not end in a traceback.
            raise ConfigError(f"{where}: there is no certificate in it that can be read") from None
        secret = self._private_key(key)
        public = _public(secret)
        leaf = next((each for each in chain if _public(each) == public), None)
        if leaf is None:
            owner = f"tls-key: {self._key}" if self._key is not None else where
            raise ConfigError(f"{owner}: the key does not belong to the certificate")
        try:
            options = load(secret, leaf, [each for each in chain if each is not leaf])
            context = options.getContext()
            names = tuple(_names(leaf))
            expires = leaf.not_valid_after_utc
        except Exception as error:
            raise ConfigError(f"{where}: it cannot be used: {_reason(error)}") from None
        return _Identity(options, context, names, expires)

    def _private_key(self, text: bytes) -> Any:
        where = f"tls-key: {self._key}" if self._key is not None else f"{self._option}: {self.path}"
        block = _KEY.search(text)
        if block is None:
            hint = ", and no tls-key" if self._option == "tls-cert" and self._key is None else ""
            raise ConfigError(f"{where}: there is no private key in it{hint}")
        try:
            return load_pem_private_key(block[0], None)
        except TypeError:
            raise ConfigError(f"{where}: the private key is encrypted") from None
        except Exception:
            raise ConfigError(f"{where}: the private key cannot be read") from None


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    All certificates of a gateway.

    Args:
        cert: PEM file with a certificate and its chain: the one for unknown names.
        key: PEM file with its key. None: it is in *cert*.
        folder: Folder with PEM files, each with a certificate, its chain and its key. Without
            *cert*, ``default.pem`` or else the first one is for unknown names.
    Raises:
        ConfigError: A file cannot be used; the text names the setting and the file.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, cert: str | None, key: str | None, folder: str | None
    ) -> None:
        # twistd changes its working directory when it becomes a daemon.
        self._fixed = _absolute(cert), _absolute(key)
        self._folder = _absolute(folder)
        self._sweep = PeriodicTask(clock, INTERVAL, lambda count: self.refresh())
        self._complaint = ""
        self._sources: dict[Path, _Source] = {}
        self._by_name: dict[bytes, _Identity] = {}
        sources = self._find()
        for source in sources.values():
            source.read(self._load, force=True)
        self._serve(sources)
        self._warn_of_expired(sources.values())

    @classmethod
    def of(cls, config: GatewayConfig, clock: IReactorTime) -> Certificates | None:
        """
        The certificates that the settings name. Returns: None where no port needs any.

        Raises:
            ConfigError: The settings do not fit together, or a file cannot be used.
        """
        cert, key, folder = config.tls_cert, config.tls_key, config.tls_folder
        if key is not None and cert is None:
            raise ConfigError("tls-key: it is of no use without tls-cert")
        if config.tls_port:
            if cert is None and folder is None:
                raise ConfigError("tls-port: it needs tls-cert or tls-folder")
            return cls(clock, cert, key, folder)
        if cert is not None or folder is not None:
            name = "tls-folder" if cert is None else "tls-cert"
            raise ConfigError(f"{name}: it is of no use without tls-port")
        return None

    def start(self) -> None:
        """Look at the files from now on."""
        self._sweep.start()

    def stop(self) -> None:
        """Look at them no more."""
        self._sweep.stop()

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """What a new connection begins with, before a server name is known."""
        return self._default.options.serverConnectionForTLS(protocol)

    def refresh(self, *, force: bool = False) -> None:
        """
        Read what has changed. What cannot be used is logged, once, and the old one kept.

        Args:
            force: Read everything, whatever the times of the files say, and log the outcome.
        """
        try:
            sources = self._find()
        except ConfigError as error:
            if force or str(error) != self._complaint:
                self._complaint = str(error)
                self._log.warn("{error}; all certificates are kept", error=str(error))
            return
        self._complaint = ""
        new = [source for source in sources.values() if self._read_again(source, force)]
        if new or list(sources.values()) != list(self._sources.values()):
            self._serve(sources)
        elif not force:
            return
        self._log.info(
            "TLS: {new} new certificates, {all} altogether",
            new=len(new),
            all=sum(each.identity is not None for each in sources.values()),
        )
        self._warn_of_expired(new)

    def _read_again(self, source: _Source, force: bool) -> bool:
        try:
            return source.read(self._load, force=force)
        except ConfigError as error:
            kept = "it is left out" if source.identity is None else "the old certificate is kept"
            self._log.warn("{error}; {kept}", error=str(error), kept=kept)
            return False

    def _find(self) -> dict[Path, _Source]:
        """The sources that should be there: the known ones as they are; the default comes first."""
        wanted: list[tuple[str, Path, Path | None]] = []
        cert, key = self._fixed
        if cert is not None:
            wanted.append(("tls-cert", cert, key))
        if self._folder is not None:
            try:
                entries = [Path(entry) for entry in os.scandir(self._folder)]
            except OSError as error:
                raise ConfigError(f"tls-folder: {self._folder}: {error.strerror}") from None
            entries.sort(key=lambda path: (path.name != "default.pem", path.name))
            for path in entries:
                if path.suffix == ".pem" and not path.name.startswith(".") and path != cert:
                    wanted.append(("tls-folder", path, None))
        if not wanted:
            raise ConfigError(f"tls-folder: {self._folder}: there is no .pem file in it")
        return {each[1]: self._sources.get(each[1]) or _Source(*each) for each in wanted}

    def _serve(self, sources: dict[Path, _Source]) -> None:
        """Use these from now on. Of two for one name the one that expires later is used."""
        self._sources = sources
        identities = [each.identity for each in sources.values() if each.identity is not None]
        if not identities:
            # Every file was taken away, and what came instead cannot be used.
            return
        by_name: dict[bytes, _Identity] = {}
        for identity in identities:
            for name in identity.names:
                if name not in by_name or by_name[name].expires < identity.expires:
                    by_name[name] = identity
        self._default, self._by_name = identities[0], by_name

    def _load(self, key: Any, certificate: Any, chain: Any) -> CertificateOptions:
        # Twisted's annotations name the classes of pyOpenSSL, which pyOpenSSL itself deprecates.
        return CertificateOptions(
            privateKey=key,
            certificate=certificate,
            extraCertChain=chain,
            raiseMinimumTo=TLSVersion.TLSv1_2,
            contextForServerName=self._context,
        )

    def _context(self, name: bytes | None) -> SSL.Context | None:
        """The context for a server name. None: that of the default."""
        if not name:
            return None
        name = name.lower().rstrip(b".")
        found = self._by_name.get(name) or self._by_name.get(b"*." + name.partition(b".")[2])
        return None if found is None else found.context

    def _warn_of_expired(self, sources: Iterable[_Source]) -> None:
        now = datetime.now(UTC)
        for source in sources:
            if source.identity is not None and source.identity.expires < now:
                self._log.warn("{path}: the certificate has expired", path=source.path)


def _absolute(path: str | None) -> Path | None:
    return None if path is None else Path(path).absolute()


def _text(option: str, path: Path) -> bytes:
    try:
        # A pipe could be read once only, and would stop the process the second time.
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{option}: {path}: it is not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{option}: {path}: {error.strerror}") from None


def _public(owner: Any) -> bytes | None:
    """The public key of a certificate or of a private key. None: of a kind not known."""
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
