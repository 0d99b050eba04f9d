"""Hostile and unusual names, rights, and payloads that must not change."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

from tests.support.raw import BINARY, TEXT, Frame, RawClient, frame, handshake, response
from tests.support.require import missing
from tests.support.wire import Monitor, WireCase, settle

_COMBINING = unicodedata.normalize("NFD", "\N{LATIN SMALL LETTER E WITH ACUTE}")
_COMPOSED = unicodedata.normalize("NFC", _COMBINING)

#: The path after the prefix, and the facility that it names.
_NAMES = {
    "plain": "plain",
    "Plain": "Plain",
    "%70erc%65nt": "percent",
    "%2541": "%41",
    "%25252e": "%252e",
    "100%": "100%",
    "%zz": "%zz",
    "%4": "%4",
    quote(_COMPOSED): _COMPOSED,
    quote(_COMBINING): _COMBINING,
    "%F0%9F%98%80": "\N{GRINNING FACE}",
    "%E6%97%A5%E6%9C%AC": "\u65e5\u672c",
    "a%20b": "a b",
    "%20": " ",
    "a+b": "a+b",
    "a:b": "a:b",
    "x:user:admin:y": "x:user:admin:y",
    "%3A": ":",
    ":": ":",
    "::": "::",
    "'quoted'": "'quoted'",
    "%22quoted%22": '"quoted"',
    '"bare"': '"bare"',
    "{braces}": "{braces}",
    "%7B0%7D": "{0}",
    "{log_level}": "{log_level}",
    "%25s%25d%25n": "%s%d%n",
    "$(id)": "$(id)",
    "%60id%60": "`id`",
    ";FLUSHALL": ";FLUSHALL",
    "a%3Bb%26c": "a;b&c",
    "a%3Fsubscribe-user": "a?subscribe-user",
    "a%23b": "a#b",
    "<script>": "<script>",
    "__proto__": "__proto__",
    "None": "None",
    "null": "null",
    "0": "0",
    "-1": "-1",
    "/": "/",
    "//": "//",
    "a//b": "a//b",
    ".": ".",
    "..": "..",
    "../secret": "../secret",
    "%2e%2e/secret": "../secret",
    "%2f..%2fsecret": "/../secret",
    "..%5csecret": "..\\secret",
    "a/./b": "a/./b",
    "%E2%80%A8": "\u2028",
    "%E2%80%AE": "\u202e",
    "%EF%BB%BFbom": "\ufeffbom",
    "%EF%BF%BF": "\uffff",
    "x" * 255: "x" * 255,
    quote("\N{EURO SIGN}" * 85): "\N{EURO SIGN}" * 85,
}


class FacilityTests(WireCase):
    """The path of a URL names the channel."""

    skip = missing("redis")

    def test_exact_names(self) -> None:
        """Each path is one channel of exactly that name, to subscribe, to publish and to store."""
        listeners: dict[str, list[RawClient]] = {}
        # Names so plain may be those of another test.
        keys = [f"broadcast:{facility}".encode() for facility in _NAMES.values()]
        self.addCleanup(self.redis.command, "DEL", *keys)
        for path, facility in _NAMES.items():
            client = self.open(f"/ws/{path}?subscribe-broadcast")
            listeners.setdefault(facility, []).append(client)
        for facility, clients in listeners.items():
            channel = f"broadcast:{facility}".encode()
            self.assertEqual(1, self.publish(channel, facility), facility)
            for client in clients:
                self.assertEqual(facility.encode(), client.message())
        for path, facility in _NAMES.items():
            self.open(f"/ws/{path}?publish-broadcast").send_text(f"said on {path}")
            for client in listeners[facility]:
                self.assertEqual(f"said on {path}".encode(), client.message())
            stored = self.redis.command("GET", f"broadcast:{facility}".encode())
            self.assertEqual(f"said on {path}".encode(), stored)
        # Nobody has heard anything of another.
        for clients in listeners.values():
            for client in clients:
                settle(client)

    def test_patterns(self) -> None:
        """The characters of Redis' patterns are literal: each name is only its own channel."""
        for path, literal, others in (
            ("pattern*", "pattern*", ("pattern", "pattern1", "patterns")),
            ("*", "*", ("anything", "**")),
            ("p%3Fttern", "p?ttern", ("pattern", "p1ttern")),
            ("%5Ba-z%5D", "[a-z]", ("a", "z")),
            ("[a-z]x", "[a-z]x", ("ax", "zx")),
            ("p%5C*", "p\\*", ("p*", "p", "p1")),
        ):
            client = self.open(f"/ws/{path}?subscribe-broadcast")
            for other in others:
                self.assertEqual(
                    0, self.publish(f"broadcast:{other}", "for another"), (path, other)
                )
            self.assertEqual(1, self.publish(f"broadcast:{literal}", "for this"), path)
            self.assertEqual(b"for this", client.message())
        self.assertEqual(0, self.redis.command("PUBSUB", "NUMPAT"))

    def test_patterns_of_keys(self) -> None:
        """A client gets the stored message of exactly its channel, not of one that matches."""
        self.redis.command("SET", "broadcast:key1", "of another")
        client = self.open("/ws/key*?subscribe-broadcast")
        self.publish("broadcast:key*", "live")
        self.assertEqual(b"live", client.message())

    def test_refused(self) -> None:
        """Control characters, bytes that are not UTF-8, and long names: 400, and no channel."""
        with Monitor(self.redis) as monitor:
            for bad in (
                *("%0d", "%0a", "%00", "%09", "%1b", "%7f", "%1b[31m", "%0d%0aSET%20a%20b%0d%0a"),
                *("%C2%80", "%C2%85", "%C2%9B31m", "%C2%9F"),
                *("%ff", "%80", "caf%e9", "%C3", "%C3(", "%E2%82", "%F0%9F%98"),
                *("%C0%AF", "%C0%80", "%E0%80%AF", "%F0%80%80%AF"),
                *("%ED%A0%80", "%ED%BF%BF", "%ED%A0%BD%ED%B8%80", "%F4%90%80%80", "%FE%FF"),
                *("x" * 256, "%78" * 256, quote("\N{EURO SIGN}" * 86), "x" * 4096, "%" * 256),
            ):
                for flags in ("subscribe-broadcast", "publish-broadcast", ""):
                    request = handshake(f"/ws/refused{bad}?{flags}")
                    head, body = self.refused(request, 400)
                    self.assertNotIn("refused", head)
                    self.assertLess(len(body), 200)
            self.publish("broadcast:end", "end")
            self.assertEqual([], monitor.until('"end"', about="refused"))

    def test_much_too_long(self) -> None:
        """A name that fills the whole head, or more, is refused as well."""
        self.refused(handshake(f"/ws/{'x' * 15000}?subscribe-broadcast"), 400)
        self.refused(handshake(f"/ws/{'x' * 20480}?subscribe-broadcast"), 431, 414)
        self.refused(handshake(f"/ws/{'%78' * 20480}?subscribe-broadcast"), 431, 414)

    def test_empty(self) -> None:
        """The empty facility is a facility, with a channel that ends in a colon."""
        client = self.open("/ws/?subscribe-broadcast")
        self.assertEqual(1, self.publish("broadcast:", "to nobody in particular"))
        self.assertEqual(b"to nobody in particular", client.message())

    def test_dots(self) -> None:
        """Dots do not lead out of the prefix, nor back into it."""
        for path in ("/ws/../health/live", "/ws/%2e%2e/x", "/ws/..%2fx"):
            self.open(f"{path}?subscribe-broadcast")
        for path in ("/../ws/x", "/./ws/x", "/x/../ws/y", "/%2e%2e/ws/x", "/ws%2fx"):
            self.refused(handshake(f"{path}?subscribe-broadcast"), 404)


