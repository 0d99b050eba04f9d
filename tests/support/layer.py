"""A Redis in memory for channel layers, and carriers to it."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import hiredis
from twisted.trial.unittest import SynchronousTestCase

from wsredis.config.redis_url import RedisTarget
from wsredis.layer import ChannelLayer, LayerUnavailable
from wsredis.layer.carrier import Carrier, Command, Done, Sink, register
from wsredis.layer.scripts import PUSH, PUT_BACK

__all__ = ["Error", "LayerCase", "MemoryCarrier", "MemoryRedis", "SocketRedis", "run"]

_T = TypeVar("_T")


class Error(Exception):
    """An error reply."""


class MemoryRedis:
    """
    One Redis. It does what a layer asks for, at once, and refuses everything else.

    Attributes:
        now: Its time in seconds.
        away: Whether nobody can reach it.
        refuse: Commands that it refuses, and the text.
        lists, sets: The values of its keys.
        commands: All that were executed.
        carriers: Those who are connected.
    """

    def __init__(self) -> None:
        self.now = 1000.0
        self.away = False
        self.refuse: dict[bytes, str] = {}
        self.lists: dict[bytes, list[bytes]] = {}
        self.sets: dict[bytes, dict[bytes, float]] = {}
        self.commands: list[tuple[bytes, ...]] = []
        self.carriers: list[MemoryCarrier] = []
        self.scripts: set[str] = set()

    def execute(self, command: Command) -> Any:
        """Execute one command. Returns: The reply, an exception for an error."""
        words = tuple(each if isinstance(each, bytes) else str(each).encode() for each in command)
        self.commands.append(words)
        name, *args = words
        if name in self.refuse:
            return Error(self.refuse[name])
        return getattr(self, f"_{name.decode().lower()}")(*args)

    def names(self) -> list[bytes]:
        """The names of the commands that were executed; what was executed is forgotten."""
        names = [words[0] for words in self.commands]
        self.commands.clear()
        return names

    def _publish(self, channel: bytes, payload: bytes) -> int:
        found = [each for each in self.carriers if channel in each.counts]
        for carrier in found:
            carrier.sink.heard(channel, payload)
        return len(found)

    def _evalsha(self, digest: bytes, keys: bytes, *args: bytes) -> Any:
        if digest.decode() not in self.scripts:
            return Error("NOSCRIPT No matching script. Please use EVAL.")
        text = PUSH.text if digest.decode() == PUSH.digest else PUT_BACK.text
        return self._eval(text.encode(), keys, *args)

    def _eval(self, text: bytes, keys: bytes, key: bytes, *args: bytes) -> Any:
        assert keys == b"1"
        script = next(each for each in (PUSH, PUT_BACK) if each.text.encode() == text)
        self.scripts.add(script.digest)
        queue = self.lists.setdefault(key, [])
        if script is PUT_BACK:
            entry, _, bell = args
            queue.insert(0, entry)
            self._publish(bell, b"")
            return 1
        capacity, lifetime, bell, *payloads = args
        while queue and int(queue[0][:13]) <= self.now * 1000:
            queue.pop(0)
        room = max(0, int(capacity) - len(queue))
        was_empty = not queue
        deadline = self.now * 1000 + int(lifetime)
        queue += [b"%013d%s" % (deadline, payload) for payload in payloads[:room]]
        if was_empty and queue:
            self._publish(bell, b"1")
        return min(room, len(payloads))

    def _lpop(self, key: bytes) -> bytes | None:
        queue = self.lists.get(key)
        return queue.pop(0) if queue else None

    def _llen(self, key: bytes) -> int:
        return len(self.lists.get(key, []))

    def _time(self) -> list[bytes]:
        return [b"%d" % self.now, b"%d" % (self.now % 1 * 1e6)]

    def _zadd(self, key: bytes, score: bytes, member: bytes) -> int:
        self.sets.setdefault(key, {})[member] = float(score)
        return 1

    def _zrem(self, key: bytes, member: bytes) -> int:
        return int(self.sets.get(key, {}).pop(member, None) is not None)

    def _zrangebyscore(self, key: bytes, least: bytes, most: bytes) -> list[bytes]:
        assert least[:1] == b"(" and most == b"+inf"
        return [each for each, score in self.sets.get(key, {}).items() if score > float(least[1:])]

    def _expire(self, key: bytes, seconds: bytes) -> int:
        assert int(seconds) > 0
        return int(key in self.sets)

    def _scan(self, cursor: bytes, _: bytes, pattern: bytes, __: bytes, ___: bytes) -> list[Any]:
        import re

        expression = re.escape(pattern.replace(b"\\", b"")).replace(b"\\*", b".*")
        keys = [each for each in {**self.lists, **self.sets} if re.fullmatch(expression, each)]
        # In two parts, as a large Redis does.
        half = len(keys) // 2
        return [b"7", keys[:half]] if cursor == b"0" else [b"0", keys[half:]]

    def _del(self, *keys: bytes) -> int:
        for key in keys:
            self.lists.pop(key, None)
            self.sets.pop(key, None)
        return len(keys)


class MemoryCarrier:
    """
    A `Carrier` to a `MemoryRedis`.

    Attributes:
        counts: The channels that are heard, and how many times.
        held: If it is a list, calls wait there, as on a slow network.
    """

    def __init__(self, server: MemoryRedis, sink: Sink) -> None:
        self.server = server
        self.sink = sink
        self.counts: dict[bytes, int] = {}
        self.held: list[Callable[[], None]] | None = None
        self.is_closed = False
        server.carriers.append(self)

    def call(self, commands: Sequence[Command], done: Done) -> None:
        """See `Carrier`."""
        if self.server.away:
            done(LayerUnavailable("away"))
            return

        def answer() -> None:
            done([self.server.execute(command) for command in commands])

        if self.held is None:
            answer()
        else:
            self.held.append(answer)

    def release(self) -> None:
        """Let the calls that wait arrive."""
        held, self.held = self.held, None
        for answer in held or ():
            answer()

    def subscribe(self, channel: bytes, done: Callable[[Exception | None], None]) -> None:
        """See `Carrier`."""
        self.counts[channel] = self.counts.get(channel, 0) + 1
        done(LayerUnavailable("away") if self.server.away else None)

    def unsubscribe(self, channel: bytes) -> None:
        """See `Carrier`."""
        self.counts[channel] -= 1
        if not self.counts[channel]:
            del self.counts[channel]

    def close(self) -> None:
        """See `Carrier`."""
        self.is_closed = True
        self.counts.clear()


class SocketRedis:
    """
    A `MemoryRedis` at the other end of sockets, with a thread for each.

    Attributes:
        down: Whether it refuses connections.
        accepted: Number of connections since the beginning.
        refuse: Channels that nobody may hear.
    """

    def __init__(self) -> None:
        self.server = MemoryRedis()
        self.down = False
        self.accepted = 0
        self.refuse: set[bytes] = set()
        self._lock = threading.RLock()
        self._sessions: list[_Session] = []

    def dial(self, host: object) -> socket.socket:
        """Connect."""
        if self.down:
            raise ConnectionRefusedError("nobody listens")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with self._lock:
            self.accepted += 1
            self._sessions.append(_Session(self, theirs))
        return ours

    def freeze(self) -> None:
        """Answer no more on the connections that there are."""
        with self._lock:
            for session in self._sessions:
                session.is_frozen = True

    def kill(self) -> None:
        """End all connections."""
        with self._lock:
            sessions, self._sessions = self._sessions, []
            self.server.carriers.clear()
        for session in sessions:
            session.close()

    def take(self, session: _Session, command: list[bytes]) -> list[bytes]:
        """Execute a command. Returns: The replies."""
        with self._lock:
            if session.is_frozen:
                return []
            name, *args = command
            if name == b"PING":
                return [b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"]
            if name in (b"SUBSCRIBE", b"UNSUBSCRIBE"):
                if self.refuse.intersection(args):
                    return [b"-NOPERM this user has no permissions\r\n"]
                return [session.change(name, channel) for channel in args]
            return [_encode(self.server.execute(tuple(command)))]


class _Session:
    """One connection. It hears publications as a `MemoryCarrier` does."""

    def __init__(self, owner: SocketRedis, connection: socket.socket) -> None:
        self.counts: dict[bytes, int] = {}
        self.sink = self
        self.is_frozen = False
        self._owner = owner
        self._socket = connection
        owner.server.carriers.append(self)  # type: ignore[arg-type]
        threading.Thread(target=self._serve, daemon=True).start()

    def heard(self, channel: bytes, payload: bytes) -> None:
        """Send a publication to the client."""
        self._send(_encode([b"message", channel, payload]))

    def change(self, verb: bytes, channel: bytes) -> bytes:
        """Hear a channel, or hear it no more. Returns: The confirmation."""
        if verb == b"SUBSCRIBE":
            self.counts[channel] = 1
        else:
            self.counts.pop(channel, None)
        return _encode([verb.lower(), channel, len(self.counts)])

    def close(self) -> None:
        """End the connection."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def _serve(self) -> None:
        reader = hiredis.Reader()
        with self._socket:
            while data := self._receive():
                reader.feed(data)
                while (command := reader.gets()) is not False:
                    self._send(b"".join(self._owner.take(self, command)))

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError:
            pass


