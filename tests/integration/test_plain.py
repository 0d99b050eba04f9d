"""The plain dialect, over real sockets and a real Redis, with an independent client."""

from __future__ import annotations

import asyncio

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.case import FreshGatewayCase
from tests.support.raw import BINARY, CLOSE, PING, TEXT, Frame, RawClient, frame, handshake
from tests.support.require import missing
from tests.support.wire import Monitor, WireCase, settle

_BOTH = "subscribe-broadcast&publish-broadcast"
_MEBIBYTE = 1048576


class PlainTests(WireCase):
    """The behaviour that every page and every backend relies on."""

    skip = missing("redis")

    def test_thousand_receivers(self) -> None:
        """1000 sockets on one broadcast each get the message."""

        async def scenario() -> list[object]:
            url = self.gateway.url("/ws/many?subscribe-broadcast")
            clients = [await connect(url) for _ in range(1000)]
            self.publish("broadcast:many", "hello")
            got = await asyncio.gather(*(asyncio.wait_for(client.recv(), 20) for client in clients))
            await asyncio.gather(*(client.close() for client in clients))
            return list(got)

        self.assertEqual(["hello"] * 1000, asyncio.run(scenario()))

    def test_burst(self) -> None:
        """Ten pipelined PUBLISHes are delivered at once and in order."""
        client = self.open("/ws/burst?subscribe-broadcast")
        self.redis.pipeline(*(("PUBLISH", "broadcast:burst", f"m{n}") for n in range(10)))
        self.assertEqual([b"m%d" % n for n in range(10)], [client.message() for _ in range(10)])

    def test_three_frames_in_one_segment(self) -> None:
        """Three messages that arrive in one read are all published."""
        listener = self.open("/ws/three?subscribe-broadcast")
        speaker = self.open("/ws/three?publish-broadcast")
        speaker.send(b"".join(frame(TEXT, b"m%d" % n) for n in range(3)))
        self.assertEqual([b"m0", b"m1", b"m2"], [listener.message() for _ in range(3)])

    def test_many_messages_in_one_burst(self) -> None:
        """20 000 small messages of one client all arrive, in order."""
        listener = self.open("/ws/flood?subscribe-broadcast")
        speaker = self.open("/ws/flood?publish-broadcast")
        speaker.send(b"".join(frame(TEXT, b"%d" % n) for n in range(20000)))
        self.assertEqual(
            [b"%d" % n for n in range(20000)], [listener.message() for _ in range(20000)]
        )

    def test_independent_client(self) -> None:
        """A page that publishes is heard by another page and by Redis; both close with 1000."""

        async def scenario() -> tuple[object, object, int | None]:
            async with (
                connect(self.gateway.url(f"/ws/pages?{_BOTH}")) as one,
                connect(self.gateway.url(f"/ws/pages?{_BOTH}")) as two,
            ):
                await one.send("hello, two")
                heard = await asyncio.wait_for(two.recv(), 20)
                await two.send(b"hello, one")
                answer = await asyncio.wait_for(one.recv(), 20)
            return heard, answer, one.close_code

        self.assertEqual(("hello, two", "hello, one", 1000), asyncio.run(scenario()))

    def test_no_flags(self) -> None:
        """A socket without flags opens, stays, and neither hears nor says anything."""
        with Monitor(self.redis) as monitor:
            mute = self.open("/ws/mute")
            mute.send_text("nobody hears this")
            settle(mute)
            self.assertEqual(0, self.publish("broadcast:mute", "anybody?"))
            settle(mute)
            self._say("/ws/mute-end", "end")
            commands = monitor.until("mute-end", about="mute")
        self.assertEqual(['"PUBLISH" "broadcast:mute" "anybody?"'], commands)

    def test_subscribing_is_not_publishing(self) -> None:
        """A message on a socket without a publish flag is dropped, silently."""
        listener = self.open("/ws/only-hears?subscribe-broadcast")
        listener.send_text("dropped")
        settle(listener)
        self._say("/ws/only-hears", "end")
        self.assertEqual(b"end", listener.message())
        self.assertEqual(b"end", self.redis.command("GET", "broadcast:only-hears"))

    def test_publishing_is_not_subscribing(self) -> None:
        """A socket that only publishes gets neither stored nor live messages."""
        self.redis.command("SET", "broadcast:only-says", "stored")
        speaker = self.open("/ws/only-says?publish-broadcast&echo")
        listener = self.open("/ws/only-says?subscribe-broadcast")
        self.assertEqual(b"stored", listener.message())
        speaker.send_text("live")
        self.assertEqual(b"live", listener.message())
        self.publish("broadcast:only-says", "from elsewhere")
        self.assertEqual(b"from elsewhere", listener.message())
        settle(speaker)

    def test_anonymous_audiences(self) -> None:
        """User, group and session flags of a stranger subscribe to nothing and write nothing."""
        with Monitor(self.redis) as monitor:
            stranger = self.open(
                "/ws/nobody?subscribe-user&subscribe-group&subscribe-session"
                "&publish-user&publish-group&publish-session&echo"
            )
            stranger.send_text("who am I?")
            settle(stranger)
            self._say("/ws/end", "end")
            self.assertEqual([], monitor.until('"broadcast:end"', about="nobody"))
        self.assertEqual([], self.redis.command("KEYS", "*nobody*"))

    def test_anonymous_keeps_broadcast(self) -> None:
        """Broadcast works beside flags for audiences that an anonymous client does not have."""
        page = self.open(f"/ws/stranger?subscribe-user&subscribe-session&publish-group&{_BOTH}")
        listener = self.open("/ws/stranger?subscribe-broadcast")
        page.send_text("from a stranger")
        self.assertEqual(b"from a stranger", listener.message())
        self.publish("broadcast:stranger", "to strangers")
        self.assertEqual(b"to strangers", page.message())

    def test_subprotocol(self) -> None:
        """The first subprotocol of a request is chosen; without a request there is none."""

        async def chosen(*offered: str) -> str | None:
            names = [Subprotocol(name) for name in offered] or None
            async with connect(self.gateway.url("/ws/protocol"), subprotocols=names) as client:
                return client.subprotocol

        self.assertEqual("chat", asyncio.run(chosen("chat")))
        self.assertEqual("superchat", asyncio.run(chosen("superchat", "chat")))
        self.assertIsNone(asyncio.run(chosen()))

    def test_no_subprotocol(self) -> None:
        """The answer names no subprotocol that the client did not request."""
        with RawClient(self.gateway.port) as client:
            client.send(handshake("/ws/protocol"))
            self.assertNotIn("sec-websocket-protocol", client.head().lower())

    def test_close(self) -> None:
        """A client's close is answered with its own code, then the connection ends."""
        client = self.open("/ws/bye?subscribe-broadcast")
        client.send(frame(CLOSE, (4001).to_bytes(2, "big") + b"bye"))
        self.assertEqual(Frame(CLOSE, (4001).to_bytes(2, "big") + b"bye"), client.receive())
        self.assertEqual(b"", client.rest())

    def _say(self, path: str, text: str) -> None:
        """Publish through the gateway, after everything that it has published before."""
        self.open(f"{path}?publish-broadcast").send_text(text)


