"""The ports of a gateway: endpoints from descriptions, and addresses as the log shows them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any, NamedTuple

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import serverFromString, wrapServerTLS
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from wsredis.config import GatewayConfig, setting_of
from wsredis.config.networks import Networks
from wsredis.config.values import endpoint_description
from wsredis.errors import ConfigError
from wsredis.service.leftovers import remove_dead_socket
from wsredis.service.tls import CIPHERS, Certificates
from wsredis.transports.proxied import ProxiedEndpoint

__all__ = ["PortEndpoint", "bind_error", "make_endpoints", "metrics_endpoint", "shown_address"]

#: Clients that the kernel queues until they are accepted. With Twisted's default of 50, most of a
#: crowd that comes at once are turned away: they try again after a second, or give up.
_BACKLOG = 4096

#: Kinds of descriptions that take the argument ``backlog``.
_WITH_BACKLOG = ("tcp:", "tcp6:", "ssl:", "unix:")

#: The start of a description of a port whose proxy speaks the PROXY protocol.
_PROXIED = "haproxy:"

_PORT = setting_of(GatewayConfig, "port").name
_TLS_PORT = setting_of(GatewayConfig, "tls_port").name
_METRICS_PORT = setting_of(GatewayConfig, "metrics_port").name

_log = Logger()


class PortEndpoint(NamedTuple):
    """
    One port that the settings name.

    Attributes:
        description: The port number or the endpoint description, as it was given.
        endpoint: Listens.
        is_secure: Tells whether the gateway itself speaks TLS there.
        setting: The name of the setting.
    """

    description: str
    endpoint: Any
    is_secure: bool
    setting: str = _PORT

    def listen(self, factory: Any) -> IListeningPort:
        """
        Bind the port.

        Raises:
            Exception: The port cannot be bound. A note names the setting, for `bind_error`.
        """
        outcome: list[Any] = []
        self.endpoint.listen(factory).addBoth(outcome.append)
        # All server endpoints of Twisted answer at once: none has to wait for something.
        if isinstance(outcome[0], Failure):
            error = outcome[0].value
            assert error is not None
            error.add_note(self.setting)
            raise error
        port: IListeningPort = outcome[0]
        return port

    def announce(self, port: IListeningPort, log: Logger) -> None:
        """Log where *port*, the result of `listen`, can be reached."""
        address: Any = port.getHost()
        log.info(
            "listening on {address}{_tls}",
            event="listening",
            address=shown_address(address),
            endpoint=self.description,
            tls=self.is_secure,
            _tls=" with TLS" if self.is_secure else "",
        )
        if _is_open(address):
            log.info(
                "{address} is open to the network: every computer that reaches this one can "
                "connect; --{setting} 127.0.0.1:{port} is for this one only",
                event="open-to-network",
                address=shown_address(address),
                setting=self.setting,
                port=address.port,
            )

    def announce_demo(self, port: IListeningPort, log: Logger) -> None:
        """Log where a browser finds the page of ``demo``, if it can open *port*."""
        address = port.getHost()
        if isinstance(address, IPv4Address):
            log.info(
                "demo page: {scheme}://localhost:{port}/",
                event="demo-page",
                scheme="https" if self.is_secure else "http",
                port=address.port,
            )


def make_endpoints(
    config: GatewayConfig, certificates: Certificates | None, reactor: Any
) -> Iterator[PortEndpoint]:
    """
    Make the endpoints of all ports. Nothing is bound.

    Args:
        config: ``port`` and ``tls_port`` of it are used.
        certificates: Used for ``tls_port``. None if there is no such port.
        reactor: Listens.

    Raises:
        ConfigError: A description cannot be used; the message names the setting.
    """
    for description in config.port:
        yield PortEndpoint(description, _endpoint(_PORT, description, config, reactor), False)
    for description in config.tls_port:
        assert certificates is not None
        endpoint = _endpoint(_TLS_PORT, description, config, reactor)
        secure = wrapServerTLS(certificates, endpoint, reactor)
        yield PortEndpoint(description, secure, True, _TLS_PORT)


def metrics_endpoint(config: GatewayConfig, reactor: Any) -> PortEndpoint | None:
    """
    Make the endpoint of ``metrics-port``. Nothing is bound.

    Returns:
        None if *config* has no such port.

    Raises:
        ConfigError: The description cannot be used.
    """
    description = config.metrics_port
    if description is None:
        return None
    # Everybody who reaches it can read it: a number alone must not open it to the network.
    full = endpoint_description(description, "127.0.0.1")
    endpoint = _endpoint(_METRICS_PORT, full, config, reactor)
    return PortEndpoint(description, endpoint, False, _METRICS_PORT)


def _endpoint(setting: str, description: str, config: GatewayConfig, reactor: Any) -> Any:
    is_proxied = description.lower().startswith(_PROXIED)
    full = endpoint_description(description[len(_PROXIED) :] if is_proxied else description)
    kind = full.lower()
    if kind.startswith(_WITH_BACKLOG) and ":backlog=" not in kind:
        full += f":backlog={_BACKLOG}"
    try:
        endpoint = serverFromString(_Listener(reactor), full)
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, LookupError):
            reason = "there is no such socket, or the description lacks an argument"
        raise ConfigError(f"{setting}: {description!r} cannot be used: {reason}") from None
    if description.lower().startswith("ssl:") and _has_expired(description):
        _log.error(
            "{setting}: the certificate of {endpoint} has expired",
            event="certificate-expired",
            setting=setting,
            endpoint=description,
        )
    if is_proxied:
        return ProxiedEndpoint(endpoint, Networks(config.trusted_proxy), reactor)
    return endpoint


class _Listener:
    """A reactor for endpoints: it is more careful when it binds some kinds of ports."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **more: Any) -> Any:
        """Listen with the cipher suites that the ports of ``tls-port`` have."""
        contextFactory.getContext().set_cipher_list(CIPHERS.encode())
        return self._reactor.listenSSL(port, factory, contextFactory, **more)

    def listenUNIX(self, address: str, factory: Any, **more: Any) -> Any:
        """Listen, also if the socket of a dead process is in the way."""
        remove_dead_socket(address)
        return self._reactor.listenUNIX(address, factory, **more)


