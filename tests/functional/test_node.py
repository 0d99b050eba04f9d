"""Node, the packages of tests/apps, and axe in a browser: the tools of other tests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from tempfile import mkdtemp

from twisted.trial.unittest import SynchronousTestCase

from tests.support.axe import SERIOUS, faults
from tests.support.browser import missing_browser, shared_browser
from tests.support.node import APPS, copy_app, node, node_modules, npm
from tests.support.require import missing
from tests.support.web import WebSite

_PAGE = """<!doctype html>
<html lang="en"><title>A page</title>
<main><h1>A page</h1>%s</main>
"""


class NodeTests(SynchronousTestCase):
    """Programs of Node, and their packages."""

    skip = missing("node")

    def test_packages(self) -> None:
        """The installed packages are those of package.json, in exactly these versions."""
        wanted = json.loads((APPS / "package.json").read_text())["dependencies"]
        for name, version in wanted.items():
            installed = json.loads((node_modules() / name / "package.json").read_text())
            self.assertEqual(version, installed["version"], name)

    def test_no_registry(self) -> None:
        """The lock file names no place to download from: each machine has its own registry."""
        text = (APPS / "package-lock.json").read_text()
        self.assertNotIn('"resolved"', text)
        self.assertEqual([], re.findall(r"https?://[^/\"]*(?:registry|npm)[^/\"]*", text))

    def test_run(self) -> None:
        """What a program writes is returned, and a failure has it in its message."""
        folder = mkdtemp()
        self.assertEqual("2\n", node("-e", "console.log(1 + 1)", cwd=folder))
        error = self.assertRaises(
            AssertionError, node, "-e", "console.log('so'); process.exit(3)", cwd=folder
        )
        self.assertIn("status 3\nso\n", str(error))
        self.assertRegex(npm("--version", cwd=folder), r"\d+\.\d+")

    def test_copy(self) -> None:
        """A copy of an application finds the packages, and no rest of an earlier build."""
        source = Path(mkdtemp())
        (source / "dist").mkdir()
        (source / "main.mjs").write_text("import { ref } from 'vue'; console.log(typeof ref);")
        copy = copy_app(source, Path(mkdtemp()) / "copy")
        self.assertEqual(["main.mjs", "node_modules"], sorted(each.name for each in copy.iterdir()))
        self.assertEqual("function\n", node("main.mjs", cwd=copy))


class AxeTests(SynchronousTestCase):
    """Faults of pages."""

    skip = missing_browser() or missing("node")

    def setUp(self) -> None:
        """Serve pages that forbid scripts."""
        html = "text/html; charset=utf-8"
        pages = {
            "/good": (html, (_PAGE % "").encode()),
            "/bad": (html, (_PAGE % "<h4>Deep</h4><img src='data:,' id='it'>").encode()),
        }
        self.site = WebSite(pages, {"Content-Security-Policy": "default-src 'none'; img-src data:"})
        self.addCleanup(self.site.stop)
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def test_none(self) -> None:
        """A good page has no faults."""
        self.assertEqual([], faults(self.browser.open(f"{self.site.origin}/good")))

    def test_some(self) -> None:
        """A fault is named with its weight and its place; light ones may be left out."""
        window = self.browser.open(f"{self.site.origin}/bad")
        serious = "critical image-alt: Images must have alternative text: #it"
        light = "moderate heading-order: Heading levels should only increase by one: h4"
        self.assertEqual([light, serious], sorted(faults(window), reverse=True))
        self.assertEqual([serious], faults(window, impacts=SERIOUS))
        self.assertEqual([light], faults(window, ignore=["image-alt"]))
        self.assertEqual([], faults(window, selector="h1"))
