"""Tests of the set of wanted channels, and of the commands that it sends."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from wsredis.brokers.redis.connection import RedisConnection
from wsredis.brokers.redis.protocol import RedisProtocol
from wsredis.brokers.redis.subscriptions import LINGER, Subscriptions
from wsredis.config.redis_url import RedisTarget
from wsredis.errors import BrokerUnavailable, PermissionDenied
from wsredis.testing.redis import FakeRedis


class _SubscriptionsCase(SynchronousTestCase):
    """Subscriptions on a link to a Redis in memory."""

    def setUp(self) -> None:
        """Connected, nothing is wanted."""
        self.clock = MemoryReactorClock()
        self.server = FakeRedis(self.clock)
        self.forbidden: list[bytes] = []
        self.reasons: list[str] = []
        self.subscriptions = Subscriptions(self.clock, self.forbidden.append)
        self.subscriptions.start()
        self.connected: list[Deferred[None]] = []
        self.link = RedisConnection(
            self.clock,
            self.server.endpoint(),
            RedisTarget(name="redis://fake:6379"),
            ping_interval=3,
            max_reply=10000,
            established=self._established,
            lost=self.subscriptions.disconnected,
            failed=self.reasons.append,
            deliver=lambda batch: None,
        )
        self.link.start()
        self.server.pump()

    def _established(self, protocol: RedisProtocol) -> None:
        self.connected.append(self.subscriptions.connected(protocol))

    def want(self, *names: bytes) -> Deferred[None]:
        """Want channels; nothing moves yet."""
        return self.subscriptions.want(names)

    def subscribed(self) -> set[bytes]:
        """Return the subscriptions of the connection, as Redis sees them."""
        (session,) = self.server.sessions
        return session.subscribed

    def linger(self) -> None:
        """Let the time pass after which dropped channels are unsubscribed."""
        self.clock.advance(LINGER + 0.5)
        self.server.pump()

    def reconnect(self, pump: bool = True) -> None:
        """Lose the connection, and get another."""
        self.server.kill()
        self.clock.advance(1)
        if pump:
            self.server.pump()


class WantTests(_SubscriptionsCase):
    """Wanting a channel fires when Redis confirmed it."""

    def test_confirmed(self) -> None:
        """It fires with the answer, and not before."""
        done = self.want(b"a")
        self.assertNoResult(done)
        self.server.pump()
        self.successResultOf(done)
        self.assertEqual({b"a"}, self.subscribed())

    def test_several_at_once(self) -> None:
        """Several names are one command, and all must be confirmed."""
        done = self.want(b"a", b"b", b"c")
        self.server.pump()
        self.successResultOf(done)
        self.assertEqual([(b"SUBSCRIBE", b"a", b"b", b"c")], self.server.sent(b"SUBSCRIBE"))

    def test_nothing(self) -> None:
        """Without a channel nothing is sent."""
        self.successResultOf(self.want())
        self.assertEqual([], self.server.sent(b"SUBSCRIBE"))

    def test_again(self) -> None:
        """A confirmed channel is free; one under way is waited for, and not asked for twice."""
        first = self.want(b"a")
        second = self.want(b"a", b"b")
        self.server.pump()
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(self.want(b"a"))
        self.assertEqual(
            [(b"SUBSCRIBE", b"a"), (b"SUBSCRIBE", b"b")], self.server.sent(b"SUBSCRIBE")
        )

    def test_while_away(self) -> None:
        """Without a connection it fails at once, and the channel stays wanted."""
        self.server.down = True
        self.server.kill()
        self.failureResultOf(self.want(b"a"), BrokerUnavailable)
        self.server.down = False
        self.clock.advance(4)
        self.server.pump()
        self.assertEqual({b"a"}, self.subscribed())

    def test_lost_before_the_answer(self) -> None:
        """All waiting calls fail once, with BrokerUnavailable."""
        waiting = [self.want(b"a", b"b"), self.want(b"b")]
        self.server.kill()
        for each in waiting:
            self.failureResultOf(each, BrokerUnavailable)

    def test_cancelled(self) -> None:
        """A cancelled call disturbs no other."""
        impatient, patient = self.want(b"a"), self.want(b"a")
        impatient.addErrback(lambda failure: None)
        impatient.cancel()
        self.server.pump()
        self.successResultOf(patient)

    def test_cancelled_leaves_nobody_waiting(self) -> None:
        """A cancelled call for several channels waits for none of them."""
        for _ in range(3):
            impatient = self.want(b"a", b"b")
            impatient.addErrback(lambda failure: None)
            impatient.cancel()
        waiting = [len(wanted.confirmation) for wanted in self.subscriptions._wanted.values()]
        self.assertEqual([0, 0], waiting)

    def test_cancelled_and_refused(self) -> None:
        """A refusal without a waiter is reported."""
        self.server.forbidden = {b"x"}
        impatient = self.want(b"x")
        impatient.addErrback(lambda failure: None)
        impatient.cancel()
        self.server.pump()
        self.assertEqual([b"x"], self.forbidden)


class DropTests(_SubscriptionsCase):
    """Letting go lingers, so that a page that is reloaded costs Redis nothing."""

    def setUp(self) -> None:
        """One channel is subscribed."""
        super().setUp()
        self.want(b"a")
        self.server.pump()

    def test_lingers(self) -> None:
        """Redis hears of it a little later."""
        self.subscriptions.drop([b"a"])
        self.clock.advance(LINGER / 2)
        self.server.pump()
        self.assertEqual({b"a"}, self.subscribed())
        self.linger()
        self.assertEqual(set(), self.subscribed())
        self.assertEqual([], self.subscriptions.names())

    def test_reload(self) -> None:
        """Wanted again in time, Redis hears nothing at all."""
        self.subscriptions.drop([b"a"])
        self.clock.advance(LINGER / 2)
        self.successResultOf(self.want(b"a"))
        self.linger()
        self.assertEqual([], self.server.sent(b"UNSUBSCRIBE"))
        self.assertEqual({b"a"}, self.subscribed())

    def test_unknown(self) -> None:
        """An unknown channel is ignored."""
        self.subscriptions.drop([b"zz"])
        self.linger()
        self.assertEqual([], self.server.sent(b"UNSUBSCRIBE"))

    def test_subscribe_crosses_unsubscribe(self) -> None:
        """Wanted again while UNSUBSCRIBE is on its way: it ends subscribed, and is waited for."""
        self.subscriptions.drop([b"a"])
        self.clock.advance(LINGER + 0.5)
        again = self.want(b"a")
        self.assertNoResult(again)
        self.server.pump()
        self.successResultOf(again)
        self.assertEqual({b"a"}, self.subscribed())

    def test_confirmation_of_an_older_subscribe(self) -> None:
        """The reply to a SUBSCRIBE before an UNSUBSCRIBE does not confirm the next SUBSCRIBE."""
        self.want(b"b")
        self.subscriptions.drop([b"b"])
        self.clock.advance(LINGER + 0.5)
        again = self.want(b"b")
        confirm = b"*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
        assert self.link.protocol is not None
        self.link.protocol.dataReceived(confirm)
        self.assertNoResult(again)
        self.link.protocol.dataReceived(confirm.replace(b"$9\r\n", b"$11\r\nun", 1))
        self.link.protocol.dataReceived(confirm)
        self.successResultOf(again)

    def test_left_before_it_was_confirmed(self) -> None:
        """A channel may go before its SUBSCRIBE is answered; the answer is then of no use."""
        self.server.frozen = True
        self.want(b"b")
        self.subscriptions.drop([b"b"])
        self.clock.advance(LINGER + 0.5)
        self.server.frozen = False
        self.server.pump()
        self.assertEqual({b"a"}, self.subscribed())
        self.assertEqual([b"a"], self.subscriptions.names())

    def test_while_away(self) -> None:
        """Without a connection it is forgotten, and not subscribed again."""
        self.server.down = True
        self.server.kill()
        self.subscriptions.drop([b"a"])
        self.clock.advance(LINGER + 0.5)
        self.server.down = False
        self.clock.advance(4)
        self.server.pump()
        self.assertEqual(set(), self.subscribed())

    def test_refused_unsubscribe(self) -> None:
        """An error reply to UNSUBSCRIBE changes nothing."""
        self.server.refuse["UNSUBSCRIBE"] = "ERR no"
        self.subscriptions.drop([b"a"])
        self.linger()
        self.assertEqual([], self.subscriptions.names())
        self.assertEqual(1, len(self.server.sessions))

    def test_lost_unsubscribe(self) -> None:
        """The connection may go before the answer."""
        self.subscriptions.drop([b"a"])
        self.clock.advance(LINGER + 0.5)
        self.reconnect()
        self.assertEqual(set(), self.subscribed())

    def test_stop(self) -> None:
        """After a stop no timer of it is left."""
        self.subscriptions.stop()
        self.link.stop()
        self.clock.advance(1)
        self.assertEqual([], self.clock.getDelayedCalls())


class RefusalTests(_SubscriptionsCase):
    """A forbidden channel concerns its own listeners only."""

    def setUp(self) -> None:
        """Two channels are forbidden."""
        super().setUp()
        self.server.forbidden = {b"x", b"y"}

    def test_one_of_several(self) -> None:
        """
        Redis refuses the whole command; the others are subscribed all the same.

        The call for all of them is refused.
        """
        other = self.want(b"a", b"b")
        with capturedLogs() as events:
            done = self.want(b"a", b"x", b"c")
            self.server.pump()
        self.failureResultOf(done, PermissionDenied)
        self.successResultOf(other)
        self.assertEqual({b"a", b"b", b"c"}, self.subscribed())
        self.assertEqual([b"a", b"b", b"c"], sorted(self.subscriptions.names()))
        self.assertEqual([], self.forbidden)
        self.assertEqual(["x"], [event["channel"] for event in events])

    def test_stop(self) -> None:
        """Refusals that were counted are logged, and no timer for them is left."""
        names = [b"x%d" % number for number in range(12)]
        self.server.forbidden = set(names)
        timers = len(self.clock.getDelayedCalls())
        self.want(*names).addErrback(lambda failure: failure.trap(PermissionDenied))
        self.server.pump()
        self.assertEqual(timers + 1, len(self.clock.getDelayedCalls()))
        with capturedLogs() as events:
            self.subscriptions.stop()
        self.assertEqual([" (and 1 more of this kind)"], [event["more"] for event in events])
        self.assertLess(len(self.clock.getDelayedCalls()), timers)

    def test_two_of_two(self) -> None:
        """The error comes once, and is the only report."""
        done = self.want(b"x", b"y")
        self.server.pump()
        self.failureResultOf(done, PermissionDenied)
        self.assertEqual([], self.forbidden)
        self.assertEqual([], self.subscriptions.names())

    def test_wanted_while_away(self) -> None:
        """A refusal after BrokerUnavailable is reported: no call waits for it."""
        self.server.down = True
        self.server.kill()
        self.failureResultOf(self.want(b"x", b"a"), BrokerUnavailable)
        self.server.down = False
        self.clock.advance(4)
        self.server.pump()
        self.assertEqual([b"x"], self.forbidden)
        self.assertEqual([b"a"], self.subscriptions.names())

    def test_lost_before_the_refusal(self) -> None:
        """The same where the connection was lost before Redis could refuse."""
        waiting = self.want(b"x")
        self.reconnect()
        self.failureResultOf(waiting, BrokerUnavailable)
        self.assertEqual([b"x"], self.forbidden)

    def test_refused_while_another_call_waits(self) -> None:
        """A call that waits gets the error, and earlier ones a report: they have no other."""
        self.server.down = True
        self.server.kill()
        self.failureResultOf(self.want(b"x"), BrokerUnavailable)
        self.server.down = False
        self.clock.advance(4)
        self.server.sessions[0].move()
        waiting = self.want(b"x")
        self.server.pump()
        self.failureResultOf(waiting, PermissionDenied)
        self.assertEqual([b"x"], self.forbidden)

    def test_lost_and_refused_while_another_call_waits(self) -> None:
        """The same if the earlier call was under way when the connection was lost."""
        lost = self.want(b"x")
        self.reconnect(pump=False)
        self.failureResultOf(lost, BrokerUnavailable)
        self.server.sessions[0].move()
        waiting = self.want(b"x")
        self.server.pump()
        self.failureResultOf(waiting, PermissionDenied)
        self.assertEqual([b"x"], self.forbidden)

    def test_dropped_and_refused(self) -> None:
        """A channel that is refused while it lingers is not unsubscribed later."""
        self.want(b"x").addErrback(lambda failure: None)
        self.subscriptions.drop([b"x"])
        self.server.pump()
        self.linger()
        self.assertEqual([], self.server.sent(b"UNSUBSCRIBE"))
        self.assertEqual([], self.flushLoggedErrors())

    def test_asked_again(self) -> None:
        """A refusal is not remembered: the rights in Redis may have changed."""
        self.failureResultOf(self._refused(b"x"), PermissionDenied)
        self.server.forbidden = set()
        done = self.want(b"x")
        self.server.pump()
        self.successResultOf(done)

    def _refused(self, name: bytes) -> Deferred[None]:
        done = self.want(name)
        self.server.pump()
        return done

    def test_left_meanwhile(self) -> None:
        """A refusal of a channel that was dropped meanwhile is not reported."""
        self.server.frozen = True
        self.want(b"x").addErrback(lambda failure: None)
        self.subscriptions.drop([b"x"])
        self.clock.advance(LINGER + 0.5)
        self.server.frozen = False
        self.server.pump()
        self.assertEqual([], self.forbidden)

    def test_refused_after_a_reconnect(self) -> None:
        """Rights taken away meanwhile: the others survive, the loss is reported."""
        self.server.forbidden = set()
        self.want(b"a", b"x")
        self.server.pump()
        self.server.forbidden = {b"x"}
        self.reconnect()
        self.assertEqual({b"a"}, self.subscribed())
        self.assertEqual([b"x"], self.forbidden)
        self.successResultOf(self.connected[-1])


class ReconnectTests(_SubscriptionsCase):
    """After a loss every wanted channel is subscribed again, before the link counts as up."""

    def test_in_batches(self) -> None:
        """1200 channels are three commands, and `connected` fires after all of them."""
        names = [b"c%d" % number for number in range(1200)]
        self.want(*names)
        self.server.pump()
        before = len(self.server.sent(b"SUBSCRIBE"))
        self.reconnect(pump=False)
        # The greeting is answered, the subscriptions are not yet.
        self.server.frozen = False
        self.server.sessions[0].move()
        self.assertNoResult(self.connected[-1])
        self.server.pump()
        self.successResultOf(self.connected[-1])
        self.assertEqual(set(names), self.subscribed())
        sizes = [len(words) - 1 for words in self.server.sent(b"SUBSCRIBE")[before:]]
        self.assertEqual([500, 500, 200], sizes)

    def test_nothing_wanted(self) -> None:
        """Without channels it fires with the next answer."""
        self.reconnect()
        self.successResultOf(self.connected[-1])

    def test_forbidden_in_a_batch(self) -> None:
        """`connected` also waits for those that are asked for again, one by one."""
        self.want(*[b"c%d" % number for number in range(20)])
        self.server.pump()
        self.server.forbidden = {b"c7"}
        self.reconnect(pump=False)
        session = self.server.sessions[0]
        session.move()
        session.move()
        self.assertNoResult(self.connected[-1])
        self.server.pump()
        self.successResultOf(self.connected[-1])
        self.assertEqual(19, len(self.subscribed()))

    def test_lost_again_meanwhile(self) -> None:
        """A second loss ends the first attempt, and the next one makes it good."""
        self.want(b"a")
        self.server.pump()
        self.reconnect(pump=False)
        self.server.sessions[0].move()
        first = self.connected[-1]
        self.reconnect()
        self.assertTrue(first.called)
        self.successResultOf(self.connected[-1])
        self.assertEqual({b"a"}, self.subscribed())

    def test_lost_with_a_subscribe_under_way(self) -> None:
        """The next connection subscribes to it, and stays: it misses no reply of the first."""
        self.want(b"a")
        self.server.pump()
        waiting = self.want(b"b")
        self.server.kill()
        self.failureResultOf(waiting, BrokerUnavailable)
        self.clock.advance(1)
        self.server.pump()
        self.assertEqual({b"a", b"b"}, self.subscribed())
        self.successResultOf(self.want(b"a", b"b"))
        for _ in range(10):
            self.clock.advance(1)
            self.server.pump()
        self.assertEqual(2, self.server.accepted)

    def test_lost_with_an_unsubscribe_under_way(self) -> None:
        """Likewise; the channel is not subscribed again."""
        self.want(b"a", b"b")
        self.server.pump()
        self.subscriptions.drop([b"b"])
        self.clock.advance(LINGER + 0.5)
        self.reconnect()
        for _ in range(10):
            self.clock.advance(1)
            self.server.pump()
        self.assertEqual({b"a"}, self.subscribed())
        self.assertEqual(2, self.server.accepted)

    def test_numbers_of_an_earlier_connection(self) -> None:
        """A confirmation on one connection says nothing about the next."""
        self.want(b"a")
        self.server.pump()
        self.reconnect(pump=False)
        again = self.want(b"a")
        self.failureResultOf(again, BrokerUnavailable)
        self.server.sessions[0].move()
        waiting = self.want(b"a")
        self.assertNoResult(waiting)
        self.server.pump()
        self.successResultOf(waiting)

    def test_wanted_during_the_reconnect(self) -> None:
        """A channel that is wanted during the reconnect is confirmed with the others."""
        self.want(b"a")
        self.server.pump()
        self.reconnect(pump=False)
        self.server.sessions[0].move()
        done = self.want(b"a", b"b")
        self.assertNoResult(done)
        self.server.pump()
        self.successResultOf(done)
        self.assertEqual({b"a", b"b"}, self.subscribed())

    def test_dropped_just_before_the_loss(self) -> None:
        """A channel that lingers is subscribed again, and let go in time."""
        self.want(b"a")
        self.server.pump()
        self.subscriptions.drop([b"a"])
        self.reconnect()
        self.assertEqual({b"a"}, self.subscribed())
        self.linger()
        self.assertEqual(set(), self.subscribed())

    def test_answer_for_another_channel(self) -> None:
        """An answer that does not fit ends the connection: nothing after it could be trusted."""
        self.server.frozen = True
        self.want(b"a").addErrback(lambda failure: None)
        assert self.link.protocol is not None
        self.link.protocol.dataReceived(b"*3\r\n$9\r\nsubscribe\r\n$1\r\nz\r\n:1\r\n")
        self.assertTrue(self.server.sessions[0].aborted)
        self.assertEqual([], self.flushLoggedErrors())
        self.assertIn("for another channel", self.reasons[0])


class AuditTests(_SubscriptionsCase):
    """The number of subscriptions at Redis is compared with our own."""

    def setUp(self) -> None:
        """Two channels are subscribed."""
        super().setUp()
        self.want(b"a", b"b")
        self.server.pump()
        self.counts: list[tuple[object, int]] = []

    def audit(self) -> None:
        """Ask; nothing moves yet."""
        self.subscriptions.audit(b"q", lambda count, own: self.counts.append((count, own)))

    def test_right(self) -> None:
        """The channel that is asked for counts, and is subscribed."""
        self.audit()
        self.audit()
        self.server.pump()
        self.assertEqual([(3, 3), (3, 3)], self.counts)

    def test_under_way(self) -> None:
        """Every command that was sent before counts, and none that is sent after."""
        self.subscriptions.drop([b"a"])
        self.clock.advance(LINGER + 0.5)
        self.want(b"c", b"d")
        self.audit()
        self.want(b"a", b"e")
        self.audit()
        self.server.pump()
        self.assertEqual([(4, 4), (6, 6)], self.counts)

    def test_refused(self) -> None:
        """A channel that Redis refuses does not count."""
        self.server.forbidden = {b"x"}
        self.want(b"x", b"y").addErrback(lambda failure: None)
        self.server.pump()
        self.audit()
        self.server.pump()
        self.assertEqual([(4, 4)], self.counts)

    def test_forgotten(self) -> None:
        """A server that has forgotten channels has another number."""
        self.server.sessions[0].subscribed.clear()
        self.audit()
        self.server.pump()
        self.assertEqual([(1, 3)], self.counts)

    def test_after_a_loss(self) -> None:
        """A new connection begins with none, and has all that are wanted."""
        self.audit()
        self.server.pump()
        self.reconnect()
        self.audit()
        self.server.pump()
        self.assertEqual([(3, 3), (3, 3)], self.counts)

    def test_error(self) -> None:
        """An error is handed over."""
        self.server.refuse["SUBSCRIBE"] = "NOPERM no"
        self.audit()
        self.server.pump()
        self.assertEqual(("NOPERM no", 2), (str(self.counts[0][0]), self.counts[0][1]))

    def test_lost(self) -> None:
        """Nobody is told when the connection is lost before the answer, or is not there."""
        self.audit()
        self.server.down = True
        self.server.kill()
        self.audit()
        self.assertEqual([], self.counts)

    def test_unexpected(self) -> None:
        """A reply to something else ends the connection with one reason."""
        for reply in (b":1", b"+QUEUED", b"*1\r\n:1", b"*3\r\n+subscribe\r\n+z\r\n:1"):
            self.setUp()
            self.audit()
            assert self.link.protocol is not None
            self.link.protocol.dataReceived(reply + b"\r\n")
            self.assertEqual([], self.counts)
            self.assertIn("SUBSCRIBE was answered", self.reasons[0])


class QuietTests(SynchronousTestCase):
    """A channel of the gateway itself."""

    def test_quiet(self) -> None:
        """It is no name of a client, and its refusal is told and not logged."""
        clock = MemoryReactorClock()
        forbidden: list[bytes] = []
        subscriptions = Subscriptions(clock, forbidden.append, quiet=b"q")
        server = FakeRedis(clock)
        server.forbidden = {b"q"}
        link = RedisConnection(
            clock,
            server.endpoint(),
            RedisTarget(name="redis://fake:6379"),
            ping_interval=3,
            max_reply=10000,
            established=subscriptions.connected,
            lost=subscriptions.disconnected,
            failed=lambda reason: None,
            deliver=lambda batch: None,
        )
        link.start()
        server.pump()
        subscriptions.want([b"a"])
        refused = subscriptions.want([b"q"])
        self.assertEqual([b"a"], subscriptions.names())
        with capturedLogs() as captured:
            server.pump()
        self.failureResultOf(refused, PermissionDenied)
        self.assertEqual(([b"q"], []), (forbidden, captured))


class BusyTests(_SubscriptionsCase):
    """A server that takes no command for now."""

    def test_not_forbidden(self) -> None:
        """A script that runs is no reason to refuse a client: the connection is made anew."""
        self.server.refuse["SUBSCRIBE"] = "BUSY Redis is busy running a script."
        done = self.want(b"a")
        self.server.pump()
        self.clock.advance(0)
        self.failureResultOf(done, BrokerUnavailable)
        self.assertEqual([], self.forbidden)
        self.assertEqual(
            ["SUBSCRIBE was refused: BUSY Redis is busy running a script."], self.reasons
        )
        self.server.refuse.clear()
        for _ in range(10):
            self.clock.advance(0.1)
            self.server.pump()
        self.assertEqual({b"a"}, self.subscribed())
