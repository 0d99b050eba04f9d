"""The example of a chat in Django, as a copy that runs, and its pages as their readers see them."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.browser import Browser, Window
from tests.support.children import PATIENCE, Child, Gateway, RedisServer, clean_environment, until

__all__ = ["ChatPage", "ChatSite", "log_in", "shared_gateway", "shared_site"]

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "examples" / "django_chat"

#: Of all users.
_PASSWORD = "chat"

#: Passwords that are hashed with care would take half of the time of the tests.
_FAST = 'PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]\n'


class ChatSite:
    """
    A copy of the example, prepared as its README says, and a Redis.

    It has the users john, mary (both in the group chatters) and paul.
    """

    def __init__(self) -> None:
        self.redis = RedisServer()
        self._folder = tempfile.mkdtemp(prefix="wsredis-test-")
        leave = shutil.ignore_patterns("db.sqlite3*", "__pycache__")
        shutil.copytree(_EXAMPLE, self._folder, dirs_exist_ok=True, ignore=leave)
        with Path(self._folder, "mysite", "settings.py").open("a") as settings:
            settings.write(_FAST)
        for command in ("migrate", "demo"):
            self.manage(command)

    @property
    def _environ(self) -> dict[str, str]:
        return {"WSREDIS_REDIS": self.redis.url}

    def manage(self, *words: str) -> None:
        """Run a command of ``manage.py``."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=self._folder,
            env=clean_environment(self._environ),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stderr

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
        """Remove the copy, and end Redis."""
        self.redis.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@cache
def shared_site() -> ChatSite:
    """The site of this process of tests."""
    site = ChatSite()
    atexit.register(site.remove)
    return site


@cache
def shared_gateway() -> Gateway:
    """Pages and sockets of it. Without a signal of Django no change of an identity is noticed."""
    gateway = shared_site().gateway("--recheck", "0")
    atexit.register(gateway.stop)
    return gateway


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
    def has_choice(self) -> bool:
        """Tell whether the form has a choice of receivers."""
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

    @property
    def problem(self) -> str:
        """The error that the page shows. Empty if there is none."""
        return str(self._read("_text(document.getElementById('problem'))"))

    @property
    def text(self) -> str:
        """The content of the field for a message."""
        return str(self._read("document.querySelector('#form [maxlength]').value"))

    def say(self, text: str, to: str | None = None) -> None:
        """
        Type a message and press the button.

        Args:
            to: The receiver to choose. If None, there is no choice.
        """
        if to is not None:
            from selenium.webdriver.support.ui import Select

            Select(self.window.find("#form select")).select_by_visible_text(to)
        self.window.find("#form [maxlength]").send_keys(text)
        self.window.find("#send").click()

    def wait_for_state(self, state: str, timeout: float = PATIENCE) -> None:
        """Wait for the state."""
        until(lambda: self.state == state, timeout)

    def wait_for_words(self, pattern: str) -> None:
        """Wait until the reader sees a state that matches the whole regular expression."""
        until(lambda: re.fullmatch(pattern, self.window.find("#state").text))

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
