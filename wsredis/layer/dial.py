"""
Connecting to Redis, in a thread that may block: name, TCP, TLS, login, database.

The socket that comes out belongs to no event loop, so it outlives the one that asked for it.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from typing import Any

import hiredis

from wsredis.config.redis_url import error_text
from wsredis.errors import ConfigError
from wsredis.layer.hosts import Host

__all__ = ["Dial", "dial", "dialled_socket"]

#: Connects, or raises `OSError`.
Dial = Callable[[Host], socket.socket]


def dial(host: Host) -> socket.socket:
    """
    Connect and log in.

    Returns: A socket that does not block.
    Raises:
        OSError: It failed. The text shows no password.
    """
    if not host.sentinels:
        return dialled_socket(host, _address(host))
    return dialled_socket(host, _ask_sentinels(host))


def dialled_socket(host: Host, address: tuple[str, int] | str) -> socket.socket:
    """Connect to *address* with the login of *host*. See `dial`."""
    connection = _open(host, address)
    try:
        for command in _greeting(host):
            _ask(connection, command)
        connection.setblocking(False)
    except BaseException:
        connection.close()
        raise
    return connection


def _address(host: Host) -> tuple[str, int] | str:
    target = host.target
    if target.path is not None:
        return target.path
    assert target.host is not None and target.port is not None
    return target.host, target.port


def _open(host: Host, address: tuple[str, int] | str) -> socket.socket:
    if isinstance(address, str):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(host.connect_timeout)
        try:
            connection.connect(address)
        except BaseException:
            connection.close()
            raise
    else:
        connection = socket.create_connection(address, host.connect_timeout)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if host.context is not None:
        try:
            context = host.context()
            connection = context.wrap_socket(
                connection, server_hostname=address[0] if isinstance(address, tuple) else None
            )
        except BaseException:
            connection.close()
            raise
    return connection


def _greeting(host: Host) -> list[tuple[str | int, ...]]:
    target = host.target
    commands: list[tuple[str | int, ...]] = []
    if host.credentials is not None:
        commands.append(("AUTH", *host.credentials()))
    else:
        try:
            password = target.current_password()
        except ConfigError as error:
            raise ConnectionError(str(error)) from None
        if password is not None:
            user = () if target.username is None else (target.username,)
            commands.append(("AUTH", *user, password))
    if target.database:
        commands.append(("SELECT", target.database))
    if host.client_name:
        commands.append(("CLIENT", "SETNAME", host.client_name))
    # Otherwise a Redis that reads its files, or wants a password, would be found too late.
    commands.append(("PING",))
    return commands


def _ask(connection: socket.socket, command: tuple[str | int, ...]) -> Any:
    connection.sendall(hiredis.pack_command(command))
    reader = hiredis.Reader()
    while True:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError("Redis has closed the connection")
        reader.feed(data)
        reply = reader.gets()
        if reply is not False:
            break
    if isinstance(reply, Exception):
        raise ConnectionError(f"{command[0]}: {error_text(reply)}")
    return reply


def _ask_sentinels(host: Host) -> tuple[str, int]:
    errors = []
    # Not all processes lean on the first one.
    for sentinel in random.sample(host.sentinels, len(host.sentinels)):
        try:
            connection = dialled_socket(sentinel, _address(sentinel))
        except OSError as error:
            errors.append(str(error))
            continue
        try:
            connection.settimeout(sentinel.timeout)
            reply = _ask(connection, ("SENTINEL", "get-master-addr-by-name", host.master_name))
        except OSError as error:
            errors.append(str(error))
            continue
        finally:
            connection.close()
        if reply:
            return reply[0].decode(), int(reply[1])
        errors.append("it does not know the name")
    raise ConnectionError(f"no Sentinel knows {host.master_name!r}: {'; '.join(errors)}")