class UrlTests(WireCase):
    """The facility and the flags in a URL."""

    skip = missing("redis")

    def test_facilities(self) -> None:
        """The path after the prefix is the facility: decoded, with its slashes, and literal."""
        for path, facility in (
            ("foobar", "foobar"),
            ("foobar/", "foobar/"),
            ("", ""),
            ("a/b/c", "a/b/c"),
            ("a%20b", "a b"),
            ("d%2Fe", "d/e"),
            ("%C3%A9", "\N{LATIN SMALL LETTER E WITH ACUTE}"),
            ("/x", "/x"),
            ("x/ws/y", "x/ws/y"),
            ("x*", "x*"),
            ("FooBar", "FooBar"),
            ("../ws/y", "../ws/y"),
            ("plus+plus", "plus+plus"),
        ):
            client = self.open(f"/ws/{path}?subscribe-broadcast")
            self.assertEqual(1, self.publish(f"broadcast:{facility}", f"to {facility}"), path)
            self.assertEqual(f"to {facility}".encode(), client.message())

    def test_outside_of_the_prefix(self) -> None:
        """Other paths have no WebSocket."""
        for path in ("/ws", "/other", "/pre/ws/y", "/WS/x", "/", "/wsx/y", "//ws/x", "/%77s/x"):
            self.refused(handshake(f"{path}?subscribe-broadcast"), 404)

    def test_bad_facilities(self) -> None:
        """A facility with a control character, or not UTF-8, is refused."""
        for path in ("x%0d%0aPING", "%ff", "x%00"):
            self.refused(handshake(f"/ws/{path}?subscribe-broadcast"), 400)

    def test_flags(self) -> None:
        """Only the key of a parameter counts, without regard to case and blanks."""
        for number, query in enumerate(
            (
                "subscribe-broadcast",
                "subscribe-broadcast=0",
                "subscribe-broadcast=",
                "SUBSCRIBE-Broadcast",
                "+subscribe-broadcast+",
                "subscribe%2Dbroadcast",
                "%20subscribe-broadcast%09",
                "subscribe=broadcast",
                "subscribe-broadcast&subscribe-broadcast",
                "unknown&&=&x=y&subscribe-broadcast&subscribe-all",
            )
        ):
            client = self.open(f"/ws/flags{number}?{query}")
            self.assertEqual(1, self.publish(f"broadcast:flags{number}", "heard"), query)
            self.assertEqual(b"heard", client.message())
            self.assertEqual(1, self.publish(f"broadcast:flags{number}", "once"), query)
            self.assertEqual(b"once", client.message())

    def test_unknown_flags(self) -> None:
        """A parameter that is not a flag is ignored, and gives no right."""
        for number, query in enumerate(
            (
                "",
                "subscribe_broadcast",
                "subscribe-broadcast,echo",
                "a;subscribe-broadcast",
                "subscribe",
                "subscribe=",
                "subscribe=all",
                "flag=subscribe-broadcast",
                "subscribebroadcast",
                "subscribe--broadcast",
                "publish-broadcast",
                "echo",
            )
        ):
            client = self.open(f"/ws/flagless{number}?{query}")
            self.assertEqual(0, self.publish(f"broadcast:flagless{number}", "not heard"), query)
            settle(client)

    def test_echo_flag(self) -> None:
        """Echo is a flag like the others: its value does not count."""
        for number, query in enumerate(("echo", "echo=0", "ECHO", "+echo")):
            client = self.open(f"/ws/echo{number}?{_BOTH}&{query}")
            client.send_text("myself")
            self.assertEqual(b"myself", client.message(), query)

    def test_too_many_parameters(self) -> None:
        """A thousand parameters are read, more are refused."""
        query = "&".join(["a"] * 999)
        self.open(f"/ws/parameters?{query}&subscribe-broadcast")
        self.assertEqual(1, self.publish("broadcast:parameters", "heard"))
        self.refused(handshake(f"/ws/parameters?{query}&a&subscribe-broadcast"), 400)


