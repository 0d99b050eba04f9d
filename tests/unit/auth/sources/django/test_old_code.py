"""Tests of `wsredis.auth.sources.django.old_code`. The functions here are read, never called."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial, wraps
from textwrap import dedent
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.sources.django.old_code import called_attributes, remarks_on


def calls_method(request: Any, channels: Any) -> Any:
    """As Django 1.9 wants it."""
    if not request.user.is_authenticated():
        raise ValueError
    return channels


def tests_property(request: Any, channels: Any) -> Any:
    """As Django wants it."""
    if not request.user or not request.user.is_authenticated:
        return []
    return channels


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def inner(*args: Any) -> Any:
        return function(*args)

    return inner


@_decorated
def decorated(request: Any, channels: Any) -> Any:
    """Behind a decorator."""
    return channels if request.user.is_anonymous() else []


class Called:
    """An object that can be called."""

    def __call__(self, request: Any, channels: Any) -> Any:
        """Be the hook."""
        return channels if request.user is not None else []

    def method(self, request: Any) -> Any:
        """Be a hook as a bound method."""
        return request.user.is_authenticated()


class RemarkTests(SynchronousTestCase):
    """`remarks_on`."""

    def check(self, function: Any, *words: str) -> None:
        """The remarks on a function have these words in their problems or hints."""
        found = remarks_on(function)
        self.assertEqual(len(words), len(found), found)
        for each, word in zip(found, words, strict=True):
            self.assertIn(word, f"{each.problem} {each.hint}")
            self.assertRegex(each.place, r"\Atest_old_code\.py:\d+\Z")
            self.assertEqual("None or false" in each.problem, each.is_open)

    def test_functions(self) -> None:
        """Functions of any kind are read."""
        self.check(calls_method, "is_authenticated()")
        self.check(tests_property)
        self.check(decorated, "is_anonymous()")
        self.check(Called(), "request.user.is_authenticated.")
        self.check(Called().method, "is_authenticated()")
        self.check(partial(calls_method, None), "is_authenticated()")
        self.check(lambda request, channels: request.user.is_anonymous(), "is_anonymous()")

    def test_greenlets(self) -> None:
        """A greenlet that nobody would run is found."""

        def spawns(request: Any) -> None:
            gevent.spawn(print, request)  # type: ignore[name-defined]  # noqa: F821
            gevent.sleep(0)  # type: ignore[name-defined]  # noqa: F821

        self.check(spawns, "gevent.spawn()")

    def test_unreadable(self) -> None:
        """A function without source has no remarks."""
        self.assertEqual([], remarks_on(len))
        made: dict[str, Any] = {}
        exec("def made(request): return request.user.is_anonymous()", made)
        self.assertEqual([], remarks_on(made["made"]))


class HookCase(SynchronousTestCase):
    """Hooks in files of their own."""

    def found(self, body: str, *helpers: str) -> list[str]:
        """The attributes that a hook with this body, and with other functions, tests in vain."""
        path = self.mktemp()
        source = "\n".join([f"def hook(request, channels):\n    {body}", *helpers, ""])
        with open(path, "w") as file:
            file.write(source)
        made: dict[str, Any] = {}
        exec(compile(source, path, "exec"), made)
        remarks = remarks_on(made["hook"])
        self.assertEqual([True] * len(remarks), [each.is_open for each in remarks])
        return ["user" if "request.user is" in each.problem else "session" for each in remarks]


class NoneTests(HookCase):
    """Tests that were true for visitors without a cookie."""

    def test_dropped(self) -> None:
        """A rule that only looks for None refuses nobody now."""
        for body in (
            "return channels if request.user else []",
            "return channels if request.user is not None else []",
            "return [] if None == request.user else channels",
            "return not request.user and [] or channels",
            "user = request.user; return channels if user else []",
            "return channels if request.user and request.user.pk != 5 else []",
        ):
            self.assertEqual(["user"], self.found(body), body)
        for body in (
            "return channels if request.session else []",
            "return [] if not request.session else channels",
            "session = request.session; return channels if session is not None else []",
        ):
            self.assertEqual(["session"], self.found(body), body)
        both = "return channels if request.user and request.session else []"
        self.assertEqual(["session", "user"], self.found(both))

    def test_kept(self) -> None:
        """A rule that also looks at what an anonymous visitor lacks works as before."""
        for body in (
            "return channels",
            "return channels if request.user and request.user.is_superuser else []",
            "return channels if request.user is not None and request.user.has_perm('x') else []",
            "return channels if request.session and request.session.get('x') else []",
            "return channels if request.session and 'x' in request.session else []",
            "return channels if request.session and request.session['x'] == 1 else []",
            "request.user = None\n    return channels if request.user else []",
            "return channels if channels is not None else []",
        ):
            self.assertEqual([], self.found(body), body)


class HelperTests(HookCase):
    """Functions of the same file that a hook calls."""

    def test_followed(self) -> None:
        """They are read as well, however many lie between."""
        check = "def check(request):\n    return deep(request)"
        deep = "def deep(request):\n    return request.user is not None or check(request)"
        body = "return channels if check(request) else []"
        self.assertEqual(["user"], self.found(body, check, deep))
        self.assertEqual([], self.found(body, check))

    def test_together(self) -> None:
        """What one of them tests counts for all; a function of another object is no helper."""
        body = "return channels if known(request) and request.user.is_authenticated else []"
        self.assertEqual([], self.found(body, "def known(request):\n    return request.user"))
        body = "return channels if request.GET.get('x') else []"
        view = "class View:\n    def get(self, request):\n        return not request.user"
        self.assertEqual([], self.found(body, view))
        method = "return channels if self.get(request) else []"
        self.assertEqual(["user"], self.found(method, view))


class CallTests(SynchronousTestCase):
    """`called_attributes`."""

    def found(self, source: str) -> list[tuple[int, str]]:
        """The calls in a module."""
        return called_attributes(ast.parse(dedent(source)))

    def test_users(self) -> None:
        """It is the call for a user that counts, at any place."""
        source = """
            user.is_anonymous()
            class View:
                def get(self):
                    return self.request.user.is_authenticated() or new_user.is_authenticated()
            connection.is_authenticated()
            self.is_authenticated(request)
            request.user.is_authenticated
            request.user.is_active()
        """
        expected = [(2, "is_anonymous"), (5, "is_authenticated")]
        self.assertEqual(expected, self.found(source))

    def test_guarded(self) -> None:
        """A function for all versions of Django is right."""
        source = """
            def a(request):
                if callable(request.user.is_authenticated):
                    return request.user.is_authenticated()
                return request.user.is_authenticated
            def b(user):
                return user.is_authenticated() if django.VERSION < (2, 0) else None
            def c(user):
                return user.is_authenticated()
        """
        self.assertEqual([(9, "is_authenticated")], self.found(source))
