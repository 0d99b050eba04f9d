"""
The published django-websocket-redis, unmodified: its publisher in a child, its script in a page.

The package is the installed one; this repository has no part of it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.browser import Browser
from tests.support.children import PATIENCE, clean_environment, until
from tests.support.web import WebSite

__all__ = ["ScriptPage", "SiteServer", "missing_package", "run_in_django"]

#: The settings module, and the imports at the top of a view.
_PREAMBLE = """
import json, os, types
from django.conf import settings
settings.configure(WEBSOCKET_URL="/ws/", **json.loads(os.environ["TEST_DJANGO_SETTINGS"]))
import ws4redis.redis_store
from ws4redis.publisher import RedisPublisher
from ws4redis.redis_store import SELF, RedisMessage

def request_of(name=None, groups=(), session_key=None):
    class Session(dict):
        pass
    session = Session({"ws4redis:memberof": list(groups)})
    session.session_key = session_key
    user = types.SimpleNamespace(is_authenticated=name is not None, get_username=lambda: name)
    return types.SimpleNamespace(session=session, user=user)
"""

_PAGE = """<!doctype html>
<title>ws4redis</title>
<link rel="icon" href="data:,">
<script src="/jquery.js"></script>
<script>
const seen = {connecting: 0, connected: 0, disconnected: 0, messages: [], heartbeats: [0, 0]};
const options = JSON.parse(decodeURIComponent(location.hash.slice(1)));
// The script counts its heartbeats in steps of five seconds: this page lives faster.
const wait = setInterval;
setInterval = (call, milliseconds) => wait(call, milliseconds / options.speed);
// Looks on: what goes out and comes in is counted, nothing is changed.
WebSocket = class extends WebSocket {
  constructor(...all) {
    super(...all);
    this.addEventListener("message", (event) => {
      if (event.data === options.heartbeat_msg) seen.heartbeats[1] += 1;
    });
  }
  send(data) {
    if (data === options.heartbeat_msg) seen.heartbeats[0] += 1;
    super.send(data);
  }
};
</script>
<script src="/ws4redis.js"></script>
<script>
jQuery(($) => {
  window.socket = WS4Redis({
    uri: options.uri,
    heartbeat_msg: options.heartbeat_msg,
    connecting: () => { seen.connecting += 1; },
    connected: () => { seen.connected += 1; },
    disconnected: () => { seen.disconnected += 1; },
    receive_message: (text) => { seen.messages.push(text); },
  }, $);
});
</script>
"""


def missing_package() -> str | None:
    """
    Return the reason to skip a test that needs the original, or None.

    Raises:
        RuntimeError: It is missing, and ``WSREDIS_REQUIRE`` names ws4redis.
    """
    for name, package in (("ws4redis", "django-websocket-redis"), ("django", "Django")):
        if importlib.util.find_spec(name) is None:
            if "ws4redis" in os.environ.get("WSREDIS_REQUIRE", "").split(","):
                raise RuntimeError(f"WSREDIS_REQUIRE names ws4redis, {package} is not installed")
            return f"{package} is not installed"
    return None


def _file_of(package: str, path: str) -> bytes:
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.origin is not None
    return (Path(spec.origin).parent / path).read_bytes()


def run_in_django(redis_path: str, code: str, **settings: object) -> str:
    """
    Run Python as a view of a Django project that uses the original would run it.

    Args:
        redis_path: The UNIX socket of Redis.
        code: May use RedisPublisher, RedisMessage, SELF, and ``request_of(name, groups, key)``.
        settings: More of Django's settings.

    Returns: Its output.
    """
    replaced = {"WS4REDIS_CONNECTION": {"unix_socket_path": redis_path, "db": 0}, **settings}
    # A child, because the settings of Django are bound once in a process.
    done = subprocess.run(
        [sys.executable, "-c", _PREAMBLE + code],
        env=clean_environment({"TEST_DJANGO_SETTINGS": json.dumps(replaced)}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.rstrip("\n")


class SiteServer(WebSite):
    """The web site of a project that uses the original: its page, and the scripts of that."""

    def __init__(self) -> None:
        super().__init__(
            {
                "/": ("text/html; charset=utf-8", _PAGE.encode()),
                "/ws4redis.js": ("text/javascript", _file_of("ws4redis", "static/js/ws4redis.js")),
                # Django brings the jQuery of its admin pages.
                "/jquery.js": (
                    "text/javascript",
                    _file_of("django", "contrib/admin/static/admin/js/vendor/jquery/jquery.js"),
                ),
            }
        )


class ScriptPage:
    """
    A page in which the original script holds a socket.

    Args:
        heartbeat: Given to the script as ``heartbeat_msg``.
        speed: How many times faster the intervals of the page pass.
    """

    def __init__(
        self,
        browser: Browser,
        site: SiteServer,
        uri: str,
        *,
        heartbeat: str | None = None,
        speed: int = 1,
    ) -> None:
        options = json.dumps({"uri": uri, "heartbeat_msg": heartbeat, "speed": speed})
        self.window = browser.open(f"{site.origin}/#{quote(options, safe='')}")

    @property
    def seen(self) -> dict[str, Any]:
        """The calls of the callbacks: counters, and the messages."""
        return dict(self.window.run("return seen"))

    def send(self, message: str) -> None:
        """Call ``send_message`` of the script."""
        self.window.run("socket.send_message(arguments[0])", message)

    def wait_for(self, name: str, count: int, timeout: float = PATIENCE) -> None:
        """Wait until a callback was called so often."""
        until(lambda: self.seen[name] >= count, timeout)

    def wait_for_messages(self, *messages: str) -> None:
        """
        Wait for as many messages as are given.

        Raises:
            AssertionError: They are not the ones that are there then.
        """
        until(lambda: len(self.seen["messages"]) >= len(messages))
        assert self.seen["messages"] == list(messages), self.seen
