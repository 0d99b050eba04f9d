"""The pages of the how-to for applications with a login of their own, in a browser."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests.support.axe import faults
from tests.support.browser import Window, missing_browser, shared_browser
from tests.support.children import Child, Gateway, RedisServer, clean_environment
from tests.support.require import missing

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

_STATE = "return document.querySelector('#state').textContent"


class _PageCase(SynchronousTestCase):
    """
    An application on a port of its own, a gateway on another, and the page that uses both.

    Attributes:
        example: The module of the application.
        server: The server of the application, and its words.
    """

    skip = missing_browser() or missing("node")
    example = "auth_flask"
    server = ("flask", "--app", "auth_flask", "run")

    def setUp(self) -> None:
        """Start Redis and the application."""
        self.redis = RedisServer()
        self.addCleanup(self.redis.stop)
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)
        self.folder = Path(mkdtemp(prefix="wsredis-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        shutil.copy(EXAMPLES / f"{self.example}.py", self.folder)
        application = Child(
            [sys.executable, "-m", *self.server, "--host", "127.0.0.1", "--port", "0"],
            env=clean_environment({"SECRET_KEY": "for tests", "PYTHONUNBUFFERED": "1"}),
            cwd=str(self.folder),
        )
        self.addCleanup(application.stop)
        self.port = int(application.wait_for(r"[Rr]unning on http://127\.0\.0\.1:(\d+)")[1])
        self.origin = f"http://localhost:{self.port}"

    def open(self, *options: str) -> Window:
        """Start a gateway, and open the page."""
        url = f"http://127.0.0.1:{self.port}/wsredis-auth"
        self.gateway = Gateway("--redis", self.redis.url, "--auth-url", url, *options)
        self.addCleanup(self.gateway.stop)
        text = (EXAMPLES / "auth_page.html").read_text("utf-8")
        self.assertEqual(1, text.count(":8080"))
        page = text.replace(":8080", f":{self.gateway.port}")
        (self.folder / "auth_page.html").write_text(page, "utf-8")
        return self.browser.open(self.origin)

    def check_login(self) -> None:
        """With the option of the how-to, a user hears what is for this user, until the logout."""
        window = self.open("--allow-origin", self.origin)
        window.wait_until(f"{_STATE}.startsWith('stopped: you may not subscribe-')")
        window.find("[name=user]").send_keys("john\n")
        window.wait_until(f"{_STATE} === 'connected'")
        for channel in ("user:john:chat", "group:staff:chat"):
            self.assertEqual(1, self.redis.command("PUBLISH", channel, f"for {channel}"))
        window.wait_until("return document.querySelectorAll('#messages li').length === 2")
        self.assertEqual([], faults(window))
        window.find("#logout").click()
        window.wait_until(f"{_STATE}.startsWith('stopped: you may not subscribe-')")

    def check_forgotten(self) -> None:
        """Without the option, page and log say which one is missing."""
        window = self.open()
        option = f"--allow-origin {self.origin} would admit it"
        window.wait_until(f"{_STATE}.endsWith({option!r})")
        self.gateway.child.wait_for(option)
        window.find("[name=user]").send_keys("john\n")
        self.gateway.child.wait_for(f"pages of {self.origin} come as strangers")


class FlaskPageTests(_PageCase):
    """The page with the example for Flask."""

    def test_login(self) -> None:
        """Log in, hear, and log out."""
        self.check_login()

    def test_forgotten(self) -> None:
        """Forget the option."""
        self.check_forgotten()


class FastapiPageTests(_PageCase):
    """The page with the example for FastAPI."""

    example = "auth_fastapi"
    server = ("uvicorn", "auth_fastapi:app")

    def test_login(self) -> None:
        """Log in, hear, and log out."""
        self.check_login()
