"""The playground in a real browser."""

from __future__ import annotations

import atexit
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from urllib.parse import quote

from tests.support.axe import faults
from tests.support.browser import missing_browser, shared_browser
from tests.support.case import FreshGatewayCase, GatewayCase
from tests.support.children import PATIENCE, Child, Gateway, RedisServer, clean_environment, until
from tests.support.playground import Playground
from tests.support.require import missing
from tests.support.tokens import signed, verifier
from tests.support.web import WebSite

#: Seconds. The page waits longer after each try, up to 30.
RECONNECT = 30 + PATIENCE

HOSTILE = """<img src=x onerror="document.title='owned'"><b>bold</b>&amp;<script>1</script>"""


@cache
def _key_file() -> str:
    """The path of a file with the key that signs tokens."""
    folder = tempfile.mkdtemp(prefix="wsredis-test-")
    atexit.register(shutil.rmtree, folder)
    path = Path(folder, "key")
    path.write_bytes(verifier("HS256"))
    return str(path)


class _Pages(GatewayCase):
    """Windows with the playground; after each test the console must be clean."""

    options = ("--demo",)
    skip = missing_browser()

    def setUp(self) -> None:
        """Start the gateway and the browser once, and forget the messages of earlier tests."""
        super().setUp()
        self.redis.command("DEL", "broadcast:demo")
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def page(self, wish: str = "") -> Playground:
        """Open the page in one more window."""
        return Playground(self.browser, self.gateway.port, wish)

    def publish(self, message: str, channel: str = "broadcast:demo") -> None:
        """Publish as a back end does."""
        self.redis.command("PUBLISH", channel, message)


