"""Rules and functions of an operator in real gateways; and check-config in the shell."""

from __future__ import annotations

import re
import shutil
import sys
import time
from pathlib import Path

import jwt

import tests.support
from tests.integration.test_life import NO_REDIS, TWISTD, LifeCase
from tests.support.children import Child, until
from tests.support.raw import RawClient, handshake, response
from tests.support.require import missing

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"

#: The identities of the tests, as the headers that name them.
JOHN = ("X-User: john", "X-Session: abc")
MARY = ("X-User: mary", "X-Groups: players staff")
EVE = ("X-User: eve", "X-Groups: Staff tigers")
NOBODY = ()

BAD = """
def slow(identity, handshake):
    from twisted.internet import reactor
    from twisted.internet.task import deferLater
    return deferLater(reactor, 0.01, lambda: identity.user == "john")

def fails(identity, handshake):
    if handshake.requested.facility == "bad":
        return {}["secret"]
    return True

def while_open(identity, handshake):
    from pathlib import Path
    return not Path("closed").exists()

def alters(identity, handshake):
    from wsredis import Audience, Access
    return Access("elsewhere", frozenset({Audience.BROADCAST}))
"""


class RightsCase(LifeCase):
    """A test case with gateways that know clients by headers."""

    skip = missing("redis")

    def start(self, config: str) -> None:
        """
        Start a gateway that knows clients by headers, in a folder with the examples.

        Args:
            config: The text of its TOML file.
        """
        self.redis = self.redis_server()
        shutil.copy(EXAMPLES / "rights.py", self.directory)
        Path(self.directory, "bad.py").write_text(BAD)
        path = Path(self.directory, "wsredis.toml")
        path.write_text(config)
        tac = Path(tests.support.__file__).with_name("identified.tac")
        self.running = self.child(
            *(*TWISTD, "--pidfile=", "-y", str(tac)),
            environ={"TEST_REDIS_URL": self.redis.url, "TEST_CONFIG": str(path)},
        )
        self.port = int(self.running.wait_for(r"listening on \S*:(\d+)")[1])
        self.running.wait_for("connected to ")

    def accepted(self, path: str, *headers: str) -> bool:
        """Tell whether a client is let in; if not, check that the answer is 403."""
        with RawClient(self.port) as client:
            client.send(handshake(path, *headers))
            status = client.head().split()[1]
            self.assertIn(status, ("101", "403"))
            return status == "101"

    def refused(self, path: str, *headers: str) -> tuple[int, str]:
        """Return the status and the text of the answer."""
        status, _, body = response(self.port, handshake(path, *headers))
        return status, body.decode()


class RuleTests(RightsCase):
    """Rules of the file."""

    def test_staff(self) -> None:
        """Users that a rule names are allowed, others are not; flags without a rule are allowed."""
        self.start((EXAMPLES / "rules-staff.toml").read_text())
        speak = "/ws/chat.lobby?publish-broadcast"
        self.assertEqual(
            [True, True, False, False],
            [self.accepted(speak, *who) for who in (JOHN, MARY, EVE, NOBODY)],
        )
        for who in (JOHN, MARY, EVE, NOBODY):
            self.assertTrue(self.accepted("/ws/chat.lobby?subscribe-broadcast", *who))
            self.assertTrue(self.accepted("/ws/other?publish-broadcast", *who))
            self.assertFalse(self.accepted("/ws/chat.lobby?publish-user", *who))
            self.assertFalse(self.accepted("/ws/chat%2Elobby?publish-user", *who))

    def test_message(self) -> None:
        """A message goes from a client that may publish to one that may only subscribe."""
        self.start((EXAMPLES / "rules-staff.toml").read_text())
        listener = self.open(self.port, "/ws/chat.x?subscribe-broadcast")
        self.open(self.port, "/ws/chat.x?publish-broadcast", *MARY).send_text("hello")
        self.assertEqual(b"hello", listener.message())

    def test_closed(self) -> None:
        """With a last rule that denies everything, only listed flags are allowed."""
        self.start((EXAMPLES / "rules-closed.toml").read_text())
        for path, expected in (
            ("/ws/news?subscribe-broadcast", [True, True]),
            ("/ws/news?subscribe-broadcast&subscribe-user", [True, True]),
            ("/ws/news?publish-broadcast", [False, False]),
            ("/ws/chat.x?subscribe-broadcast&publish-broadcast", [True, False]),
            ("/ws/games.x?subscribe-group&publish-group&echo", [True, False]),
            ("/ws/chat.x?publish-session", [False, False]),
            ("/ws/anything?subscribe-session", [True, True]),
            ("/ws/anything?subscribe-broadcast", [False, False]),
            ("/ws/?subscribe-broadcast", [False, False]),
            ("/ws/anything", [True, True]),
        ):
            found = [self.accepted(path, *JOHN), self.accepted(path, *NOBODY)]
            self.assertEqual(expected, found, path)

    def test_words(self) -> None:
        """The reason names the flag, the log names the rule."""
        self.start((EXAMPLES / "rules-staff.toml").read_text())
        path = "/ws/chat.x?subscribe-broadcast&publish-broadcast&publish-group"
        self.assertEqual((403, "you may not publish-broadcast here"), self.refused(path, *EVE))
        self.assertEqual((403, "you may not publish-group here"), self.refused(path, *JOHN))
        self.running.wait_for(r"403 'you may not publish-broadcast here' \(rule 2\)")
        self.running.wait_for(r"403 'you may not publish-group here' \(rule 2\)")


