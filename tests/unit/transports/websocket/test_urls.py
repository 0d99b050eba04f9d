"""Tests for `wsredis.transports.websocket.urls`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.channels import Access
from wsredis.dialects.plain import PlainDialect
from wsredis.errors import BadRequest
from wsredis.transports.websocket.urls import (
    find_dialect,
    find_dialect_or_application,
    hint_for_application,
)


class _Forwards(PlainDialect):
    """One whose clients are heard by workers."""

    def parse(self, path: str, query: str) -> Access | None:
        access = super().parse(path, query)
        return access and replace(access, forward=True)


class OwnerTests(SynchronousTestCase):
    """Each URL has one owner."""

    def setUp(self) -> None:
        """Have two dialects."""
        self.first = PlainDialect(url_prefix="/a/")
        self.second = PlainDialect(url_prefix="/")

    def owner(self, find: Any, path: str, query: str = "") -> PlainDialect | None:
        """The dialect of a URL."""
        found = find([self.first, self.second], path, query)
        return None if found is None else found[0]

    def test_dialect(self) -> None:
        """The first dialect that takes it."""
        self.assertIs(self.first, self.owner(find_dialect, "/a/b"))
        self.assertIs(self.second, self.owner(find_dialect, "/c/b"))
        self.second = PlainDialect(url_prefix="/d/")
        self.assertIsNone(self.owner(find_dialect, "/c/b"))
        self.assertRaises(BadRequest, self.owner, find_dialect, "/a/%ff")

    def test_application(self) -> None:
        """One that asks for something belongs to its dialect; all others are the application's."""
        find = find_dialect_or_application
        for query in ("", "x", "echo", "x=subscribe-user"):
            self.assertIsNone(self.owner(find, "/a/b", query), query)
            self.assertIsNone(self.owner(find, "/a/%ff", "x"))
        for query in ("subscribe-user", "x&publish-group", "Subscribe=Broadcast"):
            self.assertIs(self.first, self.owner(find, "/a/b", query), query)
            self.assertRaises(BadRequest, self.owner, find, "/a/%ff", query)
        self.first = _Forwards(url_prefix="/a/")
        self.assertIs(self.first, self.owner(find, "/a/b"))

    def test_hint(self) -> None:
        """A URL that the application refuses, and that may be meant for a dialect, is told."""
        self.second = PlainDialect(url_prefix="/b/")
        for target, words in (
            ("/c?subscribe-user", "sockets of the gateway are below /a/ or /b/"),
            ("/c", ""),
            ("/c?x=1", ""),
            ("/b/c", "with a flag such as ?subscribe-broadcast the gateway would serve it"),
            ("/b/c?subscribe", 'unknown flag "subscribe": did you mean subscribe-broadcast?'),
            ("/b/%ff", ""),
        ):
            found = hint_for_application([self.first, self.second], ["/a/", "/b/"], target)
            self.assertEqual(words, found, target)
