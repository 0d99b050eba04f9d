"""The documentation as readers see it: built, and in a real browser."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from tests.support.axe import SERIOUS, faults
from tests.support.browser import Window, missing_browser, shared_browser
from tests.support.case import GatewayCase
from tests.support.children import until
from tests.support.docs_site import DOCS, built_site, pages
from tests.support.require import missing
from wsredis.config.settings import all_settings
from wsredis.errors import CLOSE_CODES
from wsredis.gateway.numbers import EXPORTED

#: Pages of each kind, with width and scheme: a fault in one would be one in others of its kind.
_KINDS = (
    ("index.html", 1280, "light"),
    ("index.html", 390, "dark"),
    ("tutorial/first-push.html", 390, "light"),
    ("howto/index.html", 1280, "dark"),
    ("howto/troubleshooting.html", 390, "dark"),
    ("howto/browser.html", 1280, "dark"),
    ("howto/react-vue.html", 390, "light"),
    ("reference/metrics.html", 390, "dark"),
    ("reference/codes.html", 1280, "light"),
    ("explanation/comparison.html", 1280, "dark"),
    ("explanation/comparison.html", 390, "light"),
    ("search.html?q=403", 1280, "light"),
)

#: Searched words, and a page that is among the first three results.
_SEARCHED = {
    "403": "howto/troubleshooting.html",
    "1006": "howto/troubleshooting.html",
    "503": "howto/troubleshooting.html",
    "timeout": "howto/troubleshooting.html",
    "cors": "howto/troubleshooting.html",
    "docker": "howto/deploy-containers.html",
    "kubernetes": "howto/deploy-kubernetes.html",
    "nginx": "howto/deploy-nginx.html",
    "prometheus": "howto/monitor.html",
    "presence": "explanation/when-not.html",
    "history": "explanation/when-not.html",
    "centrifugo": "explanation/comparison.html",
    "jwt": "howto/tokens.html",
    "login": "howto/identity.html",
    "max-queue": "reference/options.html#setting-max-queue",
    "--max-queue": "reference/options.html#setting-max-queue",
    "WSREDIS_MAX_QUEUE": "reference/options.html#setting-max-queue",
    "4403": "reference/codes.html#close-code-4403",
    "redis-lost": "reference/log.html#log-event-redis-lost",
    "subscribe-broadcast": "reference/urls.html#flag-subscribe-broadcast",
}

#: What is wider than its place.
_WIDE = """
const [commands] = arguments;
const found = [];
if (document.documentElement.scrollWidth > innerWidth) found.push("the page");
for (const box of document.querySelectorAll(commands ? ".highlight-console pre" : "pre"))
  if (box.scrollWidth > box.clientWidth) found.push(box.textContent.slice(0, 60));
