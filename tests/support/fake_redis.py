"""
A Redis in memory that speaks RESP2, and refuses what the real one refuses.

It is joined to a link of ours by an endpoint in place of a socket. Bytes move only in
`FakeRedis.pump`, so that a test decides what crosses what on the way. What it answers is compared
with the answers of a real server in tests/contract/test_fake_redis.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import hiredis
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import (
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from wsredis.brokers.redis.url import Target

__all__ = ["FakeRedis", "FakeTarget", "Session"]

_WHILE_SUBSCRIBED = (b"SUBSCRIBE", b"UNSUBSCRIBE", b"PING")
_WHILE_LOADING = (b"AUTH", b"SELECT", b"SUBSCRIBE", b"UNSUBSCRIBE", b"PUBLISH")
_DATABASES = 16


def _error(text: str) -> bytes:
    return b"-%s\r\n" % text.encode()


def _bulk(value: bytes | None) -> bytes:
    return b"$-1\r\n" if value is None else b"$%d\r\n%s\r\n" % (len(value), value)


def _array(*parts: bytes) -> bytes:
    return b"*%d\r\n%s" % (len(parts), b"".join(parts))


def _integer(number: int) -> bytes:
    return b":%d\r\n" % number


_OK = b"+OK\r\n"


class FakeRedis:
    """
    One server; connect with `target`.

    Attributes:
        users: Passwords by user. Empty: nobody needs to log in.
        forbidden: Channels that nobody may subscribe to or publish on.
        refuse: Errors by command (in capitals), in place of an answer.
        loading: It reads its data set, as after a start.
        max_clients: Further connections are refused.
        down: Nobody listens.
        frozen: It stays connected, reads and answers nothing.
        databases: Values by key, for each database. A value that is no bytes is of another type.
        sessions: The connections, in the order of their coming.
        accepted: How many there have been.
        commands: All that was executed or refused, without the connection.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self.users: dict[str, str] = {}
        self.forbidden: set[bytes] = set()
        self.refuse: dict[str, str] = {}
        self.loading = False
        self.max_clients = 10000
        self.down = False
        self.frozen = False
        self.databases: list[dict[bytes, object]] = [{} for _ in range(_DATABASES)]
        self.sessions: list[Session] = []
        self.accepted = 0
        self.commands: list[tuple[bytes, ...]] = []
        self._due: dict[tuple[int, bytes], float] = {}

    def target(self, **settings: Any) -> FakeTarget:
        """How to get here. Takes what `wsredis.brokers.redis.url.Target` takes."""
        return FakeTarget(**{"name": "redis://fake:6379", "path": "/fake", **settings}, server=self)

    def accept(self, factory: IProtocolFactory) -> Any:
        """A new connection. Returns: The client's protocol."""
        protocol: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        self.accepted += 1
        session = Session(self, protocol)
        self.sessions.append(session)
        if len(self.sessions) > self.max_clients:
            session.say(_error("ERR max number of clients reached"))
            session.hang_up = True
        protocol.makeConnection(session)
        return protocol

    def pump(self) -> None:
        """Move bytes until none is left on the way."""
        while sum(session.move() for session in list(self.sessions)):
            pass

    def kill(self) -> None:
        """Every connection is lost, with what is on the way."""
        for session in list(self.sessions):
            session.cut(ConnectionLost("killed"))

    def publish(self, channel: bytes, payload: bytes) -> int:
        """As PUBLISH. Returns: How many connections hear it."""
        heard = [session for session in self.sessions if channel in session.subscribed]
        for session in heard:
            session.say(_array(_bulk(b"message"), _bulk(channel), _bulk(payload)))
        return len(heard)

    def store(self, key: bytes, value: object, *, database: int = 0, expire: int = 3600) -> None:
        """As SETEX; *value* may be of another type than bytes."""
        self.databases[database][key] = value
        self._due[database, key] = self.clock.seconds() + expire

    def value(self, key: bytes, database: int = 0) -> bytes | None:
        """As GET, or what MGET says of this key."""
        if self._due.get((database, key), 0.0) <= self.clock.seconds():
            return None
        value = self.databases[database].get(key)
        return value if isinstance(value, bytes) else None

    def sent(self, *names: bytes) -> list[tuple[bytes, ...]]:
        """The commands of these names, in order."""
        return [words for words in self.commands if words[0] in names]


