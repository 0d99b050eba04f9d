"""``wsredis.js`` and the subprotocol ``wsredis``, also with servers that do not know it."""

from __future__ import annotations

import json
from http import HTTPStatus

from twisted.trial.unittest import SynchronousTestCase

from tests.support.browser import missing_browser, shared_browser
from tests.support.children import until
from tests.support.script import ClientPage, ClientSite
from tests.support.scripted import Accepted, ScriptedServer
from tests.support.scripted_http import ScriptedHttp

#: A heartbeat of the gateway, and the answer of the page.
_BEAT = b""

#: Milliseconds from the last sign of life to the end, with a heartbeat every 25 seconds.
_PATIENCE = 33_000

_HELLO: dict[str, object] = {
    "id": "c-7",
    "heartbeat": 25,
    "subscribe": ["broadcast"],
    "publish": [],
    "user": None,
    "hints": [],
}

#: More than the callbacks of all pages: those of this subprotocol.
_CALLBACKS = """{
  hello: (hello) => { (seen.hellos ||= []).push(hello); },
  unsent: (messages, is_over) => {
    (seen.unsent ||= []).push(messages);
    seen.is_over = is_over;
  },
}"""


def control(**fields: object) -> bytes:
    """A control message."""
    return json.dumps(fields).encode()


class _Case(SynchronousTestCase):
    """A site, a scripted server, and pages whose clock stands still."""

    def setUp(self) -> None:
        """Start both."""
        self.site = ClientSite()
        self.addCleanup(self.site.stop)
        self.server = ScriptedServer()
        self.addCleanup(self.server.stop)
        self.server.hello = _HELLO
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def page(self, options: dict[str, object] | None = None, stored: str = "") -> ClientPage:
        """
        Open a page that begins to connect with a WebSocket; each wait is half of the longest.

        Args:
            stored: What the page remembers.
        """
        page = ClientPage(self.browser, self.site)
        page.run("stopClock(); Math.random = () => 0.5")
        page.run("window.warnings = []; console.warn = (text) => { warnings.push(text); }")
        if stored:
            item = f"wsredis 127.0.0.1:{self.server.port}"
            page.run("sessionStorage.setItem(arguments[0], arguments[1])", item, stored)
        page.start(
            {"uri": self.server.url, "transports": "websocket", **(options or {})}, _CALLBACKS
        )
        return page

    def connected(self, options: dict[str, object] | None = None) -> tuple[ClientPage, Accepted]:
        """Open a page, and wait for its connection."""
        page = self.page(options)
        accepted = self.server.accept()
        page.wait_for_state("connected")
        return page, accepted

    def unsent(self, page: ClientPage) -> list[list[str]]:
        """The messages of each call of ``unsent``."""
        return list(page.seen.get("unsent", []))


