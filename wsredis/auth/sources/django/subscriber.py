"""
The subscriber class of a project, ``WS4REDIS_SUBSCRIBER``, with methods of its own.

One instance is made for each client, in a thread. All of its methods are called in threads, and
those of one instance one after the other.

It is one module because what runs in threads and what runs in the reactor share one state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from threading import Lock
from typing import Any, NoReturn

from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsredis.auth.sources.availability import SourceAway
from wsredis.auth.sources.django.hooks import Hook, failing_closed, unavailable
from wsredis.auth.sources.django.project import error_place
from wsredis.auth.sources.django.recorder import CannotRecord, Messages, Recorder, recording
from wsredis.auth.sources.django.threads import BoundedThreads
from wsredis.auth.sources.django.waiting_threads import WaitingThreads
from wsredis.channels import control_channel
from wsredis.config.subscriber import SubscriberClass
from wsredis.errors import BrokerUnavailable, ClientError, HandshakeRejected, PermissionDenied
from wsredis.gateway.enrolment import Enrolment
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.shares import SharedBound
from wsredis.gateway.signal import Signal

__all__ = ["Subscribers"]

_SETTING = "WS4REDIS_SUBSCRIBER"

#: In the names that the original makes for a client that has no user, or no session.
_NOBODY = (b"SELF_TYPE object at ", b"session:None:")


class Subscribers:
    """
    Makes the subscribers of all clients.

    Args:
        reactor: Keeps the time limits.
        threads: For handshakes.
        others: For messages, and for clients that have gone. They are stopped here.
        most_releases: Clients that have gone and may wait for their release before new ones are
            refused. An address has a share of them.
        cls: The class of the project.
        client: A client of redis-py, which all subscribers share.
        clean_up: Called in a thread after each call. It must not raise.
        prefix: The prefix of all channels.
        timeout: Time limit in seconds for each call.
        most_queued: Bytes that a subscriber may send to its client in one call.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        threads: BoundedThreads,
        others: WaitingThreads,
        most_releases: int,
        cls: SubscriberClass,
        client: Any,
        *,
        clean_up: Callable[[], object],
        prefix: str,
        timeout: float,
        most_queued: int,
    ) -> None:
        self.reactor = reactor
        self.threads = threads
        self.cls = cls
        self.clean_up = clean_up
        self.timeout = timeout
        self.most_queued = most_queued
        self._connection = recording(client)
        self._reserved = control_channel(prefix).removesuffix(b"control")
        self.others = others
        #: The clients that have gone and wait for their release.
        self._releases = SharedBound(most_releases)
        self._idle: Signal[None] = Signal()
        self._throttle = LogThrottle(reactor, at_once=10)
        self.message = _message_class(cls.make)

    def enrol(
        self,
        request: Any,
        flags: Sequence[str],
        address: str,
        owners: Iterable[tuple[str, str]] = (),
    ) -> Deferred[Enrolment]:
        """
        Make the subscriber of one client, and let it choose its channels.

        Args:
            request: The request of Django, with ``user`` and ``session``.
            flags: The flags that were granted, without ``echo``.
            address: See `wsredis.gateway.identity.Handshake.address`.
            owners: The audiences and the names of the client. One with a colon gets no channel;
                see `wsredis.channels.channel_name`.
        Returns:
            Fires with its choice. Cancelling it releases the subscriber.
        Raises:
            HandshakeRejected: It refuses or fails, or too many calls wait.
        """
        if not self._releases.has_room(address):
            raise HandshakeRejected(
                "try again later",
                503,
                "too many subscribers of clients that have gone wait for release()",
                cause="busy",
            )
        unsafe = [f"{kind}:{name}:".encode() for kind, name in owners if ":" in name]
        made = _Enrolment(self, address, (*_NOBODY, *unsafe))
        entered = self.threads.call(lambda: made.enter(request, flags), address)
        return entered.addCallbacks(lambda _: made, made.abandoned)

    def connect(self) -> Any:
        """Return the connection of one subscriber."""
        return self._connection.fresh()

    def checked(self, names: Iterable[bytes]) -> tuple[bytes, ...]:
        """
        Check the names of channels.

        Raises:
            CannotRecord: One of them belongs to the gateway.
        """
        found = dict.fromkeys(filter(None, names))
        if any(name.startswith(self._reserved) for name in found):
            raise CannotRecord("a channel of the gateway itself is no channel of a client")
        return tuple(found)

    def release(self, function: Callable[[], object] | None, address: str) -> None:
        """
        Call *function*, which does not raise, for a client that has gone.

        Args:
            function: If None, a thread that is busy does it, and `released` is called then.
            address: That of the client.
        """
        self._releases.add(address)
        if function is not None:
            called = self.others.call(function, address)
            called.addBoth(lambda _: self.released(address))

    def released(self, address: str) -> None:
        """Take note that a client has been released, or cannot be since the gateway stops."""
        self._releases.release(address)
        if not self._releases.held:
            self._idle.fire(None)

    def idle(self) -> Deferred[None]:
        """Wait until no client that has gone is left to be released."""
        return self._idle.wait() if self._releases.held else succeed(None)

    def stop(self) -> None:
        """Make no more calls for clients that are open or gone. Log what was counted."""
        self.others.stop()
        self._throttle.reset()

    def log_failed_release(self, place: str) -> None:
        """Log that a client that has gone could not be released. *place* is that of the error."""
        self._throttle.log(
            self._log,
            LogLevel.warn,
            "release",
            "{setting}: release() failed: {place}",
            event="subscriber-release-failed",
            setting=_SETTING,
            place=place,
        )


