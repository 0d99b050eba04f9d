"""Tests for `wsredis.django.rule_checks`."""

from __future__ import annotations

from typing import Any

from tests.unit.django.case import AppCase


def outdated(request: Any, channels: Any) -> Any:
    """Be a hook of the time of Django 1.9."""
    return channels if request.user.is_authenticated() else []


def lenient(request: Any, channels: Any) -> Any:
    """Refuse nobody, and mean to."""
    return channels if request.user is not None else []


class RuleTests(AppCase):
    """`check_rules`."""

    def found(self, **settings: object) -> list[tuple[str, str]]:
        """Numbers and texts of the messages for a project with these settings, with hints."""
        from django.test import override_settings

        from wsredis.django.rule_checks import check_rules

        with override_settings(**settings):
            return [(str(each.id), f"{each.msg}. {each.hint}") for each in check_rules()]

    def test_names(self) -> None:
        """A slip in a name is a warning; a setting of the project's own is none."""
        ((number, text),) = self.found(WS4REDIS_ALLOWED_CHANELS="site.hook")
        self.assertEqual("wsredis.W050", number)
        self.assertIn("WS4REDIS_ALLOWED_CHANELS: there is no such setting", text)
        self.assertIn("Is it WS4REDIS_ALLOWED_CHANNELS?", text)
        self.assertEqual([], self.found(WS4REDIS_APPS=["chat"]))

    def test_hooks(self) -> None:
        """Code of another time is found in a function or by its name."""
        for hook in (outdated, f"{__name__}.outdated"):
            ((number, text),) = self.found(WS4REDIS_ALLOWED_CHANNELS=hook)
            self.assertEqual("wsredis.W051", number)
            self.assertRegex(
                text,
                r"\AWS4REDIS_ALLOWED_CHANNELS: test_rule_checks.py:\d+: it calls "
                r"is_authenticated\(\).* Write is_authenticated without parentheses\.\Z",
            )
        ((_, text),) = self.found(WS4REDIS_ALLOWED_CHANNELS=lenient)
        self.assertIn("AnonymousUser", text)
        self.assertEqual([], self.found(WS4REDIS_ALLOWED_CHANNELS="no.such"))

    def test_arguments(self) -> None:
        """A hook that cannot take its arguments is found, if it says which it takes."""
        found = self.found(WS4REDIS_PROCESS_REQUEST=outdated)
        self.assertEqual(["wsredis.W051", "wsredis.W052"], [number for number, _ in found])
        self.assertIn("called with (request), and takes (request: 'Any', channels", found[1][1])
        self.assertEqual([], self.found(WS4REDIS_PROCESS_REQUEST=lambda request, more=None: None))

        def secret(*_: Any) -> None:
            """Have no signature, as some functions in C."""

        vars(secret)["__signature__"] = "?"
        self.assertEqual([], self.found(WS4REDIS_ALLOWED_CHANNELS=secret))

    def test_runserver(self) -> None:
        """The runserver of the original is not left in the settings."""
        old = "ws4redis.django_runserver.application"
        ((number, text),) = self.found(WSGI_APPLICATION=old)
        self.assertEqual("wsredis.W053", number)
        self.assertTrue(text.startswith(f"WSGI_APPLICATION: '{old}' is the runserver of ws4redis"))
        self.assertEqual([], self.found(WSGI_APPLICATION=None))