class _Recorder:
    """A reactor that binds nothing: it takes the options of a port with TLS."""

    options: Any = None

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **_: Any) -> None:
        """Keep the options. The endpoint calls this."""
        self.options = contextFactory


def _has_expired(description: str) -> bool:
    """Tell whether the certificate of an ``ssl:`` description has expired."""
    # The endpoint shows its certificate only to its reactor.
    recorder = _Recorder()
    serverFromString(recorder, description).listen(Factory())
    options = recorder.options
    return options is not None and options.certificate.has_expired()


def bind_error(error: Exception) -> str:
    """Return the line for a port that `PortEndpoint.listen` could not bind."""
    setting: str = getattr(error, "__notes__", [_PORT])[-1]
    if isinstance(error, CannotListenError):
        where = f"{error.interface or '*'}:{error.port}" if error.port else str(error.interface)
        reason = getattr(error.socketError, "strerror", None) or str(error.socketError)
        if getattr(error.socketError, "errno", None) == errno.EADDRINUSE:
            reason += ": another program listens there, perhaps another gateway"
        return f"{setting}: {where}: {reason}"
    return f"{setting}: {error}"


def _is_open(address: object) -> bool:
    """Tell whether other computers may reach a port at *address*."""
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return False
    # The address of a link has its name behind it.
    return not ip_address(address.host.partition("%")[0]).is_loopback


def shown_address(address: object) -> str:
    """Return the address of a port or a client in the form in which one would type it."""
    if isinstance(address, (IPv4Address, IPv6Address)):
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{host}:{address.port}"
    if isinstance(address, UNIXAddress):
        return f"unix:{os.fsdecode(address.name or b'')}"
    return repr(address)
