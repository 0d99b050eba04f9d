"""Tests of `wsredis.auth.strangers`."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.unit.auth.case import AuthCase, Register
from wsredis.auth.admission import Admission
from wsredis.auth.control_commands import RecentCommands
from wsredis.auth.policies.origin import OriginPolicy
from wsredis.auth.strangers import Strangers
from wsredis.channels import Access
from wsredis.errors import HandshakeRejected
from wsredis.gateway.identity import Handshake

PAGE = "http://localhost:3000"


def question(origin: str = PAGE, **headers: str) -> Handshake:
    """The handshake of a page of *origin* with a gateway on port 8080."""
    found = {"host": "localhost:8080", "origin": origin}
    found |= {name.replace("_", "-"): value for name, value in headers.items()}
    return Handshake(Access("a"), "/ws/a", found, "192.0.2.1:5")


class StrangersTests(SynchronousTestCase):
    """`Strangers`."""

    def setUp(self) -> None:
        """Nobody is allowed in."""
        self.clock = Clock()
        self.strangers = Strangers(self.clock, OriginPolicy(), knows_users=True)

    def test_counted(self) -> None:
        """Headers that may speak for the visitor count for the own page alone."""
        own = question("http://localhost:8080", cookie="a=b", x_user="john")
        self.assertIs(own, self.strangers.counted(own))
        open_ = question(user_agent="x")
        self.assertIs(open_, self.strangers.counted(open_))
        cut = self.strangers.counted(question(cookie="a=b", x_user="john", user_agent="x"))
        self.assertEqual({"host", "origin", "user-agent"}, {*cut.headers})

    def test_words(self) -> None:
        """The words name the page, what was ignored, and the option; nothing of a secret."""
        for headers, what in (
            ({"cookie": "sessionid=SECRET"}, "cookies"),
            ({"authorization": "SECRET"}, "credentials"),
        ):
            self.assertEqual(
                f"this page comes from {PAGE}, another origin: its {what} are ignored; "
                f"--allow-origin {PAGE} admits it",
                self.strangers.words(question(**headers)),
            )

    def test_unknown_name(self) -> None:
        """A page of the gateway by a name that is not known gets the option for names."""
        headers = {"host": "ws.example.com:8080", "origin": "http://ws.example.com:8080"}
        handshake = Handshake(Access("a"), "/ws/a", {**headers, "cookie": "a=b"}, "peer")
        found = self.strangers.words(handshake)
        self.assertIn("a name that is not known here", found)
        self.assertIn("--allow-host ws.example.com admits it", found)
        self.assertIn("a name that is not known here", self.strangers.advice(handshake))

    def test_no_words(self) -> None:
        """Nobody is told of a header that nobody misses, of the own page, or without users."""
        self.assertEqual("", self.strangers.words(question(sec_ch_ua="x")))
        self.assertEqual("", self.strangers.words(question("http://localhost:8080", cookie="a=b")))
        strangers = Strangers(self.clock, OriginPolicy(), knows_users=False)
        self.assertEqual("", strangers.words(question(cookie="a=b")))

    def test_nothing_lost(self) -> None:
        """Without words there is no line in the log either."""
        with capturedLogs() as logs:
            self.assertEqual("", self.strangers.tell(question(sec_ch_ua="x")))
        self.assertEqual([], logs)

    def test_rubbish(self) -> None:
        """An Origin that is none, or is long, is not repeated."""
        for origin in ("null", "rub\x1b[31mbish", f"https://{'a' * 200}.example"):
            found = self.strangers.words(question(origin, cookie="a=b"))
            self.assertIn("comes from an origin without a name", found)
            self.assertLess(len(found), 150)

    def test_log(self) -> None:
        """One line tells of each origin, and many origins fill no log."""
        with capturedLogs() as logs:
            for _ in range(3):
                self.strangers.tell(question(cookie="a=b"))
        (line,) = [formatEvent(each) for each in logs]
        self.assertEqual(
            f"pages of {PAGE} come as strangers: their cookies and the like are ignored; "
            f"--allow-origin {PAGE} admits them",
            line,
        )
        with capturedLogs() as logs:
            for number in range(100):
                self.strangers.tell(question(f"https://{number}.example", cookie="a=b"))
            self.strangers.stop()
        self.assertEqual(20 + 2, len(logs))


class RefusalTests(AuthCase):
    """A refusal of a foreign page, whose cookies do not count."""

    def refusal(self, error: HandshakeRejected, handshake: Handshake) -> HandshakeRejected:
        """Refuse *handshake* with *error*, for a reason of the application's own."""

        class Refuses(Register):
            def identify(self, handshake: Handshake) -> object:
                raise error

        admission = Admission(
            self.clock, [Refuses()], [], RecentCommands(self.clock), origins=OriginPolicy()
        )
        found = self.failureResultOf(Deferred.fromCoroutine(admission.admit(handshake)))
        assert isinstance(found.value, HandshakeRejected)
        return found.value

    def test_advice(self) -> None:
        """It says so, for the log and for the page, unless it has better advice."""
        with capturedLogs():
            advice = f"its page is of another origin; --allow-origin {PAGE} would admit it"
            for headers in ({"cookie": "a=b"}, {}):
                error = self.refusal(HandshakeRejected("log in", 401), question(**headers))
                self.assertEqual((f"log in: {advice}", advice), (error.told, error.hints))
            error = self.refusal(HandshakeRejected("no", advice="eat"), question(cookie="a=b"))
            self.assertEqual("eat", error.advice)
            shared = HandshakeRejected("no")
            self.refusal(shared, question(cookie="a=b"))
            self.assertEqual("", shared.advice)
        for error, origin in (
            (HandshakeRejected("no"), "http://localhost:8080"),
            (HandshakeRejected("later", 503), PAGE),
        ):
            self.assertEqual("", self.refusal(error, question(origin)).advice)
