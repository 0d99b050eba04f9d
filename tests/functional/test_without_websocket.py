"""Pages whose network lets no WebSocket pass: a real browser, a real gateway, a proxy between."""

from __future__ import annotations

import atexit
import json
import tempfile
import threading
from functools import cache
from pathlib import Path

from tests.support.browser import missing_browser, shared_browser
from tests.support.case import FreshGatewayCase, GatewayCase
from tests.support.children import Gateway, until
from tests.support.middlebox import Middlebox
from tests.support.script import ClientPage, ClientSite
from tests.support.tokens import signed, verifier

_BOTH = {"subscribe": "broadcast", "publish": "broadcast"}

#: Milliseconds between two trials of a WebSocket; the first comes after a thirtieth.
_OFTEN = 30_000


@cache
def _key() -> str:
    folder = tempfile.TemporaryDirectory(prefix="wsredis-test-")
    atexit.register(folder.cleanup)
    path = Path(folder.name, "key")
    path.write_bytes(verifier("HS256"))
    return str(path)


class _Numbers:
    """Publishes numbers until it is stopped."""

    def __init__(self, case: GatewayCase, channel: str) -> None:
        self._case = case
        self._channel = channel
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0
        self._thread.start()

    def stop(self) -> list[str]:
        """End it. Returns: All that it has published."""
        self._stopped.set()
        self._thread.join()
        return [str(each) for each in range(self.count)]

    def _run(self) -> None:
        while not self._stopped.wait(0.005):
            self._case.redis.command("PUBLISH", self._channel, str(self.count))
            self.count += 1


class _Case(GatewayCase):
    """A site, and a proxy before the gateway."""

    def setUp(self) -> None:
        """Start them."""
        self.options = ("--allow-origin", "*", "--jwt-key", _key(), "--heartbeat", "--heartbeat--")
        super().setUp()
        self.site = ClientSite()
        self.addCleanup(self.site.stop)
        self.box = Middlebox(self.gateway.port)
        self.addCleanup(self.box.stop)
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)
        config = {"uri": f"http://127.0.0.1:{self.box.port}/ws/", "heartbeat": "--heartbeat--"}
        self.site.add_page(
            "/config",
            f'<script id="wsredis-config" type="application/json">{json.dumps(config)}</script>'
            '<script src="/wsredis.js"></script>',
        )

    @property
    def facility(self) -> str:
        """That of this test."""
        return "/".join(self.id().split(".")[-2:])

    def start(self, options: dict[str, object] | None = None, script: str = "{}") -> ClientPage:
        """Open a page that begins to connect."""
        page = ClientPage(self.browser, self.site, "/config")
        page.start(
            {"facility": self.facility, **_BOTH, "base_delay": 50, **(options or {})}, script
        )
        return page

    def connected(self, options: dict[str, object] | None = None, script: str = "{}") -> ClientPage:
        """Open a page that is connected."""
        page = self.start(options, script)
        page.wait_for_state("connected")
        return page

    def transport(self, page: ClientPage) -> str:
        """The transport of the page."""
        return str(page.detail.get("transport"))

    def publish(self, *payloads: str | bytes) -> None:
        """Publish messages from outside."""
        for each in payloads:
            self.redis.command("PUBLISH", f"broadcast:{self.facility}", each)

    def numbers(self) -> _Numbers:
        """Publish numbers from now on."""
        numbers = _Numbers(self, f"broadcast:{self.facility}")
        self.addCleanup(numbers.stop)
        return numbers

    def assert_heard(self, page: ClientPage, numbers: _Numbers) -> None:
        """Check that the page has heard all numbers, each once and in order."""
        expected = numbers.stop()
        until(lambda: page.run("return seen.messages.length") >= len(expected))
        self.assertEqual(expected, page.seen["messages"])


