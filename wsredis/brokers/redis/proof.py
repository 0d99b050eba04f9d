"""
The proof that messages arrive: a gateway publishes to itself, and counts its subscriptions.

A connection that answers PING proves nothing. A server or a proxy may have forgotten the
subscriptions, the two connections may lead to different servers, or one of them may be dead without
an end. So every two seconds a message goes out on the commands connection and must come back on the
subscriber's; and the channel of that message is subscribed to once more, since the answer holds the
number of subscriptions of this connection.

What is late says which connection is at fault: the answer to SUBSCRIBE follows all publications
that came before it. A subscriber that is paused, or works off a backlog, is late without a fault.

It is one module because each of the two answers is judged by the state of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from wsredis.brokers.redis.connection import RedisConnection
from wsredis.brokers.redis.protocol import NoReply, Reply, unexpected
from wsredis.brokers.redis.refusals import lacks_right
from wsredis.brokers.redis.unproven import Unproven
from wsredis.config.redis_url import error_text
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.canary import Canary
from wsredis.gateway.health import Health
from wsredis.gateway.log_throttle import LogThrottle
from wsredis.gateway.metrics import Metrics

__all__ = ["LATE", "PERIOD", "Proof", "Subscriber"]

#: Seconds between two messages, and between two counts; one is half of it after the other.
PERIOD = 2.0

#: Steps in a period: at each of them it is looked at what is late.
_STEPS = 4

#: Seconds after which a message or an answer counts as late.
LATE = 1.5

#: Seconds in which the reactor reads what has come, before something late is judged: it may be this
#: process that was late.
_GRACE = 0.25

#: Seconds in which nothing came on a connection whose answers are late: it is dead.
_QUIET = 1.2

#: Seconds in which errors of Redis may pass by themselves.
_PASSING = 6.0

#: Seconds between two attempts to mend the same fault, and the number of them after which it is
#: tried less often: every connection that is made anew costs clients a gap.
_REPAIR = 6.0
_REPAIRS = 10
_SELDOM = 30.0

#: Seconds after which it is tried again whether a right is still missing.
_RETRY = 60.0


#: The fault of a server that may be asleep.
_SILENT = "Redis does not answer"

#: The state that is no fault.
_BEHIND = "behind"


class Subscriber(Protocol):
    """The part of `wsredis.brokers.redis.subscriptions.Subscriptions` that a proof needs."""

    def want(self, names: Sequence[bytes], /) -> Deferred[None]:
        """See `Subscriptions.want`."""

    def audit(self, name: bytes, take: Callable[[int | Exception, int], None], /) -> None:
        """See `Subscriptions.audit`."""


class _Repairs:
    """Tells when a fault that stays may be mended once more."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._count = 0
        self._next = 0.0

    def is_due(self) -> bool:
        """Tell whether it may be mended now, and count it if so."""
        now = self._clock.seconds()
        if now < self._next:
            return False
        self._count += 1
        self._next = now + (_REPAIR if self._count < _REPAIRS else _SELDOM)
        return True

    def reset(self) -> None:
        """Take note that the fault is gone. The next one is mended at once."""
        self._count = 0
        self._next = 0.0


