"""
A handshake, which is read without Autobahn, against the same handshake read by Autobahn.

Each test here sends the same bytes to two gateways. One is ours. The other has a protocol that
leaves every handshake to Autobahn, its check and its answer. If both accept it, nothing may differ:
neither what the client receives, nor what the handshaker is asked, the state, the attributes, the
counters and the log. If only one of them refuses it, the reason must be one of those listed here.

``WSREDIS_EXAMPLES=50000`` tries more heads, and others each time.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.types import ConnectionRequest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.support.raw import KEY, TEXT, frame
from tests.support.search import search
from wsredis.config import GatewayConfig, Limits
from wsredis.errors import HandshakeRejected
from wsredis.gateway.exported import Histogram
from wsredis.gateway.metrics import Metrics
from wsredis.testing import MemoryGateway
from wsredis.transports.send_queue import SendQueue
from wsredis.transports.websocket.applications import Answer
from wsredis.transports.websocket.deflate import Inflater
from wsredis.transports.websocket.head import HandshakeHead, Kind, parse
from wsredis.transports.websocket.lean import State
from wsredis.transports.websocket.protocol import GatewayProtocol
from wsredis.transports.websocket.registry import Step

#: All handshakes come at the same time.
_LIMITS = Limits(handshake_rate=10**9)

_BOTH = "/ws/a?subscribe-broadcast&publish-broadcast&echo"

#: Attributes that Autobahn leaves behind, and our way does not.
_LEFT_BEHIND = (
    *("_wskey", "http_headers", "http_request_data", "http_request_host", "http_request_params"),
    *("http_request_path", "http_request_uri", "http_response_data", "http_status_line"),
    *("websocket_extensions", "websocket_extensions_in_use", "websocket_origin"),
    *("websocket_protocol_in_use", "websocket_protocols", "websocket_version"),
    *("current_frame", "inside_message"),
)


#: The reasons of ours that follow from the parts of a handshake, not from the form of a head.
_OUR_REASONS = ("the header ", "the target ", "the version ", "a subprotocol ")

#: Autobahn's reasons for what is right.
_ONLY_OURS = (
    # RFC 6455, 11.3.2: the header may come several times.
    rb"Extensions header appears more than once"
    # RFC 3986, 3.2.3: the port may be empty.
    rb'|invalid port ""'
    # RFC 9110, 5.6.1: an element of a list may be empty.
    rb'|duplicate protocol ""|the subprotocol is not a token'
    # RFC 9112, 3.2.2: the target may have a scheme and a host.
    rb"|there is nothing here"
    # The policy for origins decides on those that have a scheme.
    rb"|Origin header invalid|origin '.*' not allowed"
)

#: Our reasons for what is wrong, and no browser sends.
_ONLY_THEIRS = (
    # A blank in it, or a port like +80.
    "the header host is malformed",
    # An empty one.
    "the target of the request has a fragment",
    # A URL without a path.
    "the target of the request is not a path",
    # 013, 1_3 and +13.
    "the version of the WebSocket protocol must be 13",
)


def _same(name: str, value: str) -> str:
    """A value of a header without the differences that are meant."""
    # RFC 9113, 8.2.3: cookies of several headers are joined as those of one.
    value = value.replace("; ", ", ") if name == "cookie" else value
    return value.strip().rstrip(":") if name == "host" else value.strip()


class _ByAutobahn(GatewayProtocol):
    """Leaves each handshake, and its answer, to Autobahn."""

    _given: Answer

    def refuse(self, rejection: HandshakeRejected) -> None:
        if self.state == State.HEAD and rejection.reason.startswith(_OUR_REASONS):
            self.start_handshake(None)
        else:
            super().refuse(rejection)

    def start_handshake(self, found: HandshakeHead | None, pairs: Any = ()) -> None:
        self.enter(State.PENDING)
        self.asked = HandshakeHead("", {}, [], "", 0)
        self.processHandshake()

    def failHandshake(self, reason: str, code: int = 400, responseHeaders: Any = None) -> None:
        self.refuse(HandshakeRejected(reason, code))

    def onConnect(self, request: ConnectionRequest) -> Any:
        self.asked = self.asked._replace(target=self.http_request_uri)
        self._deciding = self.handshaker.decide(self, request, self.asked.target)
        return self._deciding.addCallbacks(self._decided, self._not_accepted)

    def _decided(self, answer: Answer) -> tuple[str | None, dict[str, str]]:
        self._given = answer
        return answer.subprotocol, dict(answer.headers)

    def succeedHandshake(self, answer: Any) -> None:
        if self.state != State.PENDING:
            return
        assert self.registry.refusal(Step.OPEN, self) is None
        self.queue = SendQueue(self.transport, self.config.limits.max_queue, self, self.queued)
        if self._given.is_compressed:
            self.decompress_with(Inflater())
        self.websocket_extensions: list[Any] = []
        WebSocketServerProtocol.succeedHandshake(self, answer)

    def _onOpen(self) -> None:
        for name in (*_LEFT_BEHIND, "asked"):
            delattr(self, name)
        connection, answer = self.connection, self._given
        assert connection is not None
        del self._deciding, self._given
        self.registry.opened(self, None)
        if self.config.verbose:
            facility = connection.granted.facility
            self._log.info("opened {peer} on {facility!r}", peer=self.peer, facility=facility)
        connection.opened(answer.stored)
        self.sessions.connection_opened(connection, answer.accepted)


class _Way:
    """One of the two gateways."""

    def __init__(self, kind: type[GatewayProtocol], config: GatewayConfig) -> None:
        self.gateway = MemoryGateway(config)
        factory = self.gateway.factory
        self.asked: list[object] = []
        decide = factory.protocol.handshaker.decide

        def record(client: Any, request: Any, target: str) -> Any:
            headers = [(name, _same(name, value)) for name, value in request.headers.items()]
            protocols = [each for each in request.protocols if each]
            words = (request.peer, headers, protocols, request.extensions, target)
            self.asked.append(words)
            return decide(client, request, target)

        factory.protocol.handshaker.decide = record
        if kind is not GatewayProtocol:
            factory.protocol = type("Made", (kind, factory.protocol), {})

    def outcome(self, pieces: list[bytes]) -> dict[str, object]:
        """Send *pieces* on a connection of its own, and tell all that happens."""
        self.asked.clear()
        before = _counted(self.gateway.metrics)
        with capturedLogs() as events:
            client = self.gateway.connect()
            for piece in pieces:
                # As a real transport, it does not close in the middle of a call.
                client.reading = False
                client.send(piece)
                client.read()
            protocol = client.protocol
            seen = {
                "asked": list(self.asked),
                # The answers of plain HTTP have the time in them.
                "received": re.sub(rb"\r\nDate: [^\r]*", b"", client.take()),
                "closed": (client.closed, client.aborted),
                "state": int(protocol.state),
                "attributes": {
                    name: value if isinstance(value, (bool, int, str, bytes, list)) else type(value)
                    for name, value in vars(protocol).items()
                    # Plain HTTP is not what is compared here, and refused requests are never read.
                    if name != "_channel" and (name not in _LEFT_BEHIND or protocol.state == 3)
                },
                "counters": {
                    name: value - before[name]
                    for name, value in _counted(self.gateway.metrics).items()
                },
            }
            client.leave()
        # Each connection has an id of its own.
        lines = [re.sub(r" \([0-9a-z]+-\d+\)", "", str(formatEvent(each))) for each in events]
        return seen | {"log": lines}


def _counted(metrics: Metrics) -> dict[str, float]:
    """All numbers but times, each label on its own."""
    counted: dict[str, float] = {}
    for name, value in asdict(metrics).items():
        if isinstance(value, dict):
            counted.update({f"{name} {key}": number for key, number in value.items()})
        elif not isinstance(value, Histogram):
            counted[name] = value
    return counted


class _Case(SynchronousTestCase):
    """A test with two gateways."""

    config = GatewayConfig(limits=_LIMITS)

    def setUp(self) -> None:
        """Make them."""
        self.ours = _Way(GatewayProtocol, self.config)
        self.theirs = _Way(_ByAutobahn, self.config)

    def compare(self, *pieces: bytes) -> dict[str, object]:
        """Check that both ways give the same, and return it."""
        ours, theirs = (way.outcome([*pieces]) for way in (self.ours, self.theirs))
        answers: list[Any] = [each["received"] for each in (ours, theirs)]
        is_accepted = [each.startswith(b"HTTP/1.1 101 ") for each in answers]
        if is_accepted[0] == is_accepted[1]:
            for name, value in theirs.items():
                if is_accepted[0] or name in ("closed", "state"):
                    self.assertEqual(value, ours[name], f"{name} of {pieces}")
        elif is_accepted[0]:
            self.assertRegex(answers[1], _ONLY_OURS, pieces)
        else:
            reason = answers[0].partition(b"\r\n\r\n")[2].decode()
            self.assertTrue(reason.startswith(_ONLY_THEIRS), (reason, pieces))
        return ours


def _head(*lines: str) -> bytes:
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


_CHROME = _head(
    f"GET {_BOTH} HTTP/1.1",
    "Host: localhost:8000",
    "Connection: Upgrade",
    "Pragma: no-cache",
    "Cache-Control: no-cache",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36",
    "Upgrade: websocket",
    "Origin: http://localhost:8000",
    "Sec-WebSocket-Version: 13",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
    "Cookie: sessionid=ab; csrftoken=cd",
    f"Sec-WebSocket-Key: {KEY}",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    "Sec-WebSocket-Protocol: bearer.a.b.c, chat",
)

#: Heads as the field sends them. None may need Autobahn.
_BROWSERS = {
    "Chrome": _CHROME,
    "Firefox": _head(
        f"GET {_BOTH} HTTP/1.1",
        "Host: www.example.org",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        "Accept: */*",
        "Accept-Language: en-US,en;q=0.5",
        "Accept-Encoding: gzip, deflate, br, zstd",
        "Sec-WebSocket-Version: 13",
        "Origin: https://www.example.org",
        "Sec-WebSocket-Extensions: permessage-deflate",
        f"Sec-WebSocket-Key: {KEY}",
        "DNT: 1",
        "Connection: keep-alive, Upgrade",
        "Cookie: sessionid=ab",
        "Sec-Fetch-Dest: empty",
        "Sec-Fetch-Mode: websocket",
        "Sec-Fetch-Site: same-site",
        "Pragma: no-cache",
        "Cache-Control: no-cache",
        "Upgrade: websocket",
    ),
    "Safari": _head(
        f"GET {_BOTH} HTTP/1.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Host: 192.0.2.1:8000",
        "Origin: http://192.0.2.1:8000",
        "Pragma: no-cache",
        "Cache-Control: no-cache",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Extensions: x-webkit-deflate-frame",
        "User-Agent: Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 "
        "(KHTML, like Gecko) Version/18.0 Safari/605.1.15",
    ),
    "websockets": _head(
        f"GET {_BOTH} HTTP/1.1",
        "Host: localhost:8000",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        "User-Agent: Python/3.11 websockets/15.0",
    ),
    "behind nginx": _head(
        f"GET {_BOTH} HTTP/1.1",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Host: www.example.org",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: https",
        "Sec-WebSocket-Version: 13",
        "Origin: https://www.example.org",
        f"Sec-WebSocket-Key: {KEY}",
    ),
    "Go": _head(
        f"GET {_BOTH} HTTP/1.1",
        "Host: localhost:8000",
        "User-Agent: Go-http-client/1.1",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
    ),
}


class BrowserTests(_Case):
    """Handshakes of known clients."""

    config = GatewayConfig(compress=True, limits=_LIMITS)

    def test_same(self) -> None:
        """Each is answered with 101, and as Autobahn does; a message behind it is answered."""
        for head in _BROWSERS.values():
            seen = self.compare(head + frame(TEXT, b"hello"))
            self.assertIn(b"HTTP/1.1 101 ", seen["received"])  # type: ignore[arg-type]
            self.assertIn(b"hello", seen["received"])  # type: ignore[arg-type]

    def test_without_autobahn(self) -> None:
        """None of them takes the long way."""
        for name, head in _BROWSERS.items():
            found = parse(head, 16384)
            self.assertIs(Kind.HANDSHAKE, found.kind, name)
        # If this is not asked for, the test above proves nothing.
        self.patch(GatewayProtocol, "processHandshake", None)
        self.assertIn(b" 101 ", self.ours.outcome([_CHROME])["received"])  # type: ignore[arg-type]

    def test_any_cut(self) -> None:
        """It does not matter where a read ends."""
        whole = _CHROME + frame(TEXT, b"hello")
        for cut in range(1, len(whole)):
            self.compare(whole[:cut], whole[cut:])

    def test_one_write(self) -> None:
        """The answer and the first message are one write."""
        self.ours.gateway.redis.store(b"broadcast:a", 60, b"stored")
        writes: list[bytes] = []
        write = SendQueue.write

        def record(queue: SendQueue, data: bytes) -> None:
            writes.append(data)
            write(queue, data)

        self.patch(SendQueue, "write", record)
        client = self.ours.gateway.connect()
        client.send(_CHROME)
        (only,) = writes
        self.assertTrue(only.startswith(b"HTTP/1.1 101 "))
        self.assertTrue(only.endswith(b"\r\n\r\n\x81\x06stored"))


class UnusualTests(_Case):
    """Handshakes near the border of what is simple: each is as Autobahn has it."""

    def test_table(self) -> None:
        """Whatever is changed in a good head, both ways judge it alike."""
        for old, new in (
            ("GET ", "get "),
            (_BOTH, "/"),
            (_BOTH, "/ws/a?subscribe-broadcast#x"),
            (_BOTH, "/ws/a?subscribe-broadcast#"),
            (_BOTH, "//ws/a?subscribe-broadcast"),
            (_BOTH, "//[x/ws/a?subscribe-broadcast"),
            (_BOTH, "/ws/[a?subscribe-broadcast"),
            (_BOTH, "/ws/a;b?subscribe-broadcast"),
            (_BOTH, "http://localhost/ws/a?subscribe-broadcast"),
            (_BOTH, "http://other"),
            (_BOTH, "http://user@localhost/ws/a?subscribe-broadcast"),
            (_BOTH, "ws/a?subscribe-broadcast"),
            ("Host: localhost:8000", "Host: localhost:port"),
            ("Host: localhost:8000", "Host: localhost:"),
            ("Host: localhost:8000", "Host: localhost:+80"),
            ("Host: localhost:8000", "Host: localhost:123456"),
            ("Host: localhost:8000", "Host: [::1]"),
            ("Host: localhost:8000", "Host: [::1]:80"),
            ("Host: localhost:8000", "Host:"),
            ("Host: localhost:8000", "Host: a\r\nHost: a"),
            ("Upgrade: websocket", "Upgrade: WebSocket"),
            ("Upgrade: websocket", "Upgrade: websocket, h2c"),
            ("Upgrade: websocket", "Upgrade: h2c\r\nUpgrade: websocket"),
            ("Connection: Upgrade", "Connection: close"),
            ("Connection: Upgrade", "Connection: Upgrade, close"),
            ("Connection: Upgrade", "Connection: close\r\nConnection: upgrade"),
            ("Version: 13", "Version: 8"),
            ("Version: 13", "Version: 013"),
            ("Version: 13", "Version: 1_3"),
            ("Version: 13", "Version: 13 "),
            ("Version: 13", "Version: 13, 8"),
            (KEY, KEY[:-1]),
            (KEY, KEY + "="),
            (KEY, "_" + KEY[1:]),
            (KEY, "\xe9" + KEY[1:]),
            (KEY, KEY + "\r\nSec-WebSocket-Key: " + KEY),
            ("Origin: http:", "Origin: null"),
            ("Origin: http://localhost:8000", "Origin: null"),
            ("Origin: http://localhost:8000", "Origin: NULL"),
            ("Origin: http://localhost:8000", "Origin: file://"),
            ("Origin: http://localhost:8000", "Origin: "),
            ("Origin: http://localhost:8000", "Origin: x"),
            ("Origin: http://localhost:8000", "Origin: http://"),
            ("Origin: http://localhost:8000", "Origin: http://localhost:65536"),
            ("Origin: http://localhost:8000", "Origin: http://localhost:65535"),
            ("Origin: http://localhost:8000", "Origin: http://[::1]"),
            ("Origin: http://localhost:8000", "Origin: http://[::1"),
            ("Origin: http://localhost:8000", "Origin: chrome-extension://abc"),
            ("Origin: http://localhost:8000", "Origin: http://a\r\nOrigin: http://a"),
            ("bearer.a.b.c, chat", ""),
            ("bearer.a.b.c, chat", ","),
            ("bearer.a.b.c, chat", "chat,"),
            ("bearer.a.b.c, chat", "chat,chat"),
            ("bearer.a.b.c, chat", "a;b"),
            ("bearer.a.b.c, chat", "a\r\nSec-WebSocket-Protocol: b"),
            ("permessage-deflate", 'a, b;c;d=1;d=2;e="f, g"\r\nX: '),
            ("permessage-deflate", "a\r\nSec-WebSocket-Extensions: b"),
            ("Cookie: ", "Cookie: a=b\r\nCookie: "),
            ("Cookie: ", "Cookie: a\tb\t \r\nX: "),
            ("Cookie: ", "Cookie: a\rb"),
            ("Cookie: ", "Cookie: a\nb: c"),
            *(("Cookie: ", f"Cookie: a{odd}b: c") for odd in "\0\x08\x0b\x0c\x1c\x1f\x7f"),
            ("Cookie: ", "Cookie: a\x85b: c"),
            ("Cookie: ", "Cookie: a\xa0\r\nX: "),
            ("Cookie: ", "Cookie : "),
            ("Cookie: ", ": "),
            ("Cookie: ", "Cookie\r\nX: "),
            ("Cookie: ", " Cookie: "),
        ):
            data = _CHROME.replace(old.encode("latin-1"), new.encode("latin-1"))
            self.assertNotEqual(_CHROME, data, old)
            self.compare(data + frame(TEXT, b"hello"))

    def test_limit(self) -> None:
        """The limit of a head comes first."""
        size = 16384 - len(_CHROME) - len("X: \r\n")
        for more in (0, 1):
            line = b"\r\nX: " + b"x" * (size + more) + b"\r\n\r\n"
            seen = self.compare(_CHROME[:-4] + line)
            status = (b"101", b"431")[more]
            self.assertEqual(status, seen["received"][9:12])  # type: ignore[index]


# -- Any head

_VALUES = {
    "Host": ["localhost", "localhost:8000", "[::1]:80", "a:b", "", "a b", "a:0"],
    "Upgrade": ["websocket", "WebSocket", "websocket,x", "x, websocket", "websockets", ""],
    "Connection": ["Upgrade", "keep-alive, Upgrade", "upgrade,x", "close", "keep-alive,upgrade"],
    "Sec-WebSocket-Version": ["13", "8", "+13", "13,13", "x", ""],
    "Sec-WebSocket-Key": [KEY, KEY[:-1], KEY[1:], "=" * 24, "A" * 24, KEY + "="],
    "Sec-WebSocket-Protocol": ["a", "a, b", "a,a", "a ,b, ", "", 'a"b', "bearer.x, wsredis"],
    "Sec-WebSocket-Extensions": [
        *("permessage-deflate; client_max_window_bits", "permessage-deflate", "x; y=1; y=2"),
        *('permessage-deflate; server_max_window_bits="9"', "a;b=c=d", ";,=", 'a; b="c, d"', ""),
    ],
    "Origin": ["http://localhost", "https://a.b:1", "null", "file:///x", "x", "http://a:99999", ""],
    "Cookie": ["a=b; c=d", "a", ""],
    "X-Odd": ["1", ": ", "a: b", "a\tb", ""],
}

_REQUIRED = ("Host", "Upgrade", "Connection", "Sec-WebSocket-Version", "Sec-WebSocket-Key")

_TARGETS = ("/ws/a?subscribe-broadcast", "/ws/b;c?d=e", "//ws/a", "/ws/a#b", "*", "/nothing")

_ODD = st.sampled_from([*'\r\n\t \0\x0b\x0c\x1c\x1e\x7f\x80\x85\xa0\xff:;,"#/', "\r\n", "\r\n\r\n"])

# Not a border of the range: those are drawn often.
_seldom = st.integers(0, 30).map(lambda drawn: drawn == 17)

_TAILS = st.sampled_from(
    [b"", frame(TEXT, b"hello"), frame(TEXT, b"a") + frame(TEXT, b"b"), b"\x81", b"\xff", _CHROME]
)


@st.composite
def _lines(draw: st.DrawFn) -> list[str]:
    """The headers of a handshake, good in most parts and odd in some."""
    made = []
    for name, values in _VALUES.items():
        if draw(_seldom) if name in _REQUIRED else draw(st.booleans()):
            continue
        for _ in range(2 if draw(_seldom) else 1):
            spelt = draw(st.sampled_from([name, name.lower(), name.upper()]))
            value = draw(st.sampled_from(values)) if draw(_seldom) else values[0]
            before, after = draw(st.sampled_from([(" ", ""), ("", ""), ("\t ", " "), ("  ", "\t")]))
            made.append(f"{spelt}:{before}{value}{after}")
    return draw(st.permutations(made))


@st.composite
def _requests(draw: st.DrawFn) -> list[bytes]:
    """The bytes of a connection, in pieces."""
    line = f"GET {draw(st.sampled_from(_TARGETS)) if draw(_seldom) else _BOTH} HTTP/1.1"
    text = "\r\n".join([line, *draw(_lines())]) + "\r\n\r\n"
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(_ODD) + text[at + draw(st.integers(0, 1)) :]
    data = text.encode("latin-1") + draw(_TAILS)
    cuts = sorted(draw(st.lists(st.integers(1, len(data) - 1), max_size=2, unique=True)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


class AnyHeadTests(_Case):
    """Heads that are made up."""

    config = GatewayConfig(compress=False, limits=_LIMITS)

    @search(400)
    @given(_requests())
    def _compare_many(self, pieces: list[bytes]) -> None:
        found = parse(b"".join(pieces), 16384)
        self.kinds.add(found.kind)
        self.compare(*pieces)

    def test_same(self) -> None:
        """Both ways do the same, whatever the head is."""
        self.kinds: set[object] = set()
        self._compare_many()
        self.assertLessEqual({Kind.HANDSHAKE, Kind.MALFORMED}, self.kinds)