return found;
"""

#: The addresses of the first three results of a search, without what highlights words.
_RESULTS = """
return [...document.querySelectorAll("#search-results li > a")].slice(0, 3).map((each) => {
  const [page, anchor] = each.getAttribute("href").split("#");
  return page.split("?")[0] + (anchor ? "#" + anchor : "");
});
"""

#: The first commands of the first page.
_COMMANDS = """\
python3 -m venv .venv && .venv/bin/pip install 'wsredis[embedded]'
.venv/bin/wsredis demo"""

#: Nothing changes slowly.
_AT_ONCE = """
const style = document.createElement("style");
style.textContent = "* { transition: none !important }";
document.head.append(style);
"""

#: Press the first button that copies. Returns: What it copies.
_COPY = """
let copied = "";
document.execCommand = () => { copied = document.activeElement.value; return true; };
document.querySelector("button.copybtn").click();
return copied;
"""


class TargetTests(SynchronousTestCase):
    """Everything of the reference that has a name has a link."""

    skip = missing("docs")

    def html(self, page: str) -> str:
        """The source of a built page."""
        return (built_site() / page).read_text("utf-8")

    def check(self, page: str, role: str, names: list[str]) -> None:
        """Each name is a target of its page, and the index leads to it."""
        html, index = self.html(page), self.html("genindex.html")
        self.assertTrue(names)
        targets = [f"{role}-{re.sub('[^a-z0-9]+', '-', name.lower())}" for name in names]
        self.assertEqual([], [each for each in targets if f'id="{each}"' not in html])
        links = [f'href="{page}#{each}"' for each in targets]
        self.assertEqual([], [each for each in links if each not in index])

    def test_settings(self) -> None:
        """Every setting."""
        self.check("reference/options.html", "setting", [each.name for each in all_settings()])

    def test_close_codes(self) -> None:
        """Every close code."""
        self.check("reference/codes.html", "close-code", [str(code) for code in CLOSE_CODES])

    def test_metrics(self) -> None:
        """Every metric of the gateway."""
        self.check("reference/metrics.html", "metric", [each.full_name for each in EXPORTED])

    def test_log_events(self) -> None:
        """Every event of the log."""
        page = (DOCS / "reference" / "log.rst").read_text("utf-8")
        _, _, events = page.partition("\nEvents\n---")
        names = re.findall(r"(?m)^   \* - ``([a-z0-9-]+)``$", events)
        self.check("reference/log.html", "log-event", names)

    def test_channels(self) -> None:
        """Every audience, flag, and key of a rule."""
        audiences = ["broadcast", "group", "user", "session"]
        self.check("reference/redis.html", "audience", audiences)
        flags = [f"{right}-{name}" for right in ("subscribe", "publish") for name in audiences]
        self.check("reference/urls.html", "flag", [*flags, "echo"])
        keys = ["allow", "facility", "audience", "right", "who"]
        self.check("howto/rules.html", "rule-key", keys)

    def test_names_are_links(self) -> None:
        """A setting, an event and a metric that another page names lead to their rows."""
        losses = self.html("explanation/losses.html")
        self.assertIn('href="../reference/log.html#log-event-redis-lost"', losses)
        self.assertIn('href="../reference/metrics.html#metric-wsredis-redis-losses-total"', losses)
        self.assertIn('href="../reference/options.html#setting-on-gap"', losses)

    def test_pictures(self) -> None:
        """Each drawing has a title and a description, and colours for the dark."""
        pictures = [each for each in DOCS.rglob("*.svg") if "_build" not in each.parts]
        self.assertTrue(pictures)
        for picture in pictures:
            source = picture.read_text("utf-8")
            for part in ('role="img"', "<title ", "<desc ", "(prefers-color-scheme: dark)"):
                self.assertTrue(part in source, f"{picture} has no {part}")

    def test_alternatives(self) -> None:
        """Each image of a page has a text in its place."""
        for page in pages(built_site()):
            for image in re.findall(r"<img [^>]*>", self.html(page)):
                self.assertRegex(image, r' alt="[^"]{10,}"', page)


class BrowserTests(SynchronousTestCase):
    """In Chromium, from the disk."""

    skip = missing("docs", "node") or missing_browser()

    def setUp(self) -> None:
        """Build the site and open a window."""
        self.site = built_site()
        browser = shared_browser()
        self.addCleanup(browser.close_windows)
        self.window = browser.open("about:blank")

    def show(self, page: str, width: int, scheme: str = "light") -> Window:
        """Open a page on a screen of that width."""
        self.window.driver.get(f"{self.site.as_uri()}/{page}")
        # Colours that are on their way to another scheme have too little contrast.
        self.window.run(_AT_ONCE)
        # After the page is there: a new process for it would forget it.
        self.window.looks(width, 900, phone=width < 600, scheme=scheme)
        self.window.wait_until(f"return innerWidth === {width}")
        return self.window

    def test_nothing_is_cut_off(self) -> None:
        """Pages fit their screens; at 1280 pixels all code is seen, and on a phone all commands."""
        several = [page for page in pages(self.site) if not page.startswith("decisions/0")]
        found: dict[tuple[str, int], Any] = {}
        for page in [*several, "decisions/0090-tests-of-others-run-unmodified.html"]:
            for width in (1280, 390):
                window = self.show(page, width)
                wide = window.run(_WIDE, width < 600)
                if wide:
                    found[page, width] = wide
        self.assertEqual({}, found)

    def test_axe(self) -> None:
        """axe finds nothing serious in pages of each kind, at a desk and on a phone."""
        for page, width, scheme in _KINDS:
            window = self.show(page, width, scheme)
            self.assertEqual([], faults(window, impacts=SERIOUS), f"{page} {width} {scheme}")

    def test_search(self) -> None:
        """The words that people search lead to the page that has the answer."""
        for words, page in _SEARCHED.items():
            window = self.show(f"search.html?q={quote(words)}", 1280)
            window.wait_until("return document.querySelector('#search-results li a')")
            window.wait_until(
                "return /found/.test(document.querySelector('.search-summary').innerText)"
            )
            links = window.run(_RESULTS)
            self.assertTrue([each for each in links if each.startswith(page)], (words, links))

    def test_copy(self) -> None:
        """The button beside commands copies them without the prompt."""
        window = self.show("index.html", 1280)
        window.wait_until("return document.querySelector('button.copybtn')")
        self.assertEqual(_COMMANDS, window.run(_COPY))

    def test_pictures_follow_the_reader(self) -> None:
        """A picture is light where the reader has chosen so, though the system is dark."""
        window = self.show("index.html", 1280, "dark")
        for theme in ("light", "dark"):
            script = (
                f"document.body.dataset.theme = '{theme}';"
                "return getComputedStyle(document.querySelector('article img')).colorScheme"
            )
            self.assertEqual(theme, window.run(script))

    def test_phone_tables(self) -> None:
        """On a phone a row is a list, and each cell has the head of its column."""
        window = self.show("reference/options.html", 390)
        cell = "document.getElementById('setting-max-queue').closest('tr').cells[1]"
        self.assertEqual("Default", window.run(f"return {cell}.dataset.label"))
        self.assertEqual("block", window.run(f"return getComputedStyle({cell}).display"))


class FirstPageTests(GatewayCase):
    """The page of one's own that the README and the first page show."""

    skip = missing_browser()

    def test_news(self) -> None:
        """Opened from the disk, it shows what is published."""
        example = (DOCS / "examples" / "news.html").read_text("utf-8")
        page = Path(tempfile.mkdtemp(prefix="wsredis-test-"), "news.html")
        self.addCleanup(shutil.rmtree, page.parent)
        # Other tests have news, too.
        changed = example.replace("localhost:8080", f"localhost:{self.gateway.port}")
        page.write_text(changed.replace("/ws/news?", "/ws/first-page?"))
        browser = shared_browser()
        self.addCleanup(browser.close_windows)
        window = browser.open(page.as_uri())
        published = f"hello from {self.id()}"
        until(lambda: self.redis.command("PUBLISH", "broadcast:first-page", published) == 1)
        window.wait_until("return document.querySelector('#news li')")
        self.assertEqual(published, window.find("#news li").text)
        self.assertEqual([], browser.errors())