class BlockedTests(_Case):
    """A proxy that refuses WebSockets."""

    skip = missing_browser()

    def test_messages(self) -> None:
        """Pages hear the stored message, each other, programs, and not themselves."""
        self.redis.command("SET", f"broadcast:{self.facility}", "stored")
        one, two = self.connected(), self.connected()
        self.assertEqual(["sse", "sse"], [self.transport(one), self.transport(two)])
        one.wait_for_messages("stored")
        one.send("hello\nyou", "hello again")
        two.wait_for_messages("stored", "hello\nyou", "hello again")
        two.send("a\r\nb ü")
        one.wait_for_messages("stored", "a\r\nb ü")
        self.publish(b"\xff\x00", "end")
        until(lambda: len(one.seen["messages"]) == 4)
        self.assertEqual(2, one.run("return seen.messages[2].size"))
        self.assertEqual(["connecting", "connected"], one.states)
        until(lambda: len(two.seen["messages"]) == 5)
        self.assertEqual("end", two.seen["messages"][4])

    def test_cuts(self) -> None:
        """A page whose stream is cut again and again misses nothing, and hears nothing twice."""
        page = self.connected()
        numbers = self.numbers()
        for count in (50, 100, 150):
            until(lambda count=count: page.run("return seen.messages.length") > count)
            self.box.cut()
            page.wait_for_state("connected")
        self.assert_heard(page, numbers)
        self.assertLess(3, len(self.box.requests))

    def test_comes_back(self) -> None:
        """When WebSockets pass, the page changes over, misses nothing, hears nothing twice."""
        page = self.connected({"retry_websocket": _OFTEN})
        numbers = self.numbers()
        until(lambda: page.run("return seen.messages.length") > 20)
        self.box.upgrade = "pass"
        until(lambda: self.transport(page) == "websocket")
        before = page.run("return seen.messages.length")
        until(lambda: page.run("return seen.messages.length") > before + 20)
        self.assert_heard(page, numbers)
        page.send("last word")
        until(lambda: self.redis.command("GET", f"broadcast:{self.facility}") == b"last word")
        self.assertEqual([], page.seen["disconnected"])

    def test_token(self) -> None:
        """A token is an identity here, too, and one that is not valid ends it with 4401."""
        page = self.connected({"subscribe": "user"}, f"{{token: () => '{signed(sub='mary')}'}}")
        self.assertEqual("sse", self.transport(page))
        self.redis.command("PUBLISH", f"user:mary:{self.facility}", "for mary")
        page.wait_for_messages("for mary")
        page.send("from mary")
        until(lambda: self.redis.command("GET", f"broadcast:{self.facility}") == b"from mary")
        page = self.start({"subscribe": "user"}, f"{{token: () => '{signed(number=1)}'}}")
        page.wait_for_state("stopped")
        self.assertEqual(4401, page.detail["code"])

    def test_logged_out(self) -> None:
        """The end of an identity ends the stream and the poll, with the code of a WebSocket."""
        script = f"{{token: () => '{signed(sub='paul')}'}}"
        for transport in ("sse", "polling"):
            page = self.connected({"transports": transport}, script)

            def is_stopped(page: ClientPage = page) -> bool:
                # Between two polls there is nobody to end.
                self.redis.command("PUBLISH", "wsredis-control", '{"end": {"user": "paul"}}')
                return page.states[-1] == "stopped"

            until(is_stopped)
            self.assertEqual(4401, page.detail["code"])


class BufferedTests(_Case):
    """A proxy that refuses WebSockets, and passes an answer on when it is complete."""

    skip = missing_browser()

    def test_whole_answers(self) -> None:
        """The page polls; it hears the stored message, others, and not itself."""
        self.box.answers = "body"
        self.redis.command("SET", f"broadcast:{self.facility}", "stored")
        page = self.connected()
        self.assertEqual("polling", self.transport(page))
        page.wait_for_messages("stored")
        page.send("mine")
        until(lambda: self.redis.command("GET", f"broadcast:{self.facility}") == b"mine")
        self.publish("hello", b"\xff")
        until(lambda: len(page.seen["messages"]) == 3)
        self.assertEqual("hello", page.seen["messages"][1])
        self.assertEqual(["connecting", "connected"], page.states)

    def test_nothing_missed(self) -> None:
        """A page that polls misses nothing, also if its polls are cut, and hears nothing twice."""
        self.box.answers = "all"
        page = self.connected({"transports": ["websocket", "polling"]})
        numbers = self.numbers()
        for count in (50, 100):
            until(lambda count=count: page.run("return seen.messages.length") > count)
            self.box.cut()
        self.assert_heard(page, numbers)

    def test_comes_back(self) -> None:
        """From polls, too, the page changes over to a WebSocket and misses nothing."""
        page = self.connected({"transports": ["websocket", "polling"], "retry_websocket": _OFTEN})
        numbers = self.numbers()
        until(lambda: page.run("return seen.messages.length") > 20)
        self.box.upgrade = "pass"
        until(lambda: self.transport(page) == "websocket")
        self.assert_heard(page, numbers)


