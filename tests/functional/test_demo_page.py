"""The demo page in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.support.browser import Browser, DemoPage, missing_browser, shared_browser
from tests.support.case import FreshGatewayCase, GatewayCase
from tests.support.children import PATIENCE, Gateway, RedisServer, until

#: Seconds. The page waits longer after each try, up to 30.
RECONNECT = 30 + PATIENCE

HOSTILE = """<img src=x onerror="document.title='owned'"><b>bold</b>&amp;<script>1</script>"""


class _Pages(GatewayCase):
    """Windows with the demo page; after each test the console must be clean."""

    options = ("--demo",)
    browser: Browser

    def setUp(self) -> None:
        """Start the gateway and the browser once, and forget the messages of earlier tests."""
        super().setUp()
        self.redis.command("DEL", "broadcast:demo")
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def page(self) -> DemoPage:
        """Open the page in one more window."""
        return DemoPage(self.browser, self.gateway.port)

    def publish(self, message: str) -> None:
        """Publish as a back end does."""
        self.redis.command("PUBLISH", "broadcast:demo", message)


class ChatTests(_Pages):
    """Messages come and go."""

    skip = missing_browser()

    def test_two_windows(self) -> None:
        """Two windows of the page exchange messages, and each sees its own ones once."""
        one, two = self.page(), self.page()
        one.say("hello")
        two.wait_for("hello")
        two.say("hello yourself")
        one.wait_for("hello", "hello yourself")
        two.wait_for("hello", "hello yourself")
        self.assertEqual([], one.notes + two.notes)
        self.assertEqual([], self.browser.errors())

    def test_publication(self) -> None:
        """A message that a program publishes in Redis appears in every window."""
        one, two = self.page(), self.page()
        self.publish("from a program")
        one.wait_for("from a program")
        two.wait_for("from a program")
        self.assertEqual([], self.browser.errors())

    def test_reload(self) -> None:
        """After a reload the page shows the stored message."""
        page = self.page()
        page.say("stay")
        page.wait_for("stay")
        page.window.reload()
        page.wait_for_state("connected")
        page.wait_for("stay")
        self.assertEqual([], self.browser.errors())

    def test_markup_is_text(self) -> None:
        """HTML in a message is shown as text, and no script in it runs."""
        page = self.page()
        self.publish(HOSTILE)
        page.wait_for(HOSTILE)
        page.say(HOSTILE)
        page.wait_for(HOSTILE, HOSTILE)
        self.assertEqual(0, page.window.run("return document.querySelectorAll('li *').length"))
        self.assertEqual("wsredis demo", page.window.driver.title)
        self.assertEqual([], self.browser.errors())

    def test_bytes(self) -> None:
        """A publication that is not UTF-8 is shown as its size."""
        page = self.page()
        self.redis.command("PUBLISH", "broadcast:demo", b"\xff\x00\xfe")
        self.publish("text")
        page.wait_for("text")
        self.assertEqual(["3 bytes that are not text"], page.notes)

    def test_long_list(self) -> None:
        """The list keeps the newest 500 messages and stays scrolled to the last of them."""
        page = self.page()
        self.redis.pipeline(*[("PUBLISH", "broadcast:demo", number) for number in range(510)])
        script = "return document.getElementById('messages').lastChild?.textContent === '509'"
        page.window.wait_until(script)
        self.assertEqual([str(number) for number in range(10, 510)], page.messages)
        below = "const l = document.getElementById('messages');"
        self.assertLessEqual(
            page.window.run(f"{below} return l.scrollHeight - l.clientHeight - l.scrollTop"), 2
        )


class LooksTests(_Pages):
    """The page fits its screen. WSREDIS_SCREENSHOTS names a folder for pictures of it."""

    skip = missing_browser()

    def _check(self, name: str, width: int, height: int, *, phone: bool) -> None:
        for scheme in ("light", "dark"):
            self.redis.command("DEL", "broadcast:demo")
            page = self.page()
            page.window.looks(width, height, phone=phone, scheme=scheme)
            page.say("Is anybody there?")
            page.wait_for("Is anybody there?")
            self.publish("order 4711 was shipped")
            self.publish("x" * 300)
            page.wait_for("Is anybody there?", "order 4711 was shipped", "x" * 300)
            page.window.screenshot(f"{name}-{scheme}")
            wide = "return [document.documentElement.scrollWidth, innerWidth]"
            self.assertEqual([width, width], page.window.run(wide))
            for selector in ("#state", "#messages", "#text", "#send", "#outside"):
                box = page.window.find(selector).rect
                self.assertGreaterEqual(min(box["x"], box["y"]), 0, selector)
                self.assertLessEqual(box["x"] + box["width"], width, selector)
                self.assertLessEqual(box["y"] + box["height"], height, selector)
        self.assertEqual([], self.browser.errors())

    def test_phone(self) -> None:
        """On a phone everything is visible and nothing is wider than the screen."""
        self._check("phone", 390, 844, phone=True)

    def test_desktop(self) -> None:
        """The same holds on a desktop."""
        self._check("desktop", 1280, 800, phone=False)

    def test_scheme(self) -> None:
        """The page is light on a light system and dark on a dark one."""
        page = self.page()
        colours = []
        for scheme in ("light", "dark"):
            page.window.looks(800, 600, scheme=scheme)
            colours.append(
                page.window.run("return getComputedStyle(document.body).backgroundColor")
            )
        light, dark = (sum(map(int, each[4:-1].split(","))) for each in colours)
        self.assertGreater(light, 600)
        self.assertLess(dark, 150)

    def test_one_file(self) -> None:
        """The page loads no other file."""
        page = self.page()
        script = "return performance.getEntriesByType('resource').map(each => each.name)"
        self.assertEqual([], [each for each in page.window.run(script) if each[:5] != "data:"])


class OutsideTests(SynchronousTestCase):
    """The shell line of the page works."""

    skip = missing_browser() or (
        None if shutil.which("redis-cli") else "there is no redis-cli on this machine"
    )

    def setUp(self) -> None:
        """Start a Redis of our own, on both kinds of socket."""
        # The shared gateway would be a second subscriber, and redis-cli prints how many there are.
        self.redis = RedisServer(tcp=True)
        self.addCleanup(self.redis.stop)
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def _try_line(self, url: str, *options: str) -> None:
        gateway = Gateway("--redis", url, "--demo", *options)
        self.addCleanup(gateway.stop)
        page = DemoPage(self.browser, gateway.port)
        done = subprocess.run(
            page.outside, shell=True, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        self.assertEqual(("1\n", ""), (done.stdout, done.stderr), page.outside)
        page.wait_for("Hello from outside")
        self.assertEqual([], self.browser.errors())

    def test_unix_socket(self) -> None:
        """It reaches the page if Redis listens on a UNIX socket."""
        self._try_line(self.redis.url)

    def test_port(self) -> None:
        """It reaches the page if Redis listens on a port, with a database."""
        self._try_line(f"redis://127.0.0.1:{self.redis.port}/3")

    def test_path_with_blank(self) -> None:
        """A path with a blank and a semicolon is one argument of the line."""
        odd = Path(self.redis.directory, "a b;c")
        odd.symlink_to(self.redis.path)
        self._try_line(f"unix://{quote(str(odd))}")

    def test_hostile_prefix(self) -> None:
        """A prefix with the characters of HTML and of a shell is quoted for both."""
        self._try_line(self.redis.url, "--prefix", "</script>$(id)'\"<b>;")


class RecoveryTests(FreshGatewayCase):
    """The page recovers without a reload."""

    skip = missing_browser()
    options = ("--demo",)

    def setUp(self) -> None:
        """Start a gateway and a Redis of our own."""
        super().setUp()
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def _unexpected_errors(self) -> list[str]:
        """List errors, without those of the browser itself about a gateway that is away."""
        return [each for each in self.browser.errors() if "WebSocket connection to" not in each]

    def _restart_redis(self) -> None:
        since = len(self.gateway.log)
        self.redis.start()
        self.gateway.child.wait_for("connected to ", since=since)

    def test_redis_restarts(self) -> None:
        """A restart of Redis costs the page nothing, not even its connection."""
        one, two = (DemoPage(self.browser, self.gateway.port) for _ in range(2))
        self.redis.kill()
        self._restart_redis()
        one.say("still there?")
        one.wait_for("still there?")
        two.wait_for("still there?")
        self.assertEqual(["connected", "connected"], [one.state, two.state])
        self.assertEqual([], self.browser.errors())

    def test_say_while_redis_is_away(self) -> None:
        """A message that could not be published is shown with the reason, and the page recovers."""
        page = DemoPage(self.browser, self.gateway.port)
        since = len(self.gateway.log)
        self.redis.kill()
        self.gateway.child.wait_for("lost the connection to ", since=since)
        page.say("into the void")
        page.wait_for_state("waiting")
        # It says something else for a moment whenever it tries.
        until(lambda: "not connected" in page.state_words)
        self.assertEqual(["perhaps not sent: into the void"], page.notes)
        self._restart_redis()
        page.wait_for_state("connected", RECONNECT)
        page.say("again")
        page.wait_for("again")
        self.assertEqual([], self._unexpected_errors())

    def test_gateway_restarts(self) -> None:
        """
        While the gateway is away, the page shows that and sends no message.

        When the gateway is back, the page connects by itself, and does not repeat the last message.
        """
        page = DemoPage(self.browser, self.gateway.port)
        page.say("before")
        page.wait_for("before")
        self.gateway.stop()
        page.wait_for_state("waiting")
        # It says something else for a moment whenever it tries.
        until(lambda: re.search(r"^not connected.* next try in \d+ s$", page.state_words))
        self.assertFalse(page.window.find("#send").is_enabled())
        again = f"tcp:{self.gateway.port}:interface=127.0.0.1"
        gateway = Gateway("--redis", self.redis.url, "--demo", "--port", again)
        self.addCleanup(gateway.stop)
        page.wait_for_state("connected", RECONNECT)
        page.say("after")
        page.wait_for("before", "after")
        self.assertEqual([], self._unexpected_errors())
