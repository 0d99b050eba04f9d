"""Tests for `wsredis.django.project_report`."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.unit.django.case import AppCase
from wsredis.django.start_check import Start

_numbers = count(1)

_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]


class ReportCase(AppCase):
    """A project in a folder, with the settings of the project of this process."""

    def setUp(self) -> None:
        """Have a settings module in the folder."""
        super().setUp()
        self.root = Path(self.mktemp()).resolve()
        # A module can be imported once.
        self.package = f"wsr_report{next(_numbers)}"
        self.write(f"{self.package}/__init__.py", "")
        self.write(f"{self.package}/settings.py", "")
        self.patch(sys, "path", [*sys.path, str(self.root)])

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def import_as(self, **modules: ModuleType | None) -> None:
        """Let modules of ws4redis be these ones until the end of the test. None: not there."""
        missing = object()
        for name, module in modules.items():
            name = "ws4redis" if name == "ws4redis" else f"ws4redis.{name}"
            before: Any = sys.modules.get(name, missing)
            if before is missing:
                self.addCleanup(sys.modules.pop, name)
            else:
                self.addCleanup(sys.modules.__setitem__, name, before)
            sys.modules[name] = module  # type: ignore[assignment]

    def lines(self, start: Start | None = None, module: str = "") -> list[tuple[str, str, str]]:
        """The lines of the report: levels, texts and hints."""
        from wsredis.django.project_report import describe

        module = module or f"{self.package}.settings"
        found = describe(module, lambda: start or Start())
        return [(each.level.value, each.text, each.hint) for each in found]

    def changes(self, start: Start | None = None) -> list[tuple[str, str]]:
        """Texts and hints of what needs a change."""
        return [(text, hint) for level, text, hint in self.lines(start) if level == "change"]

    def texts(self, level: str) -> list[str]:
        """The texts of one level."""
        return [text for each, text, _ in self.lines() if each == level]


class SettingTests(ReportCase):
    """Settings."""

    def test_right(self) -> None:
        """Each setting that the project has, and that is right, is listed."""
        self.vary(
            INSTALLED_APPS=["wsredis.django", *_APPS], WS4REDIS_EXPIRE=60, WS4REDIS_PREFIX=None
        )
        found = self.lines()
        self.assertEqual({"works"}, {level for level, _, _ in found})
        self.assertEqual(
            ["WEBSOCKET_URL", "WS4REDIS_EXPIRE", "ALLOWED_HOSTS", "SESSION_ENGINE"],
            [text.partition(":")[0] for _, text, _ in found[:-1]],
        )
        self.assertEqual("the gateway starts with this project", found[-1][1])

    def test_wrong(self) -> None:
        """A setting that a check refuses is told once, with the number of the check."""
        self.vary(WS4REDIS_EXPIRE="soon")
        start = Start(error="django: WS4REDIS_EXPIRE: 'soon' is not a whole number of seconds")
        ((text, hint),) = self.changes(start)
        self.assertEqual(
            "WS4REDIS_EXPIRE: 'soon' is not a whole number of seconds (wsredis.E004)", text
        )
        self.assertTrue(hint)
        self.assertFalse([each for each in self.texts("works") if "EXPIRE" in each])

    def test_silenced(self) -> None:
        """A check that the project has silenced is not told."""
        self.vary(SESSION_COOKIE_PATH="/app/")
        self.assertEqual(1, len(self.changes()))
        self.vary(SILENCED_SYSTEM_CHECKS=["wsredis.W007"])
        self.assertEqual([], self.changes())

    def test_as_before(self) -> None:
        """What is as it was with the original needs no change."""
        self.vary(SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies", WS4REDIS_X=1)
        self.assertEqual([], self.changes())
        notes = " ".join(self.texts("note"))
        self.assertIn("(wsredis.W006)", notes)
        self.assertIn("WS4REDIS_X: wsredis and ws4redis have no such setting", notes)

    def test_runserver(self) -> None:
        """With the app, it does not matter that the settings name the runserver of the original."""
        self.vary(WSGI_APPLICATION="ws4redis.django_runserver.application")
        self.assertEqual(1, len(self.changes()))
        self.vary(INSTALLED_APPS=["wsredis.django", *_APPS])
        self.assertEqual([], self.changes())

    def test_asgi(self) -> None:
        """A project with an ASGI application is told how to serve it, and who stands in the way."""
        self.assertEqual([], [each for each in self.texts("note") if "ASGI" in each])
        self.vary(ASGI_APPLICATION="mysite.asgi.application")
        (note,) = [each for each in self.lines() if "ASGI" in each[1]]
        self.assertEqual("note", note[0])
        self.assertTrue(note[1].endswith("--asgi mysite.asgi:application"), note)
        # It is the name of an app, which need not be installed.
        before = sys.modules.get("daphne")
        sys.modules["daphne"] = ModuleType("daphne")
        sys.modules["daphne"].__path__ = [str(self.root)]
        if before is None:
            self.addCleanup(sys.modules.pop, "daphne")
        else:
            self.addCleanup(sys.modules.__setitem__, "daphne", before)
        self.vary(INSTALLED_APPS=["daphne", *_APPS])
        self.assertIn(
            "note", [each[0] for each in self.lines() if "runserver of its own" in each[1]]
        )
        # Both may be there; that the order matters is told by a check.
        self.vary(INSTALLED_APPS=["wsredis.django", "daphne", *_APPS])
        self.assertEqual([], [each for each in self.lines() if "daphne" in each[1]])

    def test_channel_layers(self) -> None:
        """A layer of channels_redis is named, and another one is not."""
        self.assertEqual([], [each for each in self.lines() if "CHANNEL_LAYERS" in each[1]])
        self.vary(
            CHANNEL_LAYERS={
                "default": {"BACKEND": "channels_redis.core.RedisChannelLayer"},
                "jobs": {"BACKEND": "wsredis.layer.ChannelLayer"},
            }
        )
        (note,) = [each for each in self.lines() if "CHANNEL_LAYERS" in each[1]]
        self.assertEqual(("note", "CHANNEL_LAYERS: default"), (note[0], note[1][:23]))

    def test_start(self) -> None:
        """What the start says is told, unless a check has told it."""
        told = [(each, each) for each in ("hook-outdated", "session-setting-problem", "other")]
        found = self.lines(Start(told, "--wsgi: ImportError"))
        self.assertIn(("note", "other", ""), found)
        self.assertNotIn(("note", "hook-outdated", ""), found)
        self.assertIn(("change", "the gateway does not start: --wsgi: ImportError", ""), found)

    def test_subscriber(self) -> None:
        """Methods that the gateway calls work; the others are told once, by check or start."""
        self.write(
            f"{self.package}/own.py",
            "from wsredis.django import Subscriber\n"
            "class Own(Subscriber):\n"
            "    def release(self):\n"
            "        super().release()\n"
            "class Old(Own):\n"
            "    def parse_response(self):\n"
            "        pass\n",
        )
        self.vary(WS4REDIS_SUBSCRIBER=f"{self.package}.own.Own")
        self.assertEqual([], self.changes())
        (found,) = [text for text in self.texts("works") if "SUBSCRIBER" in text]
        self.assertIn("release in a thread", found)
        self.vary(WS4REDIS_SUBSCRIBER=f"{self.package}.own.Old")
        error = f"django: WS4REDIS_SUBSCRIBER: {self.package}.own.Old overrides parse_response"
        ((found, _),) = self.changes(Start(error=error))
        self.assertIn("parse_response, which the gateway cannot call", found)
        ignored = Start([("subscriber-methods-ignored", "ignored")])
        self.assertEqual([], self.changes(ignored))
        self.assertIn(("note", "ignored", ""), self.lines(ignored))

    def test_start_names_setting(self) -> None:
        """A setting that only the start refuses does not work."""
        self.vary(CSRF_TRUSTED_ORIGINS=["https://x"])
        found = [text for level, text, _ in self.lines() if level == "works"]
        self.assertTrue(any("CSRF_TRUSTED_ORIGINS" in each for each in found))
        found = [text for _, text, _ in self.lines(Start(error="django: CSRF_TRUSTED_ORIGINS: x"))]
        (text,) = [each for each in found if "CSRF_TRUSTED_ORIGINS" in each]
        self.assertTrue(text.startswith("the gateway does not start: "))

    def test_app(self) -> None:
        """Without the app, the project may like to know what it would have."""
        self.assertTrue(any("wsredis.django is not in INSTALLED" in x for x in self.texts("note")))

    def test_processor(self) -> None:
        """The variables of templates come from the original as long as it can be imported."""
        name = "ws4redis.context_processors.default"
        self.vary(TEMPLATES=[{"OPTIONS": {"context_processors": [name]}}, {}])
        self.import_as(context_processors=ModuleType(name))
        self.assertIn("TEMPLATES: ws4redis.context_processors.default", self.texts("works"))
        self.import_as(context_processors=None)
        ((text, hint),) = self.changes()
        self.assertEqual("TEMPLATES: ws4redis.context_processors.default cannot be imported", text)
        self.assertIn("wsredis.django.context_processors.default", hint)


class FileTests(ReportCase):
    """Files of the project."""

    def test_calls(self) -> None:
        """A call of what was a method is told with its line, once for hooks."""
        self.write("chat/views.py", "def view(r):\n    return r.user.is_authenticated()\n")
        self.write(
            f"{self.package}/hooks.py",
            "def hook(request, channels):\n    return request.user.is_authenticated()\n",
        )
        self.vary(WS4REDIS_ALLOWED_CHANNELS=f"{self.package}.hooks.hook")
        (of_check, _), (of_file, hint) = self.changes()
        self.assertIn("hooks.py:2: it calls is_authenticated()", of_check)
        self.assertEqual(
            "chat/views.py:2: is_authenticated() is not a method any more: it raises TypeError",
            of_file,
        )
        self.assertEqual("Write is_authenticated without parentheses.", hint)

    def test_imports(self) -> None:
        """Files that import the original are told by module, and whether it is there."""
        for name in ("a", "b", "c"):
            self.write(f"chat/{name}.py", "from ws4redis.publisher import RedisPublisher\n")
        self.import_as(publisher=None)
        ((text, hint),) = self.changes()
        self.assertEqual(
            "ws4redis.publisher: imported by chat/a.py:1 and 2 other files, and cannot be imported",
            text,
        )
        self.assertIn("wsredis.publisher", hint)

    def test_imports_there(self) -> None:
        """With the original they work unchanged."""
        self.import_as(publisher=ModuleType("ws4redis.publisher"))
        self.write("chat/a.py", "from ws4redis.publisher import RedisPublisher\n")
        self.assertEqual([], self.changes())
        self.assertIn("ws4redis.publisher: imported by chat/a.py:1", self.texts("works"))

    def test_servers(self) -> None:
        """A server of the original for pages and sockets is changed, one for sockets goes."""
        old = "from ws4redis.{} import X\n"
        self.write("wsgi.py", old.format("uwsgi_runserver") + "app = get_wsgi_application()\n")
        self.write("sockets.py", "import gevent\npatch_all()\n" + old.format("uwsgi_runserver"))
        self.write("tests.py", old.format("django_runserver"))
        (tests, _), (wsgi, hint) = self.changes()
        self.assertIn("tests.py:1: ws4redis.django_runserver of release 0.6.0 cannot", tests)
        self.assertIn("wsgi.py:1: ws4redis.uwsgi_runserver can be imported in uWSGI only", wsgi)
        self.assertIn("get_wsgi_application()", hint)
        (note,) = [each for each in self.texts("note") if "sockets.py" in each]
        self.assertIn("sockets.py:3: the gateway takes the place of this server", note)

    def test_gevent(self) -> None:
        """A file that patches Python must not be imported by a gateway."""
        self.write("wsgi.py", "from gevent import monkey\nmonkey.patch_all()\n")
        (note,) = [each for each in self.texts("note") if "gevent" in each]
        self.assertTrue(note.startswith("wsgi.py:2: gevent replaces threads and sockets here"))

    def test_old_python(self) -> None:
        """A file for another Python is told."""
        self.write("old.py", "import ws4redis.publisher\nprint 'x'\n")
        self.assertTrue(any(each.startswith("old.py: ") for each in self.texts("note")))

    def test_script(self) -> None:
        """Pages with the script of the original need its file."""
        self.write("chat/chat.html", "{% static 'js/ws4redis.js' %}")
        # Without the app for static files, another server has them.
        text = "ws4redis.js: named by chat/chat.html"
        self.assertIn(text, self.texts("works"))
        statics = "django.contrib.staticfiles"
        self.vary(INSTALLED_APPS=["wsredis.django", *_APPS, statics], STATICFILES_DIRS=[])
        ((found, hint),) = self.changes()
        self.assertEqual(f"{text}, and not among the static files", found)
        self.assertIn("Keep ws4redis in INSTALLED_APPS", hint)
        self.write("static/js/ws4redis.js", "")
        self.assertIn(text, self.texts("works"))

    def test_too_many(self) -> None:
        """That not all files were read is told."""
        from wsredis.django import project_report
        from wsredis.django.project_files import ProjectFiles

        root = Path(self.root)
        (line,) = project_report._pages(root, ProjectFiles(is_complete=False))
        self.assertEqual(project_report.Level.NOTE, line.level)


class RootTests(ReportCase):
    """The folder of the project."""

    def test_deep(self) -> None:
        """It is the one in which the settings module is found, however deep the module is."""
        self.write("scripts/feed.py", "import ws4redis.nothing\n")
        for name in ("settings/prod.py", "settings/__init__.py"):
            self.write(f"{self.package}/conf/{name}", "")
        self.write(f"{self.package}/conf/__init__.py", "")
        for module in ("conf.settings", "conf.settings.prod", "settings"):
            found = self.lines(module=f"{self.package}.{module}")
            texts = [text for _, text, _ in found if "scripts/feed.py:1" in text]
            self.assertEqual(1, len(texts), module)

    def test_installed(self) -> None:
        """A project that is installed as a package does not have the files of other packages."""
        packages = self.root / "site-packages"
        self.write(f"site-packages/{self.package}x/settings.py", "")
        self.write(f"site-packages/{self.package}x/feed.py", "import ws4redis.nothing\n")
        self.write("site-packages/other/feed.py", "import ws4redis.nothing\n")
        self.patch(sys, "path", [*sys.path, str(packages)])
        found = self.lines(module=f"{self.package}x.settings")
        texts = [text for _, text, _ in found if "ws4redis.nothing" in text]
        self.assertEqual(["ws4redis.nothing: imported by feed.py:1, and cannot be imported"], texts)
