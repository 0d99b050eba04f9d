"""The example of a chat on Django Channels, in two windows of a real browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.axe import faults
from tests.support.browser import Window, missing_browser, shared_browser
from tests.support.children import PATIENCE, Gateway, RedisServer, clean_environment, until
from tests.support.require import missing

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "examples" / "channels_chat"

_HOSTILE = "<img src=x onerror=\"document.title='x'\"> & </script>"


class ChannelsChatTests(SynchronousTestCase):
    """A copy of the project, prepared and served as its README says."""

    skip = missing_browser() or missing("node")

    def setUp(self) -> None:
        """Start it."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        folder = tempfile.mkdtemp(prefix="wsredis-test-")
        self.addCleanup(shutil.rmtree, folder)
        leave = shutil.ignore_patterns("db.sqlite3*", "__pycache__")
        shutil.copytree(_EXAMPLE, folder, dirs_exist_ok=True, ignore=leave)
        environ = {"WSREDIS_REDIS": self.redis.url}
        done = subprocess.run(
            [sys.executable, "manage.py", "migrate", "--verbosity=0"],
            cwd=folder,
            env=clean_environment(environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        path = os.pathsep.join([str(_ROOT), folder])
        self.gateway = Gateway(
            *("--django", "mysite.settings", "--asgi", "mysite.asgi:application"),
            environ={**environ, "PYTHONPATH": path},
        )
        self.addCleanup(self.gateway.stop)
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def enter(self, room: str) -> Window:
        """Open the page of a room, and wait until it is connected."""
        window = self.browser.open(f"http://127.0.0.1:{self.gateway.port}/{room}/")
        script = "return document.querySelector('#state').textContent"
        until(lambda: window.run(script) == "connected")
        return window

    def say(self, window: Window, text: str) -> None:
        """Type a text and press the button."""
        window.run(
            "document.querySelector('[name=text]').value = arguments[0];"
            "document.querySelector('#say button').click()",
            text,
        )

    def wait_for(self, window: Window, *texts: str) -> None:
        """Wait until the page shows these texts and no others."""
        script = "return [...document.querySelectorAll('#talk li')].map((line) => line.textContent)"
        until(lambda: window.run(script) == [*texts])

    def test_rooms(self) -> None:
        """All who are in a room see what is said there, letter by letter, and nobody else does."""
        one, two, other = self.enter("hall"), self.enter("hall"), self.enter("garden")
        self.say(one, "Is anybody there?")
        self.wait_for(two, "Is anybody there?")
        self.say(two, _HOSTILE)
        for window in (one, two):
            self.wait_for(window, "Is anybody there?", _HOSTILE)
            self.assertEqual(0, window.run("return document.images.length"))
        self.say(other, "quiet")
        self.wait_for(other, "quiet")
        rooms = self.browser.open(f"http://127.0.0.1:{self.gateway.port}/")
        for window in (rooms, other):
            self.assertEqual([], faults(window))
        self.assertEqual([], self.browser.errors())
        self.assertNotIn("Traceback", self.gateway.log)

    def test_lost(self) -> None:
        """A text whose socket closes before it came back is named and stands in its field again."""
        window = self.enter("hall")
        window.run("WebSocket.prototype.send = () => {}")
        self.say(window, "lost")
        self.assertEqual("", window.run("return document.querySelector('[name=text]').value"))
        self.gateway.stop()
        self.wait_for(window, "(perhaps not sent: lost)")
        self.assertEqual("lost", window.run("return document.querySelector('[name=text]').value"))
