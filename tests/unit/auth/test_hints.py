"""Tests of `wsredis.auth.hints`."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.hints import hints_for, page_elsewhere
from wsredis.channels import Access
from wsredis.dialects.urls import parse_access
from wsredis.gateway.identity import Identity


class HintsTests(SynchronousTestCase):
    """`hints_for`."""

    def hints(
        self,
        query: str,
        identity: Identity | None = None,
        granted: str | None = None,
        *,
        own: tuple[str, ...] = (),
        **more: Any,
    ) -> list[str]:
        """The hints on a client that asks for *query* and is granted *granted*, or all of it."""
        requested = parse_access("a", query)
        access = requested if granted is None else parse_access("a", granted)
        if own:
            access = Access("a", access.subscribe, access.publish, own=own)
        more = {"is_deaf": False, "nobody": lambda: "nobody is there", **more}
        return list(hints_for(requested, identity or Identity(), access, **more))

    def test_nothing_wrong(self) -> None:
        """A client that has a channel for each flag gets no hint."""
        john = Identity("john", ("chatters",), "key")
        for query in (
            "subscribe-broadcast",
            "publish-broadcast&echo",
            "subscribe-user&subscribe-group&publish-session",
        ):
            self.assertEqual([], self.hints(query, john))

    def test_no_flag(self) -> None:
        """A socket without a flag is told which one to add; a slip is told instead."""
        none = ["no flag: this socket hears nothing; add ?subscribe-broadcast"]
        self.assertEqual(none, self.hints("", is_deaf=True))
        self.assertEqual(none, self.hints("echo&x=1", is_deaf=True))
        # A handler may send to it, or a token may have given it rights.
        self.assertEqual([], self.hints(""))
        self.assertEqual([], self.hints("", granted="publish-broadcast", is_deaf=True))
        (hint,) = self.hints("subscribe-brodcast", is_deaf=True)
        self.assertEqual(
            'unknown flag "subscribe-brodcast": did you mean subscribe-broadcast?', hint
        )

    def test_nobody(self) -> None:
        """Flags that need an identity are told with the reason why there is none."""
        reason = "no effect: nobody is there"
        self.assertEqual(
            [f"subscribe-user has {reason}"], self.hints("subscribe-user&subscribe-broadcast")
        )
        self.assertEqual(
            [f"subscribe-group, subscribe-user and publish-session have {reason}"],
            self.hints("subscribe-user&publish-session&subscribe-group"),
        )

    def test_half_an_identity(self) -> None:
        """A user without a group, and a session without a user, lack different things."""
        self.assertEqual(
            [
                "subscribe-group has no effect: this user is in no group",
                "subscribe-session has no effect: there is no session here",
            ],
            self.hints("subscribe-group&subscribe-session&subscribe-user", Identity("john")),
        )
        self.assertEqual(
            ["subscribe-group and subscribe-user have no effect: nobody is logged in here"],
            self.hints("subscribe-group&subscribe-user", Identity(session="key")),
        )

    def test_colon(self) -> None:
        """A name with a colon gives no channel; of several groups, one without is enough."""
        (hint,) = self.hints("publish-user", Identity("a:b"))
        self.assertEqual("publish-user has no effect: the name of its user has a colon", hint)
        self.assertEqual([], self.hints("subscribe-group", Identity("a", ("b:c", "d"))))

    def test_not_granted(self) -> None:
        """Flags that a policy or a hook took away are told."""
        self.assertEqual(
            ["publish-broadcast was not granted"],
            self.hints("subscribe-broadcast&publish-broadcast", granted="subscribe-broadcast"),
        )
        self.assertEqual(
            ["subscribe-user and publish-user were not granted"],
            self.hints("subscribe-user&publish-user", granted="", is_deaf=True),
        )

    def test_shared(self) -> None:
        """Connections with the same hints share them, since there may be a million."""
        requested = parse_access("a", "subscribe-user")
        one, two = (
            hints_for(requested, Identity(), requested, is_deaf=True, nobody=lambda: "x")
            for _ in range(2)
        )
        self.assertIs(one, two)

    def test_subscriber_class(self) -> None:
        """A subscriber class knows flags of its own, and gives channels to whom it likes."""
        self.assertEqual([], self.hints("subscribe-friends", own=("subscribe-friends",)))
        self.assertEqual([], self.hints("subscribe-user", chooses=True))
        self.assertEqual(1, len(self.hints("subscribe-user", chooses=True, is_deaf=True)))


class PageTests(SynchronousTestCase):
    """`page_elsewhere`."""

    def test_other_host(self) -> None:
        """A page at 127.0.0.1 has other cookies than localhost, and another port has the same."""
        for origin, host, page in (
            ("http://127.0.0.1:5000", "localhost:8080", "127.0.0.1"),
            ("https://www.example.com", "ws.example.com", "www.example.com"),
            ("http://localhost:5000", "localhost:8080", ""),
            ("null", "localhost", ""),
            ("file://", "localhost", ""),
            ("http://localhost", "a b", ""),
            (f"http://{'a' * 101}", "localhost", ""),
        ):
            found = page_elsewhere({"origin": origin, "host": host})
            words = f"; the page is on {page}, and cookies go to the host of their page alone"
            self.assertEqual(words if page else "", found)
        self.assertEqual("", page_elsewhere({}))
