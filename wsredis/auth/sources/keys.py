"""The key that tokens are verified with, read from a file; and the port to look a key up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from wsredis.errors import ConfigError

__all__ = ["MAX_SIZE", "FileKey", "Keys", "read_file", "read_key", "require_library", "weakness"]

#: Bytes; a larger file, or a larger JWK Set from a URL, is refused.
MAX_SIZE = 1048576

#: Bytes (RFC 7518, 3.2): as long as the output of the hash.
_MIN_SECRET = 32

#: Bits (RFC 7518, 3.3).
_MIN_RSA = 2048


class Keys(Protocol):
    """Looks up the key of a token."""

    def start(self) -> None:
        """Begin to fetch the keys, if they are fetched."""

    def stop(self) -> None:
        """Cancel all that is under way."""

    async def find(self, kid: str | None) -> Any:
        """
        Look up a key by its id.

        Args:
            kid: The key id that the token names. None if it names none.
        Returns:
            The key, or None if there is no such key.
        Raises:
            HandshakeRejected: With 503 if the keys are not known now.
        """


class FileKey:
    """
    The key of a file, for all tokens; their key ids are ignored.

    Args:
        path: See `read_key`.
        algorithm: See `read_key`.

    Attributes:
        algorithm: The algorithm that the key is for.

    Raises:
        ConfigError: As `read_key`.
    """

    def __init__(self, path: str, algorithm: str | None) -> None:
        # twistd changes its working directory when it becomes a daemon.
        self._path = os.path.abspath(path)
        self.algorithm, self._key = read_key(path, algorithm)

    def reload(self) -> None:
        """
        Read the file again. Another key takes everything with it that the old one has verified.

        Raises:
            ConfigError: As `read_key`, or it is a key for another algorithm. The old one stays.
        """
        _, key = read_key(self._path, self.algorithm)
        if key != self._key:
            self._key = key

    def start(self) -> None:
        """See `Keys.start`."""

    def stop(self) -> None:
        """See `Keys.stop`."""

    async def find(self, kid: str | None) -> Any:
        """See `Keys.find`."""
        return self._key


def require_library(option: str) -> Any:
    """
    Import PyJWT, which is needed only where tokens are.

    Args:
        option: Name of the option that needs it, for the error.
    Returns:
        The module.
    Raises:
        ConfigError: PyJWT is not installed.
    """
    try:
        import jwt
        import jwt.exceptions  # a folder named "jwt" would pass for the library without this
    except ImportError:
        raise ConfigError(f"{option}: needs PyJWT: pip install 'wsredis[jwt]'") from None
    return jwt


def read_key(path: str, algorithm: str | None) -> tuple[str, Any]:
    """
    Read the file of ``jwt-key``.

    Args:
        path: A public key as PEM, or a shared secret as it is.
        algorithm: The algorithm that the key must be for. If None, the one that suits the key.
    Returns:
        The algorithm and the key.
    Raises:
        ConfigError: The file cannot be read, or its key cannot be used for the algorithm.
    """
    jwt = require_library("jwt-key")
    where = f"jwt-key: {path}"
    content = read_file("jwt-key", path)
    if b"-----BEGIN" in content:
        suitable, key = _public_key(where, content)
    else:
        # Editors and shells add the end of a line to a secret.
        suitable, key = "HS256", content.removesuffix(b"\n").removesuffix(b"\r")
    if algorithm not in (None, suitable):
        raise ConfigError(f"jwt-algorithm: {algorithm} does not fit {path}, a key for {suitable}")
    if suitable == "HS256":
        try:
            # Refuses public keys in other forms than PEM.
            jwt.get_algorithm_by_name("HS256").prepare_key(key)
        except jwt.InvalidKeyError:
            raise ConfigError(
                f"{where}: this is not a shared secret: write a public key as PEM"
            ) from None
    reason = weakness(key)
    if reason:
        raise ConfigError(f"{where}: {reason}")
    return suitable, key


def read_file(option: str, path: str) -> bytes:
    """
    Read a file of keys.

    Args:
        option: Name of the option that names the file, for the error.
        path: The file.
    Returns:
        Its content.
    Raises:
        ConfigError: The file cannot be read, is empty or too large.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SIZE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{option}: {path}: {reason}") from None
    if not content.strip():
        raise ConfigError(f"{option}: {path}: the file is empty")
    if len(content) > MAX_SIZE:
        raise ConfigError(f"{option}: {path}: the file is larger than {MAX_SIZE} bytes")
    return content


def weakness(key: Any) -> str:
    """Say why *key* is too weak. Empty if it is strong enough."""
    if isinstance(key, bytes) and len(key) < _MIN_SECRET:
        return f"the secret is shorter than {_MIN_SECRET} bytes (RFC 7518, 3.2)"
    if isinstance(key, RSAPublicKey) and key.key_size < _MIN_RSA:
        return f"the key is shorter than {_MIN_RSA} bits (RFC 7518, 3.3)"
    return ""


def _public_key(where: str, content: bytes) -> tuple[str, Any]:
    if b"PRIVATE KEY-----" in content:
        raise ConfigError(f"{where}: this is a private key: keep it where tokens are made")
    try:
        key = load_pem_public_key(content)
    except Exception:
        # The library raises many classes; none of them may end in a traceback.
        raise ConfigError(f"{where}: it has no public key that can be read") from None
    if isinstance(key, RSAPublicKey):
        return "RS256", key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256", key
    if isinstance(key, Ed25519PublicKey):
        return "EdDSA", key
    raise ConfigError(f"{where}: the key is neither RSA, nor EC on P-256, nor Ed25519")
