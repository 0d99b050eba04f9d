"""The Redis broker against a model: subscriptions agree with Redis, and messages come once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.support.search import search
from wsredis.brokers.redis.broker import RedisBroker
from wsredis.brokers.redis.stored import StoredSettings
from wsredis.brokers.redis.subscriptions import LINGER
from wsredis.config import Limits
from wsredis.config.redis_url import RedisTarget
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.gateway.gap import Gap
from wsredis.gateway.health import Health
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Publication
from wsredis.testing.redis import FakeRedis

_FORBIDDEN = b"broadcast:no"
_NAMES = [b"broadcast:a", b"broadcast:b", b"user:john:a", _FORBIDDEN]
_SOME = st.lists(st.sampled_from(_NAMES), min_size=1, max_size=3, unique=True)

#: Seconds after which a broker is back and agrees with Redis, whatever was before.
_SETTLED = 20.0


class _Listener:
    """
    The hub of this broker.

    Attributes:
        live: The numbers of the messages that came on each channel.
    """

    def __init__(self) -> None:
        self.live: dict[bytes, list[int]] = {name: [] for name in _NAMES}

    def deliver(self, batch: Sequence[Publication]) -> None:
        for each in batch:
            self.live[each.channel].append(int(each.payload))

    def restore(self, stored: Mapping[bytes, bytes]) -> None:
        raise AssertionError("nothing is stored")

    def gap(self, gap: Gap) -> None:
        assert gap.seconds >= 0

    def forbid(self, channel: bytes) -> None:
        assert channel == _FORBIDDEN


class SubscriptionsMachine(RuleBasedStateMachine):
    """Channels are wanted and left, and Redis goes and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = MemoryReactorClock()
        self.server = FakeRedis(self.clock)
        self.server.forbidden = {_FORBIDDEN}
        self.listener = _Listener()
        self.broker = RedisBroker(
            self.clock,
            self.server.endpoint(),
            RedisTarget(name="redis://fake:6379"),
            StoredSettings(expire=60),
            Limits(),
            Metrics(),
            Health(),
        )
        self.broker.start(self.listener)
        self.server.pump()
        self.wanted: set[bytes] = set()
        self.waiting: list[Deferred[None]] = []
        self.is_paused = False
        self.count = 0
        #: The numbers of the messages that must arrive: no connection was lost after them.
        self.due: dict[bytes, list[int]] = {name: [] for name in _NAMES}

    def _subscribed(self) -> set[bytes]:
        """The channels of the gateway, as Redis sees them."""
        found = [session.subscribed for session in self.server.sessions]
        return set().union(*found).intersection(_NAMES)

    @rule(names=_SOME)
    def want(self, names: list[bytes]) -> None:
        """A client comes."""
        self.wanted.update(names)
        done = self.broker.subscribe(names)
        self.waiting.append(done)
        done.addBoth(self._answered, done, names)

    def _answered(self, result: Failure | None, done: Deferred[None], names: list[bytes]) -> None:
        self.waiting.remove(done)
        if result is None:
            # Messages come from now on.
            assert self._subscribed().issuperset(names)
        elif _FORBIDDEN in names and result.check(PermissionDenied):
            assert _FORBIDDEN not in self._subscribed()
        else:
            assert result.check(BrokerUnavailable)

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """The last client of a channel leaves."""
        name = data.draw(st.sampled_from(sorted(self.wanted)))
        self.wanted.remove(name)
        self.broker.unsubscribe([name])

    @rule()
    def pump(self) -> None:
        """All bytes that are on their way arrive."""
        self.server.pump()

    @rule(seconds=st.sampled_from([0.0, 0.1, LINGER / 2, LINGER + 0.6, 8.0]))
    def wait(self, seconds: float) -> None:
        """Time passes."""
        for _ in range(max(1, round(seconds / 0.1))):
            self.clock.advance(seconds and 0.1)
            self.server.pump()

    @rule(name=st.sampled_from(_NAMES), arrives=st.booleans())
    def publish(self, name: bytes, arrives: bool) -> None:
        """Somebody publishes."""
        self.count += 1
        heard = self.server.publish(name, b"%d" % self.count)
        assert heard <= 1, "Redis sends it twice"
        if heard and arrives and self.broker.up and name in self.wanted and not self.is_paused:
            self.server.pump()
            self.due[name].append(self.count)
            assert self.listener.live[name][-1:] == [self.count]

    @rule()
    def pause(self) -> None:
        """The gateway has too much to do."""
        self.is_paused = True
        self.broker.pause()

    @rule()
    def resume(self) -> None:
        """It goes on."""
        self.is_paused = False
        self.broker.resume()
        self.server.pump()

    @rule(is_down=st.booleans())
    def crash(self, is_down: bool) -> None:
        """All connections are lost, and Redis is away for a time or not."""
        self.server.down = is_down
        self.server.kill()

    @rule()
    def come_back(self) -> None:
        """New connections are accepted again."""
        self.server.down = False

    @invariant()
    def once_and_in_order(self) -> None:
        """No message comes twice or after a later one, and none is missing that must arrive."""
        for name, numbers in self.listener.live.items():
            assert numbers == sorted(set(numbers)), (name, numbers)
            assert set(self.due[name]) <= set(numbers), (name, numbers)

    @rule()
    def settle(self) -> None:
        """In the end Redis has exactly the channels that are wanted, and nobody waits."""
        self.server.down = False
        self.resume()
        self.wait(_SETTLED)
        assert self.broker.up
        self.wanted.discard(_FORBIDDEN)
        assert self._subscribed() == self.wanted, (self._subscribed(), self.wanted)
        assert not self.waiting
        assert len(self.server.sessions) == 2

    def teardown(self) -> None:
        """A broker that is stopped leaves neither a connection nor a timer."""
        self.settle()
        stopped = self.broker.stop()
        self.wait(1)
        assert stopped.called
        assert not self.server.sessions
        assert not self.clock.getDelayedCalls(), self.clock.getDelayedCalls()


class SubscriptionsTests(SynchronousTestCase):
    """Any sequence of what can happen between a gateway and Redis."""

    def test_any(self) -> None:
        """Subscriptions agree with Redis, and each message comes once and in order."""
        run_state_machine_as_test(SubscriptionsMachine, settings=search(60, steps=30))  # type: ignore[no-untyped-call]