class _Enrolment:
    """
    See `wsredis.gateway.enrolment.Enrolment`.

    Attributes:
        channels, publishes, chooses_first, takes_messages: Set by `enter`.
    """

    def __init__(self, all: Subscribers, address: str, nobodys: Sequence[bytes]) -> None:
        self._all = all
        self._address = address
        #: Parts of the names of channels that are none of this client alone.
        self._nobodys = nobodys
        self.channels: Sequence[bytes] = ()
        self.publishes: Sequence[bytes] = ()
        self.chooses_first = self.takes_messages = False
        self._messages = Messages(all.most_queued)
        self._connection: Any = None
        self._instance: Any = None
        #: Held for all access to the two below, and never for long.
        self._lock = Lock()
        self._is_busy = False
        self._is_gone = False

    # -- In the reactor

    def first(self) -> Deferred[Sequence[bytes]]:
        """See `wsredis.gateway.enrolment.Enrolment.first`."""
        asked = self._all.threads.call(
            lambda: self._call("send_persisted_messages", self._messages), self._address
        )
        asked.addTimeout(self._all.timeout, self._all.reactor)
        return asked.addErrback(self._late)

    def take(self, payload: bytes) -> Deferred[Sequence[bytes]]:
        """See `wsredis.gateway.enrolment.Enrolment.take`."""
        message = self._all.message(payload)
        if message is None:
            return succeed(())
        taken = self._all.others.call(lambda: self._call("publish_message", message), self._address)
        taken.addTimeout(self._all.timeout, self._all.reactor)
        return taken.addErrback(self._not_taken)

    def release(self) -> None:
        """See `wsredis.gateway.enrolment.Enrolment.release`."""
        with self._lock:
            if self._is_gone:
                return
            self._is_gone = True
            is_busy = self._is_busy
        if (is_busy or self._instance is not None) and self._all.cls.overrides("release"):
            self._all.release(None if is_busy else self._release, self._address)

    def abandoned(self, failure: Failure) -> Failure:
        """The handshake was refused, or its client has left."""
        self.release()
        return failure

    def _late(self, failure: Failure) -> Failure:
        if failure.check(TimeoutError):
            raise SourceAway(f"{_SETTING}: no answer within --auth-timeout")
        return failure

    def _not_taken(self, failure: Failure) -> NoReturn:
        error = failure.value
        if not isinstance(error, HandshakeRejected):
            raise BrokerUnavailable(
                f"{_SETTING}: publish_message did not return within --auth-timeout"
            )
        if error.status == 503:
            raise BrokerUnavailable(error.hint or error.reason)
        if error.status == 403:
            raise PermissionDenied(error.reason)
        raise _Failed(error.hint)

    # -- In a thread

    def enter(self, request: Any, flags: Sequence[str]) -> None:
        """Make the instance, and let it choose its channels."""
        from django.urls import set_script_prefix

        with self._busy("set_pubsub_channels"):
            # Links that it makes begin as in pages.
            set_script_prefix(request.META["SCRIPT_NAME"])
            self._connection = self._all.connect()
            self._instance = instance = self._all.cls.make(self._connection)
            self._run("set_pubsub_channels", request, list(flags))
            self._read()
        own = getattr(instance, "__dict__", {})
        cls = self._all.cls
        # A connection of its own may change names and messages in any way.
        is_other = getattr(instance, "_connection", None) is not self._connection or not {
            "__getattribute__",
            "_connection",
        }.isdisjoint(cls.overridden)
        is_based = hasattr(instance, "_connection")
        self.chooses_first = hasattr(instance, "send_persisted_messages") and (
            cls.overrides("send_persisted_messages")
            or "send_persisted_messages" in own
            or (is_based and is_other)
        )
        self.takes_messages = hasattr(instance, "publish_message") and (
            cls.overrides("publish_message")
            or not {"_expire", "_publishers"}.isdisjoint(cls.overridden)
            or not {"publish_message", "_expire"}.isdisjoint(own)
            or (is_based and is_other)
        )

    def _call(self, method: str, argument: Any) -> Sequence[bytes]:
        """Call a method, and return what it sent to the client."""
        with self._busy(method):
            self._run(method, argument)
            self._read()
        return self._messages.take()

    def _run(self, method: str, *args: Any) -> None:
        """Call a method, which may be a coroutine function."""
        Hook(method, getattr(self._instance, method), self._all.timeout).call(*args)

    def _read(self) -> None:
        """Read the channels from the instance."""
        instance, encoder = self._instance, self._connection.connection_pool.get_encoder()
        chosen = getattr(instance, "_subscription", None)
        recorders = self._connection.recorders if chosen is None else [chosen]
        if not all(isinstance(each, Recorder) for each in recorders):
            raise CannotRecord("it does not subscribe through the connection that it was given")
        refused = [each.refused for each in (*recorders, self._messages) if each.refused]
        if refused:
            raise CannotRecord(refused[0])
        for each in recorders:
            each.forget(self._is_nobodys)
        self.channels = self._all.checked(name for each in recorders for name in each.names)
        given: Any = getattr(instance, "_publishers", None) or ()
        names = {each: bytes(encoder.encode(each)) for each in given}
        nobodys = {each for each, name in names.items() if self._is_nobodys(name)}
        if nobodys:
            instance._publishers = type(given)(each for each in given if each not in nobodys)
        found = [name for each, name in names.items() if each not in nobodys]
        self.publishes = self._all.checked(sorted(found) if isinstance(given, set) else found)

    def _is_nobodys(self, name: bytes) -> bool:
        return any(each in name for each in self._nobodys)

    @contextmanager
    def _busy(self, method: str) -> Iterator[None]:
        """
        Call a method of the instance, unless the client has gone.

        Raises:
            HandshakeRejected: It refuses or fails.
        """
        with self._lock:
            if self._is_gone:
                raise HandshakeRejected("the client has gone", 503, cause="busy")
            self._is_busy = True
        try:
            with unavailable(), failing_closed(f"{_SETTING}: {method}"), _asking_redis(method):
                yield
        finally:
            self._all.clean_up()
            with self._lock:
                self._is_busy = False
                is_mine = self._is_gone
            if is_mine and self._all.cls.overrides("release"):
                if self._instance is not None:
                    self._release()
                self._all.reactor.callFromThread(self._all.released, self._address)

    def _release(self) -> None:
        try:
            self._run("release")
        except BaseException as error:
            # The throttle of the log has timers.
            place = error_place(error)
            self._all.reactor.callFromThread(self._all.log_failed_release, place)
        finally:
            self._all.clean_up()


