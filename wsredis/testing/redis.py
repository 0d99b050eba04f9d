"""
A Redis in memory: it speaks RESP2, and refuses the commands that a real Redis refuses.

It is one module because each command changes the state of both its session and the server.

For tests of programs that publish with `wsredis.publisher.TwistedRedisPublisher`: neither a server
nor a socket is needed, and the test decides when bytes move and when time passes::

    clock = MemoryReactorClock()
    redis = FakeRedis(clock)
    publisher = TwistedRedisPublisher(
        facility="news", broadcast=True, connection=redis.endpoint(), reactor=clock
    )
    heard = publisher.publish_message("hello")
    redis.pump()
    assert redis.sent(b"PUBLISH") == [(b"PUBLISH", b"broadcast:news", b"hello")]

It knows the commands that wsredis sends: AUTH, SELECT, ROLE, PING, SCAN, SETEX, STRLEN,
TTL, TYPE, MGET, PUBLISH, SUBSCRIBE and UNSUBSCRIBE. Its answers are compared with those of a real
server in tests/contract/test_fake_redis.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from math import inf
from typing import Any

import hiredis
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import (
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
    ITCPTransport,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

__all__ = ["FakeRedis", "Session"]

_WHILE_SUBSCRIBED = (b"SUBSCRIBE", b"UNSUBSCRIBE", b"PING")
_WHILE_LOADING = (b"AUTH", b"SELECT", b"ROLE", b"SUBSCRIBE", b"UNSUBSCRIBE", b"PUBLISH")
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
    One server in memory. Connect to it with `endpoint`.

    Args:
        clock: Decides when stored values expire and when closed connections end; for example
            `twisted.internet.testing.MemoryReactorClock`.

    Attributes:
        users: Passwords by user. If empty, no login is needed.
        forbidden: Channels that no connection may subscribe to or publish on.
        refuse: Error texts by command (in capitals), which are answered in place of a reply.
        loading: Whether it still reads its data set, as after a start.
        replica: Whether it is the replica of another server.
        max_clients: The number of connections at a time; further ones are refused.
        down: Whether new connections are refused, as if no server were listening.
        frozen: Whether it neither reads nor answers, while connections stay open.
        tcp: Whether new connections look like TCP connections, not like those of a UNIX socket.
        databases: Values by key, for each database. A value that is not bytes is of another type.
        sessions: The connections, oldest first.
        accepted: The number of connections since the beginning.
        commands: All commands that were executed or refused, in order.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self.users: dict[str, str] = {}
        self.forbidden: set[bytes] = set()
        self.refuse: dict[str, str] = {}
        self.loading = False
        self.replica = False
        self.max_clients = 10000
        self.down = False
        self.frozen = False
        self.tcp = True
        self.databases: list[dict[bytes, object]] = [{} for _ in range(_DATABASES)]
        self.sessions: list[Session] = []
        self.accepted = 0
        self.commands: list[tuple[bytes, ...]] = []
        self._due: dict[tuple[int, bytes], float] = {}

    def endpoint(self) -> IStreamClientEndpoint:
        """Return an endpoint that leads here. It connects, or is refused, at once."""
        return _FakeEndpoint(self)

    def accept(self, factory: IProtocolFactory) -> Any:
        """
        Connect a client.

        Args:
            factory: Builds the protocol of the client.

        Returns:
            That protocol.
        """
        protocol: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        self.accepted += 1
        session = Session(self, protocol)
        self.sessions.append(session)
        if len(self.sessions) > self.max_clients:
            session.push(_error("ERR max number of clients reached"))
            session.hang_up = True
        protocol.makeConnection(session)
        return protocol

    def pump(self) -> None:
        """Move bytes between the clients and the server until none is on its way."""
        while sum(session.move() for session in list(self.sessions)):
            pass

    def kill(self) -> None:
        """Cut every connection. Bytes that are on their way are lost."""
        for session in list(self.sessions):
            session.cut(ConnectionLost("killed"))

    def publish(self, channel: bytes, payload: bytes) -> int:
        """
        Publish as another client would.

        Returns:
            The number of connections that hear it.
        """
        subscribers = [session for session in self.sessions if channel in session.subscribed]
        for session in subscribers:
            session.push(_array(_bulk(b"message"), _bulk(channel), _bulk(payload)))
        return len(subscribers)

    def store(
        self, key: bytes, value: object, *, database: int = 0, expire: int | None = 3600
    ) -> None:
        """
        Store a value as SETEX would.

        Args:
            value: The value. If it is not bytes, it stands for a value of another type.
            expire: Seconds that it is kept. If None, it does not expire.
        """
        self.databases[database][key] = value
        self._due[database, key] = inf if expire is None else self.clock.seconds() + expire

    def value(self, key: bytes, database: int = 0) -> bytes | None:
        """Return the stored value. If None, there is none, or it is of another type."""
        if self._due.get((database, key), 0.0) <= self.clock.seconds():
            return None
        value = self.databases[database].get(key)
        return value if isinstance(value, bytes) else None

    def time_to_live(self, key: bytes, database: int = 0) -> int:
        """Return the seconds that a key is kept: -1 if it does not expire, -2 if there is none."""
        left = self._due.get((database, key), 0.0) - self.clock.seconds()
        if left <= 0:
            return -2
        return -1 if left == inf else round(left)

    def append(self, key: bytes, position: bytes, *fields: bytes) -> None:
        """Append an entry to a stream, as XADD with a position would."""
        stream = self.databases[0].setdefault(key, [])
        assert isinstance(stream, list)
        stream.append((position, fields))

    def sent(self, *names: bytes) -> list[tuple[bytes, ...]]:
        """Return the commands of these names, in order."""
        return [args for args in self.commands if args[0] in names]


@implementer(ITransport)
class Session:
    """
    One connection: the transport of the client, and the client as the server sees it.

    Attributes:
        frozen: Whether the server neither reads nor answers on this connection.
        hang_up: Whether the server closes it after its last answer.
        subscribed: The channels of the client.
        no_delay: Whether the client has set TCP_NODELAY.
        aborted: Whether the client has aborted it.
    """

    def __init__(self, server: FakeRedis, protocol: Any) -> None:
        if server.tcp:
            directlyProvides(self, ITCPTransport)
        self.frozen = False
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

    @property
    def unread(self) -> int:
        """Bytes from the server that the client has not read yet."""
        return len(self._to_client)

    def push(self, data: bytes) -> None:
        """Send bytes to the client, valid or not. They arrive with the next `move`."""
        self._to_client += data

    def move(self) -> bool:
        """
        Let the bytes that are on their way arrive.

        Returns:
            Whether there were any.
        """
        if self._server.frozen or self.frozen or self._gone:
            return False
        to_server, self._to_server = self._to_server, b""
        if to_server and not self.hang_up:
            self._reader.feed(to_server)
            for args in iter(self._reader.gets, False):
                self.push(self._execute(tuple(args)))
        if self._paused:
            return bool(to_server)
        to_client, self._to_client = self._to_client, b""
        if to_client and not self._closing:
            self._protocol.dataReceived(to_client)
        if (self.hang_up or self._closing) and not self._gone:
            self.cut(ConnectionDone("closed"))
        return bool(to_server or to_client)

    def cut(self, reason: Exception) -> None:
        """End the connection. Harmless when it has ended already."""
        if not self._gone:
            self._gone = True
            self._server.sessions.remove(self)
            self._protocol.connectionLost(Failure(reason))

    # -- ITransport and ITCPTransport, for the client

    def pauseProducing(self) -> None:
        """Hand nothing to the client."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Hand over the bytes that came meanwhile with the next `move`."""
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
        """Return None: there is no address."""
        return None

    def getHost(self) -> Any:
        """Return None: there is no address."""
        return None

    # -- The commands

    def _execute(self, args: tuple[bytes, ...]) -> bytes:
        server = self._server
        server.commands.append(args)
        name = args[0].upper()
        if name == b"AUTH":
            return self._auth(*[arg.decode() for arg in args[1:]])
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
            return _error(f"ERR unknown command '{args[0].decode()}', with args beginning with: ")
        return command(*args[1:])

    def _commands(self) -> dict[bytes, Callable[..., bytes]]:
        return {
            b"PING": self._ping,
            b"SELECT": self._select,
            b"ROLE": self._role,
            b"SETEX": self._setex,
            b"SCAN": self._scan,
            b"STRLEN": self._strlen,
            b"TTL": self._ttl,
            b"TYPE": self._type,
            b"MGET": self._mget,
            b"TIME": self._time,
            b"XADD": self._xadd,
            b"XRANGE": self._xrange,
            b"PUBLISH": self._publish,
            b"SUBSCRIBE": self._subscribe,
            b"UNSUBSCRIBE": self._unsubscribe,
        }

    def _auth(self, *args: str) -> bytes:
        user, password = args if len(args) == 2 else ("default", args[0])
        users = self._server.users
        if not users and len(args) == 1:
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

    def _role(self) -> bytes:
        if self._server.replica:
            host, state = _bulk(b"192.0.2.1"), _bulk(b"connected")
            return _array(_bulk(b"slave"), host, _integer(6379), state, _integer(0))
        return _array(_bulk(b"master"), _integer(0), _array())

    def _setex(self, key: bytes, expire: bytes, value: bytes) -> bytes:
        if self._server.replica:
            return _error("READONLY You can't write against a read only replica.")
        self._server.store(key, value, database=self._database, expire=int(expire))
        return _OK

    def _scan(self, cursor: bytes, _match: bytes, pattern: bytes, _: bytes, count: bytes) -> bytes:
        names = list(self._server.databases[self._database])
        end = int(cursor) + int(count)
        # A backslash takes the meaning of the next character away, where ``fnmatch`` has brackets.
        plain = re.sub(rb"\\(.)", rb"[\1]", pattern).decode()
        found = [
            _bulk(name)
            for name in names[int(cursor) : end]
            if fnmatchcase(name.decode("latin-1"), plain)
        ]
        return _array(_bulk(b"%d" % (end if end < len(names) else 0)), _array(*found))

    def _strlen(self, key: bytes) -> bytes:
        if self._kind(key) == b"list":
            return _error("WRONGTYPE Operation against a key holding the wrong kind of value")
        return _integer(len(self._server.value(key, self._database) or b""))

    def _ttl(self, key: bytes) -> bytes:
        return _integer(self._server.time_to_live(key, self._database))

    def _type(self, key: bytes) -> bytes:
        return b"+%s\r\n" % self._kind(key)

    def _kind(self, key: bytes) -> bytes:
        if self._server.time_to_live(key, self._database) == -2:
            return b"none"
        value = self._server.databases[self._database][key]
        return b"string" if isinstance(value, bytes) else b"list"

    def _mget(self, *keys: bytes) -> bytes:
        return _array(*[_bulk(self._server.value(key, self._database)) for key in keys])

    def _time(self) -> bytes:
        seconds, fraction = divmod(self._server.clock.seconds(), 1)
        return _array(_bulk(b"%d" % seconds), _bulk(b"%d" % (fraction * 1e6)))

    def _xadd(self, key: bytes, position: bytes, *fields: bytes) -> bytes:
        self._server.append(key, position, *fields)
        return _bulk(position)

    def _xrange(self, key: bytes, start: bytes, end: bytes, word: bytes, count: bytes) -> bytes:
        first = [0, 0] if start == b"-" else [int(each) for each in start.split(b"-")]
        stream: Any = self._server.databases[self._database].get(key, [])
        found = [each for each in stream if [int(part) for part in each[0].split(b"-")] >= first]
        return _array(
            *(
                _array(_bulk(position), _array(*map(_bulk, fields)))
                for position, fields in found[: int(count)]
            )
        )

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


@implementer(IStreamClientEndpoint)
class _FakeEndpoint:
    def __init__(self, server: FakeRedis) -> None:
        self._server = server

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:
        """See `IStreamClientEndpoint`."""
        if self._server.down:
            return fail(ConnectionRefusedError("no server is listening"))
        return succeed(self._server.accept(protocolFactory))
