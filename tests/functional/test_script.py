"""``wsredis.js`` in a real browser: with a real gateway, and with a server that misbehaves."""

from __future__ import annotations

import gzip
import json
import re
from http import HTTPStatus

from twisted.trial.unittest import SynchronousTestCase

from tests.support.browser import missing_browser, shared_browser
from tests.support.case import FreshGatewayCase
from tests.support.children import Gateway, reserve_port, until
from tests.support.script import ClientPage, ClientSite, read_script
from tests.support.scripted import Accepted, ScriptedServer
from wsredis.errors import CLOSE_CODES

_HEARTBEAT = "--heartbeat--"

_BOTH = {"subscribe": "broadcast", "publish": "broadcast"}

#: Milliseconds; longer than any wait that the script may choose.
_LONG = 3_600_000


class _Case(SynchronousTestCase):
    """A site, a scripted server, and pages whose clock stands still."""

    def setUp(self) -> None:
        """Start both."""
        self.site = ClientSite()
        self.addCleanup(self.site.stop)
        self.server = ScriptedServer()
        self.addCleanup(self.server.stop)
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def page(self, options: dict[str, object] | None = None, script: str = "{}") -> ClientPage:
        """Open a page that begins to connect; each wait is half of the longest."""
        page = ClientPage(self.browser, self.site)
        page.run("stopClock(); Math.random = () => 0.5")
        page.start({"uri": self.server.url, **(options or {})}, script)
        return page

    def connected(
        self, options: dict[str, object] | None = None, script: str = "{}"
    ) -> tuple[ClientPage, Accepted]:
        """Open a page, and wait for its connection."""
        page = self.page(options, script)
        accepted = self.server.accept()
        page.wait_for_state("connected")
        return page, accepted


class CloseCodeTests(_Case):
    """The close codes after which the script connects again."""

    skip = missing_browser()

    def test_table(self) -> None:
        """The script connects again after the codes of the table that say so, and no others."""
        # Browsers show 1005 and 1006 where there was no code, and 3000 to 4999 are for handlers.
        table = {code: entry.retry for code, entry in CLOSE_CODES.items()}
        table.update({1012: True, 3000: True, 4000: True})
        table.update({4400: False, 4401: False, 4403: False})
        for code, retry in table.items():
            page, accepted = self.connected()
            accepted.close(code, "because")
            page.wait_for_state("waiting" if retry else "stopped")
            self.assertEqual([code, "because"], [page.detail["code"], page.detail["reason"]])
            self.assertEqual([code], page.seen["disconnected"])
            if retry:
                page.run("advance(arguments[0])", page.detail["delay"])
                self.server.accept()
            else:
                page.run("advance(arguments[0])", _LONG)
                page.run("dispatchEvent(new Event('online'))")
                self.assertEqual("stopped", page.states[-1], code)
                self.assertEqual([], page.run("return timers()"), code)
            self.browser.close_windows()

    def test_cut(self) -> None:
        """After a connection that ends without a close frame the script connects again, later."""
        page, accepted = self.connected()
        accepted.cut()
        page.wait_for_state("waiting")
        self.assertEqual({"delay": 500, "code": 1006, "reason": ""}, page.detail)
        page.run("advance(500)")
        self.server.accept()
        page.wait_for_state("connected")
        expected = ["connecting", "connected", "waiting", "connecting", "connected"]
        self.assertEqual(expected, page.states)
        self.assertEqual(2, page.seen["connecting"])
        self.assertEqual(2, page.seen["connected"])

    def test_busy(self) -> None:
        """After 1013 the wait is five seconds longer."""
        page, accepted = self.connected()
        accepted.close(1013)
        page.wait_for_state("waiting")
        self.assertEqual([5500], page.run("return timers()"))
        page.run("advance(5499)")
        self.assertEqual("waiting", page.states[-1])
        page.run("advance(1)")
        self.server.accept()

    def test_stopped(self) -> None:
        """After the end nothing can be sent, and closing is not an error."""
        page, accepted = self.connected()
        accepted.close(1008)
        page.wait_for_state("stopped")
        page.run("socket.close()")
        self.assertEqual(["connecting", "connected", "stopped"], page.states)
        script = "try { socket.send_message('x') } catch (error) { return error.message }"
        self.assertEqual("WS4Redis: closed", page.run(script))


