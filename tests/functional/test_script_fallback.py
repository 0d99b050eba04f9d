"""``wsredis.js`` without WebSockets, in a real browser, with a server that a test controls."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.browser import missing_browser, shared_browser
from tests.support.children import until
from tests.support.middlebox import Middlebox
from tests.support.script import ClientPage, ClientSite
from tests.support.scripted import ScriptedServer
from tests.support.scripted_http import Asked, ScriptedHttp

_QUERY = "subscribe-broadcast&publish-broadcast"

#: Milliseconds between two trials of a WebSocket.
_RETRY = 300_000


class _Case(SynchronousTestCase):
    """A site, and pages whose WebSockets are refused, with a clock that stands still."""

    def setUp(self) -> None:
        """Start the servers."""
        self.site = ClientSite()
        self.addCleanup(self.site.stop)
        self.server = ScriptedHttp()
        self.addCleanup(self.server.stop)
        self.sockets = ScriptedServer()
        self.addCleanup(self.sockets.stop)
        self.box = Middlebox(self.server.port, self.sockets.port)
        self.addCleanup(self.box.stop)
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def page(
        self,
        options: dict[str, object] | None = None,
        script: str = "{}",
        query: str = _QUERY,
        stored: str = "",
    ) -> ClientPage:
        """Open a page that begins to connect; each wait is half of the longest."""
        page = ClientPage(self.browser, self.site)
        page.run("stopClock(); Math.random = () => 0.5")
        if stored:
            page.run("sessionStorage.setItem(arguments[0], arguments[1])", self.item, stored)
        uri = f"ws://127.0.0.1:{self.box.port}/ws/x?{query}"
        page.start({"uri": uri, **(options or {})}, script)
        return page

    @property
    def item(self) -> str:
        """The name under which pages remember."""
        return f"wsredis 127.0.0.1:{self.box.port}"

    def remembered(self, page: ClientPage) -> str:
        """The transport that the page remembers."""
        stored = page.run("return sessionStorage.getItem(arguments[0])", self.item)
        return str(stored).split(" ", maxsplit=1)[0]

    def streaming(
        self, options: dict[str, object] | None = None, script: str = "{}", query: str = _QUERY
    ) -> tuple[ClientPage, Asked]:
        """Open a page, and wait until it hears a stream."""
        page = self.page(options, script, query)
        stream = self.server.accept()
        stream.open()
        page.wait_for_state("connected")
        return page, stream

    def polling(
        self, options: dict[str, object] | None = None, script: str = "{}", query: str = _QUERY
    ) -> tuple[ClientPage, Asked]:
        """Open a page that polls. Returns: It, and its second request."""
        page = self.page({"transports": "polling", **(options or {})}, script, query)
        self.server.accept().answer(200, {"cursor": "p-1", "gap": False, "messages": []})
        page.wait_for_state("connected")
        return page, self.server.accept()


class StreamTests(_Case):
    """Server-Sent Events where a WebSocket does not open."""

    skip = missing_browser()

    def test_fallback(self) -> None:
        """If a WebSocket does not open, and a stream does, the page hears the stream."""
        page = self.page()
        stream = self.server.accept()
        self.assertEqual("text/event-stream", stream.headers["accept"])
        self.assertEqual(f"/ws/x?{_QUERY}", stream.target)
        stream.open()
        page.wait_for_state("connected")
        self.assertEqual({"transport": "sse"}, page.detail)
        stream.event("hello\nyou")
        stream.write(b": a sign of life\n\n")
        stream.event('"a\\rb"', "json")
        page.wait_for_messages("hello\nyou", "a\rb")
        self.assertEqual(["connecting", "connected"], page.states)
        self.assertEqual([], page.seen["disconnected"])
        self.assertEqual("sse", self.remembered(page))

    def test_pieces(self) -> None:
        """Events may come in pieces of any size, also of a character."""
        page, stream = self.streaming()
        for byte in "data: ä\ndata: ö\n\ndata: x\n\n".encode():
            stream.write(bytes([byte]))
        page.wait_for_messages("ä\nö", "x")

    def test_binary(self) -> None:
        """Bytes come in as such, also of the other type."""
        script = "{receive_message: (data) => seen.messages.push([...new Uint8Array(data)])}"
        page, stream = self.streaming({"binary_type": "arraybuffer"}, script)
        stream.event("/wA=", "binary")
        page.wait_for_messages([255, 0])
        self.browser.close_windows()
        page, stream = self.streaming()
        stream.event("/wA=", "binary")
        until(lambda: len(page.seen["messages"]) == 1)
        self.assertEqual(2, page.run("return seen.messages[0].size"))

    def test_close_codes(self) -> None:
        """The page stops or waits after an event that closes, as after a close code."""
        page, stream = self.streaming()
        for code, state in ((1013, "waiting"), (4403, "stopped")):
            stream.event(f'{{"code": {code}, "reason": "because"}}', "close")
            page.wait_for_state(state)
            self.assertEqual([code, "because"], [page.detail["code"], page.detail["reason"]])
            if state == "waiting":
                page.run("advance(arguments[0])", page.detail["delay"])
                stream = self.server.accept()
                stream.open()
                page.wait_for_state("connected")
        self.assertEqual([1013, 4403], page.seen["disconnected"])

    def test_cursor(self) -> None:
        """A stream that ends is taken up where it ended, after a wait."""
        page, stream = self.streaming({"protocols": []})
        stream.event("one", cursor="p-7")
        page.wait_for_messages("one")
        stream.end()
        page.wait_for_state("waiting")
        self.assertEqual({"delay": 500, "code": 1006, "reason": ""}, page.detail)
        page.run("advance(500)")
        again = self.server.accept()
        self.assertEqual({"cursor": "p-7"}, again.fields)
        again.open("p-7")
        again.event("two", cursor="p-8")
        page.wait_for_messages("one", "two")
        self.assertEqual(1, self.box.upgrades)

    def test_silence(self) -> None:
        """A stream without a sign of life for three times the promised interval is given up."""
        page = self.page()
        stream = self.server.accept()
        stream.open(ping=25)
        page.wait_for_state("connected")
        self.assertIn(75_000, page.run("return timers()"))
        page.run("advance(9000)")
        stream.write(b": x")
        page.window.wait_until("return timers().filter((each) => each === 75000).length")
        page.run("advance(75000)")
        page.wait_for_state("waiting")
        self.assertEqual("no sign of life", page.detail["reason"])

    def test_reconnect_with_a_gap(self) -> None:
        """A gap that comes with the first event is told with the state."""
        page, stream = self.streaming()
        stream.end()
        page.wait_for_state("waiting")
        page.run("advance(500)")
        again = self.server.accept()
        again.stream()
        again.write(b"event: open\ndata: {}\n\nevent: gap\ndata: {}\n\ndata: stored\n\n")
        page.wait_for_messages("stored")
        self.assertEqual({"transport": "sse", "gap": True}, page.detail)
        self.assertEqual(2, page.seen["connected"])

    def test_gap(self) -> None:
        """A gap is a second ``connected`` that says so."""
        page, stream = self.streaming()
        stream.event("{}", "gap")
        until(lambda: page.seen["connected"] == 2)
        self.assertEqual({"transport": "sse", "gap": True}, page.detail)

    def test_refused(self) -> None:
        """A status that says 401 or 403 ends it with the close code of that meaning."""
        for status, code in ((401, 4401), (403, 4403)):
            page = self.page()
            self.server.accept().answer(status, "no")
            page.wait_for_state("stopped")
            reason = f"HTTP {status} no"
            self.assertEqual([code, reason], [page.detail["code"], page.detail["reason"]])
            self.assertEqual([], page.run("return timers()"))
            self.browser.close_windows()

    def test_not_now(self) -> None:
        """Any other status means a wait, and a WebSocket at first; 503 and 429 a longer wait."""
        page = self.page({"protocols": []})
        statuses = ((503, 5500), (429, 6000), (500, 2000), (404, 4000), (200, 8000))
        for count, (status, delay) in enumerate(statuses, 1):
            self.server.accept().answer(status, "later")
            page.wait_for_state("waiting")
            self.assertEqual(delay, page.detail["delay"], status)
            self.assertEqual(count, self.box.upgrades)
            page.run("advance(arguments[0])", delay)
        self.server.accept().open()
        page.wait_for_state("connected")

    def test_somebody_else(self) -> None:
        """A page that asks at a wrong address, where a web site answers, finds that out."""
        page = self.page({"protocols": []})
        page.run("window.warnings = []; console.warn = (text) => { warnings.push(text); }")
        self.server.accept().answer(200, {})
        page.wait_for_state("waiting")
        self.assertEqual("HTTP 200 from no gateway", page.detail["reason"])
        page.run("advance(arguments[0])", page.detail["delay"])
        self.server.accept().answer(404, "there is nothing here")
        until(lambda: page.detail.get("reason") == "HTTP 404 there is nothing here")
        page.run("advance(arguments[0])", page.detail["delay"])
        self.server.accept().answer(200, {})
        until(lambda: page.run("return warnings.length") == 2)
        self.assertEqual(
            [
                "WS4Redis: no connection yet: HTTP 200 from no gateway",
                "WS4Redis: no connection yet: HTTP 404 there is nothing here",
            ],
            page.run("return warnings"),
        )

    def test_close(self) -> None:
        """``close`` ends the stream, and the callbacks are those of a WebSocket."""
        page, stream = self.streaming()
        self.assertEqual(1, page.run("return socket.get_state()"))
        self.assertEqual(2, page.run("socket.close(); return socket.get_state()"))
        page.window.wait_until("return seen.disconnected.length === 1")
        self.assertEqual([1000], page.seen["disconnected"])
        self.assertTrue(page.run("return socket.is_closed()"))
        self.assertEqual([], page.run("return timers()"))
        self.assertTrue(stream.is_left())

    def test_close_early(self) -> None:
        """``close`` while nothing is open starts no other transport."""
        self.box.upgrade = "hang"
        page = self.page()
        until(lambda: self.box.upgrades)
        page.run("socket.close()")
        page.window.wait_until("return seen.disconnected.length === 1")
        self.assertTrue(self.server.is_idle())
        self.assertEqual([], page.run("return timers()"))

    def test_back_forward_cache(self) -> None:
        """A page in the back-forward cache hears nothing; a restored page goes on where it was."""
        page, stream = self.streaming()
        event = "dispatchEvent(new PageTransitionEvent(arguments[0], {persisted: true}))"
        page.run(event, "pagehide")
        self.assertTrue(stream.is_left())
        self.assertEqual([], page.run("return timers()"))
        page.run(event, "pageshow")
        page.run("advance(50)")
        self.assertEqual({"cursor": "p-1"}, self.server.accept().fields)

    def test_token(self) -> None:
        """A token goes into the header Authorization of every request."""
        page, stream = self.streaming({}, "{token: async () => 'abc'}")
        self.assertEqual("Bearer abc", stream.headers["authorization"])
        page.send("x")
        posted = self.server.accept()
        self.assertEqual("Bearer abc", posted.headers["authorization"])
        self.assertEqual({"authorization"}, set(self.server.preflights))

    def test_no_preflight(self) -> None:
        """Without a token no browser asks whether it may ask."""
        page, stream = self.streaming()
        page.send("x")
        self.server.accept().answer(202)
        stream.event("one", cursor="p-7")
        page.wait_for_messages("one")
        stream.end()
        page.wait_for_state("waiting")
        page.run("advance(500)")
        self.server.accept()
        self.assertEqual([], self.server.preflights)


class PollTests(_Case):
    """Long polling where not even a stream passes."""

    skip = missing_browser()

    def test_polls(self) -> None:
        """Each poll begins where the one before ended, with an answer or without."""
        page, poll = self.polling()
        self.assertEqual({"transport": "polling"}, page.detail)
        self.assertEqual({"wait": "25", "cursor": "p-1"}, poll.fields)
        poll.answer(200, {"cursor": "p-2", "gap": False, "messages": ["one", {"base64": "/w=="}]})
        until(lambda: len(page.seen["messages"]) == 2)
        page.run("advance(5000)")
        self.server.accept().answer(204, Wsredis_Cursor="p-3")
        poll = self.server.accept()
        self.assertEqual({"wait": "25", "cursor": "p-3"}, poll.fields)
        self.assertEqual(["connecting", "connected"], page.states)

    def test_first(self) -> None:
        """The first poll is answered at once, and its messages come after ``connected``."""
        page = self.page({"transports": "polling"}, "{connected: () => seen.messages.push(0)}")
        poll = self.server.accept()
        self.assertEqual({"wait": "0"}, poll.fields)
        poll.answer(200, {"cursor": "p-1", "gap": False, "messages": ["stored"]})
        page.wait_for_messages(0, "stored")

    def test_gap(self) -> None:
        """A gap is a further ``connected`` that says so, before the messages."""
        script = """{state: (name, detail) => {
          seen.states.push([name, detail]);
          seen.messages.push(detail);
        }}"""
        page, poll = self.polling({}, script)
        poll.answer(200, {"cursor": "q-1", "gap": True, "messages": ["stored"]})
        page.wait_for_messages(
            {"failures": 0},
            {"transport": "polling"},
            {"transport": "polling", "gap": True},
            "stored",
        )

    def test_body_held_back(self) -> None:
        """A stream whose first event does not come soon after its head is one that is held back."""
        self.box.answers = "body"
        page = self.page()
        stream = self.server.accept()
        stream.open()
        page.window.wait_until("return timers().includes(1500)")
        page.run("advance(1500)")
        self.server.accept().answer(200, {"cursor": "p-1", "gap": False, "messages": ["x"]})
        page.wait_for_state("connected")
        page.wait_for_messages("x")
        self.assertEqual({"transport": "polling"}, page.detail)
        self.assertTrue(stream.is_left())
        self.assertEqual("polling", self.remembered(page))
        self.assertEqual(["connecting", "connected"], page.states)

    def test_all_held_back(self) -> None:
        """A stream whose head does not come is one that is held back."""
        self.box.answers = "all"
        page = self.page()
        self.server.accept().open()
        page.run("advance(4999)")
        self.assertTrue(self.server.is_idle())
        page.run("advance(1)")
        self.server.accept().answer(200, {"cursor": "p-1", "gap": False, "messages": []})
        page.wait_for_state("connected")
        self.assertEqual({"transport": "polling"}, page.detail)

    def test_nobody_answers(self) -> None:
        """If not even a poll is answered, it is no sign of a proxy, and the page waits."""
        page = self.page()
        self.server.accept()
        page.run("advance(5000)")
        self.server.accept()
        page.run("advance(15000)")
        page.wait_for_state("waiting")
        self.assertEqual("no connection in time", page.detail["reason"])
        self.assertEqual([500], page.run("return timers()"))
        self.assertEqual("null", self.remembered(page).lower().replace("none", "null"))

    def test_lost(self) -> None:
        """A poll that fails means a wait, and then one that is answered at once."""
        page, poll = self.polling()
        poll.answer(503, "later")
        page.wait_for_state("waiting")
        self.assertEqual([1013, 5500], [page.detail["code"], page.detail["delay"]])
        page.run("advance(5500)")
        again = self.server.accept()
        self.assertEqual({"wait": "0", "cursor": "p-1"}, again.fields)
        again.answer(204, Wsredis_Cursor="p-2")
        page.wait_for_state("connected")

    def test_refused(self) -> None:
        """A right that ended between two polls ends it."""
        page, poll = self.polling()
        poll.answer(403, "no")
        page.wait_for_state("stopped")
        self.assertEqual(4403, page.detail["code"])

    def test_silence(self) -> None:
        """A poll whose answer does not come long after its time is given up."""
        page, _ = self.polling()
        page.run("advance(32999)")
        self.assertEqual("connected", page.states[-1])
        page.run("advance(1)")
        page.wait_for_state("waiting")

    def test_empty_answers(self) -> None:
        """Empty answers that come too early are no reason for a storm of requests."""
        page, poll = self.polling()
        poll.answer(204)
        page.window.wait_until("return timers().includes(1000)")
        self.assertTrue(self.server.is_idle())
        page.run("advance(1000)")
        self.assertEqual("p-1", self.server.accept().fields["cursor"])

    def test_close_in_callback(self) -> None:
        """A page that closes hears nothing more of the same answer."""
        script = "{receive_message: (data) => { seen.messages.push(data); socket.close(); }}"
        page, poll = self.polling({}, script)
        poll.answer(200, {"cursor": "p-2", "gap": False, "messages": ["one", "two"]})
        page.window.wait_until("return seen.disconnected.length === 1")
        self.assertEqual(["one"], page.seen["messages"])
        self.assertTrue(self.server.is_idle())


class PostTests(_Case):
    """Messages of a page without a WebSocket."""

    skip = missing_browser()

    def test_order(self) -> None:
        """Messages are posted in order, one after the other; those before the connection first."""
        page = self.page()
        stream = self.server.accept()
        page.send("one", "two")
        stream.open()
        page.wait_for_state("connected")
        page.send("three")
        for expected in (b"one", b"two", b"three"):
            posted = self.server.accept()
            self.assertEqual(("POST", expected), (posted.method, posted.body))
            self.assertEqual("text/plain;charset=UTF-8", posted.headers["content-type"])
            self.assertTrue(self.server.is_idle())
            posted.answer(202)

    def test_binary(self) -> None:
        """Bytes are posted as such."""
        page, _ = self.streaming()
        page.run("socket.send_message(new Uint8Array([0, 255]))")
        posted = self.server.accept()
        self.assertEqual(b"\x00\xff", posted.body)
        self.assertEqual("application/octet-stream", posted.headers["content-type"])

    def test_too_fast(self) -> None:
        """After 429 the same message is posted again, before others, when the gateway says so."""
        page, _ = self.streaming()
        page.send("one", "two")
        self.server.accept().answer(429, Retry_After="2")
        page.window.wait_until("return timers().includes(2000)")
        page.run("advance(2000)")
        for expected in (b"one", b"two"):
            posted = self.server.accept()
            self.assertEqual(expected, posted.body)
            posted.answer(202)

    def test_redis_away(self) -> None:
        """A message that cannot be published costs the connection; the next ones are kept."""
        page, stream = self.streaming()
        page.send("one", "two")
        self.server.accept().answer(503)
        page.wait_for_state("waiting")
        self.assertEqual([1013, 5500], [page.detail["code"], page.detail["delay"]])
        self.assertTrue(stream.is_left())
        page.run("advance(5500)")
        self.server.accept().open()
        self.assertEqual(b"two", self.server.accept().body)

    def test_too_big(self) -> None:
        """A message that is too big ends it, as with a WebSocket."""
        page, _ = self.streaming()
        page.send("big")
        self.server.accept().answer(413)
        page.wait_for_state("stopped")
        self.assertEqual(1009, page.detail["code"])

    def test_not_allowed(self) -> None:
        """A message that may be published nowhere is discarded, and the rest goes on."""
        page, _ = self.streaming()
        page.send("one", "two")
        self.server.accept().answer(403)
        self.assertEqual(b"two", self.server.accept().body)
        self.assertEqual("connected", page.states[-1])

    def test_empty(self) -> None:
        """An empty message is not posted."""
        page, _ = self.streaming()
        page.send("", "two")
        self.assertEqual(b"two", self.server.accept().body)

    def test_full(self) -> None:
        """As many messages may wait to be posted as for a connection."""
        page, _ = self.streaming({"max_queued": 2})
        script = "try { socket.send_message(arguments[0]) } catch (error) { return error.message }"
        for each in "123":
            self.assertIsNone(page.run(script, each))
        self.assertEqual("WS4Redis: too many messages wait", page.run(script, "4"))

    def test_last_word(self) -> None:
        """A message is posted also if the page is closed at once."""
        page, _ = self.streaming()
        page.run("socket.send_message('bye'); socket.close()")
        self.assertEqual(b"bye", self.server.accept().body)

    def test_cut(self) -> None:
        """A message whose fate nobody knows costs the connection, and is not sent twice."""
        page, _ = self.streaming()
        page.send("one", "two")
        self.server.accept()
        self.box.cut()
        page.wait_for_state("waiting")
        page.run("advance(500)")
        self.server.accept().open()
        self.assertEqual(b"two", self.server.accept().body)


class EchoTests(_Case):
    """The echo rule, which the script applies where the gateway cannot."""

    skip = missing_browser()

    def _say(self, page: ClientPage, *messages: str) -> None:
        page.send(*messages)
        for _ in messages:
            self.server.accept().answer(202)

    def test_own_messages(self) -> None:
        """A page does not hear its own messages, each once, nor any that equals its last one."""
        page, stream = self.streaming()
        self._say(page, "one", "two")
        for each in ("one", "two", "other", "one", "two", "end"):
            stream.event(each)
        page.wait_for_messages("other", "one", "end")

    def test_two_audiences(self) -> None:
        """A message that comes back on two channels is not heard twice."""
        both = f"{_QUERY}&subscribe-user&publish-user"
        page, stream = self.streaming(query=both)
        self._say(page, "one", "two")
        for each in ("one", "one", "one", "end"):
            stream.event(each)
        page.wait_for_messages("one", "end")

    def test_other_audience(self) -> None:
        """A message that does not come back is heard when others send it, unless it is the last."""
        page, stream = self.streaming(query="subscribe-user&publish=broadcast")
        self._say(page, "one", "two")
        for each in ("one", "two"):
            stream.event(each)
        page.wait_for_messages("one")

    def test_echo(self) -> None:
        """With ``echo`` a page hears itself."""
        page, stream = self.streaming(query=f"{_QUERY}&echo")
        self._say(page, "one")
        stream.event("one")
        page.wait_for_messages("one")

    def test_empty(self) -> None:
        """After an empty message nothing is the last one."""
        page, stream = self.streaming()
        self._say(page, "one")
        page.send("")
        for each in ("one", "one"):
            stream.event(each)
        page.wait_for_messages("one")

    def test_bytes(self) -> None:
        """Bytes count as they come back: as text, if they are UTF-8."""
        page, stream = self.streaming()
        page.run(
            "for (const each of [[195, 164], [255]]) socket.send_message(new Uint8Array(each))"
        )
        for _ in range(2):
            self.server.accept().answer(202)
        stream.event("ä")
        stream.event("/w==", "binary")
        stream.event("end")
        page.wait_for_messages("end")

    def test_stored(self) -> None:
        """A new beginning without a cursor has no own messages: the stored one is heard."""
        page, poll = self.polling()
        self._say(page, "one")
        poll.answer(200, {"cursor": "p-2", "gap": False, "messages": ["one"]})
        self.server.accept().answer(200, {"cursor": "q-1", "gap": True, "messages": ["one"]})
        page.wait_for_messages("one")

    def test_reconnect(self) -> None:
        """An own message that comes back after a new connection is not heard."""
        page, stream = self.streaming()
        self._say(page, "one", "two")
        stream.end()
        page.wait_for_state("waiting")
        page.run("advance(500)")
        again = self.server.accept()
        again.open()
        for each in ("one", "two", "end"):
            again.event(each)
        page.wait_for_messages("end")


class UnsentTests(_Case):
    """Messages of the page that may not have arrived."""

    skip = missing_browser()

    _CALLBACK = "{unsent: (messages) => { seen.unsent = messages; }}"

    def test_refused(self) -> None:
        """A message that the gateway does not take for now is handed back, with what it says."""
        page, _ = self.streaming({}, self._CALLBACK)
        page.send("taken")
        self.server.accept().answer(202)
        page.send("x")
        self.server.accept().answer(503, "not now")
        page.wait_for_state("waiting")
        self.assertEqual(1013, page.detail["code"])
        until(lambda: page.seen.get("unsent") == ["x"])

    def test_under_way(self) -> None:
        """A message whose answer is missing is handed back; those after it wait."""
        page, stream = self.streaming({}, self._CALLBACK)
        page.send("one", "two")
        self.server.accept()
        stream.end()
        page.wait_for_state("waiting")
        until(lambda: page.seen.get("unsent") == ["one"])
        page.run("advance(500)")
        again = self.server.accept()
        again.open()
        self.assertEqual(b"two", self.server.accept().body)

    def test_answered(self) -> None:
        """An answer says that the message is taken, also one that no channel takes."""
        page, stream = self.streaming({}, self._CALLBACK)
        page.send("one", "two", "three")
        for status in (202, 403):
            self.server.accept().answer(status)
        self.server.accept()
        stream.end()
        page.wait_for_state("waiting")
        until(lambda: page.seen.get("unsent") == ["three"])


class ChoiceTests(_Case):
    """The transport that the script chooses, and how it comes back to a WebSocket."""

    skip = missing_browser()

    def test_websocket(self) -> None:
        """A WebSocket that opens is all that there is, and it is remembered."""
        self.box.upgrade = "pass"
        page = self.page()
        self.sockets.accept()
        page.wait_for_state("connected")
        self.assertEqual({"transport": "websocket"}, page.detail)
        self.assertEqual([33_000], page.run("return timers()"))
        self.assertEqual("websocket", self.remembered(page))
        self.assertTrue(self.server.is_idle())

    def test_no_class(self) -> None:
        """Where the class is missing, or throws, the page uses a stream, also after a success."""
        uri = f"ws://127.0.0.1:{self.box.port}/ws/x?{_QUERY}"
        for fake in ("undefined", "function () { throw new DOMException('no', 'SecurityError') }"):
            page = ClientPage(self.browser, self.site)
            page.run(f"stopClock(); window.WebSocket = {fake}")
            page.run("sessionStorage.setItem(arguments[0], 'websocket 0')", self.item)
            page.start({"uri": uri})
            self.server.accept().open()
            page.wait_for_state("connected")
            self.assertEqual({"transport": "sse"}, page.detail)
            # It is tried again, which throws again.
            page.run("advance(arguments[0])", _RETRY / 30)
            self.assertEqual([_RETRY], page.run("return timers()"))
            self.browser.close_windows()
        self.assertEqual(0, self.box.upgrades)

    def test_remembered(self) -> None:
        """The next page begins with what worked, and remembers when a WebSocket last failed."""
        page, _ = self.streaming()
        page.run("advance(1000); Date.now = ((then) => () => then)(Date.now())")
        before = self.box.upgrades
        page.window.reload()
        page.run("stopClock(); Math.random = () => 0.5")
        uri = f"ws://127.0.0.1:{self.box.port}/ws/y?{_QUERY}"
        page.start({"uri": uri})
        self.server.accept().open()
        page.wait_for_state("connected")
        self.assertEqual({"transport": "sse"}, page.detail)
        self.assertEqual(before, self.box.upgrades)
        (left,) = page.run("return timers()")
        self.assertTrue(0 < left <= _RETRY, left)

    def test_remembered_long_ago(self) -> None:
        """After the time until the next trial, a page begins with a WebSocket."""
        self.box.upgrade = "pass"
        page = self.page(stored="sse 1000")
        self.sockets.accept()
        page.wait_for_state("connected")

    def test_remembered_nonsense(self) -> None:
        """Whatever is stored, the page connects."""
        for stored in ("x", "carrier-pigeon 99999999999999", "sse"):
            page = self.page(stored=stored)
            self.server.accept().open()
            page.wait_for_state("connected")
            self.browser.close_windows()

    def test_no_storage(self) -> None:
        """A page that may store nothing connects as well."""
        page = ClientPage(self.browser, self.site)
        page.run(
            """
            Object.defineProperty(window, "sessionStorage", { get() { throw new Error("no"); } });
            """
        )
        page.start({"uri": f"ws://127.0.0.1:{self.box.port}/ws/x?{_QUERY}"})
        self.server.accept().open()
        page.wait_for_state("connected")

    def test_comes_back(self) -> None:
        """A WebSocket is tried again soon, then rarely; when it opens, the page changes over."""
        page, stream = self.streaming()
        stream.event("one", cursor="p-7")
        page.wait_for_messages("one")
        for delay in (_RETRY / 30, _RETRY):
            before = self.box.upgrades
            self.assertEqual([delay], page.run("return timers()"))
            page.run("advance(arguments[0])", delay)
            until(lambda before=before: self.box.upgrades > before)
            page.window.wait_until("return timers().length === 1")
        self.box.upgrade = "pass"
        page.run("advance(arguments[0])", _RETRY)
        trial = self.sockets.accept()
        self.assertIsNone(trial.message())
        again = self.sockets.accept()
        page.wait_for_state("connected")
        again.send("two")
        page.wait_for_messages("one", "two")
        self.assertEqual({"transport": "websocket"}, page.detail)
        self.assertEqual(["connecting", "connected"] * 2, page.states)
        self.assertEqual([], page.seen["disconnected"])
        self.assertTrue(stream.is_left())
        self.assertEqual([f"/ws/x?{_QUERY}", f"/ws/x?{_QUERY}&cursor=p-7"], self.sockets.targets)
        page.send("three")
        self.assertEqual("three", again.message())
        self.assertEqual("websocket", self.remembered(page))

    def test_comes_back_with_a_token(self) -> None:
        """A trial of a WebSocket asks for a token of its own; without one there is none."""
        script = "{token: () => { if (window.away) throw new Error('away'); return 'abc'; }}"
        page, _ = self.streaming({}, script)
        self.box.upgrade = "pass"
        page.run("window.away = true; advance(arguments[0])", _RETRY / 30)
        page.window.wait_until("return timers().length === 1")
        page.run("window.away = false; advance(arguments[0])", _RETRY)
        self.sockets.accept()
        self.sockets.accept()
        self.assertEqual(["wsredis, bearer.abc"] * 2, self.sockets.offers)

    def test_restart(self) -> None:
        """A WebSocket that worked is not given up for a restart of the gateway."""
        self.box.upgrade = "pass"
        page = self.page()
        accepted = self.sockets.accept()
        page.wait_for_state("connected")
        self.box.upgrade = "refuse"
        accepted.close(1001)
        for delay in (500, 1000, 2000):
            page.wait_for_state("waiting")
            self.assertEqual(delay, page.detail["delay"])
            self.assertTrue(self.server.is_idle())
            page.run("advance(arguments[0])", delay)
        self.server.accept().open()
        page.wait_for_state("connected")

    def test_restart_while_streaming(self) -> None:
        """After a restart of the gateway a page without WebSockets finds its stream again."""
        page, stream = self.streaming({"protocols": []})
        stream.end()
        page.wait_for_state("waiting")
        page.run("advance(500)")
        self.server.accept().answer(502, "nobody there")
        page.wait_for_state("waiting")
        page.run("advance(1000)")
        self.server.accept().open()
        page.wait_for_state("connected")
        self.assertEqual(2, self.box.upgrades)

    def test_another_network(self) -> None:
        """When the network is back, a WebSocket is tried first."""
        page, stream = self.streaming()
        stream.end()
        page.wait_for_state("waiting")
        self.box.upgrade = "pass"
        page.run("dispatchEvent(new Event('online')); advance(500)")
        self.sockets.accept()
        page.wait_for_state("connected")

    def test_slow(self) -> None:
        """A WebSocket that is not answered within five seconds gets a stream at its side."""
        self.box.upgrade = "hang"
        page = self.page()
        until(lambda: self.box.upgrades)
        page.run("advance(4999)")
        self.assertTrue(self.server.is_idle())
        page.run("advance(1)")
        self.server.accept().open()
        page.wait_for_state("connected")
        self.assertEqual({"transport": "sse"}, page.detail)
        self.assertEqual(["connecting", "connected"], page.states)
        self.box.cut()

    def test_slow_but_open(self) -> None:
        """A slow WebSocket that opens at last is used, and the stream at its side is left."""
        self.box.upgrade = "pass"
        self.sockets.gate.clear()
        page = self.page()
        until(lambda: self.sockets.offers)
        page.run("advance(5000)")
        stream = self.server.accept()
        self.sockets.gate.set()
        accepted = self.sockets.accept()
        page.wait_for_state("connected")
        self.assertEqual({"transport": "websocket"}, page.detail)
        self.assertTrue(stream.is_left())
        accepted.send("x")
        page.wait_for_messages("x")
        self.assertEqual([33_000], page.run("return timers()"))

    def test_slow_and_alone(self) -> None:
        """A slow WebSocket is waited for if the stream at its side fails."""
        self.box.upgrade = "pass"
        self.sockets.gate.clear()
        page = self.page()
        until(lambda: self.sockets.offers)
        page.run("advance(5000)")
        self.server.accept().answer(404, "nothing here")
        self.sockets.gate.set()
        self.sockets.accept()
        page.wait_for_state("connected")
        self.assertEqual({"transport": "websocket"}, page.detail)

    def test_transports(self) -> None:
        """The page says which transports there are; one of them is none to fall back from."""
        page = self.page({"transports": ["websocket"]})
        page.wait_for_state("waiting")
        self.assertEqual([500], page.run("return timers()"))
        self.assertTrue(self.server.is_idle())
        self.browser.close_windows()
        before = self.box.upgrades
        page, _ = self.streaming({"transports": ["polling", "sse"]})
        self.assertEqual({"transport": "sse"}, page.detail)
        self.assertEqual([], page.run("return timers()"))
        self.assertEqual(before, self.box.upgrades)
        script = "try { WS4Redis(arguments[0]) } catch (error) { return String(error) }"
        options = {"uri": "/ws/x", "transports": ["pigeon"]}
        self.assertEqual("Error: WS4Redis: no transport", page.run(script, options))
