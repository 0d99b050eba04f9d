"""
The Redis protocol (RESP2) on one connection: commands go out, replies and publications come in.

Replies are matched with the commands in the order of sending; publications, which Redis pushes
without being asked, are kept apart. Logging in, watching for silence and connecting again are the
business of the owner.

It is one module because replies, publications and pauses are told apart in the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import hiredis
import txredisapi
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from wsredis.config.redis_url import error_text
from wsredis.gateway.publication import Publication

__all__ = [
    "InvalidReply",
    "NoReply",
    "NotServing",
    "Pipeline",
    "ProtocolOwner",
    "RedisFactory",
    "RedisProtocol",
    "Reply",
    "ReplyHandler",
    "check_pong",
    "unexpected",
]

#: One reply as hiredis returns it. An error reply is a `txredisapi.ResponseError` as a value, and
#: a reply that will never come is a `NoReply`.
Reply = Any

#: The reader says so when it has no whole reply. Its own word is False, which equals a 0.
_NOTHING = object()

#: Bytes that the reader is fed at a time: it moves all that is left for each KiB that it parses.
_PIECE = 8192

#: Bytes of a read that may have left some in the kernel, and how many of them follow each other
#: before the reactor looks after clients and timers.
_FULL = 65536
_READS = 16

#: Characters of an error that go into one line of the log.
_SHOWN = 80

#: Called with each reply to a command until it returns True: that was the last one.
ReplyHandler = Callable[[Reply], bool]


class InvalidReply(Exception):
    """Redis sent bytes that are not RESP2, or a reply without a command."""


class NotServing(InvalidReply):
    """Redis refuses a command for now that has nothing to do with the command."""


class NoReply(Exception):
    """The connection was lost before the reply: the command was executed or not."""


class Pipeline:
    """
    The replies to several commands that are sent together, one reply each.

    Attributes:
        remaining: The number of replies that have not come yet.
    """

    __slots__ = ("remaining",)

    def __init__(self) -> None:
        self.remaining = 0

    def take(self, replies: Sequence[Reply]) -> None:
        """
        Take the next replies, at most as many as are `remaining`, and count them off.

        Args:
            replies: All `NoReply` if the connection was lost.
        """
        raise NotImplementedError


class ProtocolOwner(Protocol):
    """The port through which a `RedisProtocol` notifies its owner."""

    def connection_made(self, protocol: RedisProtocol) -> None:
        """The transport is connected; nothing has been sent."""

    def protocol_failed(self, protocol: RedisProtocol, error: Exception) -> None:
        """
        Reading failed; the replies that follow can no longer be matched with commands.

        Args:
            error: `InvalidReply`, or an exception of a reply handler or of the delivery.
        """

    def connection_lost(self, protocol: RedisProtocol, reason: Failure) -> None:
        """The transport is gone. Handlers that wait for a reply get `NoReply` after this."""


class RedisProtocol(txredisapi.SubscriberProtocol):  # type: ignore[misc]
    """
    One connection to Redis.

    Args:
        max_reply: Largest size of one reply, or of one value in a reply with several, in bytes. A
            larger one is an `InvalidReply`.
        deliver: Called with the publications of one read, in order. If None, this connection does
            not subscribe, and a reply that looks like a publication is a reply.

    Attributes:
        bytes_arrived: Set to True by every read.
        reply_arrived: Set to True by every complete reply and publication.
        is_paused: Whether nothing is read; see `pause`.
    """

    def __init__(
        self,
        owner: ProtocolOwner,
        max_reply: int,
        deliver: Callable[[Sequence[Publication]], None] | None = None,
    ) -> None:
        super().__init__(charset=None, convertNumbers=False)
        self._owner = owner
        self._reader = hiredis.Reader(
            protocolError=InvalidReply,
            replyError=txredisapi.ResponseError,
            notEnoughData=_NOTHING,
        )
        self._max_reply = max_reply
        self._deliver = deliver
        #: Bytes of a reply that is not complete yet.
        self._incomplete = 0
        #: Replies and publications that were parsed, and are not handed over yet.
        self._parsed: deque[Reply] = deque()
        #: The handler of each unanswered command or pipeline, and the number of values in a
        #: reply.
        self._expected: deque[tuple[ReplyHandler | Pipeline, int]] = deque()
        self.bytes_arrived = True
        self.reply_arrived = True
        self.is_paused = False
        #: Whether the last read may have left bytes in the kernel, and is followed by another.
        self._is_full = self._is_reading_on = False
        self._is_lost = False

    @property
    def unanswered(self) -> int:
        """The number of commands that have no reply yet; a pipeline counts as one."""
        return len(self._expected)

    @property
    def next_answer(self) -> tuple[object, int] | None:
        """
        The command that is answered next, and the number of replies that its pipeline waits for.

        It is another value whenever Redis has answered something. None if nothing is unanswered.
        """
        if not self._expected:
            return None
        handler, _ = self._expected[0]
        return handler, handler.remaining if isinstance(handler, Pipeline) else 1

    def send(self, handler: ReplyHandler, *args: bytes | str, values: int = 1) -> None:
        """
        Send one command.

        Args:
            handler: Takes the replies; a `NoReply` if the connection is lost first, or was lost.
            args: The name of the command and its arguments.
            values: The number of values in the reply; each may have ``max_reply`` bytes.
        """
        self._expected.append((handler, values))
        if self._is_lost:
            # Whoever waited for something else may not have noticed.
            self._answer_all()
        else:
            self.transport.write(hiredis.pack_command(args))

    def send_pipelines(self, commands: bytes, pipelines: Iterable[Pipeline]) -> None:
        """
        Send many commands at once.

        Args:
            commands: All of them, packed.
            pipelines: Take the replies, in this order. Each has at least one `Pipeline.remaining`.
        """
        self._expected.extend((each, 1) for each in pipelines)
        if self._is_lost:
            self._answer_all()
        else:
            self.transport.write(commands)

    def call(self, *args: bytes | str, kind: type = object) -> Deferred[Reply]:
        """
        Send one command that has one reply.

        Args:
            kind: The type of a reply that is no error. Another one ends the connection.

        Returns:
            Fires with the reply.

        Raises:
            txredisapi.ResponseError: Redis answered with an error.
            NoReply: The connection was lost first.
        """
        result: Deferred[Reply] = Deferred()

        def handler(reply: Reply) -> bool:
            if not isinstance(reply, (kind, Exception)):
                raise unexpected(str(args[0]), reply)
            # The caller may have cancelled it; the reply has to be taken all the same.
            if not result.called:
                if isinstance(reply, Exception):
                    result.errback(reply)
                else:
                    result.callback(reply)
            return True

        self.send(handler, *args)
        return result

    def pause(self) -> None:
        """Read nothing, and hand over nothing of what was read already, until `resume`."""
        self.is_paused = True
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again. Harmless when the connection is not paused."""
        if self.is_paused:
            self.is_paused = False
            self.transport.resumeProducing()
            self.dataReceived(b"")

    def connectionMade(self) -> None:
        """Notify the owner, which logs in. txredisapi would give up for ever if a login failed."""
        self._owner.connection_made(self)

    def dataReceived(self, data: bytes, unpause: bool = False) -> None:
        """
        Handle the replies and the publications of one read, and of those that can follow at once.

        Redis comes before clients: it cuts a subscriber that does not keep up.
        """
        self.bytes_arrived = True
        self._is_full = False
        try:
            self._read(data)
        except Exception as error:
            self._owner.protocol_failed(self, error)
            return
        self._is_full = len(data) >= _FULL
        if self._is_full and not self._is_reading_on:
            self._read_on()

    def _read_on(self) -> None:
        """Read until nothing is left, or for long enough."""
        read = getattr(self.transport, "doRead", None)
        if read is None:
            # TLS reads as the reactor tells it.
            return
        self._is_reading_on = True
        try:
            for _ in range(_READS - 1):
                if self.is_paused or not self._is_full:
                    break
                # Nothing to read is no read.
                self._is_full = False
                # An end of the connection is met again by the reactor, which tells about it.
                if read() is not None:
                    break
        finally:
            self._is_reading_on = False

    def connectionLost(self, why: Failure) -> None:
        """Notify the owner, then every handler that waits for a reply."""
        self._owner.connection_lost(self, why)
        self._is_lost = True
        self._answer_all()

    def _answer_all(self) -> None:
        error = NoReply("the connection to Redis was lost")
        while self._expected:
            handler, _ = self._expected.popleft()
            if isinstance(handler, Pipeline):
                handler.take([error] * handler.remaining)
            else:
                handler(error)

    def _read(self, data: bytes) -> None:
        reader, parsed = self._reader, self._parsed
        invalid: InvalidReply | None = None
        before = len(parsed)
        self._incomplete += len(data)
        try:
            for start in range(0, len(data) or 1, _PIECE):
                reader.feed(data[start : start + _PIECE])
                if not self.is_paused:
                    parsed.extend(iter(reader.gets, _NOTHING))
        except InvalidReply as error:
            # The replies before it are handed over first. The next attempt raises it again.
            invalid = error
        if len(parsed) > before:
            self._incomplete = 0
            self.reply_arrived = True
        self._hand_over(parsed)
        if not self.is_paused:
            if invalid is not None:
                raise invalid
            self._check_size()

    def _hand_over(self, parsed: deque[Reply]) -> None:
        """
        Deliver publications and handle replies, in the order in which they came.

        Either may pause the connection; then `resume` hands over the rest.
        """
        deliver = self._deliver
        batch = _only_publications(parsed) if deliver and not self.is_paused else []
        if batch:
            parsed.clear()
        while parsed and not self.is_paused:
            reply = parsed.popleft()
            if deliver and type(reply) is list and len(reply) == 3 and reply[0] == b"message":
                batch.append(Publication(reply[1], reply[2]))
            elif deliver and batch:
                # Publications that came before the reply are delivered before it is handled, and
                # their delivery may pause the connection.
                parsed.appendleft(reply)
                waiting, batch = batch, []
                deliver(waiting)
            elif not self._expected:
                raise InvalidReply(f"no command waits for {_shown(reply)}")
            else:
                self._answer(self._expected[0][0], reply)
        if deliver and batch:
            deliver(batch)

    def _answer(self, handler: ReplyHandler | Pipeline, reply: Reply) -> None:
        """Hand over one reply; and to a pipeline all that have come, without a call for each."""
        if not isinstance(handler, Pipeline):
            if handler(reply):
                self._expected.popleft()
            return
        parsed = self._parsed
        replies = [reply]
        if len(parsed) < handler.remaining:
            replies += parsed
            parsed.clear()
        else:
            replies += [parsed.popleft() for _ in range(handler.remaining - 1)]
        handler.take(replies)
        if not handler.remaining:
            self._expected.popleft()

    def _check_size(self) -> None:
        limit = self._max_reply
        if self._expected:
            limit *= self._expected[0][1]
        if self._incomplete > limit:
            raise InvalidReply(f"a reply of more than {limit} bytes")


