"""The words for the end of a connection whose TLS handshake has failed."""

from __future__ import annotations

from twisted.python.failure import Failure

__all__ = ["tls_failure"]

#: Words in the errors of OpenSSL, and the words for people.
_WORDS = (
    ("http request", "it speaks HTTP: write wss:// in place of ws://, or https:// of http://"),
    ("unknown ca", "it does not trust the certificate"),
    ("certificate unknown", "it does not trust the certificate"),
    ("bad certificate", "it does not trust the certificate"),
    ("wrong version number", "it does not speak TLS"),
    ("unexpected eof", ""),
)


def tls_failure(reason: Failure) -> str:
    """
    Tell why the TLS handshake of a client failed.

    Args:
        reason: The end of its connection.

    Returns:
        Words for an operator. Empty if it was no error of TLS, or the client just went away.
    """
    arguments = getattr(reason.value, "args", ())
    # OpenSSL has a list of triples: library, function, and reason.
    if not (arguments and isinstance(arguments[0], list) and arguments[0]):
        return ""
    last = arguments[0][-1]
    if not isinstance(last, tuple):
        return ""
    text = str(last[-1])
    for part, words in _WORDS:
        if part in text:
            return words
    return text
