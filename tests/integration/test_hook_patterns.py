"""How projects use django-websocket-redis: hooks, unchanged."""

from __future__ import annotations

from tests.support.patterns.case import HEARTBEAT, PatternCase

_HOOKS = "tests.support.patterns.hooks"


class HookTests(PatternCase):
    """``WS4REDIS_ALLOWED_CHANNELS`` and ``WS4REDIS_PROCESS_REQUEST``."""

    def start_with(self, name: str, setting: str = "WS4REDIS_ALLOWED_CHANNELS") -> None:
        """Start with a hook that the setting holds itself."""
        self.start(FUNCTIONS={setting: f"{_HOOKS}.{name}"})

    def test_mute(self) -> None:
        """A hook without flags for strangers leaves them a socket that hears nothing."""
        self.start_with("mute_for_strangers")
        (john,) = self.project.log_in("john")
        user = self.open("/ws/f?subscribe-broadcast&publish-broadcast", john)
        stranger = self.open("/ws/f?subscribe-broadcast&publish-broadcast")
        stranger.send_text("not published")
        stranger.send_text(HEARTBEAT)
        # One at the start, and the answer, which comes after what was sent before it.
        self.assertEqual([HEARTBEAT.encode()] * 2, [stranger.message() for _ in range(2)])
        self.command("PUBLISH", "ws:broadcast:f", "for users")
        self.check_heard(user, "for users")

    def test_refused(self) -> None:
        """A hook that raises PermissionDenied without a word refuses with 403."""
        self.start_with("only_staff")
        (john,) = self.project.log_in("john")
        for key in ("", john):
            self.assertEqual(403, self.refused("/ws/f?subscribe-broadcast", key)[0])
        self.project.run("User.objects.filter(username='john').update(is_superuser=True)")
        client = self.open("/ws/f?subscribe-broadcast", john)
        self.command("PUBLISH", "ws:broadcast:f", "for staff")
        self.check_heard(client, "for staff")

    def test_old_django(self) -> None:
        """A hook that calls ``is_authenticated`` lets nobody in, and the log says why."""
        self.start_with("of_old_django")
        (john,) = self.project.log_in("john")
        for key in ("", john):
            self.assertEqual(
                (500, "internal error"), self.refused("/ws/f?subscribe-broadcast", key)
            )
        self.gateway.child.wait_for(r"WS4REDIS_ALLOWED_CHANNELS: TypeError at hooks.py:\d+")

    def test_set(self) -> None:
        """A hook that returns a set drops flags, and the others count."""
        self.start_with("only_listening")
        client = self.open("/ws/f?subscribe-broadcast&publish-broadcast&echo")
        client.send_text("not published")
        self.command("PUBLISH", "ws:broadcast:f", "published")
        self.check_heard(client, "published")

    def test_none(self) -> None:
        """A hook that returns nothing for those whom it allows allows what they asked for."""
        self.start(WS4REDIS_ALLOWED_CHANNELS=f"{_HOOKS}.forgets_to_return")
        (john,) = self.project.log_in("john")
        self.assertEqual((403, "log in first"), self.refused("/ws/f?subscribe-broadcast"))
        client = self.open("/ws/f?subscribe-broadcast", john)
        self.command("PUBLISH", "ws:broadcast:f", "for users")
        self.check_heard(client, "for users")

    def test_page(self) -> None:
        """A hook reads path and session, and gives a flag that the client did not ask for."""
        self.start_with("by_page")
        john, mary = self.project.log_in("john", "mary")
        self.view(
            'session = request_of(KEY).session\nsession["pages"] = [7]\nsession.save()\n', KEY=john
        )
        client = self.open("/ws/7/events?publish-broadcast", john)
        client.send_text("not published")
        self.command("PUBLISH", "ws:broadcast:7/events", "an event")
        self.check_heard(client, "an event")
        self.assertEqual((403, "not your page"), self.refused("/ws/7/events", mary))
        self.assertEqual((403, "not your page"), self.refused("/ws/8/events", john))
        self.assertEqual((403, "no such page"), self.refused("/ws/7/events/more", john))

    def test_database(self) -> None:
        """A hook asks the database at each handshake."""
        self.start_with("members_by_database")
        john, mary = self.project.log_in("john", "mary")
        self.open("/ws/staff?subscribe-broadcast", mary)
        refused = self.refused("/ws/staff?subscribe-broadcast", john)
        self.assertEqual((403, "not a member of staff"), refused)
        self.project.run(
            "User.objects.get(username='john').groups.add(Group.objects.get(name='staff'))"
        )
        self.open("/ws/staff?subscribe-broadcast", john)

    def test_token(self) -> None:
        """``WS4REDIS_PROCESS_REQUEST`` takes a token on one path, and the cookie on others."""
        self.start_with("by_token", "WS4REDIS_PROCESS_REQUEST")
        (mary,) = self.project.log_in("mary")
        token = self.view("from django.core.signing import Signer\nprint(Signer().sign('john'))")
        by_token = self.open(f"/ws/api?subscribe-user&subscribe-session&token={token}")
        by_cookie = self.open("/ws/page?subscribe-user&subscribe-group", mary)
        self.command("PUBLISH", "ws:user:john:api", "for john")
        self.command("PUBLISH", "ws:user:mary:page", "for mary")
        self.command("PUBLISH", "ws:group:staff:page", "for staff")
        self.check_heard(by_token, "for john")
        self.check_heard(by_cookie, "for mary", "for staff")
        self.assertEqual(403, self.refused("/ws/api?subscribe-user&token=john:forged")[0])
        self.open("/ws/page?subscribe-user&subscribe-session")
        self.assertNotIn(token, self.gateway.log)