class RedisFactory(txredisapi.SubscriberFactory):  # type: ignore[misc]
    """
    Makes the protocols. The connection pool of txredisapi is not used.

    Args:
        make_protocol: Called for each connection.
    """

    noisy = False

    def __init__(self, make_protocol: Callable[[], RedisProtocol]) -> None:
        super().__init__()
        self._make_protocol = make_protocol

    def buildProtocol(self, addr: object) -> RedisProtocol:
        """Make the protocol of one connection."""
        protocol = self._make_protocol()
        protocol.factory = self
        return protocol


def _only_publications(parsed: deque[Reply]) -> list[Publication]:
    """
    Return *parsed* as publications, if there is nothing else in it. Else return none.

    That is how most reads are, and it is found out without looking at each reply in Python.
    """
    try:
        kinds, names, payloads = zip(*parsed, strict=True)
    except (TypeError, ValueError):
        return []
    if kinds.count(b"message") != len(kinds):
        return []
    return [*map(Publication, names, payloads)]


def check_pong(reply: Reply) -> None:
    """
    Check the reply to a PING. An error reply, or none, is not looked at.

    Raises:
        InvalidReply: It is the reply to another command: one was left out, or came twice.
    """
    if isinstance(reply, Exception) or reply == b"PONG":
        return
    if not isinstance(reply, list) or reply[:1] != [b"pong"]:
        raise unexpected("PING", reply)


def unexpected(command: str, reply: Reply) -> InvalidReply:
    """Make the error of a reply that *command* cannot have."""
    return InvalidReply(f"{command} was answered with {_shown(reply)}")


def _shown(reply: Reply) -> str:
    """Describe a reply for the log. It may hold a payload, or the key of a session."""
    if isinstance(reply, Exception):
        return error_text(reply)[:_SHOWN]
    size = f" of {len(reply)}" if isinstance(reply, (bytes, list)) else ""
    return f"a reply of type {type(reply).__name__}{size}"
