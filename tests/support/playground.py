"""The playground of a gateway as its visitor sees it."""

from __future__ import annotations

from typing import Any

from tests.support.browser import Browser
from tests.support.children import PATIENCE, until

__all__ = ["Playground", "SocketPart"]


class SocketPart:
    """One socket on the page, with its frames and its settings."""

    def __init__(self, page: Playground, number: int) -> None:
        self._page = page
        self._number = number

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript with ``part`` as the element of this socket. Returns: Its result."""
        find = f"const part = document.querySelectorAll('.client')[{self._number}];"
        return self._page.window.run(f"{find} {script}", *arguments)

    def find(self, name: str) -> Any:
        """The element of that name."""
        return self.run(f"return part.querySelector('[data-part={name}]')")

    def box(self, flag: str) -> Any:
        """The check box of a flag, such as ``subscribe-user``."""
        return self.run(f"return part.querySelector('[name={flag}]')")

    @property
    def state(self) -> str:
        """``connecting``, ``connected``, ``waiting`` or ``stopped``."""
        return str(self.find("state").get_attribute("data-state"))

    @property
    def state_words(self) -> str:
        """The text of the state that the visitor sees."""
        return str(self.find("state").text)

    def frames(self, selector: str) -> list[str]:
        """The payloads of the frames of a kind."""
        script = f"return [...part.querySelectorAll('.frame{selector} .payload')]"
        return list(self.run(f"{script}.map(each => each.textContent)"))

    @property
    def messages(self) -> list[str]:
        """The messages that have arrived."""
        return self.frames(".in:not(.bytes)")

    @property
    def sent(self) -> list[str]:
        """The messages that were sent."""
        return self.frames(".out:not(.beat)")

    @property
    def notes(self) -> list[str]:
        """The bad news among the frames."""
        script = "return [...part.querySelectorAll('.note.bad')]"
        return list(self.run(f"{script}.map(each => each.textContent)"))

    def channel(self, audience: str) -> str:
        """The words beside an audience: its channels, or the reason why there are none."""
        script = f"return part.querySelector('[data-audience={audience}]').textContent"
        return str(self.run(script))

    def say(self, text: str) -> None:
        """Type a message and press the button."""
        self.find("text").send_keys(text)
        self.find("send").click()

    def write(self, name: str, text: str) -> None:
        """Replace the text of a field, and press Enter."""
        from selenium.webdriver.common.keys import Keys

        self.find(name).send_keys(Keys.CONTROL, "a")
        self.find(name).send_keys(text or Keys.DELETE, Keys.ENTER)

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

    def wait_for_channel(self, audience: str, words: str) -> None:
        """Wait until the words stand beside an audience."""
        until(lambda: words in self.channel(audience))


class Playground(SocketPart):
    """
    The page in a window of its own, connected; its first socket.

    Args:
        wish: Facility and flags of the socket. If empty, those of the page itself.
        state: Wait for this state.
    """

    def __init__(
        self, browser: Browser, port: int, wish: str = "", state: str = "connected"
    ) -> None:
        self.window = browser.open(f"http://localhost:{port}/{wish and '#'}{wish}")
        super().__init__(self, 0)
        self.wait_for_state(state)

    def second(self) -> SocketPart:
        """Open a second socket beside the first one."""
        self.window.find("#split").click()
        other = SocketPart(self, 1)
        other.wait_for_state("connected")
        return other

    def code(self, language: str) -> list[str]:
        """Choose a language. Returns: The pieces of code."""
        self.window.find(f"#tab-{language}").click()
        return list(
            self.window.run(
                "return [...document.querySelectorAll('#panel pre')].map(each => each.textContent)"
            )
        )
