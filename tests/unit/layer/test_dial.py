"""Tests for `wsredis.layer.dial`, with a server of a few answers."""

from __future__ import annotations

import socket
import threading
from typing import Any

import hiredis
from twisted.trial.unittest import SynchronousTestCase

from wsredis.layer.dial import dial
from wsredis.layer.hosts import Host, read_hosts


class _Server:
    """Answers each connection from a list, and remembers the commands."""

    def __init__(self, case: SynchronousTestCase, *replies: bytes) -> None:
        self.commands: list[list[bytes]] = []
        self._replies = replies
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        case.addCleanup(self.stop)

    def stop(self) -> None:
        """End it."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                reader = hiredis.Reader()
                replies = iter(self._replies)
                while data := connection.recv(1000):
                    reader.feed(data)
                    while (command := reader.gets()) is not False:
                        self.commands.append(command)
                        connection.sendall(next(replies, b"+OK\r\n"))


def host(entry: Any) -> Host:
    """Read one host."""
    return read_hosts([entry])[0]


class DialTests(SynchronousTestCase):
    """Connecting."""

    def test_plain(self) -> None:
        """Without a login it only looks whether Redis answers; the socket does not block."""
        server = _Server(self)
        connection = dial(host(server.address))
        self.addCleanup(connection.close)
        self.assertEqual([[b"PING"]], server.commands)
        self.assertFalse(connection.getblocking())

    def test_login(self) -> None:
        """User and password, then the database, then the name."""
        server = _Server(self)
        entry = {"username": "joe", "password": "secret", "db": 3, "client_name": "web"}
        dial(host({"host": "127.0.0.1", "port": server.address[1], **entry})).close()
        expected = [
            [b"AUTH", b"joe", b"secret"],
            [b"SELECT", b"3"],
            [b"CLIENT", b"SETNAME", b"web"],
            [b"PING"],
        ]
        self.assertEqual(expected, server.commands)

    def test_provider(self) -> None:
        """A credential provider is asked for each connection."""

        class Provider:
            """Another password each time."""

            number = 0

            def get_credentials(self) -> tuple[str, ...]:
                """Return it."""
                self.number += 1
                return (f"secret-{self.number}",)

        server = _Server(self)
        entry = {"host": "127.0.0.1", "port": server.address[1]}
        chosen = host({**entry, "credential_provider": Provider()})
        for _ in range(2):
            dial(chosen).close()
        self.assertEqual([b"AUTH", b"secret-2"], server.commands[2])

    def test_refused(self) -> None:
        """A refusal of Redis is an OSError that names the command, and shows no password."""
        server = _Server(self, b"-WRONGPASS invalid username-password pair\r\n")
        entry = {"host": "127.0.0.1", "port": server.address[1], "password": "secret"}
        error = self.assertRaises(OSError, dial, host(entry))
        self.assertEqual("AUTH: WRONGPASS invalid username-password pair", str(error))

    def test_loading(self) -> None:
        """A Redis that reads its files is not there yet."""
        server = _Server(self, b"-LOADING Redis is loading the dataset in memory\r\n")
        self.assertRaises(OSError, dial, host(server.address))

    def test_nobody(self) -> None:
        """Nobody listens, on a port or a path."""
        closed = socket.create_server(("127.0.0.1", 0))
        address = closed.getsockname()
        closed.close()
        for entry in (address, {"path": "/nothing/redis.sock"}):
            self.assertRaises(OSError, dial, host(entry))

    def test_tls_file(self) -> None:
        """A certificate that is not there is an OSError, and the connection is closed."""
        server = _Server(self)
        entry = {"host": "127.0.0.1", "port": server.address[1], "ssl": True}
        self.assertRaises(OSError, dial, host({**entry, "ssl_ca_certs": "/nothing.pem"}))


class SentinelTests(SynchronousTestCase):
    """Asking Sentinels."""

    def sentinels(self, *addresses: tuple[str, int]) -> Host:
        """A host that these Sentinels know."""
        return host({"sentinels": list(addresses), "master_name": "mymaster", "db": 1})

    def test_master(self) -> None:
        """A Sentinel tells where the master is; one that is down or ignorant is passed over."""
        master = _Server(self)
        port = b"%d" % master.address[1]
        answer = b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(port), port)
        ignorant = _Server(self, b"+PONG\r\n", b"*-1\r\n")
        knowing = _Server(self, b"+PONG\r\n", answer)
        down = ("127.0.0.1", 1)
        for _ in range(5):
            dial(self.sentinels(down, ignorant.address, knowing.address)).close()
        self.assertEqual([b"SELECT", b"1"], master.commands[0])
        question = [b"SENTINEL", b"get-master-addr-by-name", b"mymaster"]
        self.assertEqual(question, knowing.commands[1])

    def test_nobody_knows(self) -> None:
        """If none knows, the error has the reasons of all."""
        ignorant = _Server(self, b"+PONG\r\n", b"*-1\r\n")
        error = self.assertRaises(OSError, dial, self.sentinels(("127.0.0.1", 1), ignorant.address))
        self.assertIn("no Sentinel knows 'mymaster'", str(error))
        self.assertIn("it does not know the name", str(error))
        self.assertIn("refused", str(error))