class BackoffTests(_Case):
    """The waits before the script connects again."""

    skip = missing_browser()

    def _delays(self, page: ClientPage, count: int) -> list[float]:
        delays = []
        for _ in range(count):
            page.wait_for_state("waiting")
            self.assertEqual([page.detail["delay"]], page.run("return timers()"))
            delays.append(page.detail["delay"])
            page.run("advance(arguments[0])", page.detail["delay"])
        return delays

    def test_nobody_there(self) -> None:
        """Each wait is random up to a bound, which doubles up to 30 seconds."""
        page = self.page({"uri": f"ws://127.0.0.1:{reserve_port(self)}/"})
        self.assertEqual([500, 1000, 2000, 4000, 8000, 15000, 15000], self._delays(page, 7))
        page.wait_for_state("waiting")
        page.run("Math.random = () => 0; advance(arguments[0])", page.detail["delay"])
        self.assertEqual([0], self._delays(page, 1))

    def test_bounds(self) -> None:
        """Options set the bounds of the waits."""
        options = {"base_delay": 10, "max_delay": 30}
        page = self.page({"uri": f"ws://127.0.0.1:{reserve_port(self)}/", **options})
        self.assertEqual([5, 10, 15, 15], self._delays(page, 4))

    def test_refused(self) -> None:
        """A handshake that is refused is tried again, with waits that grow."""
        for status in (401, 403, 503):
            self.server.refuse = HTTPStatus(status)
            page = self.page()
            self.assertEqual([500, 1000, 2000], self._delays(page, 3))
            self.assertEqual([1006], sorted(set(page.seen["disconnected"])))
            self.assertEqual(0, page.seen["connected"])
            self.browser.close_windows()

    def _accept_and_close(self, page: ClientPage, lived: int) -> float:
        accepted = self.server.accept()
        page.wait_for_state("connected")
        page.run("advance(arguments[0])", lived)
        accepted.close(1001)
        page.wait_for_state("waiting")
        delay = float(page.detail["delay"])
        page.run("advance(arguments[0])", delay)
        return delay

    def test_short_lives(self) -> None:
        """A server that closes at once is tried ever later; five seconds connected end that."""
        page = self.page()
        delays = [self._accept_and_close(page, each) for each in (0, 4999, 0, 5000, 0)]
        self.assertEqual([500, 1000, 2000, 500, 1000], delays)

    def test_long_life(self) -> None:
        """After a long connection one wait is short, and not all that follow."""
        page, accepted = self.connected()
        page.run("advance(10000)")
        self.server.refuse = HTTPStatus.SERVICE_UNAVAILABLE
        accepted.close(1001)
        self.assertEqual([500, 1000, 2000], self._delays(page, 3))

    def test_no_answer(self) -> None:
        """A handshake that is not answered within 20 seconds is given up."""
        self.server.gate.clear()
        page = self.page()
        until(lambda: self.server.offers)
        page.run("advance(19999)")
        self.assertEqual(["connecting"], page.states)
        page.run("advance(1)")
        self.assertEqual(["connecting", "waiting"], page.states)
        self.assertEqual(
            {"delay": 500, "code": 1006, "reason": "no connection in time"}, page.detail
        )
        self.server.gate.set()
        page.run("advance(500)")
        until(lambda: page.states[-1] == "connected")

    def test_online(self) -> None:
        """When the network is back, the wait is a first one again, and so is the next one."""
        page = self.page({"uri": f"ws://127.0.0.1:{reserve_port(self)}/"})
        self._delays(page, 3)
        page.wait_for_state("waiting")
        self.assertEqual([4000], page.run("return timers()"))
        page.run("dispatchEvent(new Event('online'))")
        self.assertEqual([500], page.run("return timers()"))
        page.run("advance(500)")
        page.wait_for_state("waiting")
        self.assertEqual(500, page.detail["delay"])
        self.assertEqual([500], page.run("return timers()"))

    def test_one_at_a_time(self) -> None:
        """An event of the network does not open a second connection."""
        self.server.gate.clear()
        page = self.page()
        online = "dispatchEvent(new Event('online'))"
        page.run(f"{online}; {online}")
        self.server.gate.set()
        page.wait_for_state("connected")
        page.run(f"{online}; advance(10000); {online}; advance(10000)")
        self.assertEqual(["wsredis"], self.server.offers)
        self.assertEqual(["connecting", "connected"], page.states)


