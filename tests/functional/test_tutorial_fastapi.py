"""Notes with FastAPI and React, step by step: what a reader has on disk then, in a browser."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from functools import cache
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.axe import faults
from tests.support.browser import Browser, Window, missing_browser, shared_browser
from tests.support.children import Child, RedisServer, reserve_port
from tests.support.node import node_modules
from tests.support.require import find_node, missing
from tests.support.tutorial import Reader, Stage, complaints, stages

_ROOT = Path(__file__).parents[2]

#: The port of the page, and the one that it is here.
_PORT, _ANY = "--port 127.0.0.1:8000", "--port 127.0.0.1:0"

_NOTES = "return [...document.querySelectorAll('#notes li')].map((each) => each.textContent)"


#: Collects what the reader sees there; at first that is that the page is connected.
_WATCH = """
window.states = [];
const look = () => {
  const state = document.querySelector("#state").textContent;
  if (states.at(-1) !== state) states.push(state);
};
new MutationObserver(look).observe(document.body, {
  characterData: true, childList: true, subtree: true,
});
"""

_LOG_IN = """
const [user, password] = arguments;
const headers = { "Content-Type": "application/json" };
const body = JSON.stringify({ user, password });
return fetch("/api/login", { method: "POST", headers, body }).then((answer) => answer.status);
"""


@cache
def _redis() -> RedisServer:
    server = RedisServer()
    atexit.register(server.stop)
    return server


@cache
def _stages() -> list[Stage]:
    return stages("fastapi-react.rst")


@cache
def _after(step: int) -> Reader:
    """A folder as it is after this step of the page; 0 is an empty one."""
    folder = tempfile.mkdtemp(prefix="wsredis-test-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    reader = Reader(folder, {"WSREDIS_REDIS": _redis().url})
    if step:
        before = _after(step - 1).folder
        shutil.copytree(before, folder, dirs_exist_ok=True, symlinks=True)
        reader.follow(_stages()[step - 1])
    if step == 3:
        _install(reader.folder / "web")
    return reader


def _install(web: Path) -> None:
    """Give a project the packages that it names, from those of the tests and this checkout."""
    wanted = json.loads((web / "package.json").read_text())
    target = web / "node_modules"
    target.mkdir()
    for each in node_modules().iterdir():
        (target / each.name).symlink_to(each)
    ours = json.loads((_ROOT / "package.json").read_text())
    for name in (*ours["files"], "package.json"):
        copy = shutil.copytree if (_ROOT / name).is_dir() else shutil.copy
        (target / "wsredis" / name).parent.mkdir(parents=True, exist_ok=True)
        copy(_ROOT / name, target / "wsredis" / name)
    for name in {**wanted["dependencies"], **wanted["devDependencies"]}:
        assert (target / name / "package.json").exists(), name


class FastApiTests(SynchronousTestCase):
    """Each step of the page, with its commands and files and no others."""

    skip = missing_browser() or missing("node")

    def setUp(self) -> None:
        """Remove all messages."""
        _redis().command("FLUSHALL")
        self.one, self.two = shared_browser(), shared_browser("second")
        for browser in (self.one, self.two):
            self.addCleanup(browser.close_windows)

    def start(self, step: int, command: int = 0) -> None:
        """Start the gateway in the folder of a step, with the command of this or of another."""
        servers = _stages()[(command or step) - 1].servers
        (line,) = (each for each in servers if each.startswith("wsredis"))
        child = _after(step).start(line.replace(_PORT, _ANY), "connected to ")
        self.addCleanup(child.stop)
        self.port = int(child.wait_for(r"listening on \S*?:(\d+)")[1])

    def log_in(self, browser: Browser, user: str) -> Window:
        """Log in. Returns: The page, connected."""
        window = browser.open(f"http://localhost:{self.port}/")
        window.wait_until("return document.querySelector('#login')?.checkVisibility()")
        for name, text in (("user", user), ("password", "notes\n")):
            window.find(f"[name={name}]").send_keys(text)
        self.wait_for_state(window, f"{user}: connected")
        return window

    def wait_for_state(self, window: Window, state: str) -> None:
        """Wait until the reader sees the state."""
        window.wait_until(f"return document.querySelector('#state')?.textContent === '{state}'")

    def wait_for(self, window: Window, *notes: str) -> None:
        """Wait until the page shows these notes and no others."""
        window.wait_until(f"return JSON.stringify((() => {{ {_NOTES} }})()) === {_json(notes)}")

    def check_consoles(self) -> None:
        """Check that the console of each page has no hint, and no error but a refused login."""
        found = [*complaints(self.one), *complaints(self.two)]
        self.assertEqual([], [each for each in found if "401" not in each])

    def test_files(self) -> None:
        """Each file of the page has a place, and the last ones are the finished project."""
        finished = _ROOT / "examples" / "fastapi_react"
        mine = _after(len(_stages())).folder
        shown = {each.path for stage in _stages() for each in stage.shown}
        self.assertEqual({"page.html"}, {each for each in shown if not (finished / each).exists()})
        for path in sorted(shown - {"page.html"}):
            self.assertEqual((finished / path).read_text(), (mine / path).read_text(), path)

    def test_first(self) -> None:
        """After the first step each window shows what is written in another, or by a program."""
        self.start(1)
        windows = [self.one.open(f"http://localhost:{self.port}/") for _ in range(2)]
        for window in windows:
            self.wait_for_state(window, "connected")
        windows[0].find("[name=text]").send_keys("Is anybody there?\n")
        for window in windows:
            self.wait_for(window, "Is anybody there?")
        self.assertEqual([], faults(windows[0]))
        (curl,) = _stages()[0].later
        _after(1).run(curl.words.replace("localhost:8000", f"localhost:{self.port}"))
        self.wait_for(windows[1], "Is anybody there?", "Hello from curl")
        self.check_consoles()

    def test_second(self) -> None:
        """After the second step a note goes to one user, and a logout to all tabs."""
        self.start(2)
        self.check_users()

    def test_third(self) -> None:
        """After the third step the same happens on the page of Vite, which passes all else on."""
        self.start(3, 2)
        config = _after(3).folder / "web" / "vite.config.js"
        text = config.read_text()
        self.assertEqual(1, text.count("localhost:8000"))
        config.write_text(text.replace("localhost:8000", f"127.0.0.1:{self.port}"))
        self.port = reserve_port(self)
        scripts = json.loads((config.parent / "package.json").read_text())["scripts"]
        self.assertEqual("vite", scripts["dev"])
        vite = Child(
            [
                *(str(find_node()), "node_modules/vite/bin/vite.js", "--strictPort"),
                *("--host", "127.0.0.1", "--port", str(self.port)),
            ],
            env={**_after(3).environ, "NO_COLOR": "1"},
            cwd=str(config.parent),
        )
        self.addCleanup(vite.stop)
        vite.wait_for("Local: ")
        self.check_users()

    def test_fourth(self) -> None:
        """After the fourth step one process has the built page, too."""
        self.start(4)
        window = self.check_users()
        self.assertEqual([], window.run("return [...document.querySelectorAll('[src*=vite]')]"))

    def check_users(self) -> Window:
        """Users log in, write to one of them and to everybody, and log out. Returns: A page."""
        john, mary = self.log_in(self.one, "john"), self.log_in(self.two, "mary")
        for user, password in (("john", "wrong"), ("nobody", ""), ("john", "")):
            self.assertEqual(401, mary.run(_LOG_IN, user, password))
        tab = self.one.open(f"http://localhost:{self.port}/")
        self.wait_for_state(tab, "john: connected")
        self.write(mary, "Lunch at noon?", "john")
        for window in (john, tab, mary):
            self.wait_for(window, "mary to john: Lunch at noon?")
        self.write(john, "Call the bank.", "john")
        self.write(john, "The coffee is ready.", "everybody")
        expected = ["mary to john: Lunch at noon?", "john to everybody: The coffee is ready."]
        self.wait_for(mary, *expected)
        for width, scheme in ((390, "dark"), (540, "light")):
            mary.looks(width, 420, scheme=scheme)
            self.assertLessEqual(mary.run("return document.documentElement.scrollWidth"), width)
            self.assertEqual([], faults(mary))
            mary.screenshot(f"{self._testMethodName}-{scheme}")
        # A session that lives: after the end of a token, the page gets another one.
        mary.run(_WATCH)
        _redis().command("PUBLISH", "wsredis-control", '{"end": {"user": "mary"}}')
        mary.wait_until("return states.lastIndexOf('mary: connected') > 0")
        john.find("#logout").click()
        for window in (john, tab):
            window.wait_until("return document.querySelector('#login')?.checkVisibility()")
            self.wait_for(window)
        self.assertEqual([], faults(john))
        self.check_consoles()
        return mary

    def write(self, window: Window, text: str, to: str) -> None:
        """Choose a receiver, type a text, and press the button."""
        from selenium.webdriver.support.ui import Select

        Select(window.find("[name=to]")).select_by_visible_text(to)
        window.find("[name=text]").send_keys(text)
        window.find("#write button").click()
        window.wait_until("return document.querySelector('[name=text]').value === ''")


def _json(notes: tuple[str, ...]) -> str:
    text = json.dumps(notes, separators=(",", ":"), ensure_ascii=False)
    return json.dumps(text)