class HelloTests(_Case):
    """The first frame, and control messages."""

    skip = missing_browser()

    def test_hello(self) -> None:
        """The page learns what it was granted before it is connected; no message shows it."""
        page = ClientPage(self.browser, self.site)
        page.start(
            {"uri": self.server.url},
            """{
              hello: (hello) => seen.messages.push(hello),
              connected: () => seen.messages.push("connected"),
            }""",
        )
        accepted = self.server.accept()
        accepted.send("stored")
        page.wait_for_messages(_HELLO, "connected", "stored")
        self.assertEqual(["wsredis"], self.server.offers)

    def test_again(self) -> None:
        """When the rights change, the page hears of it, and is not connected a second time."""
        page, accepted = self.connected()
        changed = {**_HELLO, "publish": ["user"], "heartbeat": 5}
        accepted.send(control(hello=changed))
        until(lambda: len(page.seen["hellos"]) == 2)
        self.assertEqual([_HELLO, changed], page.seen["hellos"])
        self.assertEqual(["connecting", "connected"], page.states)
        self.assertEqual([13_000], page.run("return timers()"))

    def test_rare_heartbeats(self) -> None:
        """Heartbeats may come so rarely that no timer of a browser waits for them."""
        page, accepted = self.connected()
        accepted.send(control(hello={**_HELLO, "heartbeat": 3_000_000}))
        until(lambda: len(page.seen["hellos"]) == 2)
        self.assertEqual([2_000_000_000], page.run("return timers()"))

    def test_unknown(self) -> None:
        """A control message of a later version is no message, and no error."""
        page, accepted = self.connected()
        accepted.send(control(later={"x": 1}))
        accepted.send("text")
        page.wait_for_messages("text")
        self.assertEqual([], self.browser.errors())

    def test_bytes(self) -> None:
        """Bytes that are not UTF-8 are a message, of the type that the page wants."""
        page, accepted = self.connected()
        accepted.send(b"\xff\x00")
        until(lambda: len(page.seen["messages"]) == 1)
        self.assertEqual(
            [True, 2], page.run("const [it] = seen.messages; return [it instanceof Blob, it.size]")
        )
        self.browser.close_windows()
        page, accepted = self.connected({"binary_type": "arraybuffer"})
        accepted.send(b"\xff\x00")
        until(lambda: len(page.seen["messages"]) == 1)
        self.assertEqual([255, 0], page.run("return [...new Uint8Array(seen.messages[0])]"))

    def test_hints(self) -> None:
        """A hint is in the console once, however often the page connects."""
        self.server.hello = {**_HELLO, "hints": ["no flag: this socket hears nothing"]}
        page, accepted = self.connected()
        accepted.close(1001)
        page.wait_for_state("waiting")
        page.run("advance(500)")
        self.server.accept()
        page.wait_for_state("connected")
        self.assertEqual(
            ["WS4Redis: no flag: this socket hears nothing"], page.run("return warnings")
        )

    def test_unknown_option(self) -> None:
        """An option that nothing reads is told in the console: its page would wait in silence."""
        page, _ = self.connected({"recieve_message": 1, "max_queued": 5})
        self.assertEqual(
            ["WS4Redis: there is no option recieve_message"], page.run("return warnings")
        )

    def test_callback_closes(self) -> None:
        """A page may close when it hears what it was granted."""
        page = ClientPage(self.browser, self.site)
        page.start({"uri": self.server.url}, "{hello: () => socket.close()}")
        page.wait_for_state("stopped")
        self.assertEqual(["connecting", "stopped"], page.states)


class RefusalTests(_Case):
    """Handshakes that are accepted only to say why they are refused."""

    skip = missing_browser()

    def test_final(self) -> None:
        """The page stops with code and reason, was never connected, and sent nothing."""
        self.server.hello = None
        for code in (4400, 4401, 4403):
            page = self.page()
            page.send("early")
            accepted = self.server.accept()
            accepted.close(code, "not for you")
            self.assertIsNone(accepted.message())
            page.wait_for_state("stopped")
            self.assertEqual({"code": code, "reason": "not for you", "dropped": 1}, page.detail)
            self.assertEqual(["connecting", "stopped"], page.states)
            self.assertEqual([code], page.seen["disconnected"])
            self.assertEqual([["early"]], self.unsent(page))
            words = f"WS4Redis: the connection has ended for good: {code} not for you"
            self.assertEqual([words], page.run("return warnings"))
            self.assertEqual([], page.run("return timers()"))
            self.browser.close_windows()
        self.assertEqual(["wsredis"] * 3, self.server.offers)

    def test_busy(self) -> None:
        """A gateway that is busy is asked again later, ever later, with the same offer."""
        self.server.hello = None
        page = self.page({"transports": ["websocket", "sse"]})
        for delay in (5500, 6000, 7000):
            self.server.accept().close(1013, "too many connections")
            page.wait_for_state("waiting")
            expected = {"delay": delay, "code": 1013, "reason": "too many connections"}
            self.assertEqual(expected, page.detail)
            page.run("advance(arguments[0])", delay)
        self.server.accept()
        self.assertEqual(["wsredis"] * 4, self.server.offers)
        self.assertNotIn("connected", page.states)


