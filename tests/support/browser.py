"""A real headless Chromium."""

from __future__ import annotations

import atexit
import importlib.util
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.children import PATIENCE, until
from tests.support.require import find_browser, missing

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["Browser", "Window", "missing_browser", "shared_browser"]

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def missing_browser() -> str | None:
    """
    Return the reason to skip a test that needs Redis and a driven Chromium, or None.

    Raises:
        RuntimeError: Something is missing, and ``WSREDIS_REQUIRE`` names the browser.
    """
    reason = missing("redis", "browser")
    if reason is None and shutil.which("chromedriver") is None:
        reason = "there is no chromedriver on this machine"
    if reason is None and importlib.util.find_spec("selenium") is None:
        reason = "selenium is not installed"
    if reason is not None and "browser" in os.environ.get("WSREDIS_REQUIRE", "").split(","):
        raise RuntimeError(f"WSREDIS_REQUIRE names browser, and {reason}")
    return reason


class Browser:
    """One Chromium with an empty profile. Driver and browser are named: nothing is downloaded."""

    def __init__(self) -> None:
        from selenium.webdriver import Chrome, ChromeOptions
        from selenium.webdriver.chrome.service import Service

        self._profile = tempfile.mkdtemp(prefix="wsredis-test-")
        options = ChromeOptions()
        options.binary_location = find_browser() or ""
        for flag in (*_FLAGS, f"--user-data-dir={self._profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = Service(shutil.which("chromedriver"), log_output=subprocess.DEVNULL)
        self.driver: Chrome = Chrome(options=options, service=service)
        self.driver.set_script_timeout(PATIENCE)
        self.driver.set_page_load_timeout(PATIENCE)
        self._first = self.driver.current_window_handle

    def open(self, url: str) -> Window:
        """Open a URL in a window of its own."""
        self.driver.switch_to.new_window("window")
        window = Window(self)
        self.driver.get(url)
        return window

    def close_windows(self) -> None:
        """Close the windows that `open` opened, and forget cookies and the console."""
        for handle in self.driver.window_handles:
            if handle != self._first:
                self.driver.switch_to.window(handle)
                self.driver.close()
        self.driver.switch_to.window(self._first)
        self.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})
        self.console()

    def console(self) -> list[dict[str, Any]]:
        """Return the console messages since the last call: dicts with level and message."""
        entries: list[dict[str, Any]] = self.driver.get_log("browser")
        return entries

    def errors(self) -> list[str]:
        """The serious part of `console`."""
        return [str(each["message"]) for each in self.console() if each["level"] == "SEVERE"]

    def quit(self) -> None:
        """End it."""
        self.driver.quit()
        shutil.rmtree(self._profile, ignore_errors=True)


@cache
def shared_browser(profile: str = "first") -> Browser:
    """
    A browser of this process of tests; each test has windows of its own.

    Args:
        profile: Another one is another browser, with cookies of its own.
    """
    browser = Browser()
    atexit.register(browser.quit)
    return browser


class Window:
    """One window of a browser; it is made for the window in front."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._handle = browser.driver.current_window_handle

    @property
    def driver(self) -> Chrome:
        """The driver, with this window in front."""
        if self._browser.driver.current_window_handle != self._handle:
            self._browser.driver.switch_to.window(self._handle)
        return self._browser.driver

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in the page. Returns: Its result."""
        return self.driver.execute_script(script, *arguments)

    def wait_until(self, script: str) -> None:
        """Wait until a script with a ``return`` gives something true."""
        until(lambda: self.run(script))

    def find(self, selector: str) -> Any:
        """The first element that matches the CSS selector."""
        return self.driver.find_element("css selector", selector)

    def reload(self) -> None:
        """Load the page again."""
        self.driver.refresh()

    def looks(self, width: int, height: int, *, phone: bool = False, scheme: str = "light") -> None:
        """Show the page as a screen of that size, with a light or dark scheme, would."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone},
        )
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia",
            {"features": [{"name": "prefers-color-scheme", "value": scheme}]},
        )

    def screenshot(self, name: str) -> None:
        """Save a picture for people to look at, where ``WSREDIS_SCREENSHOTS`` names a folder."""
        folder = os.environ.get("WSREDIS_SCREENSHOTS")
        if folder:
            self.driver.save_screenshot(str(Path(folder, f"{name}.png")))