class Proof:
    """
    Proves that messages arrive for as long as both connections are up.

    Args:
        channel: The channel of the messages. It has capital letters, so that a proxy that changes
            names is noticed.
        subscriber: The connection that subscribes. It is left when it is dead or has lost channels.
        commands: The connection that publishes. Both are left when messages do not arrive although
            everything is answered.
        subscriptions: Counts.

    Attributes:
        canary: Has to be a listener of the hub.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        channel: bytes,
        subscriber: RedisConnection,
        commands: RedisConnection,
        subscriptions: Subscriber,
        health: Health,
        metrics: Metrics,
        unproven: Unproven,
    ) -> None:
        self._clock = clock
        self._channel = channel
        self._subscriber = subscriber
        self._commands = commands
        self._subscriptions = subscriptions
        self._health = health
        self._metrics = metrics
        self._unproven = unproven
        self._timer: IDelayedCall | None = None
        self._is_running = False
        self._beginnings = 0
        self._steps = 0
        #: The number in the last message. Older ones do not count.
        self._number = 0
        #: When the last message was sent: while it has not arrived, and while it is not answered.
        self._unheard: float | None = None
        self._unpublished: float | None = None
        #: When the subscriptions were counted, while there is no answer.
        self._uncounted: float | None = None
        #: Whether the last count was asked for after the last message was published; and whether a
        #: later message has overtaken it.
        self._is_after = False
        self._is_overtaken = False
        #: When Redis forbade a message or the channel. If None, it did not.
        self._denied: float | None = None
        self._may_count = True
        #: When the last count was right.
        self._right_at = 0.0
        #: The fault that was logged, and since when messages have not been proven.
        self._fault: str | None = None
        #: The last fault that was counted, and in which message.
        self._failure: tuple[str, int] | None = None
        self._failing_since: float | None = None
        self._throttle = LogThrottle(clock)
        self._repairs = _Repairs(clock)
        self._recounts = _Repairs(clock)
        self.canary = Canary(channel, metrics, self._heard, self._forbidden)

    def start(self) -> None:
        """Take note that the broker begins: nothing is proven yet."""
        self._health.report("proof", "it is not proven yet that messages arrive")

    def begin(self) -> None:
        """Take note that both connections are up. The first message is sent at once."""
        self.end()
        self._is_running = True
        self._unheard = self._unpublished = self._uncounted = None
        if self._fault in (None, _BEHIND):
            self._fault = None
            self.start()
        self._begin_steps()

    def end(self) -> None:
        """Take note that a connection was lost."""
        self._is_running = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stop(self) -> None:
        """Take note that the broker stops, and log what was counted."""
        self.end()
        self._throttle.reset()

    @property
    def last_proof(self) -> float | None:
        """
        When a message had last come back and the count was right, in seconds of the clock.

        None if that is not known.
        """
        if self._denied is not None:
            return None
        return min(self._right_at, self._metrics.last_proof) or None

    # -- The steps: a message and a count take turns

    def _begin_steps(self) -> None:
        """Make sure that the channel is subscribed, and begin when that is confirmed."""
        self._denied = None
        self._may_count = True
        self._steps = 0
        self._beginnings = beginning = self._beginnings + 1

        def subscribed(_: None) -> None:
            if self._is_running and beginning == self._beginnings:
                self._step()

        def failed(failure: Failure) -> None:
            # After a loss there is another begin.
            if failure.trap(BrokerUnavailable, PermissionDenied) is PermissionDenied:
                self._forbidden()
                subscribed(None)

        self._subscriptions.want([self._channel]).addCallbacks(subscribed, failed)

    def _step(self) -> None:
        self._timer = None
        if self._late():
            self._timer = self._clock.callLater(_GRACE, self._step_late)
        else:
            self._go_on()

    def _step_late(self) -> None:
        self._timer = None
        if self._late():
            self._judge()
        if self._is_running:
            self._go_on()

    def _go_on(self) -> None:
        now = self._clock.seconds()
        if self._denied is not None and now - self._denied >= _RETRY:
            self._begin_steps()
            return
        # The first time both: a new connection has everything to prove.
        if self._steps % _STEPS == 0:
            self._publish(now)
        if self._steps % _STEPS == _STEPS // 2 or self._steps == 0:
            self._count(now)
        self._steps += 1
        if self._is_running:
            self._timer = self._clock.callLater(PERIOD / _STEPS, self._step)

    def _publish(self, now: float) -> None:
        protocol = self._commands.protocol
        is_waiting = self._unheard is not None or self._unpublished is not None
        if protocol is None or is_waiting or self._denied is not None:
            return
        self._number = number = self._number + 1
        self._unheard = self._unpublished = now
        self._is_after = False

        def answered(reply: Reply) -> bool:
            if number == self._number and not isinstance(reply, NoReply):
                self._published(reply)
            return True

        protocol.send(answered, "PUBLISH", self._channel, b"%d" % number)

    def _published(self, reply: Reply) -> None:
        if not isinstance(reply, (int, Exception)):
            raise unexpected("PUBLISH", reply)
        self._unpublished = None
        if not isinstance(reply, Exception):
            self._settle()
            return
        self._unheard = None
        if lacks_right(reply):
            self._deny(error_text(reply))
            return
        self._fail("Redis refuses to publish", error_text(reply))
        since = self._failing_since
        if since is not None and self._clock.seconds() - since >= _PASSING:
            self._repair()

    def _count(self, now: float) -> None:
        if self._uncounted is not None or not self._may_count:
            return
        self._uncounted = now
        self._is_overtaken = False
        is_after = self._unpublished is None

        def counted(count: int | Exception, expected: int) -> None:
            self._uncounted = None
            self._is_after = is_after
            self._counted(count, expected)

        self._subscriptions.audit(self._channel, counted)

    def _counted(self, count: int | Exception, expected: int) -> None:
        if isinstance(count, Exception):
            if lacks_right(count):
                self._may_count = False
                self._deny(error_text(count))
                return
            problem, detail = "Redis refuses to subscribe", error_text(count)
        elif count == expected:
            self._recounts.reset()
            self._right_at = self._clock.seconds()
            self._health.report("subscriptions", None)
            if self._denied is not None:
                # There is no better sign then.
                self._health.report("proof", None)
            return
        else:
            problem = "Redis has lost subscriptions of this gateway"
            if count > expected:
                problem = "Redis has subscriptions that this gateway gave up"
            detail = f"it has {count}, and should have {expected}"
        self._metrics.proof_failures += 1
        self._health.report("subscriptions", problem)
        if self._recounts.is_due():
            self._throttle.log(
                self._log,
                LogLevel.warn,
                "subscriptions-wrong",
                "{problem} ({detail}): connecting again to subscribe to all",
                event="subscriptions-wrong",
                problem=problem,
                detail=detail,
            )
            self._subscriber.leave()

    # -- What comes back

    def _heard(self, payload: bytes) -> None:
        if self._unheard is None or payload != b"%d" % self._number:
            return
        self._is_overtaken = self._uncounted is not None and self._uncounted < self._unheard
        self._unheard = None
        self._metrics.proofs += 1
        self._metrics.last_proof = self._clock.seconds()
        self._settle()

    def _settle(self) -> None:
        """Look whether the last message has arrived and was answered."""
        waits = self._unheard is not None or self._unpublished is not None
        if waits or self._denied is not None:
            return
        self._repairs.reset()
        self._unproven.clear("proof")
        self._health.report("proof", None)
        if self._fault is not None and self._failing_since is not None:
            self._log.info(
                "messages arrive again, after {seconds:.0f} seconds",
                event="proof-restored",
                seconds=self._clock.seconds() - self._failing_since,
            )
        self._fault = self._failing_since = None

    def _forbidden(self) -> None:
        self._may_count = False
        self._deny("SUBSCRIBE was refused")

    def _deny(self, reason: str) -> None:
        """Take note that a right is missing: nothing is proven, and nothing is wrong."""
        self._denied = self._clock.seconds()
        self._unheard = self._fault = self._failing_since = None
        name = self._channel.decode().rpartition(":")[0]
        self._unproven.note(
            "proof",
            "it is not proven that messages arrive: the user of Redis needs the rights "
            f"+publish +subscribe &{name}:* ({reason})",
        )
        self._health.report("proof", None)
        if not self._may_count:
            self._health.report("subscriptions", None)

    # -- What does not

    def _is_late(self, since: float | None) -> bool:
        return since is not None and self._clock.seconds() - since >= LATE

    def _late(self) -> bool:
        return any(map(self._is_late, (self._unheard, self._unpublished, self._uncounted)))

    def _judge(self) -> None:
        """Find out which connection is at fault, or that none is."""
        if self._is_late(self._unpublished):
            if not self._commands.is_behind:
                # The connection ends by itself if it has answered nothing for long enough.
                is_quiet = self._quiet(self._subscriber) >= _QUIET
                is_silent = is_quiet and self._uncounted is not None
                self._fail(_SILENT if is_silent else "Redis does not answer PUBLISH")
        elif self._is_late(self._unheard) and self._uncounted is None:
            if self._is_after:
                self._unheard = None
                self._fail("Redis takes messages and does not bring them back")
                self._repair()
        elif self._is_overtaken:
            self._fail("Redis brings messages and does not answer SUBSCRIBE")
            self._leave_subscriber()
        elif self._subscriber.is_behind or self._quiet(self._subscriber) < _QUIET:
            self._be_behind()
        elif self._quiet(self._commands) >= _QUIET:
            # It may wake up; if it does not, the connections end by themselves.
            self._fail(_SILENT)
        else:
            self._fail("nothing arrives on the connection that subscribes")
            self._leave_subscriber()

    def _quiet(self, connection: RedisConnection) -> float:
        return self._clock.seconds() - connection.last_reply

    def _be_behind(self) -> None:
        since = self._uncounted if self._unheard is None else self._unheard
        seconds = 0.0 if since is None else self._clock.seconds() - since
        if self._fault is None:
            self._fault = _BEHIND
            self._failing_since = since
            self._log.info(
                "messages arrive late: the gateway works off what has come", event="proof-late"
            )
        self._health.report(
            "proof",
            f"messages arrive {seconds:.0f} seconds late: the gateway works off what has come",
            is_blocking=False,
        )

    def _fail(self, fault: str, detail: str = "") -> None:
        if (fault, self._number) != self._failure:
            self._failure = (fault, self._number)
            self._metrics.proof_failures += 1
        self._health.report("proof", fault)
        if self._failing_since is None:
            self._failing_since = self._metrics.last_proof or self._clock.seconds()
        if fault != self._fault:
            self._fault = fault
            self._log.warn(
                "messages may not arrive: {fault}{_detail}",
                event="proof-failed",
                fault=fault,
                detail=detail,
                _detail=f" ({detail})" if detail else "",
            )

    def _leave_subscriber(self) -> None:
        if self._repairs.is_due():
            self._log_left(" to subscribe")
            self._subscriber.leave()

    def _repair(self) -> None:
        if self._repairs.is_due():
            self._log_left(", with both connections")
            self._subscriber.leave()
            self._commands.leave()

    def _log_left(self, how: str) -> None:
        self._throttle.log(
            self._log,
            LogLevel.warn,
            "redis-left",
            "connecting to Redis again{_how}",
            event="redis-left",
            _how=how,
        )