class _Failed(ClientError):
    """
    A method of a subscriber has failed.

    Args:
        place: The place, for the log.
    """

    def __init__(self, place: str) -> None:
        super().__init__("internal error")
        self._place = place

    def __str__(self) -> str:
        return self._place


@contextmanager
def _asking_redis(method: str) -> Iterator[None]:
    """
    Run a method so that an error of Redis means "try again later".

    Raises:
        HandshakeRejected: 503 for an error of redis-py, 500 for what the gateway cannot do.
        Exception: As the method raised.
    """
    from redis.exceptions import DataError, RedisError

    label = f"{_SETTING}: {method}"
    try:
        yield
    except DataError:
        raise
    except RedisError as error:
        hint = f"{label}: {error_place(error)}"
        raise HandshakeRejected("try again later", 503, hint, cause="redis-away") from None
    except CannotRecord as error:
        raise HandshakeRejected("internal error", 500, f"{label}: {error}") from None


def _message_class(cls: Any) -> Callable[[bytes], Any]:
    """Return the type of messages that the class expects: the original's if it is its heir."""
    if any(each.__module__ == "ws4redis.redis_store" for each in cls.__mro__):
        store: Any = import_module("ws4redis.redis_store")
        made: Callable[[bytes], Any] = store.RedisMessage
        return made
    return bytes
