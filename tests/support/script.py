"""Pages with wsredis.js on them."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from tests.support.browser import Browser
from tests.support.children import PATIENCE, until
from tests.support.web import WebSite

__all__ = ["ClientPage", "ClientSite", "read_script"]

#: Nothing inline, nothing evaluated.
_POLICY = "default-src 'none'; script-src 'self' http://127.0.0.1:*; connect-src *; img-src data:"

_PAGE = """<!doctype html>
<title>wsredis.js</title>
<link rel="icon" href="data:,">
%s
<script src="/page.js"></script>
"""

# The script of a project, and a clock that moves by hand.
_OWN_SCRIPT = """"use strict";
window.seen = { connecting: 0, connected: 0, disconnected: [], messages: [], states: [] };
window.start = (options) => {
  window.socket = WS4Redis({
    connecting: () => { seen.connecting += 1; },
    connected: () => { seen.connected += 1; },
    disconnected: (event) => { seen.disconnected.push(event.code); },
    receive_message: (data) => { seen.messages.push(data); },
    state: (name, detail) => { seen.states.push([name, detail]); },
    ...options,
  });
};
window.stopClock = () => {
  const timers = new Map();
  let now = 0;
  let last = 0;
  const add = (call, wait, every) => {
    timers.set(++last, { at: now + wait, every, call });
    return last;
  };
  const began = Date.now();
  performance.now = () => now;
  Date.now = () => began + now;
  window.setTimeout = (call, wait = 0, ...rest) => add(() => call(...rest), wait, null);
  window.setInterval = (call, wait, ...rest) => add(() => call(...rest), wait, wait);
  window.clearTimeout = window.clearInterval = (id) => timers.delete(id);
  window.timers = () => [...timers.values()].map((each) => each.at - now);
  window.advance = (wait) => {
    const end = now + wait;
    const next = () => [...timers].filter(([, each]) => each.at <= end)
      .sort(([, one], [, other]) => one.at - other.at)[0];
    for (let found = next(); found; found = next()) {
      const [id, timer] = found;
      now = timer.at;
      if (timer.every === null) timers.delete(id);
      else timer.at += timer.every;
      timer.call();
    }
    now = end;
  };
};
"""


def read_script(name: str) -> bytes:
    """One of the files beside ``wsredis.js``."""
    return files("wsredis").joinpath("django", "static", "wsredis", name).read_bytes()


class ClientSite(WebSite):
    """A site whose policy forbids all that is inline; the script of its page is a classic one."""

    def __init__(self) -> None:
        html, javascript = "text/html; charset=utf-8", "text/javascript; charset=utf-8"
        super().__init__(
            {
                "/": (html, self._page('<script src="/wsredis.js"></script>')),
                "/wsredis.js": (javascript, read_script("wsredis.js")),
                "/wsredis.mjs": (javascript, read_script("wsredis.mjs")),
                "/page.js": (javascript, _OWN_SCRIPT.encode()),
            },
            {"Content-Security-Policy": _POLICY},
        )

    def add_page(self, path: str, head: str) -> None:
        """Add a page that loads the script in its own way."""
        self.files[path] = ("text/html; charset=utf-8", self._page(head))

    def add_module(self, path: str, text: str) -> None:
        """Add a script."""
        self.files[path] = ("text/javascript; charset=utf-8", text.encode())

    def _page(self, head: str) -> bytes:
        return (_PAGE % head).encode()


class ClientPage:
    """A page of a `ClientSite`. Nothing is connected before `start`."""

    def __init__(self, browser: Browser, site: ClientSite, path: str = "/") -> None:
        self.window = browser.open(f"{site.origin}{path}")

    def start(self, options: dict[str, object], script: str = "{}") -> None:
        """
        Start the script.

        Args:
            script: JavaScript of an object with more options, those that are functions.
        """
        self.run(f"start({{...{json.dumps(options)}, ...{script}}})")

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in the page. Returns: Its result."""
        return self.window.run(script, *arguments)

    def send(self, *messages: str) -> None:
        """Call ``send_message`` for each message, all in one call of `run`."""
        self.run("for (const each of arguments) socket.send_message(each)", *messages)

    @property
    def seen(self) -> dict[str, Any]:
        """The calls of the callbacks so far."""
        return dict(self.run("return seen"))

    @property
    def states(self) -> list[str]:
        """The names of the states so far."""
        return [name for name, _ in self.seen["states"]]

    @property
    def detail(self) -> dict[str, Any]:
        """The detail of the last state."""
        return dict(self.seen["states"][-1][1])

    def wait_for_state(self, name: str, timeout: float = PATIENCE) -> None:
        """Wait until this is the state."""
        until(lambda: self.states[-1:] == [name], timeout)

    def wait_for_messages(self, *messages: object) -> None:
        """
        Wait for as many messages as are given.

        Raises:
            AssertionError: They are not the ones that are there then.
        """
        until(lambda: len(self.seen["messages"]) >= len(messages))
        assert self.seen["messages"] == list(messages), self.seen
