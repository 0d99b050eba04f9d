"""Tests for `wsredis.service.connect.conversation`."""

from __future__ import annotations

import io
import json

from tests.unit.service.connect.case import ClientCase
from wsredis.service.connect.conversation import Conversation
from wsredis.service.connect.screen import Screen
from wsredis.service.outside import Outside
from wsredis.testing.wire import BINARY, CLOSE, PING, PONG, TEXT


class _Reader:
    """Reads nothing, and remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def start(self) -> None:
        """See `LineReader`."""
        self.told.append("start")

    def pause(self) -> None:
        """See `LineReader`."""
        self.told.append("pause")

    def resume(self) -> None:
        """See `LineReader`."""
        self.told.append("resume")

    def typed(self) -> str:
        """See `LineReader`."""
        return ""

    def restore(self) -> None:
        """See `LineReader`."""


class ConversationCase(ClientCase):
    """A conversation, with a client whose server is the test."""

    def begin(
        self, *protocols: str, prompt: bool = True, wait: float = 0.0, verbose: bool = False
    ) -> None:
        """Begin to connect."""
        self.stdout, self.stderr = io.BytesIO(), io.StringIO()
        self.reader = _Reader()
        self.statuses: list[int] = []
        self.talk = Conversation(
            self.clock,
            Screen(Outside(io.BytesIO(), self.stdout, self.stderr)),
            self.reader,
            is_prompt=prompt,
            wait=wait,
            is_verbose=verbose,
            stop=self.statuses.append,
        )
        self.connect(self.talk, *protocols)

    def open(
        self, protocol: str = "", *, prompt: bool = True, wait: float = 0.0, verbose: bool = False
    ) -> None:
        """Connect."""
        self.begin(*filter(None, [protocol]), prompt=prompt, wait=wait, verbose=verbose)
        self.accept(protocol)
        self.shown()

    def type(self, *lines: bytes | None) -> list[tuple[int, bytes]]:
        """Lines are typed. Returns: The frames that are sent."""
        for line in lines:
            self.talk.line_received(line)
        return self.sent()

    def shown(self) -> list[str]:
        """The notes since the last call."""
        text = self.stderr.getvalue()
        self.stderr.seek(0)
        self.stderr.truncate()
        return text.splitlines()


class TalkTests(ConversationCase):
    """Lines and messages."""

    def test_open(self) -> None:
        """Lines are read when the connection is open, and a person hears what can be typed."""
        self.begin("x")
        self.assertEqual([], self.reader.told)
        self.accept("x")
        self.assertEqual(["start"], self.reader.told)
        self.assertEqual(
            ["connected, subprotocol x. Type to send, /help for more, Ctrl-D to end"], self.shown()
        )
        self.begin()
        self.accept()
        self.assertIn("With --subprotocol wsredis ", self.shown()[1])
        self.begin(prompt=False)
        self.accept()
        self.assertEqual(["connected"], self.shown())

    def test_messages(self) -> None:
        """Lines are sent, as text if they are text; messages are printed."""
        self.open()
        self.assertEqual(
            [(TEXT, b"hello"), (TEXT, b"/x"), (BINARY, b"\xff")],
            self.type(b"hello", b"", b"//x", b"\xff"),
        )
        self.receive(TEXT, b"one")
        self.receive(BINARY, b"two")
        self.assertEqual(b"one\ntwo\n", self.stdout.getvalue())

    def test_pipe(self) -> None:
        """In a pipe each line is a message, whatever it looks like."""
        self.open(prompt=False)
        sent = self.type(b"/close", b"", b"//x")
        self.assertEqual([(TEXT, b"/close"), (TEXT, b""), (TEXT, b"//x")], sent)

    def test_commands(self) -> None:
        """Commands send pings and bytes, and close; what is none shows the help."""
        self.open()
        self.assertEqual(
            [(PING, b""), (PING, b"abc"), (BINARY, b"\x00\xff")],
            self.type(b"/ping", b"/ping abc", b"/binary 00 ff"),
        )
        self.receive(PONG, b"abc")
        self.assertEqual(["pong: abc"], self.shown())
        for line in (b"/binary 0", b"/binary", b"/close x", b"/ping " + b"x" * 126, b"/help"):
            self.assertEqual([], self.type(line), line)
            self.assertIn("/ping [TEXT]           send a ping", self.shown(), line)
        for line in (b"/close 1001", b"/close 5000 x", b"/close 4000 " + b"x" * 124):
            self.assertEqual([], self.type(line), line)
            self.assertEqual(1, len(self.shown()), line)
        self.assertEqual([(CLOSE, b"\x0f\xa0bye")], self.type(b"/close 4000 bye"))
        self.assertEqual([], self.type(b"too late"))

    def test_pings(self) -> None:
        """Pings are shown to those who want to see everything."""
        self.open()
        self.receive(PING, b"p")
        self.assertEqual([], self.shown())
        self.open(verbose=True)
        self.receive(PING, b"p")
        self.assertEqual(["ping: p"], self.shown())

    def test_pressure(self) -> None:
        """No lines are read while the server does not keep up."""
        self.open()
        producer = self.transport.producer
        producer.pauseProducing()
        producer.resumeProducing()
        producer.stopProducing()
        self.assertEqual(["start", "pause", "resume"], self.reader.told)


class SubprotocolTests(ConversationCase):
    """The subprotocol of the gateway."""

    def test_hello(self) -> None:
        """What the gateway grants is told, with its hints."""
        self.open("wsredis")
        hello = {
            "id": "x-1",
            "heartbeat": 25,
            "subscribe": ["broadcast", "user"],
            "publish": [],
            "user": "john",
            "hints": ["no flag", "look \x1b"],
        }
        self.receive(BINARY, json.dumps({"hello": hello}).encode())
        self.assertEqual(
            [
                "you are john; you hear broadcast, user, and may publish nothing",
                *("hint: no flag", "hint: look \\x1b"),
            ],
            self.shown(),
        )
        self.receive(BINARY, b'{"hello": {"user": null, "hints": 5, "publish": "x"}}')
        self.assertEqual(
            ["you are nobody in particular; you hear nothing, and may publish nothing"],
            self.shown(),
        )
        self.assertEqual(b"", self.stdout.getvalue())

    def test_heartbeat(self) -> None:
        """Heartbeats are answered, and shown to those who want to see everything."""
        for verbose, notes in ((False, []), (True, ["heartbeat"])):
            self.open("wsredis", verbose=verbose)
            self.receive(BINARY)
            self.assertEqual(([(BINARY, b"")], notes), (self.sent(), self.shown()))

    def test_others(self) -> None:
        """What is not known is shown as it is; bytes that are no text are a message."""
        self.open("wsredis")
        self.receive(BINARY, b'{"new": 1}')
        self.receive(BINARY, b"[1]")
        self.receive(BINARY, b"null")
        told = [f"from the gateway: {each}" for each in ('{"new": 1}', "[1]", "null")]
        self.assertEqual(told, self.shown())
        self.assertEqual([], self.sent())
        self.receive(BINARY, b"\xff")
        self.receive(BINARY, b"{")
        self.receive(TEXT, b"{}")
        self.assertEqual(b"\xff\n{\n{}\n", self.stdout.getvalue())

    def test_deep(self) -> None:
        """A message that no parser can read to its end is a message, and the client lives on."""
        self.open("wsredis")
        self.receive(BINARY, b"[" * 100000)
        self.assertEqual(100001, len(self.stdout.getvalue()))

    def test_not_offered(self) -> None:
        """Without the subprotocol an empty message is a message."""
        self.open()
        self.receive(BINARY)
        self.assertEqual((b"\n", []), (self.stdout.getvalue(), self.sent()))


class EndTests(ConversationCase):
    """The end, and its status."""

    def end(self, code: int, reason: bytes = b"") -> list[str]:
        """The server closes. Returns: What is shown."""
        self.receive(CLOSE, code.to_bytes(2, "big") + reason)
        self.lose()
        return self.shown()

    def test_codes(self) -> None:
        """Code and reason are shown, and what to make of them."""
        for code, reason, line, status in (
            (1000, b"", "closed: 1000 (normal)", 0),
            (1001, b"", "closed: 1001 (going away: the gateway stops)", 0),
            (1008, b"slow", "closed: 1008 slow; final: do not come back", 1),
            (1013, b"busy", "closed: 1013 busy; worth another try", 1),
            (4000, b"", "closed: 4000", 1),
            (4001, b"own", "closed: 4001 own", 1),
            (1003, b"", "closed: 1003 (this kind of message is not taken)", 1),
        ):
            self.open()
            self.assertEqual(([line], [status]), (self.end(code, reason), self.statuses))

    def test_lost(self) -> None:
        """A connection that breaks is an end with trouble."""
        self.open()
        self.lose()
        self.assertEqual([1], self.statuses)
        self.assertTrue(self.shown()[0].startswith("closed: 1006"))

    def test_end_of_input(self) -> None:
        """After the last line the connection is closed, and all was well."""
        self.open()
        self.assertEqual([(TEXT, b"x")], self.type(b"x", None))
        self.clock.advance(0)
        self.assertEqual([(CLOSE, b"\x03\xe8")], self.sent())
        self.end(1000)
        self.assertEqual([0], self.statuses)

    def test_refused_at_the_end_of_input(self) -> None:
        """A refusal that crosses the end of the input is trouble; an answer to our code is none."""
        for line, code, status in (
            (None, 4401, 1),
            (None, 1005, 0),
            (b"/close 4000 bye", 4000, 0),
            (b"/close 4000 bye", 4403, 1),
        ):
            self.open()
            self.type(line)
            self.clock.advance(0)
            self.receive(CLOSE, b"" if code == 1005 else code.to_bytes(2, "big"))
            self.lose()
            self.assertEqual([status], self.statuses, (line, code))

    def test_unheard(self) -> None:
        """When nobody reads the messages any more, that is the end; notes are lost, and no more."""
        self.open()

        def fail(data: object) -> int:
            raise BrokenPipeError

        self.patch(self.stdout, "write", fail)
        self.patch(self.stderr, "write", fail)
        self.receive(PONG)
        self.assertFalse(self.talk.is_unheard)
        self.receive(TEXT, b"one")
        self.receive(TEXT, b"two")
        self.assertEqual([(CLOSE, b"\x03\xe8")], self.sent())
        self.assertEqual((True, [0]), (self.talk.is_unheard, self.statuses))

    def test_wait(self) -> None:
        """It may stay open for a while, for answers."""
        self.open(prompt=False, wait=5)
        self.type(None)
        self.clock.advance(4.9)
        self.assertEqual([], self.sent())
        self.clock.advance(0.2)
        self.assertEqual([(CLOSE, b"\x03\xe8")], self.sent())
        self.open(prompt=False, wait=5)
        self.type(None)
        self.end(1001)
        # Autobahn leaves timers of its own.
        waiting = [each.func for each in self.clock.getDelayedCalls()]
        self.assertNotIn(self.talk._close, waiting)

    def test_interrupt(self) -> None:
        """Ctrl-C closes, and a second one does not wait for the answer."""
        self.open()
        self.talk.interrupt()
        self.assertEqual([(CLOSE, b"\x03\xe8")], self.sent())
        self.assertEqual([], self.statuses)
        self.end(1000)
        self.assertEqual([130], self.statuses)
        self.open()
        self.talk.interrupt()
        self.talk.interrupt()
        self.assertEqual([130], self.statuses)
        self.lose()
        self.assertEqual([130], self.statuses)

    def test_interrupt_early(self) -> None:
        """Before there is a connection, Ctrl-C ends at once, and in silence."""
        self.begin()
        self.talk.interrupt()
        self.lose()
        self.assertEqual(([130], []), (self.statuses, self.shown()))

    def test_refused(self) -> None:
        """A refusal is shown with its status, its reason, and headers that say what to do."""
        self.begin()
        self.client.dataReceived(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 11\r\nRetry-After: 3\r\n"
            b"Server: x\r\n\r\nno \x1b Redis\n"
        )
        self.assertEqual(
            ["refused: HTTP 503 Service Unavailable", "Retry-After: 3", "no \\x1b Redis"],
            self.shown(),
        )
        self.assertEqual([1], self.statuses)

    def test_not_connected(self) -> None:
        """Without a connection there is one line."""
        self.begin()
        self.talk.failed("h:81: Connection refused")
        self.assertEqual(["cannot connect: h:81: Connection refused"], self.shown())
        self.begin()
        self.client.dataReceived(b"SSH-2.0\r\n")
        self.assertEqual(1, len(self.shown()))
        self.assertEqual([1], self.statuses)
