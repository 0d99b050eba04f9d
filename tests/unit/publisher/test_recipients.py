"""Tests for `wsredis.publisher.recipients`, through the channels of a publisher."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from tests.unit.publisher.case import SettingsCase, messages, request_of
from wsredis.publisher import SELF, BasePublisher


class ChannelTests(SettingsCase):
    """The recipients of a message, and their channels."""

    def channels(self, **names: Any) -> list[str]:
        """The channels of a publisher of facility f."""
        publisher = BasePublisher(**{"facility": "f", **names})
        return [channel.decode() for channel in publisher.channels]

    def test_all(self) -> None:
        """Each name gives a channel, once; the order is that of stored messages."""
        found = self.channels(
            broadcast=True, users=["john", "mary", "john"], groups=("chess",), sessions=["k"]
        )
        expected = ["broadcast:f", "group:chess:f", "user:john:f", "user:mary:f", "session:k:f"]
        self.assertEqual(expected, found)

    def test_nobody(self) -> None:
        """Nothing given means no recipient; so do None, False and empty names."""
        self.assertEqual([], self.channels())
        for nothing in (None, False, [], (), [None, ""]):
            self.assertEqual([], self.channels(users=nothing, groups=nothing, sessions=nothing))

    def test_no_facility(self) -> None:
        """Without a facility the name is the one of django-websocket-redis; no client has it."""
        self.assertEqual((b"broadcast:{facility}",), BasePublisher(broadcast=True).channels)

    def test_any_names(self) -> None:
        """Sets, generators and one name alone are accepted, and any objects as names."""

        class User:
            def __str__(self) -> str:
                return "mary"

        for users in ("mary", {"mary"}, iter(["mary"]), {"mary": 1}, [User()]):
            self.assertEqual(["user:mary:f"], self.channels(users=users))
        self.assertEqual(["session:5:f"], self.channels(sessions=[5]))

    def test_objects(self) -> None:
        """Users, groups and sessions of Django count by their names, whatever their strings are."""

        class Lazy:
            """A proxy as Django's: Python takes it for an iterable, and it is not one."""

            def __init__(self, thing: Any) -> None:
                self._thing = thing

            def __getattr__(self, name: str) -> Any:
                return getattr(self._thing, name)

            def __iter__(self) -> Any:
                return iter(self._thing)

        number = UUID("b63a92b5-4119-4908-8fcc-28e045a2cbbc")
        john = SimpleNamespace(get_username=lambda: "john")
        other = SimpleNamespace(get_username=lambda: number)
        nobody = SimpleNamespace(get_username=lambda: "")
        group, session = SimpleNamespace(name="chess"), SimpleNamespace(session_key="k")
        for users in (john, [john], Lazy(john), [Lazy(john), nobody], (john, "john")):
            self.assertEqual(["user:john:f"], self.channels(users=users))
        self.assertEqual([f"user:{number}:f"], self.channels(users=[other, number]))
        for groups in (group, [group], Lazy(group), {"chess"}):
            self.assertEqual(["group:chess:f"], self.channels(groups=groups))
        for sessions in (session, [session], [SimpleNamespace(session_key=None), "k"]):
            self.assertEqual(["session:k:f"], self.channels(sessions=sessions))

    def test_own_names(self) -> None:
        """The name of a user of another model is a string; a list that is no list counts little."""
        number = UUID("b63a92b5-4119-4908-8fcc-28e045a2cbbc")
        request = request_of("john", memberof="chess")
        request.user.get_username = lambda: number
        found = self.channels(request=request, users=[SELF], groups=[SELF])
        self.assertEqual([f"user:{number}:f"], found)
        request = request_of("john")
        request.user.groups = ["chess"]
        self.assertEqual([], self.channels(request=request, groups=[SELF]))

    def test_wrong_names(self) -> None:
        """A value that is not a collection of names is refused, and the argument is named."""
        for wrong in (5, b"john", bytearray(b"john"), object()):
            with self.assertRaisesRegex(ValueError, "groups must be a list"):
                self.channels(groups=wrong)
        with self.assertRaisesRegex(ValueError, "users: a name is a string, not bytes"):
            self.channels(users=[b"john"])

    def test_colon(self) -> None:
        """A name with a colon gets no channel, and a warning."""
        with self.assertLogs("wsredis.publisher", "WARNING") as logs:
            found = self.channels(users=["a:b", "john"])
        self.assertEqual(["user:john:f"], found)
        self.assertEqual(["no channel for user 'a:b': a name has no colon"], messages(logs))

    def test_colon_of_a_session(self) -> None:
        """The warning does not show the key of a session."""
        with self.assertLogs("wsredis.publisher", "WARNING") as logs:
            self.assertEqual([], self.channels(sessions=["a:key"]))
        self.assertEqual(["no channel for session '...': a name has no colon"], messages(logs))

    def test_prefix(self) -> None:
        """The prefix stands before every name."""
        publisher = BasePublisher(facility="f", broadcast=True, users=["u"], prefix="site")
        self.assertEqual((b"site:broadcast:f", b"site:user:u:f"), publisher.channels)
        self.assertEqual("site:", publisher.get_prefix())
        self.assertEqual("", BasePublisher().get_prefix())

    def test_self(self) -> None:
        """SELF is the user of the request, its groups, its session; True and SELF alone too."""
        request = request_of("john", memberof=["chess", "go"], key="k")
        every = ["group:chess:f", "group:go:f", "user:john:f", "session:k:f"]
        foreign = type("SELF_TYPE", (), {})()
        for own in ([SELF], (SELF,), SELF, True, foreign, [foreign]):
            found = self.channels(request=request, users=own, groups=own, sessions=own)
            self.assertEqual(every, found)
        found = self.channels(request=request, users=[SELF, "john", "mary"])
        self.assertEqual(["user:john:f", "user:mary:f"], found)
        self.assertEqual("SELF", repr(SELF))

    def test_live_groups(self) -> None:
        """The groups are those of the session, also if there are none; else those of the user."""
        for request, expected in (
            (request_of("john", memberof=["chess"], groups=("go",)), ["group:chess:f"]),
            (request_of("john", memberof=[], groups=("go",)), []),
            (request_of("john", groups=("go", "poker")), ["group:go:f", "group:poker:f"]),
            (request_of("john"), []),
        ):
            self.assertEqual(expected, self.channels(request=request, groups=[SELF]))
        request = request_of("john", groups=("go",))
        del request.session
        self.assertEqual(["group:go:f"], self.channels(request=request, groups=[SELF]))

    def test_anonymous(self) -> None:
        """Without a request, a user or a session, SELF has no channel."""
        bare = SimpleNamespace()
        empty = SimpleNamespace(user=None, session=None)
        for request in (None, bare, empty, request_of(memberof=["chess"], groups=("go",))):
            own = {"users": [SELF], "groups": [SELF], "sessions": [SELF]}
            self.assertEqual([], self.channels(request=request, **own))