class FramesTests(_Pages):
    """Messages come and go."""

    def test_two_windows(self) -> None:
        """Two windows exchange messages, and each sees which of them are its own."""
        one, two = self.page(), self.page()
        one.say("hello")
        two.wait_for("hello")
        two.say("hello yourself")
        one.wait_for("hello", "hello yourself")
        two.wait_for("hello", "hello yourself")
        self.assertEqual((["hello"], ["hello"]), (one.sent, one.frames(".own")))
        self.assertEqual((["hello yourself"],) * 2, (two.sent, two.frames(".own")))
        self.assertEqual([], one.notes + two.notes)
        self.assertEqual([], self.browser.errors())

    def test_side_by_side(self) -> None:
        """A second socket beside the first one has settings of its own, and can be closed again."""
        page = self.page("side?subscribe-broadcast&publish-broadcast")
        other = page.second()
        page.say("to the right")
        other.wait_for("to the right")
        self.assertEqual([], page.messages, "it has not asked for the echo")
        other.write("url", "elsewhere?subscribe-broadcast")
        until(lambda: "elsewhere" in other.channel("broadcast"))
        self.assertIn("broadcast:side", page.channel("broadcast"))
        self.assertIn("side?", page.find("url").get_attribute("value"))
        page.window.find("#split").click()
        self.assertEqual(1, page.window.run("return document.querySelectorAll('.client').length"))
        self.assertEqual([], self.browser.errors())

    def test_publication(self) -> None:
        """A message that a program publishes in Redis appears in every window, as nobody's own."""
        one, two = self.page(), self.page()
        self.publish("from a program")
        one.wait_for("from a program")
        two.wait_for("from a program")
        self.assertEqual([], one.frames(".own"))
        self.assertEqual([], self.browser.errors())

    def test_reload(self) -> None:
        """After a reload the page shows the stored message, and asks for the same."""
        page = self.page("stored?subscribe-broadcast&publish-broadcast")
        page.say("stay")
        until(lambda: self.redis.command("GET", "broadcast:stored") == b"stay")
        page.window.reload()
        page.wait_for_state("connected")
        page.wait_for("stay")
        self.redis.command("DEL", "broadcast:stored")
        self.assertEqual([], self.browser.errors())

    def test_markup_is_text(self) -> None:
        """HTML in a message, a facility or the address is shown as text, and no script runs."""
        page = self.page()
        self.publish(HOSTILE)
        page.wait_for(HOSTILE)
        page.say(HOSTILE)
        page.wait_for(HOSTILE, HOSTILE)
        page.write("facility", HOSTILE)
        page.wait_for_channel("broadcast", f"broadcast:{HOSTILE}")
        self.assertEqual(0, page.window.run("return document.querySelectorAll('.client b').length"))
        self.assertEqual("wsredis playground", page.window.driver.title)
        self.assertEqual([], self.browser.errors())

    def test_bytes(self) -> None:
        """A publication that is not UTF-8 is shown as its size."""
        page = self.page()
        self.redis.command("PUBLISH", "broadcast:demo", b"\xff\x00\xfe")
        self.publish("text")
        page.wait_for("text")
        self.assertEqual(["3 bytes that are not text"], page.frames(".bytes"))

    def test_flood(self) -> None:
        """After thousands of frames the newest 500 are there, and the last of them is in view."""
        page = self.page("flood?subscribe-broadcast")
        self.redis.pipeline(*[("PUBLISH", "broadcast:flood", number) for number in range(5000)])
        until(lambda: page.messages[-1:] == ["4999"])
        self.assertEqual([str(number) for number in range(4500, 5000)], page.messages)
        script = "const l = part.querySelector('.log'); return l.scrollHeight - l.clientHeight"
        self.assertLessEqual(page.run(f"{script} - l.scrollTop"), 2)

    def test_hello(self) -> None:
        """What the gateway itself says is among the frames, and no message."""
        page = self.page()
        until(lambda: page.frames(".control"))
        self.assertIn('"hello"', page.frames(".control")[0])
        self.assertEqual([], page.messages)

    def test_without_websocket(self) -> None:
        """The other transports show messages, too, and which one it is."""
        for transport, words in (
            ("sse", "Server-Sent Events"),
            ("polling", "long polling"),
        ):
            page = self.page(f"{transport}?subscribe-broadcast&publish-broadcast&echo")
            page.run("part.querySelector('details').open = true")
            page.find("transport").send_keys(words)
            until(lambda page=page, words=words: page.state_words == f"connected by {words}")
            page.say("by HTTP")
            page.wait_for("by HTTP")
            self.assertEqual((["by HTTP"],) * 2, (page.sent, page.frames(".own")))
        self.assertEqual([], self.browser.errors())


