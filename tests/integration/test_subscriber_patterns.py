"""How projects use django-websocket-redis: subscriber classes, unchanged."""

from __future__ import annotations

import signal as signals
from pathlib import Path

from tests.support.children import until
from tests.support.patterns.case import PatternCase
from tests.support.raw import CLOSE, frame

_SUBSCRIBERS = "tests.support.patterns.subscribers"

#: The same, as heirs of our base.
_OURS = "tests.support.patterns.our_subscribers"

_BOTH = "subscribe-broadcast&publish-broadcast"


class SubscriberCase(PatternCase):
    """A project with a subscriber class."""

    def start_with(
        self, name: str, *options: str, module: str = _SUBSCRIBERS, **settings: object
    ) -> None:
        """Start with the class of that name."""
        self.notes = Path(self.mktemp()).absolute()
        self.start(
            *options,
            WS4REDIS_SUBSCRIBER=f"{module}.{name}",
            NOTES=str(self.notes),
            **settings,
        )

    def noted(self, count: int) -> list[str]:
        """Wait for so many notes of the class. Returns: All notes."""
        until(lambda: self.notes.exists() and self.notes.read_text().count("\n") >= count)
        return self.notes.read_text().splitlines()

    def channels(self) -> list[bytes]:
        """The channels of clients that have a subscriber."""
        return [each for each in self.redis.channels() if b"wsredis-" not in each]


class ChannelTests(SubscriberCase):
    """Classes that decide about channels."""

    def test_lists(self) -> None:
        """A class with other lists limits the flags."""
        self.start_with("Listener")
        client = self.open(f"/ws/f?{_BOTH}&echo")
        client.send_text("not published")
        self.command("PUBLISH", "ws:broadcast:f", "published")
        self.check_heard(client, "published")

    def test_helper(self) -> None:
        """A class that has only methods of its own works as the original."""
        self.start_with("Customized")
        client = self.open(f"/ws/f?{_BOTH}&echo")
        client.send_text("hello")
        self.check_heard(client, "hello")

    def test_refusal(self) -> None:
        """A class that raises PermissionDenied after it has subscribed refuses with 403."""
        self.check_refusal(_SUBSCRIBERS)

    def test_our_refusal(self) -> None:
        """So does an heir of our base."""
        self.check_refusal(_OURS)

    def check_refusal(self, module: str) -> None:
        """Check rooms that are known, unknown, and no numbers."""
        self.start_with("Rooms", module=module)
        client = self.open(f"/ws/room/staff?{_BOTH}&echo")
        client.send_text("hello")
        self.check_heard(client, "hello")
        self.assertEqual((403, "Unknown room"), self.refused(f"/ws/room/secret?{_BOTH}"))
        self.open(f"/ws/number/12?{_BOTH}")
        # int() of it raises ValueError.
        self.assertEqual((500, "internal error"), self.refused(f"/ws/number/twelve?{_BOTH}"))
        until(lambda: self.channels() == [b"ws:broadcast:number/12", b"ws:broadcast:room/staff"])
        self.assertNotIn("twelve?", self.gateway.log)

    def test_own_audience(self) -> None:
        """A class, a publisher and a hook with an audience of their own understand each other."""
        self.start_with("LabSubscriber", WS4REDIS_ALLOWED_CHANNELS=f"{_SUBSCRIBERS}.server_only")
        (john,) = self.project.log_in("john")
        client = self.open("/ws/lab?subscribe-server", john)
        self.view(
            f"""
from {_SUBSCRIBERS} import LabPublisher
from ws4redis.redis_store import RedisMessage
LabPublisher(facility="lab", server=True).publish_message(RedisMessage("to servers"))
LabPublisher(facility="lab", broadcast=True).publish_message(RedisMessage("to all"))
"""
        )
        self.check_heard(client, "to all")
        client.send_text("to the server")
        until(lambda: self.command("GET", "ws:server:lab") == b"to the server")
        self.assertEqual(403, self.refused("/ws/lab?subscribe-server")[0])

    def test_own_audience_heard(self) -> None:
        """A socket hears the audience of its own class, with its flag in capitals."""
        self.check_own_audience(_SUBSCRIBERS)

    def test_our_own_audience_heard(self) -> None:
        """So it does with an heir of our base."""
        self.check_own_audience(_OURS)

    def check_own_audience(self, module: str) -> None:
        """Check a socket that hears both."""
        self.start_with("LabSubscriber", module=module)
        client = self.open("/ws/lab?Subscribe-Server&subscribe-broadcast")
        self.command("PUBLISH", "ws:server:lab", "to servers")
        self.command("PUBLISH", "ws:broadcast:lab", "to all")
        self.check_heard(client, "to servers", "to all")

    def test_prefix(self) -> None:
        """A class with a prefix for each tenant has channels of that prefix."""
        self.start_with("Tenant")
        client = self.open(f"/ws/f?{_BOTH}&echo")
        client.send_text("hello")
        self.check_heard(client, "hello")
        until(lambda: self.command("GET", "tenant-7:broadcast:f") == b"hello")

    def test_copy(self) -> None:
        """A class that is a copy of the original, on its store, with an audience of its own."""
        self.start_with("Copy")
        self.command("SET", "ws:broadcast:f:count", "3")
        client = self.open("/ws/f?subscribe-broadcast&subscribe-count&publish-broadcast&echo")
        self.check_heard(client, "3")
        client.send_text("hello")
        self.check_heard(client, "hello")
        client.socket.close()
        # release() has an argument here that nobody gives it.
        self.gateway.child.wait_for(r"release\(\) failed: TypeError: it takes other arguments")

    def test_anonymous(self) -> None:
        """A client without a login gets no channel of a user or a group from such a class."""
        self.start_with("Presence")
        self.open("/ws/f?subscribe-user&subscribe-group&subscribe-session&publish-user")
        self.assertEqual([], self.channels())