class StoredTests(WireCase):
    """The last message of a channel is stored for clients that connect later."""

    skip = missing("redis")

    def test_stored_then_published(self) -> None:
        """A client's message is stored for an hour, then published, under the same name."""
        with Monitor(self.redis) as monitor:
            speaker = self.open("/ws/stored?publish-broadcast")
            speaker.send_text("hello")
            speaker.send_text("end")
            commands = monitor.until('"end"', about="broadcast:stored")
        self.assertEqual(
            ['"SETEX" "broadcast:stored" "3600" "hello"', '"PUBLISH" "broadcast:stored" "hello"'],
            commands,
        )

    def test_fetched_by_a_backend(self) -> None:
        """The stored value is the payload byte for byte, text or binary."""
        listener = self.open("/ws/fetched?subscribe-broadcast")
        speaker = self.open("/ws/fetched?publish-broadcast")
        for opcode, payload in (
            (TEXT, "caf\N{LATIN SMALL LETTER E WITH ACUTE}".encode()),
            (BINARY, b"\x00\x12\xaa"),
        ):
            speaker.send(frame(opcode, payload))
            self.assertEqual(payload, listener.message())
            self.assertEqual(payload, self.redis.command("GET", "broadcast:fetched"))

    def test_before_live(self) -> None:
        """A new client gets the stored message, and after it the live ones in order."""
        self.redis.command("SETEX", "broadcast:first", 60, "stored")
        client = self.open("/ws/first?subscribe-broadcast")
        self.redis.pipeline(*(("PUBLISH", "broadcast:first", f"live {n}") for n in range(3)))
        self.assertEqual(
            [b"stored", b"live 0", b"live 1", b"live 2"], [client.message() for _ in range(4)]
        )

    def test_latest_only(self) -> None:
        """Of several messages that nobody heard the last one is kept."""
        speaker = self.open("/ws/latest?publish-broadcast")
        for text in ("one", "two", "three"):
            speaker.send_text(text)
        settle(speaker)
        witness = self.open("/ws/latest-witness?subscribe-broadcast")
        self.open("/ws/latest-witness?publish-broadcast").send_text("after them")
        witness.message()
        client = self.open("/ws/latest?subscribe-broadcast")
        self.publish("broadcast:latest", "four")
        self.assertEqual([b"three", b"four"], [client.message() for _ in range(2)])

    def test_regardless_of_echo(self) -> None:
        """A stored message is sent whether or not the socket wants an echo."""
        self.redis.command("SET", "broadcast:regardless", "stored")
        for query in (_BOTH, f"{_BOTH}&echo"):
            self.assertEqual(b"stored", self.open(f"/ws/regardless?{query}").message())

    def test_empty_value(self) -> None:
        """An empty value, or a value that is not a string, is not sent."""
        self.redis.command("SET", "broadcast:cleared", "")
        self.redis.command("RPUSH", "broadcast:wrong-type", "a list")
        for facility in ("cleared", "wrong-type"):
            client = self.open(f"/ws/{facility}?subscribe-broadcast")
            self.publish(f"broadcast:{facility}", "live")
            self.assertEqual(b"live", client.message())

    def test_neither_gap_nor_duplicate(self) -> None:
        """A client that connects while messages flow gets the last, and each further one once."""
        speaker = self.open("/ws/flow?publish-broadcast")
        witness = self.open("/ws/flow?subscribe-broadcast")
        speaker.send_text("0")
        self.assertEqual(b"0", witness.message())
        clients = []
        for start in range(1, 601, 15):
            client = self.connect()
            client.send(handshake("/ws/flow?subscribe-broadcast"))
            for n in range(start, start + 15):
                speaker.send_text(str(n))
            self.assertIn(" 101 ", client.head())
            clients.append(client)
        firsts = set()
        for client in clients:
            first = int(client.message())
            firsts.add(first)
            rest = [int(client.message()) for _ in range(first + 1, 601)]
            self.assertEqual(list(range(first + 1, 601)), rest)
            settle(client)
        self.assertGreater(len(firsts), 10)

    def test_stored_equal_to_live(self) -> None:
        """A live message is sent also where it equals the stored one that was sent before."""
        self.redis.command("SET", "broadcast:equal", "same")
        client = self.open("/ws/equal?subscribe-broadcast")
        self.assertEqual(b"same", client.message())
        self.publish("broadcast:equal", "same")
        self.assertEqual(b"same", client.message())