class RightsTests(WireCase):
    """The right of each flag, and requests without a right."""

    skip = missing("redis")

    def test_each_flag_alone(self) -> None:
        """A flag to subscribe gives no right to publish, and the other way round."""
        hears = self.open("/ws/rights?subscribe-broadcast&echo")
        says = self.open("/ws/rights?publish-broadcast&echo")
        hears.send_text("not said")
        settle(hears)
        says.send_text("said")
        self.assertEqual(b"said", hears.message())
        settle(says)
        self.assertEqual(b"said", self.redis.command("GET", "broadcast:rights"))

    def test_twice(self) -> None:
        """A flag twice is as good as once, in one writing or several."""
        client = self.open(
            "/ws/twice?subscribe-broadcast&SUBSCRIBE-BROADCAST&subscribe=broadcast"
            "&publish-broadcast&publish-broadcast=1&publish=broadcast&echo&echo"
        )
        with Monitor(self.redis) as monitor:
            client.send_text("once")
            client.send_text("end")
            self.assertEqual([b"once", b"end"], [client.message() for _ in range(2)])
            commands = monitor.until('"end"', about='"once"')
        self.assertEqual(2, len(commands), commands)

    def test_no_right(self) -> None:
        """An unknown or misspelt flag, or a flag as a value, gives no right to publish."""
        listener = self.open("/ws/no-right?subscribe-broadcast")
        for query in (
            "publish",
            "publish=",
            "publish=all",
            "publish_broadcast",
            "publishbroadcast",
            "publish-broadcasts",
            "publish-broadcast-",
            "xpublish-broadcast",
            "flag=publish-broadcast",
            "a;publish-broadcast",
            "publish-broadcast,echo",
            "publish%2526broadcast",
            "publish%00-broadcast",
            "publish-broadcast%00",
            "subscribe-publish-broadcast",
            "publish-*",
            "publish-",
            "-broadcast",
            "p%FFublish-broadcast",
            "publish[]=broadcast",
        ):
            client = self.open(f"/ws/no-right?{query}")
            client.send_text(f"by {query}")
            settle(client)
        self.open("/ws/no-right?publish-broadcast").send_text("end")
        self.assertEqual(b"end", listener.message())

    def test_flags_in_the_wrong_place(self) -> None:
        """Flags count in the query of the request only."""
        listener = self.open("/ws/place?subscribe-broadcast")
        for path, header in (
            ("/ws/place", "X-Query: publish-broadcast"),
            ("/ws/place", "Cookie: publish-broadcast=1"),
            ("/ws/place?", "Referer: http://localhost/?publish-broadcast"),
            ("/ws/place%3Fpublish-broadcast", "X-None: x"),
            ("/ws/place;publish-broadcast", "X-None: x"),
        ):
            client = self.open(path, header)
            client.send_text("not said")
            settle(client)
        self.open("/ws/place?publish-broadcast").send_text("end")
        self.assertEqual(b"end", listener.message())

    def test_private_audiences(self) -> None:
        """User, group and session flags without a login: nothing subscribed, nothing written."""
        with Monitor(self.redis) as monitor:
            for verb in ("subscribe", "publish"):
                for audience in ("user", "group", "session"):
                    for flag in (f"{verb}-{audience}", f"{verb}={audience}"):
                        self._tries(f"/ws/private?{flag}&echo")
            self._end()
            self.assertEqual([], monitor.until('"broadcast:end"', about="private"))

    def test_guessed_sessions(self) -> None:
        """Cookies, and headers that proxies trust, give no identity to an anonymous client."""
        every = "&".join(
            f"{verb}-{audience}"
            for verb in ("subscribe", "publish")
            for audience in ("user", "group", "session")
        )
        # As Django, and Redis session back ends, would keep it.
        self.redis.command("SET", "session:abcdefgh12345678", '{"_auth_user_id": "1"}')
        with Monitor(self.redis) as monitor:
            for header in (
                "Cookie: sessionid=abcdefgh12345678",
                "Cookie: sessionid=unknownunknownunknown",
                "Cookie: sessionid=short",
                "Cookie: sessionid=",
                "Cookie: sessionid=None",
                "Cookie: sessionid=../../etc/passwd",
                "Cookie: sessionid=a; sessionid=b",
                "Cookie: =; ;;; sessionid",
                'Cookie: sessionid="\\303\\251"',
                "Authorization: Basic YWRtaW46YWRtaW4=",
                "X-Forwarded-User: admin",
                "Remote-User: admin",
            ):
                self._tries(f"/ws/private?{every}&echo", header)
            self._tries(f"/ws/private?{every}&user=admin&group=admin&session=abcdefgh12345678")
            self._end()
            commands = monitor.until('"broadcast:end"', about='"')
        touched = [line for line in commands if "private" in line or "abcdefgh" in line]
        self.assertEqual([], touched)

    def test_names_do_not_meet(self) -> None:
        """A facility that looks like a private channel stays below broadcast."""
        client = self.open("/ws/a:user:admin:b?subscribe-broadcast&publish-broadcast&echo")
        for channel in ("user:admin:b", "a:user:admin:b", "broadcast:a", "broadcast:b"):
            self.assertEqual(0, self.publish(channel, "not for you"), channel)
        with Monitor(self.redis) as monitor:
            client.send_text("said")
            client.send_text("end")
            self.assertEqual(b"said", client.message())
            commands = monitor.until('"end"', about='"said"')
        self.assertTrue(all('"broadcast:a:user:admin:b"' in line for line in commands), commands)

    def _tries(self, path: str, *headers: str) -> None:
        """Open the path, publish a message, and check that nothing arrives."""
        client = self.open(path, *headers)
        client.send_text("let me in")
        settle(client)
        client.socket.close()

    def _end(self) -> None:
        self.open("/ws/end?publish-broadcast").send_text("end")


