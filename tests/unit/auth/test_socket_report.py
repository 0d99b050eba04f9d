"""Tests of `wsredis.auth.socket_report`: a pure function over what a connection has."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.socket_report import socket_report
from wsredis.channels import Access, Audience
from wsredis.gateway.identity import Identity

JOHN = Identity("john", ("chatters", "staff"), "key-of-john")

EVERY = frozenset(Audience)


class _Where:
    """The circumstances of a gateway."""

    def __init__(self, prefix: str = "", *, knows_identities: bool = True) -> None:
        self.prefix = prefix
        self.knows_identities = knows_identities


class _Connection:
    """A connection that has the channels of what was granted."""

    id = "k7x2f-1"
    hints: tuple[str, ...] = ()

    def __init__(self, identity: Identity, granted: Access, prefix: str = "") -> None:
        self.identity, self.granted = identity, granted
        self.channels: Sequence[bytes] = identity.channels(prefix, "a", granted.subscribe)
        self.publishes: Sequence[bytes] = identity.channels(prefix, "a", granted.publish)


class SocketReportTests(SynchronousTestCase):
    """Each audience has its channels, or the reason why it has none."""

    def report(
        self,
        identity: Identity,
        granted: Access,
        requested: Access | None = None,
        where: _Where | None = None,
        stranger: str | None = None,
    ) -> dict[str, Any]:
        """Returns: The report on a connection."""
        where = where or _Where()
        connection = _Connection(identity, granted, where.prefix)
        return socket_report(connection, requested or granted, where, stranger)

    def why(self, *arguments: Any, **keywords: Any) -> dict[str, str | None]:
        """Returns: The reasons by audience."""
        entries = self.report(*arguments, **keywords)["subscribe"]
        return {each["audience"]: each.get("why") for each in entries}

    def test_everything(self) -> None:
        """Somebody with all names has all channels, and needs no reason."""
        report = self.report(JOHN, Access("a", EVERY, echo=True, own=("x",)), where=_Where("p"))
        channels = {each["audience"]: each["channels"] for each in report["subscribe"]}
        self.assertEqual(
            {
                "broadcast": ["p:broadcast:a"],
                "group": ["p:group:chatters:a", "p:group:staff:a"],
                "user": ["p:user:john:a"],
                "session": ["p:session:...:a"],
            },
            channels,
        )
        self.assertFalse(any("why" in each for each in report["subscribe"]))
        self.assertEqual(("k7x2f-1", "a"), (report["id"], report["facility"]))
        self.assertEqual(
            {"user": "john", "groups": ["chatters", "staff"], "session": True}, report["identity"]
        )
        self.assertEqual(report["asked"], report["granted"])
        self.assertEqual(
            "subscribe-broadcast subscribe-group subscribe-user subscribe-session x echo",
            " ".join(report["asked"]),
        )

    def test_no_key(self) -> None:
        """The key of a session is nowhere in it."""
        text = json.dumps(self.report(JOHN, Access("a", EVERY, EVERY), where=_Where("p")))
        self.assertNotIn("key-of-john", text)

    def test_not_asked(self) -> None:
        """An audience that the URL does not name is not asked for, for each right by itself."""
        report = self.report(JOHN, Access("a", frozenset({Audience.USER}), EVERY))
        by_verb = {
            verb: {each["audience"]: each.get("why") for each in report[verb]}
            for verb in ("subscribe", "publish")
        }
        self.assertEqual("not asked for", by_verb["subscribe"]["broadcast"])
        self.assertIsNone(by_verb["subscribe"]["user"])
        self.assertEqual({None}, set(by_verb["publish"].values()))
        self.assertEqual(
            [False, False, True, False], [each["asked"] for each in report["subscribe"]]
        )

    def test_not_granted(self) -> None:
        """A right that was taken away says so; one that was added needs no question."""
        granted = Access("a", frozenset({Audience.USER}))
        why = self.why(JOHN, granted, Access("a", frozenset({Audience.BROADCAST})))
        self.assertEqual(
            "asked for and not granted; a policy or your application decided so", why["broadcast"]
        )
        self.assertIsNone(why["user"])

    def test_nobody(self) -> None:
        """Without an identity it is said whether anybody could have one."""
        access = Access("a", EVERY)
        why = self.why(Identity(), access)
        self.assertEqual([None, *["nobody is logged in here"] * 3], list(why.values()))
        why = self.why(Identity(), access, where=_Where(knows_identities=False))
        self.assertEqual(
            "this gateway knows no users, without --django, --auth-url or --jwt-key",
            why["user"],
        )
        why = self.why(Identity(), access, stranger="its page is foreign")
        self.assertEqual("its page is foreign", why["session"])

    def test_parts_of_an_identity(self) -> None:
        """An identity that lacks a name of one kind says which, and whose it is."""
        access = Access("a", EVERY)
        why = self.why(Identity("ann"), access)
        self.assertEqual("ann is in no group", why["group"])
        self.assertEqual("ann came without a session, as with a token", why["session"])
        why = self.why(Identity(session="key"), access)
        self.assertEqual("nobody is logged in here; there is only a session", why["user"])
        self.assertEqual("this identity is in no group", why["group"])

    def test_colon(self) -> None:
        """A name with a colon has no channel, unless there is another one without."""
        access = Access("a", EVERY)
        why = self.why(Identity("a:b", ("c:d", "e")), access)
        self.assertEqual("the name of its user has a colon, so it has no channel", why["user"])
        self.assertIsNone(why["group"])

    def test_others(self) -> None:
        """Channels that a subscriber class chose are told, and why there are no default ones."""
        connection = _Connection(JOHN, Access("a", EVERY, EVERY))
        connection.channels = [b"user:john:a", b"session:key-of-john:b", b"room:7"]
        connection.publishes = []
        report = socket_report(connection, connection.granted, _Where())
        self.assertEqual(["session:...:b", "room:7"], report["subscribe_others"])
        self.assertEqual([], report["publish_others"])
        why = {each["audience"]: each.get("why") for each in report["subscribe"]}
        self.assertEqual("the subscriber class of the project chose others", why["broadcast"])
        self.assertIsNone(why["user"])

    def test_hints(self) -> None:
        """The hints of the connection are in it."""
        connection = _Connection(JOHN, Access("a"))
        connection.hints = ("no flag",)
        self.assertEqual(["no flag"], socket_report(connection, Access("a"), _Where())["hints"])
