"""A page of a Django project with ``{% wsredis_script %}``, in a real browser."""

from __future__ import annotations

from tests.integration.test_django_app import AppCase
from tests.support.browser import Window, missing_browser, shared_browser
from tests.support.django_project import PASSWORD, missing_django

_LISTEN = """
window.seen = [];
window.socket = new WS4Redis({
  facility: "f",
  subscribe: "user",
  receive_message: (text) => { seen.push(text); },
  state: (name, detail) => { seen.push(`${name} ${detail.code}`); },
});
"""


class PageTests(AppCase):
    """One process is the whole site: pages, static files and sockets."""

    skip = missing_browser() or missing_django()

    def test_logout(self) -> None:
        """The page hears its user, with nothing inline, until its logout cuts the socket."""
        self.begin("--wsgi", "tests.support.project.wsgi:application", DEBUG=True)
        browser = shared_browser()
        self.addCleanup(browser.close_windows)
        self.page(f"login/?user=john&password={PASSWORD}")
        window = self.page("listen/")
        window.run(_LISTEN)
        window.wait_until("return seen.includes('connected undefined')")
        self.publish("user:john:f", "hello")
        window.wait_until("return seen.includes('hello')")
        self.page("logout/")
        window.wait_until("return seen.includes('stopped 4401')")
        # The pages to log in and out with name no icon.
        errors = [each for each in browser.errors() if "/favicon.ico" not in each]
        self.assertEqual([], errors)

    def page(self, path: str) -> Window:
        """Open a page in a window of its own."""
        return shared_browser().open(f"http://127.0.0.1:{self.gateway.port}/{path}")