class EchoTests(WireCase):
    """Echo: whether a client receives its own messages."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Open a page that publishes and subscribes, and a witness that only subscribes."""
        super().setUp()
        self.facility = self.id().rsplit(".", 1)[1]
        self.page = self.open(f"/ws/{self.facility}?{_BOTH}")
        self.witness = self.open(f"/ws/{self.facility}?subscribe-broadcast")

    def test_own_message(self) -> None:
        """Without echo a page does not get its own message back."""
        self._say("mine")
        self._elsewhere("end")
        self.assertEqual(b"end", self.page.message())

    def test_own_messages_in_flight(self) -> None:
        """A client hears none of several messages that it sent before the first came back."""
        self._say(*(f"mine {n}" for n in range(50)))
        self._elsewhere("end")
        self.assertEqual(b"end", self.page.message())

    def test_own_equal_messages_in_flight(self) -> None:
        """A client does not hear copies of the same text among its other messages."""
        self._say("a", "b", "a", "c", "a", "b")
        self._elsewhere("end")
        self.assertEqual(b"end", self.page.message())

    def test_equal_to_the_last(self) -> None:
        """A message of another client that equals the page's last message is not sent to it."""
        self._say("same")
        self._elsewhere("same", "other", "same", "end")
        self.assertEqual([b"other", b"end"], [self.page.message() for _ in range(2)])

    def test_equal_to_an_earlier_one(self) -> None:
        """A message that equals an earlier message of the page, long since back, is sent to it."""
        self._say("earlier", "last")
        self._elsewhere("earlier", "last", "end")
        self.assertEqual([b"earlier", b"end"], [self.page.message() for _ in range(2)])

    def test_reset_by_an_empty_message(self) -> None:
        """An empty message ends the suppression of the last one."""
        self._say("same")
        self.page.send_text("")
        settle(self.page)
        self._elsewhere("same")
        self.assertEqual(b"same", self.page.message())

    def test_without_publishing(self) -> None:
        """The last message counts also if it was dropped because the publish flag is missing."""
        self.witness.send_text("dropped")
        settle(self.witness)
        self.publish(f"broadcast:{self.facility}", "dropped")
        self.publish(f"broadcast:{self.facility}", "end")
        self.assertEqual(b"end", self.witness.message())

    def test_others(self) -> None:
        """If two pages publish the same text at once, a third page still receives it."""
        third = self.open(f"/ws/{self.facility}?{_BOTH}")
        self._say("hello")
        self.assertEqual(b"hello", third.message())

    def test_echo(self) -> None:
        """With echo a page gets everything, its own messages in their order among them."""
        page = self.open(f"/ws/{self.facility}?{_BOTH}&echo")
        page.send(b"".join(frame(TEXT, text) for text in (b"a", b"b", b"a")))
        self.assertEqual([b"a", b"b", b"a"], [page.message() for _ in range(3)])
        self.publish(f"broadcast:{self.facility}", "a")
        self.assertEqual(b"a", page.message())

    def test_empty_message(self) -> None:
        """An empty message, text or binary, is not published, and stores nothing."""
        with Monitor(self.redis) as monitor:
            self.page.send(frame(TEXT) + frame(BINARY) + frame(TEXT, fin=False) + frame(0))
            self.page.send_text("end")
            self.assertEqual(b"end", self.witness.message())
            self.assertEqual([], monitor.until('"end"', about=self.facility))

    def test_empty_publication(self) -> None:
        """An empty message from Redis is not sent on."""
        self.publish(f"broadcast:{self.facility}", "")
        self.publish(f"broadcast:{self.facility}", "end")
        self.assertEqual(b"end", self.witness.message())

    def _say(self, *texts: str) -> None:
        """Let the page send it in one segment, and wait until Redis has published all of it."""
        self.page.send(b"".join(frame(TEXT, text.encode()) for text in texts))
        for text in texts:
            self.assertEqual(text.encode(), self.witness.message())

    def _elsewhere(self, *texts: str) -> None:
        for text in texts:
            self.publish(f"broadcast:{self.facility}", text)