class FunctionTests(RightsCase):
    """``policy = "module:function"``."""

    def test_example(self) -> None:
        """The function of the how-to is found in the working directory."""
        self.start('policy = "rights:may"')
        path = "/ws/room.tigers?subscribe-broadcast"
        self.assertTrue(self.accepted(path, *EVE))
        self.assertTrue(self.accepted("/ws/other?subscribe-broadcast", *NOBODY))
        self.assertEqual((403, "you may not do this here"), self.refused(path, *MARY))
        self.assertEqual((403, "log in to enter a room"), self.refused(path))
        self.running.wait_for(r"403 'you may not do this here' \(policy rights:may\)")

    def test_rules_come_first(self) -> None:
        """The function cannot allow a flag that a rule denies; its result is the granted access."""
        self.start('policy = "bad:alters"\n[[rule]]\nright = "publish"\nallow = false')
        self.assertFalse(self.accepted("/ws/x?publish-broadcast"))
        client = self.open(self.port, "/ws/x?subscribe-broadcast")
        self.redis.command("PUBLISH", "site:broadcast:x", "no")
        self.redis.command("PUBLISH", "site:broadcast:elsewhere", "yes")
        self.assertEqual(b"yes", client.message())

    def test_waits(self) -> None:
        """A function may return a Deferred."""
        self.start('policy = "bad:slow"')
        self.assertTrue(self.accepted("/ws/x", *JOHN))
        self.assertFalse(self.accepted("/ws/x", *EVE))

    def test_asked_again(self) -> None:
        """The function is asked again at each check; a client that it denies then is closed."""
        self.start('policy = "bad:while_open"')
        client = self.open(self.port, "/ws/x?subscribe-broadcast", *JOHN)
        Path(self.directory, "closed").touch()
        self.redis.command("PUBLISH", "site:wsredis-control", '{"recheck": {"user": "john"}}')
        self.assertEqual(4403, client.closing())

    def test_mistake(self) -> None:
        """A function that fails lets nobody in, is logged, and affects no other client."""
        self.start('policy = "bad:fails"')
        for _ in range(2):
            self.assertEqual((500, "internal error"), self.refused("/ws/bad"))
        self.running.wait_for(r"KeyError: 'secret'")
        self.assertTrue(self.accepted("/ws/good"))


class WorkerTests(LifeCase):
    """Several processes."""

    skip = missing("redis")

    def test_workers(self) -> None:
        """Each worker has the rules and the function."""
        shutil.copy(EXAMPLES / "rights.py", self.directory)
        redis = self.redis_server()
        gateway = self.child(
            *(*TWISTD, "--pidfile=", "wsredis", "--workers", "2", "--redis", redis.url),
            *("--port", "tcp:0:interface=127.0.0.1", "--policy", "rights:may"),
            *("--config", str(EXAMPLES / "rules-staff.toml")),
        )
        port = int(gateway.wait_for(r"listening on \S*:(\d+)")[1])
        gateway.wait_for("all 2 workers are ready")
        for path, why in (
            ("/ws/chat.x?publish-broadcast", r"\(rule 2;"),
            ("/ws/room.x?subscribe-broadcast", "'log in to enter a room'"),
        ):
            said: set[str] = set()

            def both(path: str = path, why: str = why, said: set[str] = said) -> bool:
                since = len(gateway.output)
                self.assertEqual(403, response(port, handshake(path))[0])
                said.add(gateway.wait_for(rf"worker (\d): refused .* 403 .*{why}", since=since)[1])
                return said == {"1", "2"}

            until(both)


class TokenTests(LifeCase):
    """Rules about users and groups of tokens."""

    skip = missing("redis")

    def test_group(self) -> None:
        """Rules apply to the groups of a token."""
        key = Path(self.directory, "key")
        key.write_text("k" * 32)
        redis = self.redis_server()
        gateway = self.gateway(
            *("--redis", redis.url, "--jwt-key", str(key)),
            *("--config", str(EXAMPLES / "rules-staff.toml")),
            ready=True,
        )
        for groups, expected in ((["staff"], 101), (["players"], 403), ([], 403)):
            token = jwt.encode(
                {"sub": "mary", "groups": groups, "exp": time.time() + 600}, "k" * 32, "HS256"
            )
            with RawClient(gateway.port) as client:
                header = f"Authorization: Bearer {token}"
                client.send(handshake("/ws/chat.x?publish-broadcast", header))
                self.assertEqual(str(expected), client.head().split()[1], groups)