@implementer(ITransport)
class Session:
    """One connection: the transport of the client, and the client as the server sees it."""

    def __init__(self, server: FakeRedis, protocol: Any) -> None:
        self.hang_up = False
        self.subscribed: set[bytes] = set()
        self.no_delay = False
        self.aborted = False
        self._server = server
        self._protocol = protocol
        self._reader = hiredis.Reader()
        self._to_server = b""
        self._to_client = b""
        self._user: str | None = None
        self._database = 0
        self._closing = False
        self._gone = False
        self._paused = False

    def say(self, data: bytes) -> None:
        """Send bytes to the client, sense or nonsense; they arrive with the next pump."""
        self._to_client += data

    def move(self) -> bool:
        """Let what is on the way arrive. Returns: Whether there was anything."""
        if self._server.frozen or self._gone:
            return False
        to_server, self._to_server = self._to_server, b""
        if to_server and not self.hang_up:
            self._reader.feed(to_server)
            for words in iter(self._reader.gets, False):
                self.say(self._execute(tuple(words)))
        if self._paused:
            return bool(to_server)
        to_client, self._to_client = self._to_client, b""
        if to_client and not self._closing:
            self._protocol.dataReceived(to_client)
        if (self.hang_up or self._closing) and not self._gone:
            self.cut(ConnectionDone("closed"))
        return bool(to_server or to_client)

    def cut(self, reason: Exception) -> None:
        """The connection is gone."""
        if not self._gone:
            self._gone = True
            self._server.sessions.remove(self)
            self._protocol.connectionLost(Failure(reason))

    # -- ITransport and ITCPTransport, for the client

    def pauseProducing(self) -> None:
        """Hand nothing to the client."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Hand over what came meanwhile with the next pump."""
        self._paused = False

    def write(self, data: bytes) -> None:
        """Send to the server."""
        if not self._closing and not self._gone:
            self._to_server += data

    def writeSequence(self, data: Any) -> None:
        """Send to the server."""
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Close when all is written: a server that is frozen takes nothing."""
        self._closing = True
        if not self._to_server:
            self._server.clock.callLater(0, self.cut, ConnectionDone("closed"))

    def abortConnection(self) -> None:
        """Close at once."""
        self.aborted = True
        self._server.clock.callLater(0, self.cut, ConnectionLost("aborted"))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Remember it."""
        self.no_delay = enabled

    def getPeer(self) -> Any:
        """Nowhere."""
        return None

    def getHost(self) -> Any:
        """Nowhere."""
        return None

    # -- The commands

    def _execute(self, words: tuple[bytes, ...]) -> bytes:
        server = self._server
        server.commands.append(words)
        name = words[0].upper()
        if name == b"AUTH":
            return self._auth(*[word.decode() for word in words[1:]])
        if server.users and self._user is None:
            return _error("NOAUTH Authentication required.")
        if name.decode() in server.refuse:
            return _error(server.refuse[name.decode()])
        if server.loading and name not in _WHILE_LOADING:
            return _error("LOADING Redis is loading the dataset in memory")
        if self.subscribed and name not in _WHILE_SUBSCRIBED:
            return _error(
                f"ERR Can't execute '{name.decode().lower()}': only (P|S)SUBSCRIBE / "
                "(P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context"
            )
        command = self._commands().get(name)
        if command is None:
            return _error(f"ERR unknown command '{words[0].decode()}', with args beginning with: ")
        return command(*words[1:])

    def _commands(self) -> dict[bytes, Callable[..., bytes]]:
        return {
            b"PING": self._ping,
            b"SELECT": self._select,
            b"SETEX": self._setex,
            b"MGET": self._mget,
            b"PUBLISH": self._publish,
            b"SUBSCRIBE": self._subscribe,
            b"UNSUBSCRIBE": self._unsubscribe,
        }

    def _auth(self, *words: str) -> bytes:
        user, password = words if len(words) == 2 else ("default", words[0])
        users = self._server.users
        if not users and len(words) == 1:
            return _error(
                "ERR AUTH <password> called without any password configured for the default user. "
                "Are you sure your configuration is correct?"
            )
        if users.get(user, object()) != password:
            return _error("WRONGPASS invalid username-password pair or user is disabled.")
        self._user = user
        return _OK

    def _ping(self) -> bytes:
        return _array(_bulk(b"pong"), _bulk(b"")) if self.subscribed else b"+PONG\r\n"

    def _select(self, number: bytes) -> bytes:
        if int(number) >= _DATABASES:
            return _error("ERR DB index is out of range")
        self._database = int(number)
        return _OK

    def _setex(self, key: bytes, expire: bytes, value: bytes) -> bytes:
        self._server.store(key, value, database=self._database, expire=int(expire))
        return _OK

    def _mget(self, *keys: bytes) -> bytes:
        return _array(*[_bulk(self._server.value(key, self._database)) for key in keys])

    def _publish(self, channel: bytes, payload: bytes) -> bytes:
        if channel in self._server.forbidden:
            return self._no_permission()
        return _integer(self._server.publish(channel, payload))

    def _subscribe(self, *names: bytes) -> bytes:
        if not self._server.forbidden.isdisjoint(names):
            return self._no_permission()
        return b"".join(self._counted(b"subscribe", name, self.subscribed.add) for name in names)

    def _unsubscribe(self, *names: bytes) -> bytes:
        return b"".join(
            self._counted(b"unsubscribe", name, self.subscribed.discard) for name in names
        )

    def _counted(self, verb: bytes, name: bytes, change: Callable[[bytes], None]) -> bytes:
        change(name)
        return _array(_bulk(verb), _bulk(name), _integer(len(self.subscribed)))

    @staticmethod
    def _no_permission() -> bytes:
        return _error(
            "NOPERM this user has no permissions to access one of the channels used as arguments"
        )


@dataclass(frozen=True, slots=True)
class FakeTarget(Target):
    """The address of a `FakeRedis`."""

    server: FakeRedis | None = None

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """See `wsredis.brokers.redis.url.Target.endpoint`."""
        assert self.server is not None
        return _FakeEndpoint(self.server)


@implementer(IStreamClientEndpoint)
class _FakeEndpoint:
    def __init__(self, server: FakeRedis) -> None:
        self._server = server

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """Connect at once, or be refused at once."""
        if self._server.down:
            return fail(ConnectionRefusedError("nobody listens"))
        return succeed(self._server.accept(protocolFactory))