class ReportTests(_Pages):
    """Beside each audience stands its channel, or the reason why there is none."""

    @property
    def options(self) -> tuple[str, ...]:
        """With keys for tokens."""
        return ("--demo", "--jwt-key", _key_file())

    def test_nobody(self) -> None:
        """Without a token there is no user, and the page says so."""
        page = self.page("demo?subscribe-broadcast&subscribe-user&publish-group")
        page.wait_for_channel("broadcast", "broadcast:demo")
        self.assertEqual("hears nothing: nobody is logged in here", page.channel("user"))
        self.assertEqual("says nothing: nobody is logged in here", page.channel("group"))
        self.assertEqual("not asked for", page.channel("session"))
        self.assertEqual("nobody", page.find("identity").text)
        self.assertRegex(page.find("id").text, r"\A[0-9a-z]{5}-\d+\Z")
        self.assertIn(f"({page.find('id').text})", self.gateway.log)
        self.assertEqual([], self.browser.errors())

    def test_token(self) -> None:
        """With a token the page shows whose socket it is, and messages for this user arrive."""
        page = self.page("mail?subscribe-user&subscribe-group&subscribe-session")
        page.run("part.querySelector('details').open = true")
        page.write("token", signed(sub="mary", groups=["staff", "chatters"]))
        page.wait_for_channel("user", "user:mary:mail")
        self.assertEqual("mary, in staff, chatters", page.find("identity").text)
        self.assertEqual("group:staff:mailgroup:chatters:mail", page.channel("group"))
        self.assertEqual(
            "hears nothing: mary came without a session, as with a token", page.channel("session")
        )
        self.publish("for mary", "user:mary:mail")
        page.wait_for("for mary")
        self.assertIn(" --user=mary --group=staff --group=chatters ", page.code("Shell")[0])
        self.assertNotIn("eyJ", page.window.run("return location.href"))
        self.assertEqual([], self.browser.errors())

    def test_refused(self) -> None:
        """A socket that is refused says why, and does not try again."""
        page = self.page()
        page.run("part.querySelector('details').open = true")
        page.write("token", "not.a.token")
        page.wait_for_state("stopped")
        self.assertRegex(page.state_words, r"^closed for good \(4401 .+\)$")
        page.write("token", "")
        page.wait_for_state("connected")

    def test_boxes_and_url(self) -> None:
        """The boxes change the URL, and the URL the boxes; a slip stays, with a hint."""
        page = self.page("demo?subscribe-broadcast")
        page.box("publish-user").click()
        page.wait_for_channel("user", "says nothing: nobody is logged in here")
        value = page.find("url").get_attribute("value")
        self.assertEqual("demo?subscribe-broadcast&publish-user", value)
        page.write("url", "news/today?subscribe-group&subscribe-brodcast&echo")
        page.wait_for_channel("group", "nobody is logged in here")
        boxes = {flag: page.box(flag).is_selected() for flag in ("subscribe-group", "publish-user")}
        self.assertEqual({"subscribe-group": True, "publish-user": False}, boxes)
        self.assertEqual("news/today", page.find("facility").get_attribute("value"))
        self.assertTrue(page.find("echo").is_selected())
        until(lambda: "did you mean subscribe-broadcast?" in page.find("hints").text)
        self.assertEqual("#news/today?", page.window.run("return location.hash")[:12])
        whole = f"http://localhost:{self.gateway.port}/ws/a%20b?subscribe=broadcast#x"
        page.write("url", whole)
        page.wait_for_channel("broadcast", "broadcast:a b")
        self.assertEqual("a%20b?subscribe-broadcast", page.find("url").get_attribute("value"))
        page.write("facility", "a/../b")
        page.wait_for_state("stopped")
        self.assertIn("no browser can name this facility", page.state_words)

    def test_disconnect(self) -> None:
        """The visitor may close the socket, and open it again."""
        page = self.page()
        page.find("toggle").click()
        page.wait_for_state("stopped")
        self.assertFalse(page.find("send").is_enabled())
        self.assertEqual(("", "none"), (page.channel("broadcast"), page.find("id").text))
        page.find("toggle").click()
        page.wait_for_state("connected")
        page.wait_for_channel("broadcast", "broadcast:demo")


class WorkersTests(FreshGatewayCase):
    """With several processes, the one that has the socket is found; and signs of life are shown."""

    skip = missing_browser()
    options = ("--demo", "--workers", "4", "--ping-interval", "1")

    def test_report(self) -> None:
        """Each of some sockets has its report, whichever of four processes has it."""
        browser = shared_browser()
        self.addCleanup(browser.close_windows)
        page = Playground(browser, self.gateway.port)
        for number in range(4):
            page.write("facility", f"w{number}")
            page.wait_for_channel("broadcast", f"broadcast:w{number}")
        self.assertEqual([], page.frames(".beat"))
        page.find("beats").click()
        until(lambda: page.frames(".beat.out"))
        self.assertEqual({"an empty binary frame"}, set(page.frames(".beat")))