class WrongTests(LifeCase):
    """An unusable setting is an error of one line."""

    def check(self, text: str, *parts: str) -> None:
        """Return the error about a file, which gateway and check-config share."""
        path = Path(self.directory, "bad.toml")
        path.write_text(text)
        Path(self.directory, "broken.py").write_text("import nosuch_module\n")
        words = (*NO_REDIS, "--config", str(path))
        self.assert_one_line(self.wrong(*words), *parts)
        self.assert_one_line(self.command(*words), *parts)

    def command(self, *words: str) -> Child:
        """Start check-config."""
        return self.child(sys.executable, "-m", "wsredis", "check-config", *words)

    def test_rules(self) -> None:
        """Mistakes in rules name the file, the rule and the key."""
        good = "[[rule]]\nallow = true\n"
        self.check(f"{good}{good}[[rule]]\nalow = true", "bad.toml: rule 3: alow: ")
        self.check(f"{good}audience = 'all'", "bad.toml: rule 1: audience: 'all' is not one of")
        self.check("[[rule]]\nwho = 'users'", "bad.toml: rule 1: allow: it is missing")
        self.check("[rule]\nallow = true", "bad.toml: rule: each rule must be a table")

    def test_function(self) -> None:
        """Mistakes in the name of the function, and in its module."""
        self.check("policy = 'rights'", "bad.toml: policy: 'rights' is not written as")
        self.check("policy = 'broken:may'", "policy: broken:may: ModuleNotFoundError: ")
        self.check("policy = 'os:sep'", "policy: os:sep: it is not callable")


class CheckConfigTests(LifeCase):
    """``wsredis check-config``."""

    def run_command(self, *words: str, environ: dict[str, str] | None = None) -> tuple[int, str]:
        """Return the status and the output."""
        child = self.child(
            *(sys.executable, "-m", "wsredis", "check-config", *words), environ=environ
        )
        return child.wait(), child.output

    def test_example(self) -> None:
        """The output is that of the how-to."""
        shown = (EXAMPLES / "check-config.txt").read_text("utf-8")
        command, _, expected = shown.partition("\n")
        shutil.copy(EXAMPLES / "rules-staff.toml", self.directory)
        words = re.sub(r"^\$ wsredis check-config ", "", command).split()
        # The Redis of this machine, if there is one, is unknown.
        environ = {"WSREDIS_REDIS": NO_REDIS[1]}
        status, output = self.run_command(*words, environ=environ)
        output = output.replace(f'redis = "{NO_REDIS[1]}"\n', "")
        self.assertEqual((0, expected), (status, output))

    def test_examples_are_sound(self) -> None:
        """The files of the how-to are valid."""
        for name in ("rules-staff.toml", "rules-closed.toml"):
            words = (*NO_REDIS, "--config", str(EXAMPLES / name))
            status, output = self.run_command(*words)
            self.assertEqual((0, "OK\n"), (status, output[:3]))

    def test_secrets(self) -> None:
        """The output does not show the password."""
        status, output = self.run_command(
            *("--redis", "redis://bob:hunter2@localhost/1"),
            environ={"WSREDIS_REDIS_PASSWORD": "hunter2"},
        )
        self.assertEqual(0, status, output)
        self.assertIn("redis://bob:***@localhost/1", output)
        self.assertNotIn("hunter2", output)

    def test_waits(self) -> None:
        """A function that returns a Deferred is waited for."""
        Path(self.directory, "bad.py").write_text(BAD)
        words = (*NO_REDIS, "--policy", "bad:slow", "--facility", "x", "--user")
        status, output = self.run_command(*words, "john")
        self.assertEqual((0, 4), (status, output.count("yes")), output)
        status, output = self.run_command(*words, "eve")
        self.assertEqual((0, 8), (status, output.count("no (policy)")), output)

    def test_wrong(self) -> None:
        """A bad option is one line, and status 1."""
        for words, part in (
            (("--nosuch",), "--nosuch"),
            (("stray",), "'stray'"),
            ((*NO_REDIS, "--user", "john"), "--facility: "),
            ((*NO_REDIS, "--tls-port", "1", "--tls-cert", "/nosuch.pem"), "/nosuch.pem"),
        ):
            status, output = self.run_command(*words)
            self.assertEqual(1, status, output)
            self.assertEqual(1, len(output.splitlines()), output)
            self.assertIn(part, output)

    def test_help(self) -> None:
        """``--help`` of the command is its own."""
        status, output = self.run_command("--help")
        self.assertEqual(0, status)
        self.assertIn("--facility VALUE", output)
