"""
TLS: certificates chosen by server name, and read again when their files change.

Twisted's own ``tls:`` endpoint reads its folder again for every name that it does not know, and
never because a file has changed. Here a name costs two look-ups in a dictionary, known or not. A
periodic task looks for changed files; `Certificates.refresh` does so on demand. A connection keeps
the certificate that it was opened with.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion
from twisted.logger import Logger
from zope.interface import implementer

from wsredis.config import GatewayConfig, setting_of
from wsredis.errors import ConfigError
from wsredis.gateway.timers import PeriodicTask
from wsredis.service.pem import TLS_CERT, TLS_FOLDER, TLS_KEY, PemFiles, ServerCertificate

__all__ = ["CIPHERS", "Certificates"]

#: Cipher suites for TLS 1.2, as OpenSSL names them: those with forward secrecy and authenticated
#: encryption, which RFC 9325 recommends. Those of TLS 1.3 have both.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!PSK:!aNULL"

#: Seconds between two looks at the files.
INTERVAL = 5.0

_TLS_PORT = setting_of(GatewayConfig, "tls_port").name


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    All certificates of a gateway.

    Args:
        clock: Runs the periodic task.
        cert: PEM file with a certificate and its chain; it is used for unknown server names. If
            None, *folder* must be given.
        key: PEM file with the key of *cert*. If None, the key is in *cert*.
        folder: Folder with PEM files, each with a certificate, its chain and its key. Without
            *cert*, ``default.pem``, or else the first file, is used for unknown server names. If
            None, there is only *cert*.

    Raises:
        ConfigError: A file cannot be used; the message names the setting and the file.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, cert: str | None, key: str | None, folder: str | None
    ) -> None:
        # twistd changes its working directory when it becomes a daemon.
        self._fixed = _absolute(cert), _absolute(key)
        self._folder = _absolute(folder)
        self._task = PeriodicTask(clock, INTERVAL, lambda count: self.refresh())
        self._last_problem = ""
        self._files: dict[Path, PemFiles] = {}
        self._by_name: dict[bytes, ServerCertificate] = {}
        files = self._find()
        for each in files.values():
            each.read(self._make_options, force=True)
        self._serve(files)
        self._report_expired(files.values())

    @classmethod
    def of(cls, config: GatewayConfig, clock: IReactorTime) -> Certificates | None:
        """
        Read the certificates that the settings name.

        Returns:
            The certificates. None if no port needs any.

        Raises:
            ConfigError: The settings do not fit together, or a file cannot be used.
        """
        cert, key, folder = config.tls_cert, config.tls_key, config.tls_folder
        if key is not None and cert is None:
            raise ConfigError(f"{TLS_KEY}: requires {TLS_CERT}")
        if config.tls_port:
            if cert is None and folder is None:
                raise ConfigError(f"{_TLS_PORT}: requires {TLS_CERT} or {TLS_FOLDER}")
            return cls(clock, cert, key, folder)
        if cert is not None or folder is not None:
            name = TLS_FOLDER if cert is None else TLS_CERT
            raise ConfigError(f"{name}: requires {_TLS_PORT}")
        return None

    def start(self) -> None:
        """Start to look for changed files."""
        self._task.start()

    def stop(self) -> None:
        """Stop to look for changed files. Harmless if it was not started."""
        self._task.stop()

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """Make the OpenSSL connection of a new client, whose server name is not known yet."""
        return self._default.options.serverConnectionForTLS(protocol)

    def refresh(self, *, force: bool = False) -> None:
        """
        Read the files that have changed.

        A file that cannot be used is logged once, and its old certificate stays in use.

        Args:
            force: Read all files, also those that look unchanged, and log the outcome.
        """
        try:
            files = self._find()
        except ConfigError as error:
            if force or str(error) != self._last_problem:
                self._last_problem = str(error)
                self._log.error(
                    "{error}; all certificates are kept",
                    event="certificate-unusable",
                    error=str(error),
                )
            return
        self._last_problem = ""
        new = [each for each in files.values() if self._read_again(each, force)]
        if new or list(files.values()) != list(self._files.values()):
            self._serve(files)
        elif not force:
            return
        self._log.info(
            "TLS: {new} new certificates, {all} in use",
            event="certificates-loaded",
            new=len(new),
            all=sum(each.certificate is not None for each in files.values()),
        )
        self._report_expired(new)

    def _read_again(self, entry: PemFiles, force: bool) -> bool:
        try:
            return entry.read(self._make_options, force=force)
        except ConfigError as error:
            is_new = entry.certificate is None
            kept = "the file is left out" if is_new else "the old certificate is kept"
            self._log.error(
                "{error}; {_kept}", event="certificate-unusable", error=str(error), _kept=kept
            )
            return False

    def _find(self) -> dict[Path, PemFiles]:
        """Return the files that should be there, known ones as they are. The default is first."""
        wanted: list[tuple[str, Path, Path | None]] = []
        cert, key = self._fixed
        if cert is not None:
            wanted.append((TLS_CERT, cert, key))
        if self._folder is not None:
            try:
                entries = [Path(entry) for entry in os.scandir(self._folder)]
            except OSError as error:
                raise ConfigError(f"{TLS_FOLDER}: {self._folder}: {error.strerror}") from None
            entries.sort(key=lambda path: (path.name != "default.pem", path.name))
            for path in entries:
                if path.suffix == ".pem" and not path.name.startswith(".") and path != cert:
                    wanted.append((TLS_FOLDER, path, None))
        if not wanted:
            raise ConfigError(f"{TLS_FOLDER}: {self._folder}: it contains no .pem file")
        return {each[1]: self._files.get(each[1]) or PemFiles(*each) for each in wanted}

    def _serve(self, files: dict[Path, PemFiles]) -> None:
        """Use these from now on. Of two certificates for one name the later to expire is used."""
        self._files = files
        found = [each.certificate for each in files.values() if each.certificate is not None]
        if not found:
            # Every file was removed, and none of the new ones can be used.
            return
        by_name: dict[bytes, ServerCertificate] = {}
        for certificate in found:
            for name in certificate.names:
                if name not in by_name or by_name[name].expires < certificate.expires:
                    by_name[name] = certificate
        self._default, self._by_name = found[0], by_name

    def _make_options(self, key: Any, certificate: Any, chain: Any) -> CertificateOptions:
        # Twisted's annotations name the classes of pyOpenSSL, which pyOpenSSL itself deprecates.
        return CertificateOptions(
            privateKey=key,
            certificate=certificate,
            extraCertChain=chain,
            raiseMinimumTo=TLSVersion.TLSv1_2,
            acceptableCiphers=AcceptableCiphers.fromOpenSSLCipherString(CIPHERS),
            contextForServerName=self._context,
        )

    def _context(self, name: bytes | None) -> SSL.Context | None:
        """Return the context for a server name. None stands for the default certificate."""
        if not name:
            return None
        name = name.lower().rstrip(b".")
        found = self._by_name.get(name) or self._by_name.get(b"*." + name.partition(b".")[2])
        return None if found is None else found.context

    def _report_expired(self, files: Iterable[PemFiles]) -> None:
        now = datetime.now(UTC)
        for each in files:
            if each.certificate is not None and each.certificate.expires < now:
                self._log.error(
                    "{path}: the certificate has expired",
                    event="certificate-expired",
                    path=each.path,
                )


def _absolute(path: str | None) -> Path | None:
    return None if path is None else Path(path).absolute()