class HeartbeatTests(_Case):
    """Signs of life in both directions."""

    skip = missing_browser()

    def test_answered(self) -> None:
        """Each heartbeat is answered with one, shown to nobody, and keeps the connection."""
        page, accepted = self.connected()
        for _ in range(4):
            page.run("advance(25000)")
            accepted.send(_BEAT)
            self.assertEqual(_BEAT, accepted.message())
        self.assertEqual(["connecting", "connected"], page.states)
        self.assertEqual([], page.seen["messages"])

    def test_silence(self) -> None:
        """33 seconds without a sign of life end the connection, and a new one is made."""
        page, _ = self.connected()
        page.run("advance(arguments[0])", _PATIENCE - 1)
        self.assertEqual("connected", page.states[-1])
        page.run("advance(1)")
        self.assertEqual({"delay": 500, "code": 1006, "reason": "no sign of life"}, page.detail)
        self.assertEqual([500], page.run("return timers()"))
        page.run("advance(500)")
        self.server.accept()
        page.wait_for_state("connected")

    def test_long_message(self) -> None:
        """A message that takes longer than that to arrive is not asked for again and again."""
        page, _ = self.connected()
        for patience in (_PATIENCE, 2 * _PATIENCE):
            self.assertEqual([patience], page.run("return timers()"))
            page.run("advance(arguments[0])", patience)
            page.run("advance(500)")
            accepted = self.server.accept()
            page.wait_for_state("connected")
        accepted.send(_BEAT)
        self.assertEqual(_BEAT, accepted.message())
        accepted.close(1001)
        page.wait_for_state("waiting")
        page.run("advance(1000)")
        self.server.accept()
        page.wait_for_state("connected")
        self.assertEqual([_PATIENCE], page.run("return timers()"))

    def test_messages_count(self) -> None:
        """A message is a sign of life, too."""
        page, accepted = self.connected()
        page.run("advance(30000)")
        accepted.send("x")
        page.wait_for_messages("x")
        page.run("advance(32999)")
        self.assertEqual("connected", page.states[-1])
        page.run("advance(1)")
        self.assertEqual("waiting", page.states[-1])

    def test_slept(self) -> None:
        """A page that slept reads what came meanwhile before it gives up, and gives up once."""
        page, accepted = self.connected()
        slept = "const at = Date.now() + 3600000; Date.now = () => at; advance(33000)"
        page.run(slept)
        self.assertEqual("connected", page.states[-1])
        self.assertEqual([2000], page.run("return timers()"))
        accepted.send(_BEAT)
        self.assertEqual(_BEAT, accepted.message())
        page.run("advance(2000)")
        self.assertEqual([_PATIENCE], page.run("return timers()"))
        page.run("const now = Date.now() + 3600000; Date.now = () => now; advance(33000)")
        page.run("const now = Date.now() + 60000; Date.now = () => now; advance(2000)")
        self.assertEqual("waiting", page.states[-1])

    def test_wakes(self) -> None:
        """A page that wakes up, and has long heard nothing, waits no longer than two seconds."""
        for event in ("'focus'", "'online'", "'visibilitychange', {bubbles: true}"):
            page, _ = self.connected()
            page.run("const now = Date.now() + 40000; Date.now = () => now")
            page.run(
                f"document.dispatchEvent(new Event({event})); dispatchEvent(new Event({event}))"
            )
            self.assertEqual([2000], page.run("return timers()"), event)
            page.run("const now = Date.now() + 2000; Date.now = () => now; advance(2000)")
            self.assertEqual("no sign of life", page.detail["reason"])
            self.browser.close_windows()

    def test_wakes_alive(self) -> None:
        """A page that wakes up, and has heard something lately, goes on."""
        page, _ = self.connected()
        page.run("advance(10000); dispatchEvent(new Event('focus'))")
        self.assertEqual([23_000], page.run("return timers()"))
        self.assertEqual(["connecting", "connected"], page.states)


class WakeTests(_Case):
    """A page that waits, and the user or the network that comes back."""

    skip = missing_browser()

    def _waiting(self, code: int) -> ClientPage:
        page, accepted = self.connected({"base_delay": 20_000})
        accepted.close(code)
        page.wait_for_state("waiting")
        return page

    def test_wakes(self) -> None:
        """The wait becomes short, by chance, and never longer."""
        for event, delay in (("focus", 1000), ("visibilitychange", 1000), ("online", 10_000)):
            page = self._waiting(1001)
            page.run("Math.random = () => 0.9; dispatchEvent(new Event('online'))")
            self.assertEqual([10_000], page.run("return timers()"))
            page.run("Math.random = () => 0.5")
            page.run("dispatchEvent(new Event(arguments[0]))", event)
            self.assertEqual([delay], page.run("return timers()"))
            page.run("advance(arguments[0])", delay)
            self.server.accept()
            page.wait_for_state("connected")
            self.browser.close_windows()

    def test_busy(self) -> None:
        """A busy gateway is not asked earlier because the user looks at the page."""
        page = self._waiting(1013)
        page.run("dispatchEvent(new Event('focus'))")
        self.assertEqual([15_000], page.run("return timers()"))

    def test_hidden(self) -> None:
        """A page that gets hidden does not wake up."""
        page = self._waiting(1001)
        page.run("Object.defineProperty(document, 'hidden', { value: true })")
        page.run("document.dispatchEvent(new Event('visibilitychange', { bubbles: true }))")
        self.assertEqual([10_000], page.run("return timers()"))


