"""The first push, step by step: a demo, a page of one's own, and programs that publish."""

from __future__ import annotations

import json
import shutil
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from tests.support.axe import faults
from tests.support.browser import missing_browser, shared_browser
from tests.support.playground import Playground
from tests.support.require import missing
from tests.support.tutorial import Reader, complaints, stages

_ITEMS = "[...document.querySelectorAll('#news li')].map((each) => each.textContent)"


class FirstPushTests(SynchronousTestCase):
    """All steps, with one demo."""

    skip = missing_browser() or missing("node")

    def test_steps(self) -> None:
        """Each step ends as the page says: the demo, the page, a command, and a program."""
        folder = tempfile.mkdtemp(prefix="wsredis-test-")
        self.addCleanup(shutil.rmtree, folder)
        reader = Reader(folder, {})
        _, demo, page, publish, program, stop = stages("first-push.rst")
        (line,) = demo.servers
        child = reader.start(line, "connected to ")
        self.addCleanup(child.stop)
        port = int(child.wait_for(r"demo page: http://localhost:(\d+)/")[1])
        # Demos of other tests may run on this machine, and each has a Redis.
        redis = child.wait_for(r"connected to (unix://[^,\s]+)")[1]
        reader.environ["WSREDIS_REDIS"] = redis
        browser = shared_browser()
        self.addCleanup(browser.close_windows)
        one, two = Playground(browser, port), Playground(browser, port)
        one.say("Hello yourself")
        two.wait_for("Hello yourself")

        reader.follow(page)
        saved = reader.folder / "news.html"
        text = saved.read_text("utf-8")
        self.assertEqual(2, text.count("localhost:8080"))
        saved.write_text(text.replace("localhost:8080", f"localhost:{port}"), "utf-8")
        mark = len(child.output)
        window = browser.open(saved.as_uri())
        child.wait_for(r"opened .*broadcast:news", since=mark)
        for step, words in ((publish, ["Hello"]), (program, ["Hello", "Good morning"])):
            reader.follow(step)
            window.wait_until(f"return JSON.stringify({_ITEMS}) === '{_json(words)}'")
        self.assertEqual([], faults(window))
        window.reload()
        window.wait_until(f"return JSON.stringify({_ITEMS}) === '{_json(['Good morning'])}'")
        self.assertEqual([], stop.servers + stop.steps)
        self.assertEqual([], complaints(browser))


def _json(words: list[str]) -> str:
    return json.dumps(words, separators=(",", ":"))
