"""The npm package: its files, its types, and its bindings in small applications made with Vite."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.support.axe import faults
from tests.support.browser import Window, missing_browser, shared_browser
from tests.support.case import GatewayCase
from tests.support.children import Child, clean_environment, reserve_port, until
from tests.support.node import APPS, ROOT, copy_app, node, node_modules, npm_package, run_shell
from tests.support.require import find_node, missing
from tests.support.web import WebSite

_DOCS = ROOT / "docs"
_EXAMPLES = _DOCS / "examples"

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css",
}


def _types_checked(folder: Path, *words: str) -> str:
    return node(node_modules() / "typescript/bin/tsc", *words, cwd=folder)


class PackageTests(SynchronousTestCase):
    """What ``npm pack`` makes."""

    skip = missing("node")

    def setUp(self) -> None:
        """Make a program that has the package."""
        source = Path(mkdtemp())
        self.addCleanup(shutil.rmtree, source)
        self.folder = copy_app(source, source / "app")

    def run_module(self, text: str, name: str = "main.mjs") -> str:
        """Run a module that may import the package. Returns: What it wrote."""
        (self.folder / name).write_text(text)
        return node(name, cwd=self.folder)

    def test_files(self) -> None:
        """Only the client is in the package: nothing in Python, no tests, no documentation."""
        found = {
            str(path.relative_to(npm_package()))
            for path in npm_package().rglob("*")
            if path.is_file()
        }
        static = Path("wsredis/django/static/wsredis")
        names = ("following.d.mts", "following.mjs", "react.d.mts", "react.mjs", "vue.d.mts")
        more = ("vue.mjs", "wsredis.d.mts", "wsredis.d.ts", "wsredis.js", "wsredis.mjs")
        client = {str(static / name) for name in (*names, *more)}
        self.assertEqual({"LICENSE", "README.rst", "package.json", *client}, found)

    def test_entries(self) -> None:
        """Each entry leads to a file, and without a browser an import does nothing."""
        written = self.run_module(
            """
            import { createRequire } from "node:module";
            import { WS4Redis } from "wsredis";
            import * as react from "wsredis/react";
            import * as vue from "wsredis/vue";
            import "wsredis/wsredis.js";
            const required = createRequire(import.meta.url)("wsredis");
            console.log(
              typeof WS4Redis, required.WS4Redis === WS4Redis, globalThis.WS4Redis === WS4Redis,
              Object.keys(react), Object.keys(vue),
            );
            """
        )
        self.assertEqual("function true true [ 'useWsredis' ] [ 'useWsredis' ]\n", written)
        exports = json.loads((npm_package() / "package.json").read_text())["exports"]
        for entry in exports.values():
            for path in [entry] if isinstance(entry, str) else entry.values():
                self.assertTrue((npm_package() / path).is_file(), path)

    def test_server(self) -> None:
        """A server that renders the page connects to nothing."""
        written = self.run_module(
            """
            import { createElement } from "react";
            import { renderToString } from "react-dom/server";
            import { createSSRApp, h } from "vue";
            import { renderToString as renderVue } from "vue/server-renderer";
            import { useWsredis as in_react } from "wsredis/react";
            import { useWsredis as in_vue } from "wsredis/vue";
            const options = { facility: "x" };
            const react = () => createElement("i", null, in_react(options).state);
            const setup = () => {
              const { state } = in_vue(options);
              return () => h("i", state.value);
            };
            const app = createSSRApp({ setup });
            console.log(renderToString(createElement(react)), await renderVue(app));
            """
        )
        self.assertEqual("<i>idle</i> <i>idle</i>\n", written)

    def test_install(self) -> None:
        """The line for a checkout, of the documentation, installs the package."""
        text = (_DOCS / "howto" / "react-vue.rst").read_text("utf-8")
        line = re.search(r'\$ (npm install "\./.*")\n', text)
        assert line is not None
        empty = self.folder.parent / "empty"
        empty.mkdir()
        (empty / "package.json").write_text("{}")
        run_shell(
            line[1].replace("/path/to/wsredis", str(ROOT)), cwd=empty, npm_config_offline="true"
        )
        node("-e", "import('wsredis')", cwd=empty)
        self.assertIn("wsredis", json.loads((empty / "package.json").read_text())["dependencies"])

    def test_types(self) -> None:
        """All names can be imported, with both ways by which TypeScript resolves modules."""
        (self.folder / "src").mkdir()
        for name, target in (("types.ts", "src/types.mts"), ("tsconfig.json", "tsconfig.json")):
            shutil.copy(APPS / name, self.folder / target)
        _types_checked(self.folder)
        _types_checked(self.folder, "--module", "nodenext", "--moduleResolution", "nodenext")


class _AppCase(GatewayCase):
    """An application in a browser, with a gateway behind it."""

    framework = ""
    chat = ""

    def setUp(self) -> None:
        """Copy the application, with the component and the configuration of the documentation."""
        super().setUp()
        # The chat of an earlier test.
        self.redis.command("DEL", "broadcast:chat")
        parent = Path(mkdtemp())
        self.addCleanup(shutil.rmtree, parent)
        self.folder = copy_app(APPS / self.framework, parent / "app")
        shutil.copy(APPS / "tsconfig.json", self.folder)
        shutil.copy(_EXAMPLES / self.chat, self.folder / "src")
        config = (_EXAMPLES / "vite.config.ts").read_text()
        if self.framework == "vue":
            lines = config.splitlines()
            lines[0] = lines[0].partition("// or: ")[2]
            config = "\n".join(lines).replace("[react()], // or: [vue()]", "[vue()],")
        config = config.replace("127.0.0.1:8080", f"127.0.0.1:{self.gateway.port}")
        (self.folder / "vite.config.ts").write_text(config)
        self.browser = shared_browser()
        self.addCleanup(self.browser.close_windows)

    def serve(self) -> str:
        """Start Vite as for development. Returns: The URL."""
        port = reserve_port(self)
        program = find_node()
        assert program is not None
        words = ["--host", "127.0.0.1", "--port", str(port), "--strictPort"]
        child = Child(
            [program, str(node_modules() / "vite/bin/vite.js"), *words],
            cwd=str(self.folder),
            env={**clean_environment(), "NO_COLOR": "1"},
        )
        self.addCleanup(child.stop)
        child.wait_for("Local:")
        return f"http://127.0.0.1:{port}/"

    def build(self) -> WebSite:
        """Build for production. Returns: A site with the result."""
        node(node_modules() / "vite/bin/vite.js", "build", cwd=self.folder)
        dist = self.folder / "dist"
        files = {
            f"/{path.relative_to(dist)}": (_TYPES[path.suffix], path.read_bytes())
            for path in dist.rglob("*.*")
        }
        files["/"] = files["/index.html"]
        site = WebSite(files)
        self.addCleanup(site.stop)
        return site

    def shown(self, window: Window) -> dict[str, Any]:
        """The fields that the second component shows."""
        text = window.run("return document.querySelector('#changing').firstChild.textContent")
        fields: dict[str, Any] = json.loads(text)
        return fields

    def check_chat(self, url: str) -> None:
        """Two pages chat."""
        one, two = (self.browser.open(url) for _ in range(2))
        for window in (one, two):
            window.wait_until(
                "return document.querySelector('[role=status]')?.textContent === 'connected'"
            )
        text = f"hello from {self.framework}"
        one.find("input").send_keys(text)
        one.find("main button").click()
        said = "return [...document.querySelectorAll('li')].map((each) => each.textContent)"
        for window in (one, two):
            until(lambda window=window: window.run(said) == [text])
        self.assertEqual([], faults(one))
        # Not even a connection that is closed before it is open, which Chromium warns of.
        levels = ("SEVERE", "WARNING")
        self.assertEqual([], [each for each in self.browser.console() if each["level"] in levels])

    def check_changes(self, url: str) -> None:
        """A component whose options and callbacks change."""
        window = self.browser.open(url)
        first, second = (f"{self.framework}-{name}" for name in ("one", "two"))
        window.wait_until("return Boolean(window.setFacility)")
        window.run("setFacility(arguments[0])", first)
        until(lambda: self.shown(window)["state"] == "connected")
        self.assertEqual("websocket", self.shown(window)["transport"])
        self.assertEqual("broadcast", window.find("#changing b").text)
        for count, text in enumerate(("a", "b", "c"), 1):
            self.redis.command("PUBLISH", f"broadcast:{first}", text)
            # Of the callbacks, the one of the last rendering is called.
            until(lambda count=count: self.shown(window)["count"] == count)
        self.assertEqual(["b", "c"], self.shown(window)["messages"])
        window.run("setFacility(arguments[0])", second)
        until(
            lambda: (
                [self.shown(window)[name] for name in ("facility", "state")]
                == [second, "connected"]
            )
        )
        self.assertEqual([], self.shown(window)["messages"])
        heard = self.browser.open(f"{url}#{second}")
        heard.wait_until("return Boolean(window.setFacility)")
        heard.run("setFacility(arguments[0])", second)
        until(lambda: self.shown(heard)["state"] == "connected")
        window.find("#changing button").click()
        until(lambda: self.shown(heard)["messages"] == [f"from {second}"])
        # Without options there is no connection; and a component that has gone has none.
        window.run("setFacility('')")
        until(lambda: self.shown(window)["state"] == "idle")
        heard.run("setFacility(null)")
        facilities = [f"broadcast:{name}".encode() for name in (first, second)]
        until(lambda: not {*facilities} & {*self.redis.channels()})
        self.assertEqual([], self.browser.errors())


class ReactTests(_AppCase):
    """``wsredis/react``."""

    skip = missing_browser() or missing("node")
    framework, chat = "react", "Chat.tsx"

    def test_development(self) -> None:
        """The chat works behind Vite, and in strict mode each component connects once."""
        url = self.serve()
        self.check_chat(url)
        self.check_changes(url)

    def test_production(self) -> None:
        """The application passes TypeScript, is built, and keeps the script."""
        _types_checked(self.folder)
        site = self.build()
        text = b"".join(body for _, body in site.files.values()).decode()
        self.assertIn("heartbeat_interval", text)


class VueTests(_AppCase):
    """``wsredis/vue``."""

    skip = missing_browser() or missing("node")
    framework, chat = "vue", "Chat.vue"

    def test_development(self) -> None:
        """The chat works behind Vite, and so does a component whose options change."""
        url = self.serve()
        self.check_chat(url)
        self.check_changes(url)

    def test_production(self) -> None:
        """The application is built, and keeps the script."""
        site = self.build()
        text = b"".join(body for _, body in site.files.values()).decode()
        self.assertIn("heartbeat_interval", text)