class MessageTests(WireCase):
    """The types and sizes of messages."""

    skip = missing("redis")

    def setUp(self) -> None:
        """Open a client that publishes and a client that subscribes."""
        super().setUp()
        facility = self.id().rsplit(".", 1)[1]
        self.channel = f"broadcast:{facility}"
        self.speaker = self.open(f"/ws/{facility}?publish-broadcast")
        self.listener = self.open(f"/ws/{facility}?subscribe-broadcast")

    def test_text(self) -> None:
        """UTF-8 comes out as text; a client sends it as text or binary, or a backend does."""
        payload = "na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve \N{SNOWMAN} \N{PILE OF POO}".encode()
        self.speaker.send(frame(TEXT, payload) + frame(BINARY, payload + b"!"))
        self.assertEqual(Frame(TEXT, payload), self.listener.receive())
        self.assertEqual(Frame(TEXT, payload + b"!"), self.listener.receive())
        self.publish(self.channel, payload)
        self.assertEqual(Frame(TEXT, payload), self.listener.receive())

    def test_binary(self) -> None:
        """Anything else comes out as binary, if a client or a backend published it."""
        payload = bytes(range(256))
        self.speaker.send(frame(BINARY, payload))
        self.assertEqual(Frame(BINARY, payload), self.listener.receive())
        self.publish(self.channel, b"\xff\xfe")
        self.assertEqual(Frame(BINARY, b"\xff\xfe"), self.listener.receive())

    def test_text_that_is_not_utf8(self) -> None:
        """A text message that is not UTF-8 closes its sender with 1007, and is not published."""
        self.speaker.send(frame(TEXT, b"caf\xe9"))
        self.assertEqual(1007, self.speaker.closing())
        self.publish(self.channel, "end")
        self.assertEqual(b"end", self.listener.message())

    def test_sizes(self) -> None:
        """Messages around every border of the frame header pass, up to exactly 1 MiB."""
        for size in (1, 125, 126, 127, 65535, 65536, 65537, _MEBIBYTE - 1, _MEBIBYTE):
            payload = b"%d" % size + b"." * (size - len(b"%d" % size))
            self.speaker.send(frame(TEXT, payload))
            self.assertEqual(payload, self.listener.message())

    def test_one_byte_too_many(self) -> None:
        """A message of one byte more closes its sender with 1009, in one frame or in several."""
        half = b"." * (_MEBIBYTE // 2)
        second = self.open(f"/ws/{self.channel.partition(':')[2]}?publish-broadcast")
        self.speaker.send(frame(TEXT, half + half + b"."))
        self.assertEqual(1009, self.speaker.closing())
        second.send(frame(TEXT, half, fin=False) + frame(0, half, fin=False) + frame(0, b"."))
        self.assertEqual(1009, second.closing())
        self.publish(self.channel, "end")
        self.assertEqual(b"end", self.listener.message())

    def test_fragments(self) -> None:
        """A fragmented message is published once and whole, control frames in between or not."""
        self.speaker.send(
            frame(TEXT, b"one ", fin=False)
            + frame(0, b"", fin=False)
            + frame(PING, b"between")
            + frame(0, b"two ", fin=False)
            + frame(0, b"three")
            + frame(BINARY, b"four ", fin=False)
            + frame(0, b"five")
        )
        self.assertEqual(
            [b"one two three", b"four five"], [self.listener.message() for _ in range(2)]
        )

    def test_fragments_of_two_clients(self) -> None:
        """Fragments of one client never meet those of another."""
        other = self.open(f"/ws/{self.channel.partition(':')[2]}?publish-broadcast")
        self.speaker.send(frame(TEXT, b"SECRET ", fin=False))
        settle(self.speaker)
        other.send(frame(TEXT, b"open ", fin=False) + frame(0, b"words"))
        self.assertEqual(b"open words", self.listener.message())
        self.speaker.send(frame(0, b"words"))
        self.assertEqual(b"SECRET words", self.listener.message())

    def test_large_publication(self) -> None:
        """A message of a backend may be larger than a message of a client."""
        payload = b"x" * (3 * _MEBIBYTE)
        self.publish(self.channel, payload)
        self.assertEqual(payload, self.listener.message())

    def test_inbound_limit_of_an_independent_client(self) -> None:
        """The `websockets` client sees 1009 for a message beyond the limit, not a broken pipe."""

        async def scenario() -> int | None:
            async with connect(self.gateway.url("/ws/beyond?publish-broadcast")) as client:
                try:
                    await client.send("x" * (_MEBIBYTE + 1))
                    await asyncio.wait_for(client.recv(), 20)
                except ConnectionClosed:
                    pass
                return client.close_code

        self.assertEqual(1009, asyncio.run(scenario()))


class HeartbeatTests(WireCase):
    """The text heartbeat of ws4redis.js."""

    skip = missing("redis")
    options = ("--heartbeat", "--heartbeat--")

    def test_on_connect(self) -> None:
        """The first heartbeat comes at once, after the stored message."""
        self.redis.command("SET", "broadcast:alive", "stored")
        client = self.open("/ws/alive?subscribe-broadcast")
        self.assertEqual(Frame(TEXT, b"stored"), client.receive())
        self.assertEqual(Frame(TEXT, b"--heartbeat--"), client.receive())

    def test_when_idle(self) -> None:
        """Further heartbeats come by themselves, also to a socket without any flag."""
        client = self.open("/ws/idle")
        self.assertEqual([b"--heartbeat--"] * 2, [client.message() for _ in range(2)])

    def test_answer(self) -> None:
        """A client's heartbeat is answered at once, not published, and not stored."""
        client = self.open(f"/ws/answered?{_BOTH}&echo")
        self.assertEqual(b"--heartbeat--", client.message())
        with Monitor(self.redis) as monitor:
            # More answers than the idle ones that could come in the meantime.
            client.send(frame(TEXT, b"--heartbeat--") * 20 + frame(TEXT, b"end"))
            got = [client.message() for _ in range(21)]
            self.assertEqual([], monitor.until('"end"', about="answered"))
        self.assertEqual({b"--heartbeat--"}, set(got[:20]))

    def test_exact_match(self) -> None:
        """Only the exact text is a heartbeat."""
        listener = self.open("/ws/exact?subscribe-broadcast")
        speaker = self.open("/ws/exact?publish-broadcast")
        texts = ["--heartbeat-- x", "--Heartbeat--", " --heartbeat--"]
        for text in texts:
            speaker.send_text(text)
        got: list[str] = []
        while len(got) < len(texts):
            message = listener.message()
            if message != b"--heartbeat--":
                got.append(message.decode())
        self.assertEqual(texts, got)

    def test_from_redis(self) -> None:
        """If a backend publishes or stores the text, clients get it like any other message."""
        self.redis.command("SET", "broadcast:text", "--heartbeat--")
        client = self.open("/ws/text?subscribe-broadcast")
        self.assertEqual([b"--heartbeat--"] * 2, [client.message() for _ in range(2)])
        for _ in range(20):
            self.publish("broadcast:text", "--heartbeat--")
        self.publish("broadcast:text", "end")
        got = [client.message() for _ in range(21)]
        self.assertEqual({b"--heartbeat--"}, set(got[:20]))

    def test_resets_the_echo_rule(self) -> None:
        """After a heartbeat the client's last message is not suppressed any more."""
        client = self.open("/ws/reset?subscribe-broadcast")
        client.send_text("same")
        client.send_text("--heartbeat--")
        self.assertEqual([b"--heartbeat--"] * 2, [client.message() for _ in range(2)])
        self.publish("broadcast:reset", "same")
        got = client.message()
        while got == b"--heartbeat--":
            got = client.message()
        self.assertEqual(b"same", got)


class PrefixTests(WireCase):
    """``--prefix`` and ``--expire``."""

    skip = missing("redis")
    options = ("--prefix", "ws4redis", "--expire", "7")

    def test_names(self) -> None:
        """The prefix stands before every channel and key, and the value expires after --expire."""
        listener = self.open("/ws/unittest?subscribe-broadcast")
        with Monitor(self.redis) as monitor:
            speaker = self.open("/ws/unittest?publish-broadcast")
            speaker.send_text("hello")
            self.assertEqual(b"hello", listener.message())
            self.assertEqual(
                ['"SETEX" "ws4redis:broadcast:unittest" "7" "hello"'],
                monitor.until('"PUBLISH" "ws4redis:broadcast:unittest" "hello"', about="unittest"),
            )

    def test_stored(self) -> None:
        """The stored message is read from the key with the prefix."""
        self.redis.command("SET", "broadcast:which", "without")
        self.redis.command("SET", "ws4redis:broadcast:which", "with")
        self.assertEqual(b"with", self.open("/ws/which?subscribe-broadcast").message())
        self.assertEqual(0, self.publish("broadcast:which", "not for us"))


class ExpireNothingTests(WireCase):
    """``--expire 0``."""

    skip = missing("redis")
    options = ("--expire", "0")

    def test_not_stored(self) -> None:
        """Nothing is stored; a key that a backend has written stays and is still sent."""
        self.redis.command("SET", "broadcast:kept", "old")
        with Monitor(self.redis) as monitor:
            listener = self.open("/ws/kept?subscribe-broadcast")
            self.assertEqual(b"old", listener.message())
            self.open("/ws/kept?publish-broadcast").send_text("new")
            self.assertEqual(b"new", listener.message())
            commands = monitor.until('"PUBLISH" "broadcast:kept" "new"', about="kept")
        self.assertFalse([command for command in commands if "SETEX" in command])
        self.assertEqual(b"old", self.redis.command("GET", "broadcast:kept"))


class RefusedToStoreTests(WireCase, FreshGatewayCase):
    """A Redis that rejects new values still publishes."""

    skip = missing("redis")

    def test_out_of_memory(self) -> None:
        """A Redis without memory publishes and delivers; the log says it once, and when it ends."""
        self._refused_to_store(("CONFIG", "SET", "maxmemory", "1"), "OOM")
        self._stored_again(("CONFIG", "SET", "maxmemory", "0"))

    def _refused_to_store(self, command: tuple[str, ...], error: str) -> None:
        self.listener = self.open("/ws/full?subscribe-broadcast")
        self.speaker = self.open("/ws/full?publish-broadcast")
        self.redis.command(*command)
        for n in range(5):
            self.speaker.send_text(f"message {n}")
            self.assertEqual(b"message %d" % n, self.listener.message())
        self.assertIsNone(self.redis.command("GET", "broadcast:full"))
        log = self.log
        self.assertEqual(1, log.count("refuses to store"), log)
        self.assertIn(error, log)

    def _stored_again(self, command: tuple[str, ...]) -> None:
        self.redis.command(*command)
        self.speaker.send_text("stored")
        self.assertEqual(b"stored", self.listener.message())
        self.assertEqual(b"stored", self.redis.command("GET", "broadcast:full"))
        self.gateway.child.wait_for("stores messages again")