class PayloadTests(WireCase):
    """Payloads pass through Redis unchanged."""

    skip = missing("redis")

    _payloads = (
        *(b"0", b"007", b"-0", b"1.50", b"1e3", b"0x10", b" 1 ", b"1_000", b"inf", b"NaN"),
        *(b"None", b"null", b"true", b"message", b"subscribe", b"PONG", b"OK", b"QUIT"),
        *(b"\x00", b"a\x00b", b"\r\n", b"\r\n\r\n", b"+OK\r\n", b"-ERR no\r\n", b":1\r\n"),
        *(b"$-1\r\n", b"*0\r\n", b"$5\r\nhello\r\n", b"*3\r\n$7\r\nmessage\r\n", b">2\r\n_\r\n"),
        *(b"{}", b'{"a": "\\u0000"}', b"[1,2]", b"<b>&amp;</b>", b"%s %d {0} {x}", b"\\x00\\"),
        *(b" ", b"\t", b" leading and trailing ", "\ufeffbom".encode(), "\u2028".encode()),
        *(_COMPOSED.encode(), _COMBINING.encode(), "\N{GRINNING FACE}".encode()),
        *(b"\xff", b"\xc3\x28", b"\xed\xa0\x80", bytes(range(256)), b"x" * 60000),
        b"\x80" * 60000,
    )

    def test_live(self) -> None:
        """Any payload that a backend publishes arrives unchanged."""
        client = self.open("/ws/payloads?subscribe-broadcast")
        for payload in self._payloads:
            self.publish("broadcast:payloads", payload)
            self.assertEqual(payload, client.message())

    def test_in_one_burst(self) -> None:
        """Many payloads in one read, on several channels, arrive unchanged."""
        clients = [self.open(f"/ws/burst{n}?subscribe-broadcast") for n in range(3)]
        self.redis.pipeline(
            *(
                ("PUBLISH", f"broadcast:burst{n}", payload)
                for payload in self._payloads
                for n in range(3)
            )
        )
        for client in clients:
            self.assertEqual(list(self._payloads), [client.message() for _ in self._payloads])

    def test_stored(self) -> None:
        """Any payload that a backend has stored arrives unchanged."""
        for number, payload in enumerate(self._payloads):
            self.redis.command("SET", f"broadcast:stored{number}", payload)
            client = self.open(f"/ws/stored{number}?subscribe-broadcast")
            self.assertEqual(payload, client.message())

    def test_from_a_client(self) -> None:
        """Any payload that a client sends arrives unchanged, and is stored unchanged."""
        listener = self.open("/ws/sent?subscribe-broadcast")
        speaker = self.open("/ws/sent?publish-broadcast")
        for payload in self._payloads:
            speaker.send(frame(BINARY, payload))
            self.assertEqual(payload, listener.message())
            self.assertEqual(payload, self.redis.command("GET", "broadcast:sent"))

    def test_opcodes(self) -> None:
        """UTF-8 arrives as text, all else as binary; NUL and control characters are UTF-8."""
        client = self.open("/ws/opcodes?subscribe-broadcast")
        for opcode, payload in (
            (TEXT, b"\x00\x01\x7f"),
            (TEXT, "\uffff\U0010ffff".encode()),
            (BINARY, b"\xed\xa0\x80"),
            (BINARY, b"text and \xff"),
        ):
            self.publish("broadcast:opcodes", payload)
            self.assertEqual(Frame(opcode, payload), client.receive())


class PrefixNameTests(WireCase):
    """Another ``--url-prefix``, and a prefix of channels that is not ASCII."""

    skip = missing("redis")
    options = ("--url-prefix", "/live/sockets/", "--prefix", "caf\xe9*:a")

    def test_prefixes(self) -> None:
        """Both are literal, and the default one is a path like others."""
        client = self.open("/live/sockets/ws/x?subscribe-broadcast&publish-broadcast&echo")
        self.assertEqual(1, self.publish("caf\xe9*:a:broadcast:ws/x", "heard"))
        self.assertEqual(b"heard", client.message())
        client.send_text("stored")
        self.assertEqual(b"stored", client.message())
        self.assertEqual(b"stored", self.redis.command("GET", "caf\xe9*:a:broadcast:ws/x"))
        for path in ("/ws/x", "/live/sockets", "/live/socketsx", "/live/", "/live/Sockets/x"):
            self.refused(handshake(path), 404)
            status, _, _ = response(
                self.gateway.port, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            )
            self.assertEqual(404, status, path)
