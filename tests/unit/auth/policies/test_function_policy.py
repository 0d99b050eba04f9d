"""Tests of `wsredis.auth.policies.function_policy`: functions of an operator, good and bad."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from wsredis.auth.policies.function_policy import FunctionPolicy
from wsredis.channels import Access, Audience
from wsredis.errors import ConfigError, HandshakeRejected
from wsredis.gateway.identity import Handshake, Identity

ASKED = Handshake(Access("chat", frozenset({Audience.USER})), "/ws/chat", {}, "peer")
OTHER = Access("other")
JOHN = Identity(user="john")

later: Deferred[object] = Deferred()


def yes(identity: Identity, handshake: Handshake) -> bool:
    """Grant everything."""
    return True


def only_john(identity: Identity, handshake: Handshake) -> bool:
    """Allow one user."""
    return identity == JOHN and handshake is ASKED


def nothing(identity: Identity, handshake: Handshake) -> None:
    """Return nothing."""


def other(identity: Identity, handshake: Handshake) -> Access:
    """Grant another access."""
    return OTHER


def deferred(identity: Identity, handshake: Handshake) -> Deferred[bool]:
    """Return a Deferred."""
    return succeed(True)


async def waits(identity: Identity, handshake: Handshake) -> object:
    """Answer after a while."""
    return await later


def refuses(identity: Identity, handshake: Handshake) -> bool:
    """Reject with a reason of its own."""
    raise HandshakeRejected("pay first", 402)


def fails(identity: Identity, handshake: Handshake) -> bool:
    """Fail."""
    raise KeyError("x")


def truthy(identity: Identity, handshake: Handshake) -> int:
    """Return a value that is true, and is not True."""
    return 1


def too_few(identity: Identity) -> bool:
    """Take one argument."""
    return True


class Method:
    """The function may be an attribute of a class."""

    @staticmethod
    def allow(identity: Identity, handshake: Handshake) -> bool:
        """Grant everything."""
        return True


class FunctionPolicyTests(SynchronousTestCase):
    """Results of the function."""

    def ask(self, name: str, identity: Identity = JOHN) -> Deferred[Access]:
        """Ask a function of this module."""
        policy = FunctionPolicy(f"{__name__}:{name}")
        return Deferred.fromCoroutine(policy.allow(identity, ASKED))

    def test_granted(self) -> None:
        """True grants the requested access; an Access is granted in its place."""
        for name in ("yes", "only_john", "deferred", "Method.allow"):
            self.assertIs(ASKED.requested, self.successResultOf(self.ask(name)), name)
        self.assertIs(OTHER, self.successResultOf(self.ask("other")))

    def test_waits(self) -> None:
        """The result of a coroutine is waited for."""
        self.patch(sys.modules[__name__], "later", Deferred())
        answer = self.ask("waits")
        self.assertNoResult(answer)
        later.callback(True)
        self.assertIs(ASKED.requested, self.successResultOf(answer))

    def test_refused(self) -> None:
        """False and None deny; a rejection of its own is passed on."""
        for name, identity in (("only_john", Identity()), ("nothing", JOHN)):
            error = self.failureResultOf(self.ask(name, identity), HandshakeRejected).value
            self.assertEqual((403, f"policy {__name__}:{name}"), (error.status, error.hint))
            self.assertEqual("you may not do this here", error.reason)
        error = self.failureResultOf(self.ask("refuses"), HandshakeRejected).value
        self.assertEqual((402, "pay first"), (error.status, error.reason))

    def test_mistakes(self) -> None:
        """An exception and a result of another type are mistakes, and grant nothing."""
        self.failureResultOf(self.ask("fails"), KeyError)
        error = self.failureResultOf(self.ask("truthy"), TypeError).value
        self.assertIn("truthy must return a bool or an Access, not int", str(error))


class LoadTests(SynchronousTestCase):
    """An unusable function is an error of one line when the gateway starts."""

    def setUp(self) -> None:
        """Make an empty folder the working directory."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        self.patch(sys, "path", list(sys.path))
        self.patch(sys, "modules", dict(sys.modules))
        self.patch(sys, "dont_write_bytecode", True)

    def refused(self, name: str) -> str:
        """Return the text of the error."""
        text = str(self.assertRaises(ConfigError, FunctionPolicy, name))
        self.assertEqual(1, len(text.splitlines()), text)
        self.assertTrue(text.startswith(f"policy: {name}: "), text)
        return text

    def test_working_directory(self) -> None:
        """A module in the working directory is found, after all others."""
        Path("rights_here.py").write_text("def may(identity, handshake):\n    return False\n")
        FunctionPolicy("rights_here:may")
        FunctionPolicy("rights_here:may")
        self.assertEqual(os.getcwd(), sys.path[-1])
        self.assertEqual(1, sys.path.count(os.getcwd()))

    def test_missing(self) -> None:
        """A missing module is an error."""
        self.assertIn("ModuleNotFoundError", self.refused("nosuch_module:may"))

    def test_wrong_signature(self) -> None:
        """A function with other arguments is an error."""
        self.assertIn("does not take (identity, handshake)", self.refused(f"{__name__}:too_few"))

    def test_no_signature(self) -> None:
        """A function that does not tell its arguments is accepted."""
        FunctionPolicy("builtins:max")