class MessageTests(SubscriberCase):
    """Classes that take the messages of clients."""

    def test_kept(self) -> None:
        """Messages are kept, and published with more in them, in their order."""
        self.check_kept(_SUBSCRIBERS)

    def test_our_kept(self) -> None:
        """So they are by an heir of our base."""
        self.check_kept(_OURS)

    def check_kept(self, module: str) -> None:
        """Check messages of one socket that another hears."""
        self.start_with("Keeper", module=module)
        one, two = self.open(f"/ws/chat?{_BOTH}"), self.open(f"/ws/chat?{_BOTH}")
        for number in range(5):
            one.send_text(f'{{"author": "john", "text": "{number}"}}')
        expected = [f'{{"author": "john", "text": "{each}", "seen": true}}' for each in range(5)]
        self.check_heard(two, *expected)
        self.assertEqual([f"john: {number}" for number in range(5)], self.noted(5))
        # The original publishes a message first, and stores it then.
        until(lambda: self.command("GET", "ws:broadcast:chat") == expected[-1].encode())

    def test_failing(self) -> None:
        """A message that the class cannot read closes this socket, and is one line of the log."""
        self.start_with("Keeper")
        bad, good = self.open(f"/ws/chat?{_BOTH}"), self.open(f"/ws/chat?{_BOTH}&echo")
        bad.send_text("not JSON: secret words")
        self.assertEqual(1011, bad.closing())
        good.send_text('{"author": "mary", "text": "hi"}')
        self.check_heard(good, '{"author": "mary", "text": "hi", "seen": true}')
        self.gateway.child.wait_for("JSONDecodeError at ")
        self.assertNotIn("secret words", self.gateway.log)
        self.assertNotIn("Traceback", self.gateway.log)

    def test_commands(self) -> None:
        """Messages are commands; what is published is the answer alone."""
        self.start_with("Commands")
        (john,) = self.project.log_in("john")
        answers = self.open("/ws/answers?subscribe-user", john)
        client = self.open(f"/ws/commands?{_BOTH}&echo", john)
        for text in ("no JSON", '{"command": "start"}', '{"command": "stop"}'):
            client.send_text(text)
        self.check_heard(answers, "start for john", "stop for john")
        self.command("PUBLISH", "ws:broadcast:commands", "end")
        self.check_heard(client, "end")
        self.assertIsNone(self.command("GET", "ws:broadcast:commands"))

    def test_audience(self) -> None:
        """A class reads the channels of its socket from redis-py's pubsub."""
        self.start_with("Audience")
        (john,) = self.project.log_in("john")
        client = self.open("/ws/all?subscribe-user&publish-user&echo", john)
        for text in ('{"text": "read"}', "no JSON"):
            client.send_text(text)
            self.check_heard(client, text)
        self.assertEqual(["john read"], self.noted(1))

    def test_echo(self) -> None:
        """A client without echo does not get back what it sent, as long as it is the same."""
        self.start_with("Audience")
        one, two = self.open(f"/ws/f?{_BOTH}"), self.open(f"/ws/f?{_BOTH}")
        one.send_text("hello")
        self.check_heard(two, "hello")
        two.send_text("hello yourself")
        self.check_heard(one, "hello yourself")


