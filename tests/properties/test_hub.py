"""The hub against a model: each listener hears each message once and in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.support.fakes import messages
from tests.support.search import search
from wsredis.dialects.plain import PlainDialect
from wsredis.gateway.client import Sink
from wsredis.gateway.hub import Hub
from wsredis.gateway.metrics import Metrics
from wsredis.gateway.publication import Encoding, Publication
from wsredis.transports.websocket import frames
from wsredis.transports.websocket.encoding import Encodings

#: Bytes; larger publications are left out.
_LARGEST = 40

#: So many listeners are not served in one turn.
_CROWD = 1001

_CHANNELS = [b"broadcast:a", b"broadcast:b", b"user:john:a", b"group:x:a"]
_SOME = st.lists(st.sampled_from(_CHANNELS), min_size=1, max_size=3, unique=True)

#: The kinds of publications. Empty ones and large ones are for nobody.
_KINDS = st.sampled_from(["new", "new", "new", "new", "same", "empty", "large"])


class _Broker:
    """Keeps the channels that are wanted, and what comes during a pause."""

    def __init__(self) -> None:
        self.wanted: set[bytes] = set()
        self.is_paused = False

    def subscribe(self, names: Sequence[bytes]) -> Deferred[None]:
        self.wanted.update(names)
        return succeed(None)

    def unsubscribe(self, names: Sequence[bytes]) -> None:
        assert self.wanted.issuperset(names), "a channel is left that nobody wanted"
        self.wanted.difference_update(names)

    def pause(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


class _Ear:
    """
    A listener, and what it should have heard.

    Attributes:
        expected: The payloads in their order.
        last: The last payload on each channel since it came, or the stored one that it was given.
        leaves: Called when it is written to next, as one that finds its socket dead.
    """

    def __init__(self, encoding: Encoding, channels: Sequence[bytes], is_direct: bool) -> None:
        self.encoding = encoding
        self.channels = list(channels)
        self.direct: Sink | None = self if is_direct else None
        self.expected: list[bytes] = []
        self.last: dict[bytes, bytes] = {}
        self.leaves: Callable[[], object] | None = None
        self._written: list[bytes] = []

    @property
    def heard(self) -> list[bytes]:
        """The payloads that came."""
        return [each.payload for each in messages(b"".join(self._written))]

    def expect(self, channel: bytes, payload: bytes) -> None:
        """Something is published."""
        self.expected.append(payload)
        self.last[channel] = payload

    def send(self, data: bytes) -> int:
        self._written.append(data)
        leaves, self.leaves = self.leaves, None
        if leaves is not None:
            leaves()
        return len(data)

    def write(self, data: bytes) -> None:
        self.send(data)

    def keep(self, data: bytes, taken: int) -> None:
        raise AssertionError("everything was taken")

    def deliver(self, items: Sequence[Publication]) -> None:
        self.send(b"".join(frames.message(each.payload) for each in items))

    def restore(self, item: Publication) -> None:
        self.send(frames.message(item.payload))

    def forbid(self) -> None:
        raise AssertionError("nothing is forbidden")


class HubMachine(RuleBasedStateMachine):
    """Listeners come and go, and publications come in batches."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = _Broker()
        self.turns: deque[Callable[[], None]] = deque()
        broker: Any = self.broker
        self.hub = Hub(broker, _LARGEST, Metrics(), self.turns.append)
        dialect, encodings = PlainDialect(), Encodings(1 << 20)
        self.encodings = [encodings[dialect, window] for window in (0, 12)]
        self.ears: list[_Ear] = []
        self.gone: list[_Ear] = []
        self.crowd: list[_Ear] = []
        self.backlog: list[list[Publication]] = []
        self.count = 0
        self.newest: dict[bytes, bytes] = {}

    @initialize(is_crowded=st.booleans())
    def begin(self, is_crowded: bool) -> None:
        """There may be more listeners on one channel than are served in one turn."""
        if is_crowded:
            self.crowd = [_Ear(self.encodings[0], _CHANNELS[:1], True) for _ in range(_CROWD)]
            for ear in self.crowd:
                self.hub.subscribe(ear)

    @rule(channels=_SOME, is_direct=st.booleans(), kind=st.sampled_from([0, 0, 0, 1]))
    def come(self, channels: list[bytes], is_direct: bool, kind: int) -> None:
        """A listener comes."""
        ear = _Ear(self.encodings[kind], channels, is_direct)
        self.ears.append(ear)
        self.hub.subscribe(ear)

    @precondition(lambda self: self.ears)
    @rule(data=st.data(), is_later=st.booleans())
    def leave(self, data: st.DataObject, is_later: bool) -> None:
        """A listener leaves, now or while it is served the next time."""
        ear = data.draw(st.sampled_from(self.ears))
        if is_later:
            ear.leaves = lambda: self._leave(ear)
        else:
            self._leave(ear)

    def _leave(self, ear: _Ear) -> None:
        if ear in self.ears:
            self.ears.remove(ear)
            self.gone.append(ear)
            # As a connection does that is closed.
            self.hub.unsubscribe(ear)
            self.hub.unsubscribe(ear)

    @precondition(lambda self: self.ears and not self.turns)
    @rule(data=st.data(), channels=_SOME)
    def change(self, data: st.DataObject, channels: list[bytes]) -> None:
        """A listener's channels change."""
        ear = data.draw(st.sampled_from(self.ears))
        left = [name for name in ear.channels if name not in channels]
        new = [name for name in channels if name not in ear.channels]
        ear.channels = [name for name in ear.channels if name in channels]
        self.hub.retract(ear, left)
        ear.channels += new
        self.hub.extend(ear, new)
        for name in left:
            ear.last.pop(name, None)

    @precondition(lambda self: self.ears)
    @rule(data=st.data())
    def turn_echo(self, data: st.DataObject) -> None:
        """A listener begins to look at each publication, or looks at none any more."""
        ear = data.draw(st.sampled_from(self.ears))
        ear.direct = ear if ear.direct is None else None

    @rule(batch=st.lists(st.tuples(st.sampled_from(_CHANNELS), _KINDS), max_size=7))
    def publish(self, batch: list[tuple[bytes, str]]) -> None:
        """One read from the broker brings some publications."""
        self.backlog.append([Publication(name, self._payload(name, kind)) for name, kind in batch])
        self._work_off()

    def _payload(self, name: bytes, kind: str) -> bytes:
        if kind == "same" and name in self.newest:
            return self.newest[name]
        if kind in ("empty", "large"):
            return b"" if kind == "empty" else b"x" * (_LARGEST + 1)
        self.count += 1
        self.newest[name] = b"%d" % self.count
        return self.newest[name]

    def _work_off(self) -> None:
        while self.backlog and not self.broker.is_paused:
            batch = self.backlog.pop(0)
            for item in batch:
                if 0 < len(item.payload) <= _LARGEST:
                    for ear in self.ears + self.crowd[:1]:
                        if item.channel in ear.channels:
                            ear.expect(item.channel, item.payload)
            self.hub.deliver(batch)

    @precondition(lambda self: self.turns)
    @rule()
    def turn(self) -> None:
        """The reactor comes round."""
        self.turns.popleft()()
        self._work_off()

    @precondition(lambda self: self.ears and not self.turns)
    @rule(data=st.data(), is_known=st.booleans())
    def give_stored(self, data: st.DataObject, is_known: bool) -> None:
        """A listener is given the stored message of one of its channels."""
        ear = data.draw(st.sampled_from(self.ears))
        if ear.channels:
            name = ear.channels[0]
            payload = self._payload(name, "same" if is_known else "new")
            self.hub.mark_stored(ear, Publication(name, payload))
            ear.last[name] = payload

    @rule(names=_SOME, kind=_KINDS)
    def restore(self, names: list[bytes], kind: str) -> None:
        """After an outage each listener gets the stored message, unless it has it."""
        stored = {name: self._payload(name, kind) for name in names}
        # The hub serves first what waits.
        self._restore({name: each for name, each in stored.items() if 0 < len(each) <= _LARGEST})
        self.hub.restore(stored)
        while self.turns:
            self.turn()

    def _restore(self, stored: Mapping[bytes, bytes]) -> None:
        for name, payload in stored.items():
            for ear in self.ears + self.crowd[:1]:
                if name in ear.channels and ear.last.get(name) != payload:
                    ear.expect(name, payload)

    @invariant()
    def heard_in_order(self) -> None:
        """Nobody hears anything twice, too early, or in another order; and at rest all of it."""
        for ear in self.ears + self.gone:
            heard = ear.heard
            assert heard == ear.expected[: len(heard)], (heard, ear.expected)
            if not self.broker.is_paused and ear in self.ears:
                assert heard == ear.expected, (heard, ear.expected)

    @invariant()
    def channels_agree(self) -> None:
        """The broker is asked for the channels that somebody hears, and no other."""
        wanted = {name for ear in self.ears + self.crowd[:1] for name in ear.channels}
        assert wanted == self.broker.wanted
        assert len(wanted) == len(self.hub)

    @invariant()
    def nothing_waits_unseen(self) -> None:
        """The broker is paused exactly while a turn is to come."""
        assert self.broker.is_paused == bool(self.turns)

    def teardown(self) -> None:
        """When all turns are over the crowd has heard the same, and nothing is left."""
        while self.turns:
            self.turn()
        self.heard_in_order()
        for ear in self.crowd:
            assert ear.heard == self.crowd[0].expected
        for ear in [*self.ears, *self.crowd]:
            self.hub.unsubscribe(ear)
        assert not len(self.hub) and not self.broker.wanted


class HubTests(SynchronousTestCase):
    """Any sequence of what can happen to a hub."""

    def test_any(self) -> None:
        """Each listener hears each message once and in order."""
        run_state_machine_as_test(HubMachine, settings=search(60, steps=40))  # type: ignore[no-untyped-call]
