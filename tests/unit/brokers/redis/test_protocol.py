"""Tests of the protocol: order of replies, publications, and bytes that are not RESP2."""

from __future__ import annotations

from typing import Any

import txredisapi
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost

from tests.unit.brokers.redis.case import MAX_REPLY, LinkCase
from wsredis.brokers.redis.protocol import NoReply
from wsredis.brokers.redis.reading import Replies
from wsredis.errors import BrokerUnavailable


def pushed(channel: bytes, payload: bytes) -> bytes:
    """The bytes of one publication."""
    lengths = len(channel), channel, len(payload), payload
    return b"*3\r\n$7\r\nmessage\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % lengths


class ReplyTests(LinkCase):
    """Replies are matched with commands, and pushed messages keep apart."""

    def test_bytes_come_as_they_are(self) -> None:
        """Payloads that look like numbers, are empty or binary, arrive byte for byte."""
        self.start()
        payloads = [b"123", b"1.50", b"1_000", b"", b"\x00\xff\r\n", b"$-1\r\n", b"nan"]
        self.protocol().call("SUBSCRIBE", b"42")
        self.server.pump()
        for payload in payloads:
            self.server.publish(b"42", payload)
        self.server.pump()
        self.assertEqual([[(b"42", payload) for payload in payloads]], self.owner.batches)

    def test_three_channels_and_a_ping(self) -> None:
        """
        SUBSCRIBE with three names has three replies, and the PING after it gets its own.

        txredisapi 1.6 gives the second reply of SUBSCRIBE to PING.
        """
        self.start()
        replies: list[Any] = []

        def three(reply: Any) -> bool:
            replies.append(reply)
            return len(replies) == 3

        self.protocol().send(three, "SUBSCRIBE", b"a", b"b", b"c")
        pong = self.protocol().call("PING")
        self.server.pump()
        self.assertEqual([b"a", b"b", b"c"], [reply[1] for reply in replies])
        self.assertEqual([b"pong", b""], self.successResultOf(pong))

    def test_messages_before_a_reply_come_before_it(self) -> None:
        """Publications before a reply are delivered before it, within one read."""
        self.start()
        self.protocol().call("SUBSCRIBE", b"a")
        self.server.pump()
        self.server.publish(b"a", b"1")
        session = self.server.sessions[0]
        session.push(b"$1\r\nx\r\n")
        self.server.publish(b"a", b"2")
        self.protocol()._expected.append(
            (lambda reply: bool(self.owner.events.append(reply)) or True, 1)
        )
        self.server.pump()
        self.assertEqual(["up", [(b"a", b"1")], b"x", [(b"a", b"2")]], self.owner.events)

    def test_reply_that_equals_false(self) -> None:
        """An integer 0 is a reply like any other: nothing after it is forgotten."""
        self.start()
        calls = [self.protocol().call("PING") for _ in range(3)]
        self.protocol().dataReceived(b":0\r\n:1\r\n" + pushed(b"a", b"x") + b":0\r\n")
        self.assertEqual([0, 1, 0], [self.successResultOf(call) for call in calls])
        self.assertEqual([[(b"a", b"x")]], self.owner.batches)

    def test_replies_that_look_alike(self) -> None:
        """Replies with as many parts as a publication, or as many bytes, are none."""
        self.start()
        replies = [b"*3\r\n$3\r\nfoo\r\n$1\r\na\r\n:1\r\n", b"$3\r\nabc\r\n", b"*0\r\n", b"$-1\r\n"]
        for text in (*replies, b"".join(replies)):
            count = replies.count(text) or len(replies)
            calls = [self.protocol().call("PING") for _ in range(count)]
            self.protocol().dataReceived(pushed(b"a", b"1") + text + pushed(b"a", b"2"))
            self.assertTrue(all(call.called for call in calls))
            self.assertEqual([[(b"a", b"1")], [(b"a", b"2")]], self.owner.batches[-2:])

    def test_paused_by_a_delivery(self) -> None:
        """A connection that is paused in the middle of a read hands over the rest when resumed."""
        self.start()
        protocol = self.protocol()
        call = protocol.call("PING")
        self.owner.on_messages = protocol.pause
        first, second = pushed(b"a", b"1"), pushed(b"a", b"2")
        protocol.dataReceived(first + b"$1\r\nx\r\n" + second + second[:9])
        self.assertEqual(["up", [(b"a", b"1")]], self.owner.events)
        protocol.dataReceived(second[9:])
        self.assertNoResult(call)
        protocol.resume()
        self.assertEqual(b"x", self.successResultOf(call))
        self.assertEqual(["up", [(b"a", b"1")], [(b"a", b"2")] * 2], self.owner.events)
        protocol.dataReceived(first)
        self.assertEqual(3, len(self.owner.events))

    def test_paused_by_a_reply(self) -> None:
        """So does one that is paused by the receiver of a reply."""
        self.start()
        protocol = self.protocol()
        protocol.send(lambda reply: protocol.pause() or True, "PING")
        protocol.dataReceived(b"$1\r\nx\r\n" + pushed(b"a", b"1"))
        self.assertEqual(["up"], self.owner.events)
        protocol.resume()
        self.assertEqual(["up", [(b"a", b"1")]], self.owner.events)

    def test_more_than_a_piece(self) -> None:
        """A read that is parsed in several pieces is delivered at once."""
        self.start()
        payloads = [b"%d" % number * 50 for number in range(1000)]
        self.protocol().dataReceived(b"".join(pushed(b"a", payload) for payload in payloads))
        self.assertEqual([[(b"a", payload) for payload in payloads]], self.owner.batches)

    def test_one_byte_at_a_time(self) -> None:
        """The borders of reads do not matter."""
        self.start()
        data = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\n\r\n\r\n"
        for position in range(len(data)):
            self.protocol().dataReceived(data[position : position + 1])
        self.assertEqual([[(b"a", b"\r\n")]], self.owner.batches)

    def test_refusal_fails_the_call(self) -> None:
        """An error reply reaches its caller, and no other."""
        self.start()
        refused = self.protocol().call("NOSUCH")
        fine = self.protocol().call("PING")
        self.server.pump()
        self.failureResultOf(refused, txredisapi.ResponseError)
        self.assertEqual(b"PONG", self.successResultOf(fine))

    def test_waiting(self) -> None:
        """Commands without an answer are counted."""
        self.start()
        self.assertEqual(0, self.protocol().unanswered)
        self.protocol().call("PING")
        self.protocol().call("PING")
        self.assertEqual(2, self.protocol().unanswered)
        self.server.pump()
        self.assertEqual(0, self.protocol().unanswered)

    def test_loss_fails_what_is_under_way(self) -> None:
        """Commands without an answer fail at once when the connection is lost."""
        self.start()
        calls = [self.protocol().call("PING") for _ in range(3)]
        self.server.kill()
        for call in calls:
            self.failureResultOf(call, NoReply)
        self.assertEqual(["up", "down"], self.owner.events)

    def test_command_after_the_loss(self) -> None:
        """Whoever still has the connection is told at once that there is no reply."""
        self.start()
        protocol = self.protocol()
        self.server.kill()
        self.failureResultOf(protocol.call("PING"), NoReply)
        self.failureResultOf(Replies(protocol, [("TTL", b"a")], (int,)).done, BrokerUnavailable)
        self.assertEqual(0, protocol.unanswered)

    def test_cancelled_call(self) -> None:
        """A caller that gives up does not disturb the order of replies."""
        self.start()
        impatient = self.protocol().call("PING")
        patient = self.protocol().call("MGET", b"a")
        impatient.cancel()
        self.failureResultOf(impatient, CancelledError)
        self.server.pump()
        self.assertEqual([None], self.successResultOf(patient))

    def test_values_that_look_like_a_pushed_message(self) -> None:
        """Three stored values of which the first is "message" are an answer, not a message."""
        self.link = self.make()
        self.link.start()
        self.server.pump()
        for key, value in ((b"a", b"message"), (b"b", b"x"), (b"c", b"y")):
            self.server.store(key, value)
        values = self.protocol().call("MGET", b"a", b"b", b"c")
        after = self.protocol().call("PING")
        self.server.pump()
        self.assertEqual([b"message", b"x", b"y"], self.successResultOf(values))
        self.assertEqual(b"PONG", self.successResultOf(after))

    def test_command_from_within_delivery(self) -> None:
        """The receiver of a publication may send a command at once."""
        self.start()
        self.protocol().call("SUBSCRIBE", b"a")
        self.server.pump()
        calls: list[Any] = []
        self.owner.on_messages = lambda: calls.append(self.protocol().call("PING"))
        self.server.publish(b"a", b"1")
        self.server.pump()
        self.assertEqual([b"pong", b""], self.successResultOf(calls[0]))


