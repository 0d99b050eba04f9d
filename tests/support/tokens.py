"""Tokens and keys to sign and to verify them with, made on the spot."""

from __future__ import annotations

import base64
import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as new_rsa_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

__all__ = [
    "ALGORITHMS",
    "FAR",
    "jwk",
    "jwk_set",
    "private_key",
    "private_pem",
    "public_pem",
    "signed",
    "verifier",
]

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")

#: The first second of the year 2100.
FAR = 4102444800


def private_key(algorithm: str, number: int = 0) -> Any:
    """Return the key that signs tokens: another one for each *number*, and always the same."""
    return _private_key(algorithm, number)


@cache
def _private_key(algorithm: str, number: int) -> Any:
    if algorithm == "HS256":
        return f"secret number {number} of tests, which is long enough".encode()
    if algorithm == "RS256":
        return new_rsa_key(65537, 2048)
    return new_ec_key(SECP256R1()) if algorithm == "ES256" else Ed25519PrivateKey.generate()


def public_pem(key: Any) -> bytes:
    """The public half of a private key, as it stands in a file."""
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private_pem(key: Any) -> bytes:
    """A private key, as it stands in a file."""
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def verifier(algorithm: str) -> bytes:
    """The content of a file for ``jwt-key``."""
    key = private_key(algorithm)
    return key + b"\n" if isinstance(key, bytes) else public_pem(key)


def jwk(algorithm: str, kid: str | None, number: int = 0, **more: Any) -> dict[str, Any]:
    """A public key, or a secret, as an entry of a JWK Set."""
    key = private_key(algorithm, number)
    public = key if isinstance(key, bytes) else key.public_key()
    entry = dict(jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True))
    # Without that, it would say only what it can be used for.
    entry.pop("key_ops", None)
    return {**entry, **({} if kid is None else {"kid": kid}), **more}


def jwk_set(*entries: Any) -> bytes:
    """A JWK Set."""
    return json.dumps({"keys": entries}).encode()


def signed(
    algorithm: str = "HS256",
    *,
    number: int = 0,
    headers: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """
    A token.

    Args:
        number: The number of the key that signs it.
        headers: Added to its head.
        claims: Added to a user john and a distant exp; None removes a claim.
    """
    payload = {"sub": "john", "exp": FAR, **claims}
    text = json.dumps({name: value for name, value in payload.items() if value is not None})
    head = json.dumps({"alg": algorithm, "typ": "JWT", **(headers or {})})
    signing_input = f"{_encoded(head.encode())}.{_encoded(text.encode())}"
    algorithm_ = jwt.get_algorithm_by_name(algorithm)
    signature = algorithm_.sign(signing_input.encode(), private_key(algorithm, number))
    return f"{signing_input}.{_encoded(signature)}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
