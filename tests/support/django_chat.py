"""The example of a chat in Django, as a copy that runs, and its pages as their readers see them."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.browser import Browser, Window
from tests.support.children import PATIENCE, Child, Gateway, clean_environment, until

__all__ = ["ChatPage", "ChatSite", "log_in"]

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "examples" / "django_chat"

#: Of all users.
_PASSWORD = "chat"


@cache
def _prepared() -> str:
    """The example with its database, made as its README says."""
    folder = tempfile.mkdtemp(prefix="wsredis-test-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    leave = shutil.ignore_patterns("db.sqlite3*", "__pycache__")
    shutil.copytree(_EXAMPLE, folder, dirs_exist_ok=True, ignore=leave)
    for command in ("migrate", "demo"):
        _manage(folder, command)
    return folder


def _manage(folder: str, *words: str, environ: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=folder,
        env=clean_environment(environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class ChatSite:
    """
    A copy of the example with the users john, mary (both in the group chatters) and paul.

    Args:
        redis_url: Where Redis is.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._folder = tempfile.mkdtemp(prefix="wsredis-test-")
        shutil.copytree(_prepared(), self._folder, dirs_exist_ok=True)

    @property
    def _environ(self) -> dict[str, str]:
        return {"WSREDIS_REDIS": self._redis_url}

    def manage(self, *words: str) -> str:
        """Run a command of ``manage.py``. Returns: What it printed."""
        return _manage(self._folder, *words, environ=self._environ)

    def gateway(self, *options: str) -> Gateway:
        """Start ``twistd wsredis`` with pages and sockets, as the README says."""
        path = os.pathsep.join([str(_ROOT), self._folder])
        return Gateway(
            *("--django", "mysite.settings", "--wsgi", "mysite.wsgi:application", *options),
            environ={**self._environ, "PYTHONPATH": path},
        )

    def runserver(self, port: int) -> Child:
        """Start ``manage.py runserver`` on this port, and wait until it serves."""
        child = Child(
            [sys.executable, "manage.py", "runserver", str(port)],
            env=clean_environment(self._environ),
            cwd=self._folder,
        )
        try:
            child.wait_for("connected to ")
        except AssertionError:
            child.stop()
            raise
        return child

    def remove(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self._folder, ignore_errors=True)


def log_in(browser: Browser, port: int, name: str) -> ChatPage:
    """Log in with the form. Returns: The page to which it leads, connected."""
    window = browser.open(f"http://localhost:{port}/userchat/")
    window.find("[name=username]").send_keys(name)
    window.find("[name=password]").send_keys(_PASSWORD)
    window.find(".login button").click()
    page = ChatPage(window)
    page.wait_for_state("connected")
    return page


class ChatPage:
    """One of the two chat pages."""

    def __init__(self, window: Window) -> None:
        self.window = window

    @classmethod
    def opened(cls, browser: Browser, port: int, path: str) -> ChatPage:
        """Open the page in a window of its own, and wait until it is connected."""
        page = cls(browser.open(f"http://localhost:{port}{path}"))
        page.wait_for_state("connected")
        return page

    @property
    def state(self) -> str:
        """``connecting``, ``connected``, ``waiting`` or ``stopped``."""
        return str(self._read("document.getElementById('state')?.dataset.state"))

    @property
    def state_words(self) -> str:
        """What the reader sees of the state."""
        return str(self.window.find("#state").text)

    @property
    def has_choice(self) -> bool:
        """Whether one chooses to whom one writes."""
        return bool(self._read("document.querySelector('#form select') !== null"))

    @property
    def messages(self) -> list[str]:
        """The messages in the list."""
        return list(self._read("[...document.querySelectorAll('#messages p')].map(_text)"))

    @property
    def labels(self) -> list[str]:
        """From whom and to whom they are, without the time."""
        script = "[...document.querySelectorAll('#messages small')].map(_text)"
        return [each.rpartition(" · ")[0] for each in self._read(script)]

    def say(self, text: str, to: str | None = None) -> None:
        """
        Type a message and press the button.

        Args:
            to: Whom to choose as the receiver. None: there is no choice.
        """
        if to is not None:
            from selenium.webdriver.support.ui import Select

            Select(self.window.find("#form select")).select_by_visible_text(to)
        self.window.find("#form [maxlength]").send_keys(text)
        self.window.find("#send").click()

    def wait_for_state(self, state: str, timeout: float = PATIENCE) -> None:
        """Wait for the state."""
        until(lambda: self.state == state, timeout)

    def wait_for(self, *messages: str) -> None:
        """
        Wait for as many messages as are given.

        Raises:
            AssertionError: They are not the ones that are there then.
        """
        until(lambda: len(self.messages) >= len(messages))
        assert self.messages == list(messages), self.messages

    def _read(self, expression: str) -> Any:
        return self.window.run(f"const _text = each => each.textContent; return {expression}")