class ReadOnTests(LinkCase):
    """What Redis has sent is read before anything else is looked after."""

    def setUp(self) -> None:
        """Connect, and make a read of the full size."""
        super().setUp()
        self.start()
        empty = len(pushed(b"a", b"x" * 100)) - 100
        count, rest = divmod(65536 - 500, empty + 500)
        self.full = pushed(b"a", b"x" * 500) * count + pushed(b"a", b"x" * (rest + 500 - empty))
        self.assertEqual(65536, len(self.full))

    def read(self, *reads: bytes | None, ends: bool = False) -> list[int]:
        """Let the kernel have *reads*, of which the first is reported. Returns the sizes taken."""
        protocol = self.protocol()
        waiting = list(reads[1:])
        taken: list[int] = []

        def do_read() -> object:
            data = waiting.pop(0) if waiting else None
            taken.append(len(data or b""))
            if data is not None:
                protocol.dataReceived(data)
            return ConnectionLost() if ends else None

        protocol.transport.doRead = do_read
        first = reads[0]
        assert first is not None
        protocol.dataReceived(first)
        return taken

    def test_until_empty(self) -> None:
        """A full read is followed by others, until one is not full or there is none."""
        full, short = self.full, pushed(b"a", b"x")
        self.assertEqual([], self.read(short, full))
        self.assertEqual([65536, len(short)], self.read(full, full, short, full))
        self.assertEqual([65536, 0], self.read(full, full, None, full))
        self.assertEqual([65536] * 15, self.read(*[full] * 30))

    def test_end(self) -> None:
        """The end of the connection, or a reply that is none, ends it."""
        full = self.full
        self.assertEqual([65536], self.read(full, full, full, ends=True))
        self.assertEqual([65536], self.read(full, b"?" * 65536, full))

    def test_paused(self) -> None:
        """A delivery that pauses the connection ends it."""
        self.owner.on_messages = lambda: self.protocol().pause()
        self.assertEqual([], self.read(self.full, self.full))