def _encode(reply: Any) -> bytes:
    if isinstance(reply, Exception):
        return f"-{reply}\r\n".encode()
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(_encode, reply))
    return b"$%d\r\n%s\r\n" % (len(reply), reply)


class LayerCase(SynchronousTestCase):
    """
    A test with layers on a Redis in memory.

    Attributes:
        redis: The Redis of each host, by its port.
    """

    def setUp(self) -> None:
        """Let all layers use carriers to a Redis in memory."""
        self.servers: dict[int | None, MemoryRedis] = {}
        self.redis = self.server(6379)
        self.addCleanup(register(self._carrier))
        log, quiet = logging.getLogger("wsredis.layer"), logging.NullHandler()
        log.addHandler(quiet)
        log.propagate = False
        self.addCleanup(setattr, log, "propagate", True)
        self.addCleanup(log.removeHandler, quiet)

    def server(self, port: int) -> MemoryRedis:
        """Return the Redis of a port."""
        return self.servers.setdefault(port, MemoryRedis())

    def _carrier(self, target: RedisTarget, sink: Sink) -> Carrier:
        assert target.port is not None
        return MemoryCarrier(self.server(target.port), sink)

    def layer(self, **config: Any) -> ChannelLayer:
        """Make a layer."""
        return ChannelLayer(**config)


def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """Run a coroutine in a loop of its own. It fails if it waits for what nobody brings."""
    return asyncio.run(asyncio.wait_for(coroutine, 10))
