"""Tests of the lines about WebSockets that are opened and closed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from wsredis.channels import Access, Audience
from wsredis.gateway.identity import Identity
from wsredis.transports.sockets import Traffic
from wsredis.transports.websocket.life_log import code_in_words, ending_of, log_closed, log_opened

_DONE = Failure(ConnectionDone())


def _connection(**changes: Any) -> Any:
    return SimpleNamespace(
        **{
            "peer": "192.0.2.1:4711",
            "id": "k7x2f-12",
            "identity": Identity(user="john", session="secret"),
            "granted": Access("chat"),
            "channels": (b"broadcast:chat", b"session:secret:chat"),
            "publishes": (),
            "messages": 5,
            **changes,
        }
    )


def _end(**changes: Any) -> Any:
    end = {
        "closedByMe": False,
        "wasClean": False,
        "cause": "",
        "localCloseCode": None,
        "localCloseReason": None,
        "remoteCloseCode": None,
        "remoteCloseReason": None,
    }
    return SimpleNamespace(**{**end, **changes})


class EndingTests(SynchronousTestCase):
    """The side that closes, its code and its reason."""

    def check(self, expected: tuple[str, int, str], error: Exception, **end: Any) -> None:
        """Check the end of one WebSocket."""
        self.assertEqual(expected, ending_of(_end(**end), Failure(error)))

    def test_client(self) -> None:
        """The client said goodbye, with or without a code, or just ended the connection."""
        done = ConnectionDone()
        self.check(
            ("client", 1001, "bye"),
            done,
            wasClean=True,
            remoteCloseCode=1001,
            remoteCloseReason="bye",
        )
        self.check(("client", 1005, ""), done, wasClean=True)
        self.check(("client", 1006, ""), done)

    def test_gateway(self) -> None:
        """The gateway sent a close frame, whether it was answered or not, or cut the connection."""
        for error in (ConnectionDone(), ConnectionAborted(), ConnectionLost()):
            self.check(
                ("gateway", 1008, "slow consumer"),
                error,
                closedByMe=True,
                localCloseCode=1008,
                localCloseReason=b"slow consumer",
                remoteCloseCode=1000,
            )
        self.check(("gateway", 1006, "no pong"), ConnectionAborted(), cause="no pong")
        self.check(("gateway", 1006, ""), ConnectionAborted())

    def test_network(self) -> None:
        """Everything else is the network: a reset, or a host that is gone."""
        self.check(("network", 1006, ""), ConnectionLost())

    def test_words(self) -> None:
        """Codes have words, but for those of applications."""
        for code, words in ((1001, "going away"), (1006, "no close frame"), (3000, "")):
            self.assertEqual(words, code_in_words(code))


class LineTests(SynchronousTestCase):
    """The two lines."""

    def opened(self, requested: Access | None = None, **changes: Any) -> LogEvent:
        """Log that a connection is open."""
        with capturedLogs() as events:
            log_opened(_connection(**changes), requested)
        return events[0]

    def closed(self, traffic: Traffic | None, **end: Any) -> LogEvent:
        """Log that a connection is gone."""
        with capturedLogs() as events:
            log_closed(_connection(), _end(**end), _DONE, 2.12345, traffic)
        return events[0]

    def test_opened(self) -> None:
        """A line names the client, its channels and its id, and no key of a session."""
        self.assertEqual(
            "opened 192.0.2.1:4711 on 'chat' (k7x2f-12): user 'john' hears broadcast:chat, "
            "session:...:chat and publishes on nothing",
            formatEvent(self.opened()),
        )
        event = self.opened(identity=Identity())
        self.assertIn("): anonymous hears", formatEvent(event))
        self.assertIsNone(event["user"])

    def test_rights(self) -> None:
        """It names the rights that were granted, and those that were only asked for."""
        asked = Access("chat", frozenset({Audience.USER, Audience.BROADCAST}))
        got = Access("chat", frozenset({Audience.BROADCAST}))
        for requested, granted, words in (
            (asked, asked, "nothing; granted subscribe-broadcast, subscribe-user"),
            (asked, got, "nothing; granted subscribe-broadcast, not granted subscribe-user"),
            (Access("chat"), Access("chat"), "nothing; granted nothing"),
        ):
            event = self.opened(requested, granted=granted)
            self.assertTrue(formatEvent(event).endswith(words), formatEvent(event))
            self.assertEqual(granted.flags, event["granted"])
        self.assertEqual([], event["refused"])

    def test_many_channels(self) -> None:
        """Eight channels are named, and the others counted."""
        names = [b"group:%d:chat" % n for n in range(64)]
        event = self.opened(channels=names)
        self.assertEqual(9, len(event["hears"]))
        self.assertEqual("and 56 more", event["hears"][-1])

    def test_chosen_by_clients(self) -> None:
        """Whatever a client has chosen is quoted, and not longer than 200 characters."""
        event = self.opened(
            granted=Access("a\n\u202e" * 500),
            channels=["broadcast:a\n\u202e".encode()],
            identity=Identity(user="x\x1b[31m"),
        )
        text = formatEvent(event)
        self.assertTrue(text.isprintable(), text)
        self.assertLess(len(text), 2000)
        self.assertEqual(200, len(event["facility"]))

    def test_closed(self) -> None:
        """A line says who closed, why, and what happened meanwhile."""
        event = self.closed(
            Traffic(300, 4000), wasClean=True, remoteCloseCode=1001, remoteCloseReason="bye\n"
        )
        self.assertEqual(
            "closed 192.0.2.1:4711 on 'chat' (k7x2f-12) by the client with 1001 (going away), "
            "'bye\\n', after 2.123 s: 5 messages, 300 bytes in and 4000 bytes out of user 'john', "
            "who heard broadcast:chat, session:...:chat and published on nothing",
            formatEvent(event),
        )
        self.assertEqual((300, 4000), (event["bytes_in"], event["bytes_out"]))

    def test_no_figures(self) -> None:
        """Without a count of the kernel there is no word about bytes."""
        event = self.closed(None)
        self.assertIn(" 5 messages of user ", formatEvent(event))
        self.assertIsNone(event["bytes_out"])
