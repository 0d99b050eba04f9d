"""The example of a chat in Django, in two real browsers."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.support.axe import faults
from tests.support.browser import missing_browser, shared_browser
from tests.support.children import PATIENCE, Gateway, reserve_port, until
from tests.support.django_chat import ChatPage, log_in, shared_gateway, shared_site
from tests.support.django_project import missing_django
from tests.support.require import missing

#: A page may wait for 30 seconds before it tries again.
RECONNECT = 30 + PATIENCE

_HOSTILE = "<img src=x onerror=\"document.title='x'\"> & </script>"


#: Browsers say it by themselves. A page that needs no login comes back at once after a logout; it
#: is refused, and comes again, as long as the browser has the cookie.
_REFUSED = "HTTP Authentication failed"


class _Chat(SynchronousTestCase):
    """The site without messages, and two browsers that share nothing."""

    def setUp(self) -> None:
        """Remove all messages."""
        self.site = shared_site()
        self.site.redis.command("FLUSHALL")
        self.port = shared_gateway().port
        self.one, self.two = shared_browser(), shared_browser("second")
        for browser in (self.one, self.two):
            self.addCleanup(browser.close_windows)

    def check_consoles(self, *noise: str) -> None:
        """
        Check that the console of each page has no error. A breach of the policy is an error.

        Args:
            noise: Parts of the browser's own messages about a server that is away.
        """
        found = [*self.one.errors(), *self.two.errors()]
        self.assertEqual([], [each for each in found if not any(word in each for word in noise)])


class BroadcastTests(_Chat):
    """The chat of everybody, without a login."""

    skip = missing_browser() or missing_django()

    def setUp(self) -> None:
        """Open a page in each browser."""
        super().setUp()
        self.pages = [
            ChatPage.opened(browser, self.port, "/chat/") for browser in (self.one, self.two)
        ]

    def test_conversation(self) -> None:
        """Both pages show the message of one, once and letter by letter."""
        one, two = self.pages
        one.say("Is anybody there?")
        two.wait_for("Is anybody there?")
        two.say(_HOSTILE)
        for page in self.pages:
            page.wait_for("Is anybody there?", _HOSTILE)
            self.assertEqual(1, page.window.run("return document.images.length"))
        self.check_consoles()

    def test_reload(self) -> None:
        """A reload shows the last message, which Redis keeps under the name of the original."""
        one, _ = self.pages
        one.say("first")
        one.wait_for("first")
        one.say("last")
        one.wait_for("first", "last")
        one.window.reload()
        one.wait_for("last")
        self.assertEqual(b"last", self.site.redis.command("GET", "mysite:broadcast:chat"))
        self.check_consoles()

    def test_bytes(self) -> None:
        """A binary message is shown by its size."""
        one, _ = self.pages
        self.site.redis.command("PUBLISH", "mysite:broadcast:chat", b"\xff\xfe")
        one.wait_for("2 bytes that are not text")

    def test_policy(self) -> None:
        """The pages forbid all that is inline, such as the script of an intruder."""
        one, _ = self.pages
        one.window.run(
            """
            window.violated = [];
            addEventListener("securitypolicyviolation", (event) => {
              violated.push(event.effectiveDirective);
            });
            const script = document.createElement("script");
            script.textContent = "window.intruded = true";
            document.body.append(script);
            """
        )
        one.window.wait_until("return violated.includes('script-src-elem')")
        self.assertIsNone(one.window.run("return window.intruded ?? null"))


class UserTests(_Chat):
    """The chat with users and groups, after a login."""

    skip = missing_browser() or missing_django()

    def _log_in(self, *names: str) -> list[ChatPage]:
        browsers = (self.one, self.two)
        return [log_in(each, self.port, name) for each, name in zip(browsers, names, strict=True)]

    def test_to_one(self) -> None:
        """A message to a user arrives there and nowhere else; the sender sees it too."""
        john, mary = self._log_in("john", "mary")
        again = ChatPage.opened(self.one, self.port, "/userchat/")
        john.say("for you", "mary")
        mary.wait_for("for you")
        john.wait_for("for you")
        self.assertEqual(["john to you"], mary.labels)
        self.assertEqual(["you to mary"], john.labels)
        mary.say("thanks", "john")
        # Both windows of john, and the sender.
        again.wait_for("thanks")
        john.wait_for("for you", "thanks")
        mary.wait_for("for you", "thanks")
        self.check_consoles()

    def test_impatience(self) -> None:
        """Who presses the key again before the answer has said it once; the field empties after."""
        john, mary = self._log_in("john", "mary")
        john.window.run(
            """
            const form = document.getElementById("form");
            form.elements.to.value = "user:mary";
            form.elements.text.value = "once";
            const before = window.fetch;
            window.posts = 0;
            window.fetch = (...words) => { posts += 1; return before(...words); };
            for (let count = 0; count < 3; count += 1) form.requestSubmit();
            window.left = form.elements.text.value;
            """
        )
        self.assertEqual("once", john.window.run("return left"))
        mary.wait_for("once")
        john.wait_for("once")
        john.window.wait_until("return document.querySelector('#form [maxlength]').value === ''")
        self.assertEqual(1, john.window.run("return posts"))
        self.check_consoles()

    def test_to_group(self) -> None:
        """A message to a group arrives at its members, and not at another."""
        john, paul = self._log_in("john", "paul")
        again = ChatPage.opened(self.one, self.port, "/userchat/")
        paul.say("hello chatters", "chatters")
        for page in (john, again):
            page.wait_for("hello chatters")
        self.assertEqual(["paul to chatters"], john.labels)
        john.say("members only", "chatters")
        again.wait_for("hello chatters", "members only")
        john.wait_for("hello chatters", "members only")
        john.say("for all", "everybody")
        paul.wait_for("hello chatters", "for all")
        self.check_consoles()

    def test_to_all(self) -> None:
        """A message to everybody arrives once at each user."""
        pages = self._log_in("john", "paul")
        for number, page in enumerate(pages):
            page.say(str(number), "everybody")
            for each in pages:
                each.wait_for(*map(str, range(number + 1)))
        self.check_consoles()

    def test_reload(self) -> None:
        """A reload shows the stored messages of everybody, the group and the user, by time."""
        john, mary = self._log_in("john", "mary")
        texts = {"everybody": "to all", "chatters": "to us", "mary": "to you"}
        for count, (to, text) in enumerate(texts.items(), 1):
            john.say(text, to)
            mary.wait_for(*list(texts.values())[:count])
        mary.window.reload()
        mary.wait_for(*texts.values())
        self.assertEqual(["john to everybody", "john to chatters", "john to you"], mary.labels)
        self.check_consoles()

    def test_logout(self) -> None:
        """
        A logout ends the sockets of the session, and the page that needs a login says so; the one
        that needs none goes on, and another session of the same user stays.
        """
        john, elsewhere = self._log_in("john", "john")
        other = ChatPage.opened(self.one, self.port, "/userchat/")
        stranger = ChatPage.opened(self.one, self.port, "/chat/")
        stranger.window.run(
            """
            window.states = [];
            const state = document.getElementById("state");
            new MutationObserver(() => states.push(state.dataset.state))
              .observe(state, { attributes: true });
            """
        )
        john.window.find(".who button").click()
        other.wait_for_words("you are logged out")
        self.assertFalse(other.window.find("#send").is_enabled())
        stranger.window.wait_until("return states.includes('connecting')")
        stranger.wait_for_state("connected")
        stranger.say("as a stranger")
        stranger.wait_for("as a stranger")
        elsewhere.say("still here", "everybody")
        elsewhere.wait_for("still here")
        other.window.find("#again a").click()
        other.window.wait_until("return location.pathname === '/login/'")
        self.check_consoles(_REFUSED)

    def test_group_changes(self) -> None:
        """A user whom another process adds to a group hears it, and after the removal no more."""
        john, paul = self._log_in("john", "paul")
        self._change("Group.objects.get_or_create(name='staff')[0].user_set.add(paul)", members=1)
        john.window.reload()
        john.wait_for_state("connected")
        john.say("welcome", "staff")
        paul.wait_for("welcome")
        self._change("Group.objects.get(name='staff').user_set.remove(paul)", members=0)
        john.say("is he gone?", "staff")
        john.say("he is", "everybody")
        paul.wait_for("welcome", "he is")
        self.assertEqual("connected", paul.state)
        self.check_consoles()

    def _change(self, code: str, members: int) -> None:
        """Run code of an administrator; wait until *members* connections subscribe to the group."""
        self.site.manage(
            *("shell", "-c"),
            "from django.contrib.auth.models import Group, User\n"
            f"paul = User.objects.get(username='paul')\n{code}",
        )
        channel = "mysite:group:staff:userchat"
        expected = [channel.encode(), members]
        until(lambda: self.site.redis.command("PUBSUB", "NUMSUB", channel) == expected)

    def test_restart(self) -> None:
        """Pages and sockets go and come back on the same port; the pages recover by themselves."""
        gateway = self._start()
        self.port = gateway.port
        john, mary = self._log_in("john", "mary")
        everybody = ChatPage.opened(self.two, self.port, "/chat/")
        everybody.say("before")
        everybody.wait_for("before")
        john.say("first", "mary")
        mary.wait_for("first")
        # This one gets lost on its way; the page must not look as if it was sent.
        everybody.window.run(
            "window.whole = WebSocket.prototype.send; WebSocket.prototype.send = () => {}"
        )
        everybody.say("lost")
        gateway.stop()
        for page in (john, mary, everybody):
            page.wait_for_words(r"not connected, next try in \d+ s")
        self.assertEqual("Perhaps not sent: lost", everybody.problem)
        self.assertEqual("lost", everybody.text)
        everybody.window.run(
            "WebSocket.prototype.send = whole; document.getElementById('form').reset()"
        )
        self._start("--port", f"tcp:{self.port}:interface=127.0.0.1")
        for page in (john, mary, everybody):
            page.wait_for_state("connected", RECONNECT)
        john.say("second", "mary")
        mary.wait_for("first", "second")
        everybody.say("after")
        everybody.wait_for("before", "after")
        # wsredis.js asks by HTTP too, after a while.
        self.check_consoles("WebSocket connection to", "net::ERR_CONNECTION_REFUSED")

    def _start(self, *options: str) -> Gateway:
        gateway = self.site.gateway(*options)
        self.addCleanup(gateway.stop)
        return gateway


class RunserverTests(_Chat):
    """The same in development."""

    skip = missing_browser() or missing_django()

    def test_runserver(self) -> None:
        """``manage.py runserver`` has pages, static files and sockets; logout and all."""
        self.port = reserve_port(self)
        self.addCleanup(self.site.runserver(self.port).stop)
        john, mary = (
            log_in(browser, self.port, name)
            for browser, name in ((self.one, "john"), (self.two, "mary"))
        )
        everybody = ChatPage.opened(self.two, self.port, "/chat/")
        everybody.say("hello")
        everybody.wait_for("hello")
        john.say("for you", "mary")
        mary.wait_for("for you")
        everybody.window.find(".who button").click()
        mary.wait_for_words("you are logged out")
        self.check_consoles(_REFUSED)


class LooksTests(_Chat):
    """The pages fit their screens. WSREDIS_SCREENSHOTS names a folder for pictures of them."""

    skip = missing_browser() or missing_django() or missing("node")

    def _check(self, page: ChatPage, name: str, width: int, height: int) -> None:
        """Nothing is outside of the screen, wider than it, or hard to use without sight."""
        self.assertEqual([], faults(page.window), name)
        page.window.screenshot(f"django-chat-{name}")
        for each in ("scrollWidth", "scrollHeight"):
            size = page.window.run(f"return document.documentElement.{each}")
            self.assertEqual(width if each == "scrollWidth" else height, size, name)
        selectors = [".who", "#state", "#messages", "#form [maxlength]", "#send"]
        if page.has_choice:
            selectors.append("#form select")
        for selector in selectors:
            box = page.window.find(selector).rect
            self.assertGreaterEqual(box["width"], 44, selector)
            self.assertGreaterEqual(min(box["x"], box["y"]), 0, selector)
            self.assertLessEqual(box["x"] + box["width"], width, selector)
            self.assertLessEqual(box["y"] + box["height"], height, selector)

    def test_screens(self) -> None:
        """Both chats fit a desktop and a phone, light and dark."""
        john, mary = log_in(self.one, self.port, "john"), log_in(self.two, self.port, "mary")
        everybody = ChatPage.opened(self.two, self.port, "/chat/")
        for text in ("Good morning!", "The coffee is ready."):
            everybody.say(text)
        everybody.wait_for("Good morning!", "The coffee is ready.")
        said = ["Lunch at noon?", "Gladly. Shall we ask the others?", "Who comes along?"]
        john.say(said[0], "mary")
        mary.wait_for(said[0])
        mary.say(said[1], "john")
        john.wait_for(*said[:2])
        john.say(said[2], "chatters")
        mary.wait_for(*said)
        for kind, width, height in (("desktop", 720, 560), ("phone", 390, 700)):
            for scheme in ("light", "dark"):
                for name, page in (("everybody", everybody), ("john", john), ("mary", mary)):
                    page.window.looks(width, height, phone=kind == "phone", scheme=scheme)
                    self._check(page, f"{name}-{kind}-{scheme}", width, height)
        self.check_consoles()

    def test_much(self) -> None:
        """The pages fit with long words and many messages too; the last message is in sight."""
        page = ChatPage.opened(self.one, self.port, "/chat/")
        page.window.looks(390, 700, phone=True)
        texts = [str(number) * 100 for number in range(100, 130)]
        publish = [("PUBLISH", "mysite:broadcast:chat", text) for text in texts]
        self.site.redis.pipeline(*publish)
        page.wait_for(*texts)
        self._check(page, "much", 390, 700)
        last = page.window.find("#messages li:last-child").rect
        box = page.window.find("#messages").rect
        self.assertLessEqual(last["y"] + last["height"], box["y"] + box["height"])

    def test_logged_out(self) -> None:
        """A page that was logged out says so, and has a way back."""
        john, other = (log_in(each, self.port, "john") for each in (self.one, self.two))
        other.window.looks(720, 560)
        john.say("Good night!", "everybody")
        other.wait_for("Good night!")
        self.site.manage(
            *("shell", "-c"),
            "from django.contrib.sessions.models import Session\n"
            "for each in Session.objects.all(): each.delete()",
        )
        for page in (john, other):
            page.wait_for_state("stopped")
        other.window.screenshot("django-chat-logged-out")
        self.assertTrue(other.window.find("#again a").is_displayed())
        self.assertEqual([], faults(other.window))
        self.check_consoles()

    def test_other_pages(self) -> None:
        """Overview and login fit as well, and the page names a wrong password."""
        window = self.one.open(f"http://localhost:{self.port}/")
        for scheme in ("light", "dark"):
            window.looks(390, 700, phone=True, scheme=scheme)
            window.screenshot(f"django-chat-overview-{scheme}")
            self.assertEqual([], faults(window), scheme)
            self.assertEqual(390, window.run("return document.documentElement.scrollWidth"))
        window.find(".who").click()
        window.find("[name=username]").send_keys("john")
        window.find("[name=password]").send_keys("wrong")
        window.find(".login button").click()
        window.wait_until("return document.querySelector('.errorlist') !== null")
        window.screenshot("django-chat-login")
        self.assertEqual([], faults(window))
        self.assertEqual(390, window.run("return document.documentElement.scrollWidth"))
        self.check_consoles()
