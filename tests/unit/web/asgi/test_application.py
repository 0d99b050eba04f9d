"""Tests for `wsredis.web.asgi.application`."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from wsredis.errors import ConfigError
from wsredis.web.asgi.application import call_of, load_application, single_callable


async def modern(scope: Any, receive: Any, send: Any) -> None:
    """An application of version 3."""
    await send(scope)


class Modern:
    """The same as an object."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send(scope)


class Plain:
    """The same, whose method is no coroutine function."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Coroutine[Any, Any, None]:
        return modern(scope, receive, send)


class Awaited:
    """The same as a class whose objects are awaited, as some frameworks have them."""

    def __init__(self, scope: Any, receive: Any, send: Any) -> None:
        self._call = modern(scope, receive, send)

    def __await__(self) -> Any:
        return self._call.__await__()


class Old:
    """An application of version 2."""

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    async def __call__(self, receive: Any, send: Any) -> None:
        await send(self._scope)


def old(scope: Any) -> Any:
    """The same as a function."""
    return Old(scope)


def any_arguments(*args: Any) -> Any:
    """An application of version 3 that does not say so."""
    return modern(*args)


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    """Not an ASGI application."""
    return []


class VersionTests(SynchronousTestCase):
    """Applications of each version are called in one way."""

    def test_called(self) -> None:
        """Whatever the application is, its call is a coroutine that has not begun."""
        for application in (
            modern,
            Modern(),
            Plain(),
            Awaited,
            Old,
            old,
            any_arguments,
            functools.partial(modern),
        ):
            said: list[Any] = []

            async def send(event: Any, said: list[Any] = said) -> None:
                said.append(event)

            call = call_of(single_callable(application))({"type": "x"}, None, send)
            self.assertTrue(asyncio.iscoroutine(call), application)
            self.assertEqual([], said)
            with self.assertRaises(StopIteration):
                call.send(None)
            self.assertEqual([{"type": "x"}], said)

    def test_not_wrapped(self) -> None:
        """A coroutine function is called as it is: each step of a wrapper would cost time."""
        self.assertIs(modern, call_of(single_callable(modern)))
        application = Modern()
        self.assertIs(application, call_of(single_callable(application)))


class LoadTests(SynchronousTestCase):
    """Applications that are named."""

    def test_loaded(self) -> None:
        """They are found, also in the working directory."""
        self.assertIs(modern, load_application(f"{__name__}:modern"))
        Path("asgi_here.py").write_text("async def app(scope, receive, send): pass\n")
        self.addCleanup(Path("asgi_here.py").unlink)
        self.assertEqual("app", load_application("asgi_here:app").__name__)  # type: ignore[attr-defined]

    def test_refused(self) -> None:
        """What cannot be used is refused with one line that names the option."""
        Path("asgi_broken.py").write_text("import nosuch_module\n")
        self.addCleanup(Path("asgi_broken.py").unlink)
        for name, reason in (
            ("nosuch_module:app", "No module named 'nosuch_module'"),
            ("asgi_broken:app", "No module named 'nosuch_module'"),
            (f"{__name__}:nosuch", "nosuch"),
            (f"{__name__}:__name__", "not callable"),
            (f"{__name__}:wsgi", "a WSGI application, for --wsgi"),
        ):
            text = str(self.assertRaises(ConfigError, load_application, name))
            self.assertTrue(text.startswith(f"asgi: {name!r} cannot be used: "), text)
            self.assertIn(reason, text)
            self.assertEqual(1, len(text.splitlines()))

    def test_layers(self) -> None:
        """A mistake in the settings of our channel layers is told at the start, of others not."""
        made: list[str] = []

        class Layers:
            def __getitem__(self, name: str) -> None:
                made.append(name)
                if name == "bad":
                    raise ConfigError("expiry: 0 is not a number above 0")

        ours, others = ({"BACKEND": f"{name}.ChannelLayer"} for name in ("wsredis.layer", "other"))
        configured = {"default": ours, "x": others}
        settings = SimpleNamespace(configured=True, DEBUG=False, CHANNEL_LAYERS=configured)
        loaded = {
            "django.conf": SimpleNamespace(settings=settings),
            "channels.layers": SimpleNamespace(channel_layers=Layers()),
        }
        with mock.patch.dict(sys.modules, loaded):  # type: ignore[arg-type]
            self.assertIs(modern, load_application(f"{__name__}:modern"))
            self.assertEqual(["default"], made)
            configured["bad"] = ours
            error = self.assertRaises(ConfigError, load_application, f"{__name__}:modern")
            del settings.CHANNEL_LAYERS
            self.assertIs(modern, load_application(f"{__name__}:modern"))
        self.assertEqual(
            f"asgi: '{__name__}:modern' cannot be used: CHANNEL_LAYERS, 'bad': expiry: 0 is not a "
            "number above 0",
            str(error),
        )


class StaticFilesTests(SynchronousTestCase):
    """The static files of a Django project."""

    def test_debug(self) -> None:
        """They are served too, by Django's class for ASGI, only in DEBUG."""
        handlers = SimpleNamespace(ASGIStaticFilesHandler=lambda application: (application,))
        for debug, expected in ((True, (modern,)), (False, modern)):
            settings = SimpleNamespace(
                configured=True, DEBUG=debug, INSTALLED_APPS=["django.contrib.staticfiles"]
            )
            modules: dict[str, Any] = {
                "django.conf": SimpleNamespace(settings=settings),
                "django.contrib.staticfiles.handlers": handlers,
            }
            with mock.patch.dict(sys.modules, modules):
                self.assertEqual(expected, load_application(f"{__name__}:modern"))