class OtherServerTests(_Case):
    """Servers that do not know the subprotocol."""

    skip = missing_browser()

    def bare(self, options: dict[str, object] | None = None) -> tuple[ClientPage, Accepted]:
        """Open a page, and wait for its connection: the second one, without an offer."""
        page = self.page(options)
        self.server.accept()
        accepted = self.server.accept()
        page.wait_for_state("connected")
        return page, accepted

    def test_no_choice(self) -> None:
        """If a server chooses no subprotocol, the script tries again at once with no offer."""
        self.server.chooses = False
        for transports in ("websocket", ["websocket", "sse", "polling"]):
            page, accepted = self.bare({"transports": transports})
            accepted.send("hello")
            accepted.send(b"{}")
            page.send("hello yourself")
            until(lambda page=page: len(page.seen["messages"]) == 2)
            self.assertEqual("hello yourself", accepted.message())
            self.assertEqual(["connecting", "connected"], page.states)
            self.assertEqual({"transport": "websocket"}, page.detail)
            self.assertEqual([], page.run("return timers()"))
            self.assertEqual(["wsredis", None], self.server.offers)
            self.server.offers.clear()
            self.browser.close_windows()

    def test_remembered(self) -> None:
        """It is remembered for five minutes, in the connection and in the tab."""
        self.server.chooses = False
        page, accepted = self.bare()
        accepted.close(1001)
        page.wait_for_state("waiting")
        page.run("advance(500)")
        accepted = self.server.accept()
        page.wait_for_state("connected")
        self.assertEqual(["wsredis", None, None], self.server.offers)
        stored = page.run("return Object.values(sessionStorage)[0]")
        page = self.page(stored=stored)
        self.server.accept()
        page.wait_for_state("connected")
        self.assertEqual(["wsredis", None, None, None], self.server.offers)

    def test_comes_back(self) -> None:
        """After five minutes the subprotocol is offered again, with the same way back."""
        self.server.chooses = False
        page, accepted = self.bare()
        page.run("advance(300000)")
        accepted.close(1001)
        page.wait_for_state("waiting")
        page.run("advance(500)")
        self.server.accept()
        accepted = self.server.accept()
        page.wait_for_state("connected")
        self.assertEqual(["wsredis", None] * 2, self.server.offers)
        page.run("advance(300000)")
        self.server.chooses = True
        accepted.close(1001)
        page.wait_for_state("waiting")
        page.run("advance(500)")
        self.server.accept()
        page.wait_for_state("connected")
        self.assertEqual("wsredis", self.server.offers[-1])
        self.assertEqual([_HELLO], page.seen["hellos"])

    def test_proven(self) -> None:
        """A gateway that knew it is not asked without it, unless it is refused for long."""
        page, accepted = self.connected()
        self.server.refuse = HTTPStatus.BAD_GATEWAY
        accepted.close(1001)
        for delay in (500, 1000, 2000):
            page.wait_for_state("waiting")
            page.run("advance(arguments[0])", delay)
        page.wait_for_state("waiting")
        self.server.refuse = None
        self.server.chooses = False
        self.assertEqual(["wsredis"] * 4 + [None], self.server.offers)
        page.run("advance(4000)")
        self.server.accept()
        self.server.accept()
        page.wait_for_state("connected")

    def test_silent_choice(self) -> None:
        """A gateway that chooses it and says no hello is one without: a second later, at most."""
        self.server.hello = None
        page = self.page()
        accepted = self.server.accept()
        page.window.wait_until("return timers().includes(1000)")
        page.send("early")
        self.assertEqual([0, True], page.run("return [socket.get_state(), socket.is_connecting()]"))
        page.run("advance(1000)")
        page.wait_for_state("connected")
        self.assertEqual("early", accepted.message())
        for each in (b"", b"{}", b"[]", b"null", b"x", b"\xff"):
            accepted.send(each)
        until(lambda: len(page.seen["messages"]) == 6)
        self.assertEqual([], page.run("return timers()"))
        accepted.send("end")
        until(lambda: len(page.seen["messages"]) == 7)

    def test_silent_choice_with_a_message(self) -> None:
        """A message of such a gateway says at once that no hello comes."""
        self.server.hello = None
        page = self.page()
        self.server.accept().send("stored")
        page.wait_for_messages("stored")
        self.assertEqual(["connecting", "connected"], page.states)

    def test_late_hello(self) -> None:
        """A hello that comes late counts."""
        self.server.hello = None
        page = self.page()
        accepted = self.server.accept()
        page.window.wait_until("return timers().includes(1000)")
        page.run("advance(1000)")
        accepted.send(control(hello=_HELLO))
        until(lambda: page.seen.get("hellos"))
        self.assertEqual([_PATIENCE], page.run("return timers()"))
        self.assertEqual(["connecting", "connected"], page.states)

    def test_own_protocols(self) -> None:
        """A page that names its subprotocols, or none, decides alone."""
        self.server.chooses = False
        page = self.page({"protocols": ["chat"]})
        page.wait_for_state("waiting")
        self.assertEqual(["chat"], self.server.offers)
        for none in ([], None, ""):
            self.connected({"protocols": none})
        self.assertEqual(["chat", None, None, None], self.server.offers)

    def test_cut(self) -> None:
        """A connection that is cut right after the handshake does not pass: a stream is next."""
        self.server.hello = None
        http = ScriptedHttp()
        self.addCleanup(http.stop)
        page = ClientPage(self.browser, self.site)
        page.run("stopClock()")
        page.run(
            """
            const [there, here] = arguments;
            const Real = WebSocket;
            WebSocket = function (url, offers) {
              return new Real(url.replace(here, there), offers);
            };
            """,
            f":{self.server.port}/",
            f":{http.port}/",
        )
        page.start({"uri": f"http://127.0.0.1:{http.port}/"})
        self.server.accept().cut()
        http.accept().open()
        page.wait_for_state("connected")
        self.assertEqual({"transport": "sse"}, page.detail)
        self.assertEqual(["wsredis"], self.server.offers)