class LooksTests(_Pages):
    """The page fits its screen. WSREDIS_SCREENSHOTS names a folder for pictures of it."""

    skip = missing_browser() or missing("node")

    def _check(self, name: str, width: int, height: int, *, phone: bool) -> None:
        page = self.page(
            f"{name}?subscribe-broadcast&publish-broadcast&subscribe-user&echo&subscribe-grup"
        )
        page.window.looks(width, height, phone=phone)
        page.wait_for_channel("broadcast", f"broadcast:{name}")
        until(lambda: "did you mean subscribe-group?" in page.find("hints").text)
        page.say("Is anybody there?")
        page.wait_for("Is anybody there?")
        self.publish('{"order": 4711, "state": "shipped"}', f"broadcast:{name}")
        self.publish("x" * 300, f"broadcast:{name}")
        page.wait_for("Is anybody there?", '{"order": 4711, "state": "shipped"}', "x" * 300)
        for scheme in ("light", "dark"):
            page.window.looks(width, height, phone=phone, scheme=scheme)
            page.window.screenshot(f"playground-{name}-{scheme}")
            self._fits(page, width)
            self.assertEqual([], faults(page.window), scheme)
        page.second()
        page.run("part.querySelector('details').open = true")
        for language in ("Python", "JavaScript", "curl", "Shell"):
            page.code(language)
            self._fits(page, width)
        page.window.screenshot(f"playground-{name}-two")
        self.assertEqual([], faults(page.window))
        self.assertEqual([], self.browser.errors())

    def _fits(self, page: Playground, width: int) -> None:
        """Nothing is wider than the screen, and all controls are within it."""
        script = "return document.documentElement.scrollWidth <= innerWidth && innerWidth"
        self.assertEqual(width, page.window.run(script))
        outside = """
            const all = [...document.querySelectorAll("button, input, a, pre, .log, code")];
            return all.filter((each) => each.checkVisibility()).filter((each) => {
              const box = each.getBoundingClientRect();
              return box.left < 0 || box.right > innerWidth;
            }).map((each) => each.outerHTML);
        """
        self.assertEqual([], page.window.run(outside))

    def test_phone(self) -> None:
        """On a phone nothing is wider than the screen, and axe finds no fault."""
        self._check("phone", 390, 844, phone=True)

    def test_desktop(self) -> None:
        """The same holds on a desktop, on which the whole conversation is in view."""
        self._check("desktop", 1280, 800, phone=False)
        page = self.page()
        page.window.looks(1280, 800)
        for name in ("state", "url", "log", "text", "send", "facility", "audiences"):
            box = page.find(name).rect
            self.assertLessEqual(box["y"] + box["height"], 800, name)

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

    def test_keyboard(self) -> None:
        """Everything can be done with the keyboard, in the order in which it stands."""
        from selenium.webdriver.common.action_chains import ActionChains
        from selenium.webdriver.common.keys import Keys

        page = self.page()

        def press(*keys: str) -> None:
            ActionChains(page.window.driver).send_keys(*keys).perform()

        def focused() -> str:
            script = "const e = document.activeElement; return e.dataset.part || e.name || e.id"
            return str(page.window.run(script))

        self.assertEqual("text", focused())
        press("by keyboard", Keys.ENTER)
        page.wait_for("by keyboard")
        self.assertEqual("text", focused())
        seen = []
        while focused() != "subscribe-group":
            press(Keys.TAB)
            seen.append(focused())
            self.assertLess(len(seen), 20, seen)
        self.assertEqual(
            ["send", "beats", "clear", "facility", "subscribe-broadcast", "publish-broadcast"],
            seen[:-1],
        )
        press(Keys.SPACE)
        until(lambda: "subscribe-group" in page.find("url").get_attribute("value"))
        self.assertEqual("subscribe-group", focused(), "the page has not lost the place")
        page.window.run("document.getElementById('tab-Shell').focus()")
        for key, language in (
            (Keys.RIGHT, "Python"),
            (Keys.END, "curl"),
            (Keys.RIGHT, "Shell"),
            (Keys.LEFT, "curl"),
            (Keys.HOME, "Shell"),
        ):
            press(key)
            self.assertEqual(f"tab-{language}", focused())
        press(Keys.TAB)
        self.assertEqual("panel", focused(), "one stop for all tabs")

    def test_own_files(self) -> None:
        """The page loads only its own files, and its policy is not broken."""
        page = self.page()
        script = "return performance.getEntriesByType('resource').map(each => each.name)"
        base = f"http://localhost:{self.gateway.port}"
        names = {each.removeprefix(base).partition("?")[0] for each in page.window.run(script)}
        files = {"/demo/playground.css", "/demo/playground.js", "/wsredis.js", "/demo/socket"}
        self.assertEqual(set(), {each for each in names if each[:5] != "data:"} - files)
        self.assertEqual([], self.browser.errors())


