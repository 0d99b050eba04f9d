"""The Redis in memory answers as the real one does, byte for byte."""

from __future__ import annotations

import socket
from typing import Any

import hiredis
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from tests.support.children import RedisServer
from tests.support.require import missing
from wsredis.testing.redis import FakeRedis

_Args = tuple[str | bytes, ...]


class _Listening(Protocol):
    """Keeps the bytes that arrive."""

    received = b""

    def dataReceived(self, data: bytes) -> None:
        self.received += data


def _code(error: str) -> str:
    """The first word of an error; the others differ from release to release."""
    return error.split(" ", 1)[0]


class _Case(SynchronousTestCase):
    """One script of commands, over both."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Start both."""
        self.real = RedisServer()
        self.addCleanup(self.real.stop)
        self.fake = FakeRedis(MemoryReactorClock())

    def _really(self, commands: tuple[_Args, ...]) -> list[Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(self.real.path)
            connection.sendall(b"".join(hiredis.pack_command(args) for args in commands))
            connection.shutdown(socket.SHUT_WR)
            data = b"".join(iter(lambda: connection.recv(65536), b""))
        return self._replies(data)

    def _in_memory(self, commands: tuple[_Args, ...]) -> list[Any]:
        client = self.fake.accept(Factory.forProtocol(_Listening))
        for args in commands:
            client.transport.write(hiredis.pack_command(args))
        self.fake.pump()
        client.transport.loseConnection()
        return self._replies(client.received)

    @staticmethod
    def _replies(data: bytes) -> list[Any]:
        reader = hiredis.Reader(replyError=_code)
        reader.feed(data)
        replies = []
        # Compared by identity, since 0 is an answer.
        while (reply := reader.gets()) is not False:
            replies.append(reply)
        return replies

    def same(self, *commands: _Args) -> list[Any]:
        """Both answer the same, and answer at all."""
        real = self._really(commands)
        self.assertEqual(real, self._in_memory(commands))
        self.assertGreaterEqual(len(real), len(commands))
        return real


class AnswerTests(_Case):
    """The commands that wsredis sends get the same answers."""

    def test_plain_commands(self) -> None:
        """Commands, publish, fetch, select, ping."""
        self.same(
            ("PING",),
            ("SETEX", "a", "60", b"\xff\x00"),
            ("PUBLISH", "a", "x"),
            ("MGET", "a", "missing"),
            ("STRLEN", "a"),
            ("STRLEN", "missing"),
            ("TTL", "a"),
            ("TTL", "missing"),
            ("TYPE", "a"),
            ("TYPE", "missing"),
            ("SELECT", "3"),
            ("MGET", "a"),
            ("SELECT", "16"),
            ("ROLE",),
            ("SCAN", "0", "MATCH", "[xa]*", "COUNT", "1000"),
            ("NOSUCH",),
        )

    def test_streams(self) -> None:
        """The entries of a stream, from the beginning or from one that is known."""
        self.same(
            ("XADD", "log", "5-1", "command", "a"),
            ("XADD", "log", "5-2", "command", "b", "by", "c"),
            ("XADD", "log", "40-0", "command", "d"),
            ("XRANGE", "log", "-", "+", "COUNT", "2"),
            ("XRANGE", "log", "5-2", "+", "COUNT", "10"),
            ("XRANGE", "missing", "-", "+", "COUNT", "10"),
            ("MGET", "log"),
        )

    def test_subscribe_mode(self) -> None:
        """Names one by one, messages in between, and commands that are not allowed meanwhile."""
        self.same(
            ("SUBSCRIBE", "a", "b", "a"),
            ("PING",),
            ("PUBLISH", "a", "x"),
            ("MGET", "a"),
            ("UNSUBSCRIBE", "b", "zz"),
            ("UNSUBSCRIBE", "a"),
            ("PING",),
        )

    def test_login(self) -> None:
        """HandshakeRejected before, wrong, right, and with a user."""
        self.real.command("ACL", "SETUSER", "default", ">pw")
        self.fake.users = {"default": "pw"}
        self.same(
            ("PING",),
            ("AUTH", "wrong"),
            ("SUBSCRIBE", "a"),
            ("AUTH", "nobody", "pw"),
            ("AUTH", "pw"),
            ("AUTH", "default", "pw"),
            ("PING",),
        )

    def test_login_without_need(self) -> None:
        """A password for a server that has none."""
        self.same(("AUTH", "pw"), ("PING",))

    def test_forbidden_channels(self) -> None:
        """One forbidden name refuses the whole SUBSCRIBE; other commands go on."""
        self.real.command("ACL", "SETUSER", "default", "resetchannels", "&ok*")
        self.fake.forbidden = {b"no"}
        replies = self.same(
            ("SUBSCRIBE", "ok1", "no"), ("PUBLISH", "no", "x"), ("SUBSCRIBE", "ok1")
        )
        self.assertTrue(replies[0].startswith("NOPERM"), replies)

    def test_key_of_another_type(self) -> None:
        """MGET passes over a value that is not a string."""
        self.real.command("LPUSH", "list", "x")
        self.fake.store(b"list", ["x"], expire=None)
        self.same(("MGET", "list", "a"), ("STRLEN", "list"), ("TTL", "list"), ("TYPE", "list"))
