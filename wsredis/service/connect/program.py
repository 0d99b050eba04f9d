"""The parts of ``wsredis connect``, joined: a reactor, a socket, a screen and a keyboard."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL.SSL import Connection, Context
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from wsredis.errors import ConfigError
from wsredis.service.connect.client import ClientFactory
from wsredis.service.connect.conversation import Conversation
from wsredis.service.connect.screen import Screen
from wsredis.service.connect.target import Target
from wsredis.service.connect.typing_lines import PipeReader, PromptReader
from wsredis.service.outside import Outside

__all__ = ["Wishes", "endpoint_of", "run"]

#: Seconds to connect.
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True)
class Wishes:
    """
    The options of the command.

    Attributes:
        protocols: The subprotocols that are offered.
        headers: Further headers of the handshake.
        origin: See `ClientFactory`.
        wait: See `Conversation`.
        ca: PEM file with the CA of the server. If None, the CAs of the system are used.
        is_insecure: Tells whether any certificate is right.
        unix: Path of a UNIX socket to connect to. If None, the host of the URL is connected to.
        is_verbose: See `Conversation`.
    """

    protocols: Sequence[str] = ()
    headers: Mapping[str, str] | None = None
    origin: str | None = None
    wait: float = 0.0
    ca: str | None = None
    is_insecure: bool = False
    unix: str | None = None
    is_verbose: bool = False


@implementer(IOpenSSLClientConnectionCreator)
class _AnyCertificate:
    """Speaks TLS with whoever it is."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._context: Context = CertificateOptions().getContext()

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Connection:
        """Make the connection, without a check."""
        connection = Connection(self._context, None)
        connection.set_tlsext_host_name(self._host.encode("idna"))
        return connection


def endpoint_of(reactor: Any, target: Target, wishes: Wishes) -> Any:
    """
    Make the endpoint of a server.

    Raises:
        ConfigError: The file of the CA cannot be used, or the host cannot be a name.
    """
    if wishes.unix is not None:
        endpoint: Any = UNIXClientEndpoint(reactor, wishes.unix, _PATIENCE)
    else:
        endpoint = HostnameEndpoint(reactor, target.host, target.port, _PATIENCE)
    if not target.is_secure:
        return endpoint
    if wishes.is_insecure:
        return wrapClientTLS(_AnyCertificate(target.host), endpoint)
    try:
        root = None
        if wishes.ca is not None:
            root = trustRootFromCertificates([Certificate.loadPEM(Path(wishes.ca).read_bytes())])
    except OSError as error:
        raise ConfigError(f"--ca: {wishes.ca}: {error.strerror}") from None
    except Exception:
        raise ConfigError(f"--ca: {wishes.ca}: it has no PEM certificate") from None
    return wrapClientTLS(optionsForClientTLS(target.host, trustRoot=root), endpoint)


def run(reactor: Any, target: Target, wishes: Wishes, outside: Outside) -> int:
    """
    Connect, and talk until one side has enough.

    Args:
        reactor: Runs until then.

    Returns:
        The status: 0 if all was well; 1 if there was no connection, or if it was closed with a code
        that means trouble; 130 after Ctrl-C.

    Raises:
        ConfigError: See `endpoint_of`.
        BrokenPipeError: Nobody reads standard output any more.
    """
    endpoint = endpoint_of(reactor, target, wishes)
    is_prompt = outside.stdin.isatty() and outside.stdout.isatty()
    statuses: list[int] = []

    def stop(status: int) -> None:
        statuses.append(status)
        if reactor.running:
            reactor.stop()

    def received(line: bytes | None) -> None:
        conversation.line_received(line)

    reader: PromptReader | PipeReader = (
        PromptReader(reactor.callFromThread, received)
        if is_prompt
        else PipeReader(reactor.callFromThread, received, outside.stdin.fileno())
    )
    conversation = Conversation(
        reactor,
        Screen(outside, reader.typed if is_prompt else None),
        reader,
        is_prompt=is_prompt,
        wait=wishes.wait,
        is_verbose=wishes.is_verbose,
        stop=stop,
    )
    factory = ClientFactory(
        target,
        conversation,
        reactor,
        protocols=wishes.protocols,
        headers=wishes.headers,
        origin=wishes.origin,
    )

    def failed(failure: Failure) -> None:
        conversation.failed(_reason(target, wishes, failure))

    def started() -> None:
        # The reactor has taken the signal for itself.
        signal.signal(signal.SIGINT, lambda *_: reactor.callFromThread(conversation.interrupt))
        endpoint.connect(factory).addErrback(failed)

    reactor.callWhenRunning(started)
    try:
        reactor.run()
    finally:
        reader.restore()
    if conversation.is_unheard:
        raise BrokenPipeError
    # Without one, another signal has stopped the reactor.
    return statuses[0] if statuses else 1


def _reason(target: Target, wishes: Wishes, failure: Failure) -> str:
    where = wishes.unix or f"{target.host}:{target.port}"
    error = failure.value
    number = getattr(error, "osError", None)
    text = os.strerror(number) if isinstance(number, int) else " ".join(str(error).split())
    hint = "; 'wsredis demo' starts a gateway" if failure.check(ConnectionRefusedError) else ""
    return f"{where}: {text}{hint}"