class UnsentTests(_Case):
    """Messages of the page that may not have arrived."""

    skip = missing_browser()

    def test_silence(self) -> None:
        """Messages since the last sign of life are handed back; earlier ones are taken."""
        page, accepted = self.connected()
        page.send("taken")
        self.assertEqual("taken", accepted.message())
        page.run("advance(3000)")
        accepted.send(_BEAT)
        self.assertEqual(_BEAT, accepted.message())
        page.send("one")
        page.run("advance(arguments[0])", _PATIENCE)
        self.assertEqual("waiting", page.states[-1])
        self.assertEqual([["one"]], self.unsent(page))

    def test_resent(self) -> None:
        """The callback may send them again; they are not handed back twice."""
        page, accepted = self.connected()
        page.run("seen.unsent = []")
        page.send("one", "two")
        accepted.cut()
        page.wait_for_state("waiting")
        self.assertEqual([["one", "two"]], self.unsent(page))
        self.assertFalse(page.seen["is_over"])
        page.run("for (const each of seen.unsent[0]) socket.send_message(each); advance(500)")
        again = self.server.accept()
        page.wait_for_state("connected")
        self.assertEqual(["one", "two"], [again.message() for _ in range(2)])

    def test_closed(self) -> None:
        """A close frame says that the gateway lives: only the last messages are in doubt."""
        page, accepted = self.connected()
        page.send("taken")
        page.run("advance(2000)")
        page.send("late")
        accepted.close(1001)
        page.wait_for_state("waiting")
        self.assertEqual([["late"]], self.unsent(page))

    def test_old(self) -> None:
        """Where nothing is ever heard, messages older than a minute are taken."""
        page, accepted = self.connected({"protocols": []})
        page.send("old")
        page.run("advance(60000)")
        page.send("new")
        accepted.cut()
        page.wait_for_state("waiting")
        self.assertEqual([["new"]], self.unsent(page))

    def test_bound(self) -> None:
        """At most ``max_queued`` of them are kept, the last ones."""
        page, accepted = self.connected({"max_queued": 2})
        page.send("one", "two", "three")
        accepted.cut()
        page.wait_for_state("waiting")
        self.assertEqual([["two", "three"]], self.unsent(page))

    def test_end(self) -> None:
        """After the end, messages that waited come as well, also if the page has closed."""
        page, accepted = self.connected()
        page.send("one")
        accepted.close(1008)
        page.wait_for_state("stopped")
        self.assertEqual([["one"]], self.unsent(page))
        self.assertTrue(page.seen["is_over"])
        self.browser.close_windows()
        page, accepted = self.connected()
        page.send("one")
        page.run("socket.close()")
        page.window.wait_until("return seen.disconnected.length === 1")
        self.assertEqual([], self.unsent(page))
        self.browser.close_windows()
        self.server.gate.clear()
        page = self.page()
        page.send("one")
        page.run("socket.close()")
        self.assertEqual([["one"]], self.unsent(page))
