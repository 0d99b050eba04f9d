"""What a page in a real browser learns by the subprotocol ``wsredis``."""

from __future__ import annotations

from typing import Any

from tests.support.browser import Browser, Window, missing_browser, shared_browser
from tests.support.case import GatewayCase

#: Opens a WebSocket that is refused, and notes all that the page sees.
_OPEN = """
const [path, offers] = arguments;
window.seen = [];
const socket = new WebSocket(`ws://${location.host}${path}`, offers);
socket.binaryType = "arraybuffer";
socket.onopen = () => seen.push("open");
socket.onmessage = ({data}) => seen.push(new TextDecoder().decode(data));
socket.onclose = ({code, reason, wasClean}) => seen.push([code, reason, wasClean]);
"""


class RefusalTests(GatewayCase):
    """A page learns why its WebSocket is refused."""

    skip = missing_browser()
    browser: Browser

    def setUp(self) -> None:
        """Open a page of the gateway's origin."""
        super().setUp()
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)
        self.window: Window = self.browser.open(f"http://localhost:{self.gateway.port}/health/live")

    def seen(self, path: str, offers: list[str], count: int) -> list[Any]:
        """Open a WebSocket, and wait until the page has seen so much of it."""
        self.window.run(_OPEN, path, offers)
        self.window.wait_until(f"return seen.length >= {count}")
        found: list[Any] = self.window.run("return seen")
        return found

    def test_refused(self) -> None:
        """It sees the code and the reason, after a closing handshake in order."""
        self.assertEqual(
            ["open", [4400, "there is nothing here: sockets are below /ws/", True]],
            self.seen("/wss/told", ["wsredis", "bearer.x"], 2),
        )
        # The browser looks for an icon when it likes.
        errors = [each for each in self.browser.errors() if "favicon" not in each]
        self.assertEqual([], errors)

    def test_without(self) -> None:
        """Without the subprotocol it sees that there was nothing, and the console the status."""
        self.assertEqual([[1006, "", False]], self.seen("/wss/told", ["chat"], 1))
        self.assertIn("404", "".join(self.browser.errors()))

    def test_hello(self) -> None:
        """A page that is let in hears the hello as a binary message."""
        first, hello = self.seen("/ws/page-hello?subscribe-broadcast", ["wsredis"], 2)
        self.assertEqual("open", first)
        self.assertIn('"subscribe": ["broadcast"]', hello)