class CodeTests(_Pages):
    """The code on the page works as it stands."""

    def run_words(self, *words: str) -> str:
        """Run a program; a shell finds our commands. Returns: All that it wrote."""
        done = subprocess.run(
            words,
            env=self.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        return done.stdout

    def environ(self) -> dict[str, str]:
        """An environment in which our commands are found."""
        environ = clean_environment({"PYTHONUNBUFFERED": "1"})
        environ["PATH"] = f"{Path(sys.executable).parent}:{environ['PATH']}"
        return environ

    def listen(self, *words: str) -> Child:
        """Start a program that prints what it hears."""
        child = Child(list(words), env=self.environ())
        self.addCleanup(child.stop)
        return child

    def check_heard(self, child: Child, channel: str, text: str) -> None:
        """Wait until a program has printed a message that is published again and again."""

        def heard() -> bool:
            self.publish(text, channel)
            return text in child.output

        until(heard)

    def check_shell(self, redis: str, *options: str) -> None:
        """The lines for a shell lead from any Redis to the page."""
        gateway = Gateway("--redis", redis, "--demo", *options)
        self.addCleanup(gateway.stop)
        page = Playground(self.browser, gateway.port, "-x%20$(y)?subscribe-broadcast")
        publish, redis_cli, _ = page.code("Shell")
        self.assertIn("1 subscriber", self.run_words("sh", "-c", publish))
        page.wait_for("Hello from outside")
        if shutil.which("redis-cli"):
            self.assertEqual("1\n", self.run_words("sh", "-c", redis_cli), redis_cli)
            page.wait_for("Hello from outside", "Hello from outside")
        self.assertEqual([], self.browser.errors())

    def test_hostile_names(self) -> None:
        """Names with the characters of HTML and of a shell are quoted for both."""
        odd = Path(self.redis.directory, "a b;c")
        odd.symlink_to(self.redis.path)
        self.addCleanup(odd.unlink)
        self.check_shell(f"unix://{quote(str(odd))}", "--prefix", "</script>$(id)'\"<b>;")

    def test_control_characters(self) -> None:
        """A link of somebody else brings nothing to a shell that its terminal obeys."""
        page = self.page()
        page.window.run("location.hash = 'x%03%0Aid%0A%C2%9B?subscribe-broadcast'")
        page.wait_for_state("stopped")
        for language in ("Shell", "curl"):
            for line in page.code(language):
                self.assertTrue(line.isprintable(), repr(line))

    def test_port(self) -> None:
        """Redis may listen on a port, and have another database."""
        redis = RedisServer(tcp=True)
        self.addCleanup(redis.stop)
        self.check_shell(f"redis://127.0.0.1:{redis.port}/3")

    def test_shell_listens(self) -> None:
        """The line for a shell that listens shows what the page hears."""
        page = self.page("shell?subscribe-broadcast&echo")
        # There is nobody who types, and no end of that.
        child = self.listen("sh", "-c", f"exec {page.code('Shell')[2]} --wait {PATIENCE}")
        self.check_heard(child, "broadcast:shell", "for a shell")

    def test_python(self) -> None:
        """The programs in Python publish to the page, and hear what it hears."""
        page = self.page("python?subscribe-broadcast")
        publish, listen = page.code("Python")
        child = self.listen(sys.executable, "-c", listen)
        self.run_words(sys.executable, "-c", publish)
        page.wait_for("Hello")
        self.check_heard(child, "broadcast:python", "for Python")

    def test_curl(self) -> None:
        """The lines for curl publish to the page, and hear what it hears."""
        page = self.page("a'b?subscribe-broadcast&publish-broadcast")
        listen, publish = page.code("curl")
        child = self.listen("sh", "-c", f"exec {listen}")
        self.run_words("sh", "-c", publish)
        page.wait_for("Hello from curl")
        self.check_heard(child, "broadcast:a'b", "for curl")

    if shutil.which("curl") is None:
        test_curl.skip = "there is no curl on this machine"  # type: ignore[attr-defined]

    def test_javascript(self) -> None:
        """Both programs in JavaScript work in a page of another origin, for broadcasts."""
        script, plain = self.page("javascript?subscribe-broadcast").code("JavaScript")
        first, second = (
            each.replace("console.log", f"heard.{name}.push")
            for name, each in (("first", script), ("second", plain))
        )
        start = "<!doctype html><script>const heard = {first: [], second: []}</script>"
        # Both have a socket of that name.
        html = f"{start}{first}<script>{{{second}}}</script>"
        site = WebSite({"/": ("text/html", html.encode())})
        self.addCleanup(site.stop)
        window = self.browser.open(site.origin)

        def heard() -> bool:
            self.publish("for JavaScript", "broadcast:javascript")
            return bool(window.run("return heard.first.length && heard.second.length"))

        until(heard)

    def test_copy(self) -> None:
        """The button copies the code, and says so."""
        page = self.page("copy?subscribe-broadcast")
        grant = {"permissions": ["clipboardReadWrite"]}
        page.window.driver.execute_cdp_cmd("Browser.grantPermissions", grant)
        code = page.code("Shell")[0]
        page.window.find(".snippet button").click()
        until(lambda: page.window.find(".snippet button").text == "Copied")
        copied = page.window.run("return navigator.clipboard.readText()")
        self.assertEqual(code, copied)


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
        away = ("WebSocket connection to", "Failed to load resource")
        return [each for each in self.browser.errors() if not any(word in each for word in away)]

    def _restart_redis(self) -> None:
        since = len(self.gateway.log)
        self.redis.start()
        self.gateway.child.wait_for("connected to ", since=since)

    def test_redis_restarts(self) -> None:
        """A restart of Redis costs the page nothing, not even its connection."""
        one, two = (Playground(self.browser, self.gateway.port) for _ in range(2))
        self.redis.kill()
        self._restart_redis()
        one.say("still there?")
        one.wait_for("still there?")
        two.wait_for("still there?")
        self.assertEqual(["connected", "connected"], [one.state, two.state])
        self.assertEqual([], self.browser.errors())

    def test_say_while_redis_is_away(self) -> None:
        """A message that could not be published is shown with the reason, and the page recovers."""
        page = Playground(self.browser, self.gateway.port)
        other = Playground(self.browser, self.gateway.port, "demo?publish-broadcast")
        since = len(self.gateway.log)
        self.redis.kill()
        self.gateway.child.wait_for("lost the connection to ", since=since)
        page.say("into the void")
        other.say("without an echo")
        page.wait_for_state("waiting")
        # It says something else for a moment whenever it tries.
        until(lambda: "not connected" in page.state_words)
        until(lambda: "perhaps not sent: into the void" in page.notes)
        until(lambda: "perhaps not sent: without an echo" in other.notes)
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
        page = Playground(self.browser, self.gateway.port)
        page.say("before")
        page.wait_for("before")
        self.gateway.stop()
        page.wait_for_state("waiting")
        # It says something else for a moment whenever it tries.
        until(lambda: re.search(r"^not connected.* next try in \d+ s$", page.state_words))
        self.assertFalse(page.find("send").is_enabled())
        again = f"tcp:{self.gateway.port}:interface=127.0.0.1"
        gateway = Gateway("--redis", self.redis.url, "--demo", "--port", again)
        self.addCleanup(gateway.stop)
        page.wait_for_state("connected", RECONNECT)
        page.say("after")
        page.wait_for("before", "after")
        page.wait_for_channel("broadcast", "broadcast:demo")
        self.assertEqual([], self._unexpected_errors())