class StoredTests(SubscriberCase):
    """Classes that decide what a socket gets when it opens."""

    def test_history(self) -> None:
        """A socket that opens gets the whole list, before live messages."""
        self.check_history(_SUBSCRIBERS)

    def test_our_history(self) -> None:
        """So it does with an heir of our base."""
        self.check_history(_OURS)

    def check_history(self, module: str) -> None:
        """Check a socket that opens after three messages."""
        self.start_with("History", module=module)
        early = self.open(f"/ws/f?{_BOTH}&echo")
        for number in range(3):
            early.send_text(f"line {number}")
        self.check_heard(early, "line 0", "line 1", "line 2")
        late = self.open("/ws/f?subscribe-broadcast")
        self.command("PUBLISH", "ws:broadcast:f", "live")
        self.check_heard(late, "line 0", "line 1", "line 2", "live")

    def test_nothing(self) -> None:
        """A class that sends nothing keeps stored messages back."""
        self.start_with("Forgetful")
        self.command("SET", "ws:broadcast:f", "stored")
        client = self.open("/ws/f?subscribe-broadcast")
        self.command("PUBLISH", "ws:broadcast:f", "live")
        self.check_heard(client, "live")


class PresenceTests(SubscriberCase):
    """A class that tells who comes and goes."""

    def test_presence(self) -> None:
        """Sockets learn of each other, and of one that closes or breaks."""
        self.start_with("Presence")
        john, mary, paul = self.project.log_in("john", "mary", "paul")
        first = self.open("/ws/hall?subscribe-broadcast", john)
        second = self.open("/ws/hall?subscribe-broadcast", mary)
        self.check_heard(first, "present: john mary")
        second.send(frame(CLOSE, b"\x03\xe8"))
        self.check_heard(first, "present: john")
        third = self.open("/ws/hall?subscribe-broadcast", paul)
        self.check_heard(first, "present: john paul")
        third.socket.close()
        self.check_heard(first, "present: john")

    def test_stop(self) -> None:
        """The sockets of a gateway that stops are released."""
        self.start_with("Presence", "--drain", "60")
        keys = self.project.log_in("john", "mary")
        clients = [self.open("/ws/hall?subscribe-broadcast", key) for key in keys]
        self.assertEqual({b"john", b"mary"}, self.command("SMEMBERS", "ws:present"))
        self.gateway.child.signal(signals.SIGTERM)
        for client in clients:
            client.closing()
            client.send(frame(CLOSE, b"\x03\xe9"))
        self.gateway.child.wait()
        self.assertEqual(set(), self.command("SMEMBERS", "ws:present"))


class ImpossibleTests(SubscriberCase):
    """Classes that want what the gateway cannot do: they open no door."""

    def test_parse_response(self) -> None:
        """A class that looks at what Redis sends is named, and the gateway does not start."""
        line = self.start_fails(WS4REDIS_SUBSCRIBER=f"{_SUBSCRIBERS}.Injected")
        self.assertIn("WS4REDIS_SUBSCRIBER", line)
        self.assertIn("Injected", line)
        self.assertIn("parse_response", line)

    def test_parse_response_ignored(self) -> None:
        """With the option such a class is used without that method, and each start warns."""
        self.start_with("Injected", "--ignore-subscriber-methods")
        client = self.open(f"/ws/f?{_BOTH}&echo")
        client.send_text("hello")
        self.check_heard(client, "hello")
        self.gateway.child.wait_for("#warn.*WS4REDIS_SUBSCRIBER.*parse_response")

    def test_copy(self) -> None:
        """A whole copy of the original is named with all that cannot be called."""
        line = self.start_fails(WS4REDIS_SUBSCRIBER=f"{_SUBSCRIBERS}.WholeCopy")
        self.assertIn("WholeCopy", line)
        self.assertIn("get_file_descriptor", line)
        self.assertIn("parse_response", line)

    def test_old_name(self) -> None:
        """A class that overrides a method by the name that it had long ago is named."""
        line = self.start_fails(WS4REDIS_SUBSCRIBER=f"{_SUBSCRIBERS}.OldSpelling")
        self.assertIn("send_persited_messages", line)

    def test_patterns(self) -> None:
        """A class that subscribes to patterns refuses its clients, and the log says why."""
        self.start_with("Patterns")
        self.assertEqual((500, "internal error"), self.refused("/ws/f?subscribe-broadcast"))
        self.gateway.child.wait_for("WS4REDIS_SUBSCRIBER: set_pubsub_channels: .*psubscribe")

    def test_elsewhere(self) -> None:
        """A class with a connection of its own refuses its clients, and the log says why."""
        self.start_with("Elsewhere")
        self.assertEqual((500, "internal error"), self.refused("/ws/f?subscribe-broadcast"))
        self.gateway.child.wait_for("WS4REDIS_SUBSCRIBER: set_pubsub_channels: ")