class RubbishTests(LinkCase):
    """Bytes that are not RESP2 end the connection, and a new one is made."""

    def _broken_by(self, data: bytes) -> str:
        self.start()
        self.server.sessions[0].push(data)
        self.server.pump()
        self.assertTrue(self.server.sessions[0].aborted)
        self.wait(1)
        self.assertEqual(["up", "down", "up"], self.owner.events)
        (reason,) = self.owner.reasons
        self.assertLess(len(reason), 200)
        return reason

    def test_not_resp(self) -> None:
        """Text that is not RESP."""
        self.assertIn("invalid reply", self._broken_by(b"HTTP/1.1 400 Bad Request\r\n\r\n"))

    def test_delivered_before_the_rubbish(self) -> None:
        """What came before it in the same read is delivered and answered first."""
        self.start()
        call = self.protocol().call("PING")
        self.protocol().dataReceived(b"$1\r\nx\r\n" + pushed(b"a", b"1") + b"rubbish\r\n")
        self.assertEqual(b"x", self.successResultOf(call))
        self.assertEqual([[(b"a", b"1")]], self.owner.batches)
        self.assertEqual(1, len(self.owner.reasons))

    def test_rubbish_during_a_pause(self) -> None:
        """It is found when the connection is read again, after what came before it."""
        self.start()
        protocol = self.protocol()
        call = protocol.call("PING")
        self.owner.on_messages = protocol.pause
        protocol.dataReceived(pushed(b"a", b"1") + b"$1\r\nx\r\n" + b"rubbish\r\n")
        self.assertEqual([], self.owner.reasons)
        protocol.resume()
        self.assertEqual(b"x", self.successResultOf(call))
        self.assertEqual(1, len(self.owner.reasons))

    def test_absurd_length(self) -> None:
        """A length that no array can have."""
        self.assertIn("invalid reply", self._broken_by(b"*99999999999999\r\n"))

    def test_stray_reply(self) -> None:
        """A reply without a command is reported in short, however long it is."""
        expected = "invalid reply: no command waits for a reply of type bytes of 500"
        self.assertEqual(expected, self._broken_by(b"$500\r\n" + b"x" * 500 + b"\r\n"))

    def test_stray_error(self) -> None:
        """An error without a command."""
        self.assertIn("no command waits for", self._broken_by(b"-ERR whatever\r\n"))

    def test_endless_reply(self) -> None:
        """A reply that is longer than the limit is not collected."""
        reason = self._broken_by(b"$999999999\r\n" + b"x" * (MAX_REPLY + 1))
        self.assertIn(f"more than {MAX_REPLY} bytes", reason)

    def test_long_replies_one_after_the_other(self) -> None:
        """The limit is for one reply, not for one read."""
        self.start()
        one = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$400\r\n" + b"x" * 400 + b"\r\n"
        self.server.sessions[0].push(one * 5)
        self.server.pump()
        self.assertEqual(5, len(self.owner.batches[0]))
        self.assertEqual(["up", self.owner.batches[0]], self.owner.events)

    def test_long_replies_over_many_reads(self) -> None:
        """The limit is not for several reads together: complete replies do not count."""
        self.start()
        one = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$400\r\n" + b"x" * 400 + b"\r\n"
        for position in range(0, len(one) * 10, 300):
            self.protocol().dataReceived((one * 10)[position : position + 300])
        self.assertEqual(10, sum(len(batch) for batch in self.owner.batches))
        self.wait(10)
        self.assertEqual(["up", *self.owner.batches], self.owner.events)
        self.assertEqual(1, self.server.accepted)

    def test_endless_reply_over_many_reads(self) -> None:
        """One reply that never ends is noticed as soon as its parts are more than the limit."""
        self.start()
        message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
        for _ in range(3):
            self.protocol().dataReceived(message)
        head = b"$999999999\r\n"
        self.protocol().dataReceived(head)
        for _ in range(9):
            self.protocol().dataReceived(b"x" * 100)
        self.protocol().dataReceived(b"x" * (MAX_REPLY - 900 - len(head)))
        self.assertEqual([], self.owner.reasons)
        self.protocol().dataReceived(b"x")
        self.assertEqual(
            [f"invalid reply: a reply of more than {MAX_REPLY} bytes"], self.owner.reasons
        )

    def test_reply_with_several_values(self) -> None:
        """The limit is for each value where one reply has several."""
        self.start()
        self.server.frozen = True
        replies: list[Any] = []
        protocol = self.protocol()
        protocol.send(lambda reply: not replies.append(reply), "MGET", b"a", values=5)
        data = b"*5\r\n" + (b"$900\r\n" + b"x" * 900 + b"\r\n") * 5
        for position in range(0, len(data), 500):
            protocol.dataReceived(data[position : position + 500])
        self.assertEqual([[b"x" * 900] * 5], replies)
        protocol.send(lambda reply: True, "MGET", b"a", values=5)
        protocol.dataReceived(b"*5\r\n$999999\r\n" + b"x" * 4900)
        self.assertEqual([], self.owner.reasons)
        protocol.dataReceived(b"x" * 100)
        reason = f"invalid reply: a reply of more than {5 * MAX_REPLY} bytes"
        self.assertEqual([reason], self.owner.reasons)

    def test_error_of_a_listener(self) -> None:
        """A bug of the receiver is logged with its traceback, and the connection is made again."""
        self.start()

        def fail() -> None:
            raise ZeroDivisionError

        self.owner.on_messages = fail
        self.server.sessions[0].push(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$0\r\n\r\n")
        self.server.pump()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.wait(1)
        self.assertEqual("up", self.owner.events[-1])
