"""The chat in Django, step by step: each step is what a reader has on disk then, in a browser."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.axe import faults
from tests.support.browser import Window, missing_browser, shared_browser
from tests.support.children import RedisServer, reserve_port, until
from tests.support.django_chat import ChatPage, log_in
from tests.support.django_project import missing_django
from tests.support.require import missing
from tests.support.tutorial import Reader, Stage, complaints, stages

_ROOT = Path(__file__).parents[2]

#: The port of the page, and the one that it is here.
_PORT, _ANY = "--port 127.0.0.1:8000", "--port 127.0.0.1:0"


@cache
def _redis() -> RedisServer:
    server = RedisServer()
    atexit.register(server.stop)
    return server


def _page() -> str:
    return Path(_ROOT, "docs", "tutorial", "django-chat.rst").read_text("utf-8")


def _found(pattern: str) -> str:
    """The group of the regular expression in the page."""
    match = re.search(pattern, _page(), re.MULTILINE)
    assert match is not None, pattern
    return match[1]


@cache
def _stages() -> list[Stage]:
    return stages("django-chat.rst")


@cache
def _after(step: int) -> Reader:
    """A folder as it is after this step of the page; 0 is an empty one."""
    folder = tempfile.mkdtemp(prefix="wsredis-test-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    reader = Reader(folder, {"WSREDIS_REDIS": _redis().url})
    if step:
        shutil.copytree(_after(step - 1).folder, folder, dirs_exist_ok=True)
        reader.follow(_stages()[step - 1])
    return reader


class DjangoChatTests(SynchronousTestCase):
    """Each step of the page, with its commands and files and no others."""

    skip = missing_browser() or missing_django() or missing("node")

    def setUp(self) -> None:
        """Remove all messages."""
        _redis().command("FLUSHALL")
        self.one, self.two = shared_browser(), shared_browser("second")
        for browser in (self.one, self.two):
            self.addCleanup(browser.close_windows)

    def start(self, step: int, server: str = "python manage.py runserver") -> None:
        """Start a server of the page in the folder of a step."""
        self.assertIn(server, [line for each in _stages()[:step] for line in each.servers])
        if "--port" in server:
            child = _after(step).start(server.replace(_PORT, _ANY), "connected to ")
            self.port = int(child.wait_for(r"listening on \S*?:(\d+)")[1])
        else:
            self.port = reserve_port(self)
            child = _after(step).start(f"{server} {self.port}", "connected to ")
        self.addCleanup(child.stop)

    def check_consoles(self) -> None:
        """Check that the console of each page has no error and no hint."""
        self.assertEqual([], [*complaints(self.one), *complaints(self.two)])

    def test_first(self) -> None:
        """After the first step two windows talk."""
        self.start(1)
        windows = [self.one.open(f"http://localhost:{self.port}/chat/") for _ in range(2)]
        for window in windows:
            window.wait_until("return document.querySelector('#state').textContent === 'connected'")
        windows[0].find("#text").send_keys("Is anybody there?\n")
        for window in windows:
            window.wait_until(f"return {_TEXTS} === 'Is anybody there?'")
        self.assertEqual("", windows[0].run("return document.querySelector('#text').value"))
        windows[0].screenshot("tutorial-django-1")
        self.assertEqual([], faults(windows[0]))
        self.check_consoles()

    def test_second(self) -> None:
        """After the second step the last message is kept, and other programs reach the page."""
        self.start(2)
        page = ChatPage.opened(self.one, self.port, "/chat/")
        page.say("first")
        page.say("last")
        page.wait_for("first", "last")
        page.window.reload()
        page.wait_for("last")
        self.assertEqual("none", self._style(page.window, "list-style-type"))
        self.assertEqual([], faults(page.window))
        _after(2).run(_found(r"^     \$ (WSREDIS_PREFIX=.+)$"))
        page.wait_for("last", "Hello from outside")
        self.check_consoles()

    def test_third(self) -> None:
        """After the third step users write to each other, and a logout reaches all tabs."""
        self.start(3)
        john, mary = log_in(self.one, self.port, "john"), log_in(self.two, self.port, "mary")
        tab = ChatPage.opened(self.one, self.port, "/userchat/")
        john.say("for you", "mary")
        mary.wait_for("for you")
        self.assertEqual(["john to you"], mary.labels)
        self.assertEqual([], faults(mary.window))
        self._forge()
        mary.wait_for("for you", "I resign!")
        john.window.find(".who button").click()
        tab.wait_for_words("you are logged out")

    def test_fourth(self) -> None:
        """After the fourth step nobody can write in the name of another any more."""
        self.start(4)
        john = log_in(self.one, self.port, "john")
        stranger = self._forge()
        stranger.wait_until("return window.said.some((each) => each.startsWith('stopped 4403'))")
        john.say("still me", "everybody")
        john.wait_for("still me")

    def test_fifth(self) -> None:
        """After the fifth step one command serves all of it, with a strict policy."""
        (server,) = _stages()[4].servers
        self.start(5, server)
        window = self.one.open(f"http://localhost:{self.port}/")
        self.assertEqual("Two chats", window.find("h1").text)
        self.assertEqual([], faults(window))
        john = log_in(self.one, self.port, "john")
        john.say("for me", "john")
        john.wait_for("for me")
        john.say("for all", "everybody")
        script = "return fetch('/').then((each) => each.headers.get('Content-Security-Policy'))"
        self.assertIn("script-src 'self'", window.run(script))
        # Before paul comes: for him, who is in no group, the page asks for one in vain.
        self.check_consoles()
        self._change_groups()

    def test_finished(self) -> None:
        """The finished project has the files that the reader has at the end, letter by letter."""
        finished = _ROOT / "examples" / "django_chat"
        mine = _after(len(_stages())).folder
        shown = {each.path for stage in _stages() for each in stage.shown if each.path}
        for path in sorted(shown - {"mysite/settings.py"}):
            self.assertEqual((finished / path).read_text(), (mine / path).read_text(), path)
        settings = (mine / "mysite" / "settings.py").read_text()
        tail = (finished / "mysite" / "settings.py").read_text().partition("# -- wsredis")[2]
        self.assertIn(tail.split(), [settings.partition("# -- wsredis")[2].split()])

    def _forge(self) -> Window:
        """Paste the lines of the fourth step into the console of a stranger."""
        window = self.two.open(f"http://localhost:{self.port}/chat/")
        self.two.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        window.run(
            "window.said = [];"
            "console.log = (name, detail) => said.push(`${name} ${detail.code}`);"
            f"{_stages()[3].pasted}"
        )
        return window

    def _change_groups(self) -> None:
        """Add paul to a group while his page is open, as the page says."""
        paul = log_in(self.two, self.port, "paul")
        lines = re.findall(r"^     >>> (.+)$", _page(), re.MULTILINE)
        self.assertEqual(2, len(lines))
        command = "; ".join(lines).replace('"', '\\"')
        _after(5).run(f'python manage.py shell -c "{command}"')
        message = '{"id": "1", "at": 1, "from": "mary", "to": "chatters", "text": "welcome"}'

        def heard() -> bool:
            _redis().command("PUBLISH", "mysite:group:chatters:userchat", message)
            return paul.messages == ["welcome", "for all"]

        # The gateway of john has the channel already: nothing in Redis says that paul has it, too.
        until(heard)
        self.assertEqual("connected", paul.state)

    def _style(self, window: Window, name: str) -> str:
        script = "return getComputedStyle(document.querySelector('#messages ol'))"
        return str(window.run(f"{script}.getPropertyValue('{name}')"))


_TEXTS = "[...document.querySelectorAll('#messages li')].map((each) => each.textContent).join()"