class OpenTests(_Case):
    """A network without obstacles."""

    skip = missing_browser()

    def test_only_a_websocket(self) -> None:
        """A page whose WebSocket opens makes no other request."""
        self.box.upgrade = "pass"
        page = self.connected()
        self.assertEqual("websocket", self.transport(page))
        self.publish("hello")
        page.wait_for_messages("hello")
        self.assertEqual([], self.box.requests)
        self.assertEqual([], self.browser.errors())

    def test_refused(self) -> None:
        """The gateway tells the WebSocket why it refuses it: the script stops, and asks nothing."""
        self.box.upgrade = "pass"
        page = self.start({"subscribe": "user"}, f"{{token: () => '{signed(number=1)}'}}")
        page.wait_for_state("stopped")
        reason = "the token is not valid"
        self.assertEqual([4401, reason], [page.detail["code"], page.detail["reason"]])
        self.assertEqual([], self.box.requests)


class ForeignTests(GatewayCase):
    """A page of an origin that the gateway does not know."""

    skip = missing_browser()

    def test_broadcasts(self) -> None:
        """It hears broadcasts, as with a WebSocket, by a stream and by polls, and no more."""
        self.site = ClientSite()
        self.addCleanup(self.site.stop)
        box = Middlebox(self.gateway.port)
        self.addCleanup(box.stop)
        browser = shared_browser()
        self.addCleanup(browser.close_windows)
        for transport in ("sse", "polling"):
            page = ClientPage(browser, self.site)
            url = f"http://127.0.0.1:{box.port}/ws/foreign"
            page.start({"uri": f"{url}?subscribe-broadcast", "transports": transport})
            page.wait_for_state("connected")
            self.redis.command("PUBLISH", "broadcast:foreign", "hello")
            page.wait_for_messages("hello")
            page = ClientPage(browser, self.site)
            page.start({"uri": f"{url}?subscribe-user", "transports": transport})
            page.wait_for_state("stopped")
            self.assertEqual(4403, page.detail["code"])


class RestartTests(FreshGatewayCase):
    """A gateway that starts again."""

    skip = missing_browser()
    options = ("--allow-origin", "*")

    def test_restart(self) -> None:
        """Every page comes back by the transport that it had."""
        site = ClientSite()
        self.addCleanup(site.stop)
        browser = shared_browser()
        self.addCleanup(browser.close_windows)
        pages = []
        for is_blocked in (False, True):
            box = Middlebox(self.gateway.port)
            self.addCleanup(box.stop)
            box.upgrade = "refuse" if is_blocked else "pass"
            page = ClientPage(browser, site)
            uri = f"http://127.0.0.1:{box.port}/ws/again?subscribe-broadcast&publish-broadcast"
            waits = {"base_delay": 100, "max_delay": 500, "busy_delay": 0, "retry_websocket": 3000}
            page.start({"uri": uri, **waits})
            page.wait_for_state("connected")
            pages.append(page)
        port = f"tcp:{self.gateway.port}:interface=127.0.0.1"
        self.gateway.stop()
        for page in pages:
            until(lambda page=page: "waiting" in page.states)
        again = Gateway("--redis", self.redis.url, *self.options, "--port", port)
        self.addCleanup(again.stop)
        for page, transport in zip(pages, ("websocket", "sse"), strict=True):
            until(lambda page=page, name=transport: page.detail.get("transport") == name)
        pages[1].send("from the stream")
        pages[0].wait_for_messages("from the stream")
        pages[0].send("from the WebSocket")
        pages[1].wait_for_messages("from the WebSocket")