class PageLifeTests(_Case):
    """Pages that the reader leaves and comes back to."""

    skip = missing_browser()

    def test_back_forward_cache(self) -> None:
        """A page in the back-forward cache has no connection; a restored page connects at once."""
        page, accepted = self.connected()
        event = "dispatchEvent(new PageTransitionEvent(arguments[0], {persisted: true}))"
        page.run(event, "pagehide")
        self.assertIsNone(accepted.message())
        page.run("advance(arguments[0])", _LONG)
        page.send("later")
        page.run(event, "pageshow")
        self.assertEqual([50], page.run("return timers()"))
        page.run("advance(50)")
        again = self.server.accept()
        page.wait_for_state("connected")
        self.assertEqual("later", again.message())
        self.assertEqual(["connecting", "connected"] * 2, page.states)
        self.assertEqual([], page.seen["disconnected"])

    def test_hidden_while_waiting(self) -> None:
        """A page in the back-forward cache has no timers."""
        page, accepted = self.connected()
        accepted.close(1001)
        page.wait_for_state("waiting")
        page.run("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
        self.assertEqual([], page.run("return timers()"))

    def test_history(self) -> None:
        """A page is connected after the browser went to another page and back."""
        page, _ = self.connected()
        self.site.add_page("/other", "")
        page.window.driver.get(f"{self.site.origin}/other")
        page.window.driver.back()
        if page.run("return window.socket === undefined"):
            # The browser has kept nothing, and loaded the page anew.
            page.start({"uri": self.server.url})
        else:
            page.run("advance(50)")
        self.server.accept()
        page.wait_for_state("connected")

    def test_load(self) -> None:
        """The end of loading, which is a ``pageshow`` as well, does not end a wait."""
        page, accepted = self.connected()
        accepted.close(1013)
        page.wait_for_state("waiting")
        page.run("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: false}))")
        self.assertEqual("waiting", page.states[-1])


class SendTests(_Case):
    """Messages of the page, and the time when they are sent."""

    skip = missing_browser()

    def _send(self, page: ClientPage, message: str) -> str | None:
        script = "try { socket.send_message(arguments[0]) } catch (error) { return error.message }"
        result: str | None = page.run(script, message)
        return result

    def test_early(self) -> None:
        """Messages before the connection arrive once, in order, before the messages after it."""
        self.server.gate.clear()
        page = self.page({}, "{connected: () => socket.send_message('connected')}")
        page.send("one", "two", "three")
        self.server.gate.set()
        accepted = self.server.accept()
        page.wait_for_state("connected")
        page.send("four")
        found = [accepted.message() for _ in range(5)]
        self.assertEqual(["one", "two", "three", "connected", "four"], found)

    def test_between(self) -> None:
        """A message between two connections arrives at the second, once."""
        page, accepted = self.connected()
        page.send("before")
        self.assertEqual("before", accepted.message())
        accepted.close(1001)
        page.wait_for_state("waiting")
        page.send("between")
        page.run("advance(500)")
        again = self.server.accept()
        page.wait_for_state("connected")
        page.send("after")
        self.assertEqual(["between", "after"], [again.message() for _ in range(2)])

    def test_closing(self) -> None:
        """A message while a connection closes is kept for the next one."""
        page = ClientPage(self.browser, self.site)
        page.run("stopClock()")
        page.run(
            """
            const Real = WebSocket;
            WebSocket = function (...all) { return (window.real = new Real(...all)); };
            """
        )
        page.start({"uri": self.server.url})
        self.server.accept()
        page.wait_for_state("connected")
        page.run("real.close(); socket.send_message('kept')")
        page.wait_for_state("waiting")
        page.run("advance(1000)")
        self.assertEqual("kept", self.server.accept().message())

    def test_full(self) -> None:
        """A hundred messages may wait; the next is refused with an error, and the rest stays."""
        self.server.gate.clear()
        page = self.page()
        page.run("for (let i = 0; i < 99; i += 1) socket.send_message(String(i))")
        self.assertIsNone(self._send(page, "99"))
        self.assertEqual("WS4Redis: too many messages wait", self._send(page, "100"))
        self.server.gate.set()
        accepted = self.server.accept()
        self.assertEqual([str(i) for i in range(100)], [accepted.message() for _ in range(100)])

    def test_no_queue(self) -> None:
        """With ``max_queued`` 0 nothing waits."""
        self.server.gate.clear()
        page = self.page({"max_queued": 0})
        self.assertEqual("WS4Redis: too many messages wait", self._send(page, "x"))

    def test_close_drops(self) -> None:
        """``close`` drops the waiting messages, and reports their number."""
        self.server.gate.clear()
        page = self.page()
        page.send("one", "two")
        page.run("socket.close()")
        self.assertEqual({"code": None, "reason": "", "dropped": 2}, page.detail)
        self.assertEqual("WS4Redis: closed", self._send(page, "three"))

    def test_final_code_drops(self) -> None:
        """A permanent close code drops the waiting messages, too."""
        page, accepted = self.connected({}, "{disconnected: () => socket.send_message('late')}")
        accepted.close(1008, "slow consumer")
        page.wait_for_state("stopped")
        self.assertEqual({"code": 1008, "reason": "slow consumer", "dropped": 1}, page.detail)

    def test_binary(self) -> None:
        """Bytes go out and come in as such."""
        page, accepted = self.connected(
            {"binary_type": "arraybuffer"},
            "{receive_message: (data) => seen.messages.push([...new Uint8Array(data)])}",
        )
        page.run("socket.send_message(new Uint8Array([0, 255]))")
        self.assertEqual(b"\x00\xff", accepted.message())
        accepted.send(b"\xff\x00")
        page.wait_for_messages([255, 0])


class CloseTests(_Case):
    """The page closes."""

    skip = missing_browser()

    def _flags(self, page: ClientPage) -> list[bool]:
        names = ("connecting", "connected", "closing", "closed")
        return [page.run(f"return socket.is_{name}()") for name in names]

    def test_close(self) -> None:
        """The server gets a close frame; the callbacks and states of the original follow."""
        self.server.gate.clear()
        page = self.page()
        self.assertEqual([True, False, False, False], self._flags(page))
        self.server.gate.set()
        accepted = self.server.accept()
        page.wait_for_state("connected")
        self.assertEqual([False, True, False, False], self._flags(page))
        self.assertEqual(1, page.run("return socket.get_state()"))
        self.assertEqual(2, page.run("socket.close(); return socket.get_state()"))
        self.assertIsNone(accepted.message())
        page.window.wait_until("return seen.disconnected.length === 1")
        self.assertEqual([False, False, False, True], self._flags(page))
        self.assertEqual(["connecting", "connected", "stopped"], page.states)
        self.assertEqual([], page.run("return timers()"))
        self.assertEqual([], self.browser.errors())

    def test_nothing_left(self) -> None:
        """After the end the page's events have no listener of the script any more."""
        page = ClientPage(self.browser, self.site)
        page.run(
            """
            window.listeners = new Set();
            addEventListener = (name, call) => { listeners.add(call); };
            removeEventListener = (name, call) => { listeners.delete(call); };
            """
        )
        page.start({"uri": self.server.url})
        self.assertEqual(2, page.run("return listeners.size"))
        page.run("socket.close()")
        self.assertEqual(0, page.run("return listeners.size"))

    def test_close_while_waiting(self) -> None:
        """A page may give up while it waits."""
        page, accepted = self.connected()
        accepted.close(1001)
        page.wait_for_state("waiting")
        self.assertEqual([False, False, False, True], self._flags(page))
        page.run("socket.close()")
        self.assertEqual("stopped", page.states[-1])
        self.assertEqual([], page.run("return timers()"))

    def test_close_in_callbacks(self) -> None:
        """A callback may close the connection for good."""
        closing = "() => socket.close()"
        for name in ("connected", "receive_message", "disconnected"):
            page = self.page({}, f"{{{name}: {closing}}}")
            accepted = self.server.accept()
            if name == "receive_message":
                accepted.send("x")
            if name == "disconnected":
                accepted.close(1001)
            page.wait_for_state("stopped")
            page.window.wait_until("return socket.is_closed()")
            self.assertEqual([], page.run("return timers()"), name)
            self.browser.close_windows()

    def test_close_in_state(self) -> None:
        """The callback for states may close while it waits, and before it tries again."""
        for state, expected in (("waiting", 3), ("connecting", 4)):
            page, accepted = self.connected(
                {},
                f"""{{state: (name) => {{
                  seen.states.push([name, {{}}]);
                  if (name === "{state}" && seen.states.length > 1) socket.close();
                }}}}""",
            )
            accepted.close(1001)
            until(lambda page=page: len(page.states) >= 3)
            page.run("advance(500)")
            states = ["connecting", "connected", "waiting", "connecting"][:expected]
            self.assertEqual([*states, "stopped"], page.states)
            self.assertEqual([], page.run("return timers()"))
            self.browser.close_windows()
        self.assertEqual(2, len(self.server.offers))


class HeartbeatTests(_Case):
    """The heartbeat of the original."""

    skip = missing_browser()

    def test_answered(self) -> None:
        """It goes out every five seconds; answers are swallowed, and keep the connection."""
        page, accepted = self.connected({"heartbeat_msg": _HEARTBEAT})
        for number in range(6):
            page.run("advance(5000)")
            self.assertEqual(_HEARTBEAT, accepted.message())
            accepted.send(_HEARTBEAT)
            accepted.send(str(number))
            page.wait_for_messages(*map(str, range(number + 1)))
        self.assertEqual(["connecting", "connected"], page.states)

    def test_silence(self) -> None:
        """After three without an answer the connection is given up for a new one."""
        page, accepted = self.connected({"heartbeat_msg": _HEARTBEAT})
        page.run("advance(19999)")
        self.assertEqual([_HEARTBEAT] * 3, [accepted.message() for _ in range(3)])
        self.assertEqual("connected", page.states[-1])
        page.run("advance(1)")
        self.assertEqual({"delay": 500, "code": 1006, "reason": "no heartbeat"}, page.detail)
        self.assertEqual([500], page.run("return timers()"))
        self.assertIsNone(accepted.message())
        page.run("advance(500)")
        self.server.accept()
        page.wait_for_state("connected")
        page.run("advance(19999)")
        states = ["connecting", "connected", "waiting", "connecting", "connected"]
        self.assertEqual(states, page.states)

    def test_none(self) -> None:
        """Without it no timer is left once there is a connection."""
        page, _ = self.connected({"protocols": []})
        self.assertEqual([], page.run("return timers()"))


class TokenTests(_Case):
    """Bearer tokens and subprotocols."""

    skip = missing_browser()

    def test_fresh_token(self) -> None:
        """The function is called for each connection; its token is the second subprotocol."""
        page, accepted = self.connected({}, "{token: () => `t${(window.n = (window.n || 0) + 1)}`}")
        accepted.close(1001)
        page.wait_for_state("waiting")
        page.run("advance(500)")
        self.server.accept()
        self.assertEqual(["wsredis, bearer.t1", "wsredis, bearer.t2"], self.server.offers)

    def test_promise(self) -> None:
        """The function may return a promise; subprotocols of the page come first."""
        self.connected({"protocols": ["one", "two"]}, "{token: async () => 'abc'}")
        self.assertEqual(["one, two, bearer.abc"], self.server.offers)

    def test_no_token(self) -> None:
        """If the function returns no token, the script offers none."""
        self.connected({}, "{token: () => null}")
        self.connected({"protocols": []}, "{token: () => null}")
        self.assertEqual(["wsredis", None], self.server.offers)

    def test_protocols(self) -> None:
        """A subprotocol may be given as one name."""
        self.connected({"protocols": "chat"})
        self.assertEqual(["chat"], self.server.offers)

    def test_failure(self) -> None:
        """A function that fails is asked again, after a wait."""
        for how in ("() => { throw new Error('gone') }", "async () => { throw new Error('gone') }"):
            page = self.page({}, f"{{token: {how}}}")
            page.wait_for_state("waiting")
            self.assertEqual("no token: Error: gone", page.detail["reason"])
            self.assertEqual([1006], page.seen["disconnected"])
            page.run("advance(500)")
            page.wait_for_state("waiting")
            self.assertEqual(1000, page.detail["delay"])
        self.assertEqual([], self.server.offers)

    def test_late_token(self) -> None:
        """A token that comes after its time, or after ``close``, opens nothing."""
        page = self.page({}, "{token: () => new Promise((resolve) => { window.give = resolve })}")
        page.window.wait_until("return Boolean(window.give)")
        self.assertEqual(0, page.run("return socket.get_state()"))
        page.run("window.first = give; advance(20000)")
        self.assertEqual("no connection in time", page.detail["reason"])
        page.run("advance(500); first('late')")
        page.window.wait_until("return give !== first")
        page.run("socket.close(); give('later')")
        self.assertEqual([], page.run("return timers()"))
        self.assertEqual([], self.server.offers)

    def test_late_failure(self) -> None:
        """A failure of the function that comes late has no effect."""
        page = self.page({}, "{token: () => new Promise((_, reject) => { window.fail = reject })}")
        page.window.wait_until("return Boolean(window.fail)")
        page.run("advance(20000); fail('late')")
        self.assertEqual(["connecting", "waiting"], page.states)
        self.assertEqual([500], page.run("return timers()"))

    def test_bad_token(self) -> None:
        """A token that no browser can send ends the script, with the browser's error."""
        page = self.page({}, "{token: () => 'not a token'}")
        page.wait_for_state("stopped")
        self.assertIsNone(page.detail["code"])
        self.assertIn("invalid", page.detail["reason"])


class AddressTests(_Case):
    """The URL of the connection."""

    skip = missing_browser()

    def _path(self, options: dict[str, object], path: str = "/") -> str:
        """The URL that the script opens, in a page with a fake WebSocket."""
        page = ClientPage(self.browser, self.site, path)
        page.run("window.WebSocket = class { constructor(url) { window.asked = url; } }")
        page.start(options)
        asked: str = page.run("return asked")
        self.browser.close_windows()
        return asked

    def test_uri(self) -> None:
        """A URL of a WebSocket is used unchanged; any other URL becomes one of a WebSocket."""
        host = self.site.origin.removeprefix("http://")
        for uri, expected in (
            ("ws://example.org/ws/a?echo", "ws://example.org/ws/a?echo"),
            ("wss://example.org/", "wss://example.org/"),
            ("https://example.org/a", "wss://example.org/a"),
            ("http://example.org/a", "ws://example.org/a"),
            ("/ws/x?subscribe-broadcast", f"ws://{host}/ws/x?subscribe-broadcast"),
        ):
            self.assertEqual(expected, self._path({"uri": uri, "facility": "ignored"}))

    def test_facility(self) -> None:
        """Without a URL the script makes one of facility and flags, on the host of the page."""
        base = f"ws://{self.site.origin.removeprefix('http://')}/ws/"
        options: dict[str, object] = {
            "subscribe": ["broadcast", "user"],
            "publish": "group",
            "echo": True,
        }
        flags = "subscribe-broadcast&subscribe-user&publish-group&echo"
        self.assertEqual(f"{base}foobar?{flags}", self._path({"facility": "foobar", **options}))
        self.assertEqual(f"{base}?", self._path({"facility": ""}))
        self.assertEqual(
            f"{base}a%20b/%C3%BC%3F%23%26%2F..%25?".replace("%2F", "/"),
            self._path({"facility": "a b/ü?#&/..%"}),
        )

    def test_configuration(self) -> None:
        """The configuration of the page has base and heartbeat; options take precedence."""
        config = json.dumps({"uri": "wss://live.example.org/push/", "heartbeat": _HEARTBEAT})
        self.site.add_page(
            "/config",
            f'<script id="wsredis-config" type="application/json">{config}</script>'
            '<script src="/wsredis.js"></script>',
        )
        self.assertEqual(
            "wss://live.example.org/push/x?subscribe-user",
            self._path({"facility": "x", "subscribe": "user"}, "/config"),
        )
        self.assertEqual("ws://else.example/", self._path({"uri": "ws://else.example/"}, "/config"))
        page = ClientPage(self.browser, self.site, "/config")
        self.assertEqual(json.loads(config), page.run("return WS4Redis.config()"))
        self.assertIsNone(page.run("return WS4Redis.config('another')"))

    def test_text_with_an_id(self) -> None:
        """
        Only a script element with data is the configuration, and of several the last one.

        Text of users may have an id or a name, also one that hides a method of the document.
        """
        evil = '{"uri": "wss://evil.example/"}'
        first, last = '{"uri": "wss://first.example/"}', '{"uri": "wss://last.example/"}'
        kind = 'id="wsredis-config" type="application/json"'
        self.site.add_page(
            "/text",
            f'<p id="wsredis-config">{evil}</p>'
            '<img name="getElementsByTagName"><form name="querySelectorAll"></form>'
            f"<script {kind}>{first}</script><script {kind}>{last}</script>"
            f'<p id="wsredis-config" type="application/json">{evil}</p>'
            '<script src="/wsredis.js"></script>',
        )
        page = ClientPage(self.browser, self.site, "/text")
        self.assertEqual(json.loads(last), page.run("return WS4Redis.config()"))
        self.site.add_page(
            "/none", f'<p id="wsredis-config">{evil}</p><script src="/wsredis.js"></script>'
        )
        page = ClientPage(self.browser, self.site, "/none")
        self.assertIsNone(page.run("return WS4Redis.config()"))

    def test_configured_heartbeat(self) -> None:
        """The heartbeat of the configuration is sent, unless the page wants another or none."""
        config = json.dumps({"uri": self.server.url, "heartbeat": _HEARTBEAT})
        self.site.add_page(
            "/config",
            f'<script id="wsredis-config" type="application/json">{config}</script>'
            '<script src="/wsredis.js"></script>',
        )
        expected: list[tuple[dict[str, object], str]] = [
            ({}, _HEARTBEAT),
            ({"heartbeat_msg": "mine"}, "mine"),
            ({"heartbeat_msg": None}, "said"),
        ]
        for options, first in expected:
            page = ClientPage(self.browser, self.site, "/config")
            page.run("stopClock()")
            page.start({"facility": "x", **options})
            accepted = self.server.accept()
            page.wait_for_state("connected")
            page.run("advance(5000)")
            page.send("said")
            self.assertEqual(first, accepted.message())

    def test_impossible(self) -> None:
        """An impossible address is an error at once, with the reason."""
        page = ClientPage(self.browser, self.site)
        script = "try { WS4Redis(arguments[0]) } catch (error) { return String(error) }"
        for options, words in (
            ({}, "Error: WS4Redis: no uri and no facility"),
            ({"facility": "a/../b"}, "Error: WS4Redis: no browser can name the facility a/../b"),
            ({"facility": "."}, "Error: WS4Redis: no browser can name the facility ."),
            ({"uri": "ftp://example.org/"}, "SyntaxError: "),
            ({"uri": "ws://"}, "TypeError: "),
        ):
            found = page.run(script, options)
            self.assertEqual(words, found[: len(words)])


class CallbackTests(_Case):
    """The callbacks of a page."""

    skip = missing_browser()

    def test_bad_callbacks(self) -> None:
        """A failing callback is an error in the console, and nothing else suffers."""
        fails = "() => { throw new Error('mine') }"
        names = ("connecting", "connected", "disconnected", "receive_message")
        page, accepted = self.connected({}, f"{{{', '.join(f'{n}: {fails}' for n in names)}}}")
        accepted.send("x")
        accepted.close(1001)
        page.wait_for_state("waiting")
        errors = page.run(
            """
            const errors = [];
            while (timers().includes(0)) {
              try { advance(0); } catch (error) { errors.push(error.message); }
            }
            return errors;
            """
        )
        self.assertEqual(["mine"] * 4, errors)

    def test_no_callbacks(self) -> None:
        """No callback is required, with ``new`` or without."""
        page = ClientPage(self.browser, self.site)
        page.run("window.one = new WS4Redis({uri: arguments[0]}, window.jQuery)", self.server.url)
        accepted = self.server.accept()
        page.window.wait_until("return one.is_connected()")
        accepted.send("unheard")
        page.run("one.send_message('heard')")
        self.assertEqual("heard", accepted.message())
        self.assertTrue(page.run("return one instanceof WS4Redis"))
        self.assertEqual([], self.browser.errors())

    def _declared(self, interface: str) -> set[str]:
        text = read_script("wsredis.d.ts").decode()
        found = re.search(rf"interface {interface} \{{\n(.*?)\n\}}", text, re.S)
        assert found is not None
        return set(re.findall(r"^  (\w+)\??[:(]", found[1], re.M))

    def test_declared_methods(self) -> None:
        """The declarations for TypeScript name everything that the script has, and nothing else."""
        page, _ = self.connected()
        self.assertEqual(self._declared("WS4Redis"), set(page.run("return Object.keys(socket)")))
        self.assertEqual({"config"}, set(page.run("return Object.keys(WS4Redis)")))
        self.assertIn("  config(", read_script("wsredis.d.ts").decode())

    def test_declared_options(self) -> None:
        """The options that are declared are those that the script reads."""
        text = read_script("wsredis.js").decode()
        read = set(re.findall(r"\bopts\.(\w+)", text))
        read |= set(re.findall(r'\btell\("(\w+)"', text))
        read |= set(re.findall(r'\benter\([^)]*, "(\w+)"\)', text))
        taken = re.search(r"function address\(\{ (.*?) \}", text)
        assert taken is not None
        read |= set(taken[1].split(", "))
        self.assertEqual(self._declared("WS4RedisOptions"), read)
        # All others are told to be unknown.
        defaults = re.search(r"const DEFAULTS = \{\n(.*?)\};", text, re.S)
        others = re.search(r"const OTHERS = \((.*?)\)", text, re.S)
        assert defaults is not None
        assert others is not None
        known = re.findall(r"^    (\w+):", defaults[1], re.M)
        known += re.findall(r"[a-z_]+", others[1])
        self.assertEqual(sorted(read), sorted(known))


class SizeTests(SynchronousTestCase):
    """What a browser has to download."""

    def test_compressed(self) -> None:
        """The script stays below 9 kB, compressed as web servers do it."""
        self.assertLess(len(gzip.compress(read_script("wsredis.js"), 6, mtime=0)), 9_000)


class GatewayTests(FreshGatewayCase):
    """With the real gateway, on pages of another origin."""

    skip = missing_browser()
    options = ("--heartbeat", _HEARTBEAT)

    def setUp(self) -> None:
        """Start a site, and a gateway that lets its pages publish."""
        self.site = ClientSite()
        self.addCleanup(self.site.stop)
        self.options = (*self.options, "--allow-origin", self.site.origin)
        super().setUp()
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)
        config = json.dumps({"uri": self.gateway.url("/ws/"), "heartbeat": _HEARTBEAT})
        self.site.add_page(
            "/config",
            f'<script id="wsredis-config" type="application/json">{config}</script>'
            '<script src="/wsredis.js"></script>',
        )

    def _page(self, options: dict[str, object] | None = None) -> ClientPage:
        page = ClientPage(self.browser, self.site, "/config")
        page.start({"facility": "script", **_BOTH, **(options or {})})
        page.wait_for_state("connected")
        return page

    def test_messages(self) -> None:
        """Two pages talk to each other; no page gets its own messages or a heartbeat."""
        one, two = self._page(), self._page()
        one.send("hello")
        two.wait_for_messages("hello")
        two.send("hello yourself")
        one.wait_for_messages("hello yourself")
        two.wait_for_messages("hello")
        self.assertEqual(["connecting", "connected"], one.states)
        self.assertEqual([], self.browser.errors())

    def test_echo(self) -> None:
        """With ``echo`` a page hears itself, and names of any kind are names."""
        page = self._page({"facility": "a b/ü?#", "echo": True})
        page.send("hello")
        page.wait_for_messages("hello")
        self.assertEqual(b"hello", self.redis.command("GET", "broadcast:a b/ü?#"))

    def test_publication(self) -> None:
        """The stored message comes first, then those of a program, bytes as a Blob."""
        self.redis.command("SET", "broadcast:script", "stored")
        page = self._page()
        self.redis.command("PUBLISH", "broadcast:script", "live")
        page.wait_for_messages("stored", "live")
        self.redis.command("PUBLISH", "broadcast:script", b"\xff")
        until(lambda: len(page.seen["messages"]) == 3)
        self.assertEqual(1, page.run("return seen.messages[2].size"))

    def test_heartbeat(self) -> None:
        """Many heartbeats in a short time are all answered, and none is published."""
        page = ClientPage(self.browser, self.site, "/config")
        page.run(
            """
            stopClock();
            window.beats = 0;
            const Real = WebSocket;
            WebSocket = function (...all) {
              const real = new Real(...all);
              real.addEventListener("message", () => { beats += 1; });
              return real;
            };
            """
        )
        page.start({"facility": "script", **_BOTH})
        page.wait_for_state("connected")
        for _ in range(50):
            before = page.run("const before = beats; advance(5000); return before")
            page.window.wait_until(f"return beats > {before}")
        self.assertEqual(["connecting", "connected"], page.states)
        self.assertEqual([], page.seen["messages"])
        self.assertIsNone(self.redis.command("GET", "broadcast:script"))

    def test_hello(self) -> None:
        """A page learns what it was granted, and the console what is wrong with its flags."""
        page = ClientPage(self.browser, self.site)
        uri = self.gateway.url("/ws/script?subscribe-broadcast&subscribe-brodcast")
        page.start({"uri": uri}, "{hello: (hello) => { seen.hello = hello; }}")
        page.wait_for_state("connected")
        hello = page.seen["hello"]
        self.assertEqual([["broadcast"], []], [hello["subscribe"], hello["publish"]])
        self.assertIn(hello["id"], self.gateway.log)
        until(lambda: any("subscribe-brodcast" in text for text in self.console_warnings()))

    def console_warnings(self) -> list[str]:
        """The warnings in the console since it was last asked for them."""
        return [each["message"] for each in self.browser.console() if each["level"] == "WARNING"]

    def test_refused(self) -> None:
        """A page that is refused learns it from its WebSocket, with the reason, and asks once."""
        self.site.origin = self.site.origin.replace("localhost", "127.0.0.1")
        page = ClientPage(self.browser, self.site)
        page.run("window.fetch = () => { throw new Error('asked by HTTP'); }")
        page.start({"uri": self.gateway.url("/ws/script?publish-broadcast")})
        page.wait_for_state("stopped")
        self.assertEqual(4403, page.detail["code"])
        self.assertIn("origin", page.detail["reason"])
        self.assertEqual(["connecting", "stopped"], page.states)
        self.assertEqual(1, len(self.console_warnings()))

    def test_subprotocol_heartbeat(self) -> None:
        """The gateway and the page show each other that they live."""
        gateway = Gateway("--redis", self.redis.url, "--ping-interval", "1")
        self.addCleanup(gateway.stop)
        page = ClientPage(self.browser, self.site)
        page.run(
            """
            window.beats = 0;
            const Real = WebSocket;
            WebSocket = function (...all) {
              const real = new Real(...all);
              real.addEventListener("message", ({ data }) => { beats += data.byteLength === 0; });
              return real;
            };
            """
        )
        page.start({"uri": gateway.url("/ws/script?subscribe-broadcast")})
        page.window.wait_until("return beats > 2")
        self.assertEqual(["connecting", "connected"], page.states)
        self.assertEqual([], page.seen["messages"])

    def test_restart(self) -> None:
        """
        After a restart of the gateway its pages recover by themselves, and the messages that they
        sent in between arrive.
        """
        one, two = (self._page({"base_delay": 100, "max_delay": 500}) for _ in range(2))
        port = f"tcp:{self.gateway.port}:interface=127.0.0.1"
        self.gateway.stop()
        for page in (one, two):
            until(lambda page=page: "waiting" in page.states)
        one.send("in between")
        again = Gateway("--redis", self.redis.url, *self.options, "--port", port)
        self.addCleanup(again.stop)
        for page in (one, two):
            page.wait_for_state("connected")
        two.wait_for_messages("in between")
        self.redis.command("PUBLISH", "broadcast:script", "welcome back")
        one.wait_for_messages("welcome back")
        two.wait_for_messages("in between", "welcome back")

    def test_redis_away(self) -> None:
        """A message that cannot be published costs the connection, and the page waits longer."""
        page = self._page({"busy_delay": 50, "max_delay": 500})
        since = len(self.gateway.log)
        self.redis.kill()
        self.gateway.child.wait_for("lost the connection to ", since=since)
        page.send("into the void")
        until(lambda: 1013 in page.seen["disconnected"])
        self.redis.start()
        page.wait_for_state("connected")

    def test_served_by_the_gateway(self) -> None:
        """The gateway's own copy works from another origin, as a script and as a module."""
        there = f"http://127.0.0.1:{self.gateway.port}"
        self.site.add_page("/classic", f'<script src="{there}/wsredis.js"></script>')
        self.site.add_module(
            "/own.mjs",
            f'import {{ WS4Redis }} from "{there}/wsredis.mjs"; window.imported = WS4Redis;',
        )
        self.site.add_page("/module", '<script type="module" src="/own.mjs"></script>')
        for path in ("/classic", "/module"):
            page = ClientPage(self.browser, self.site, path)
            page.start({"uri": self.gateway.url("/ws/served?subscribe-broadcast")})
            page.wait_for_state("connected")
        self.assertTrue(page.run("return imported === WS4Redis"))
        self.assertEqual([], self.browser.errors())
