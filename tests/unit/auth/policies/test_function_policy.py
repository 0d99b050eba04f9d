"""Tests for `wsredis.auth.policies.function_policy`: functions of somebody else, good and bad."""

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
    """Everything is granted."""
    return True


def only_john(identity: Identity, handshake: Handshake) -> bool:
    """One user may."""
    return identity == JOHN and handshake is ASKED


def nothing(identity: Identity, handshake: Handshake) -> None:
    """It forgot to answer."""


def other(identity: Identity, handshake: Handshake) -> Access:
    """It grants something else."""
    return OTHER


def deferred(identity: Identity, handshake: Handshake) -> Deferred[bool]:
    """It answers by a Deferred."""
    return succeed(True)


async def waits(identity: Identity, handshake: Handshake) -> object:
    """It answers after a while."""
    return await later


def refuses(identity: Identity, handshake: Handshake) -> bool:
    """It has words of its own."""
    raise HandshakeRejected("pay first", 402)


def fails(identity: Identity, handshake: Handshake) -> bool:
    """It has a mistake."""
    raise KeyError("x")


def truthy(identity: Identity, handshake: Handshake) -> int:
    """It answers what only looks like yes."""
    return 1


def too_few(identity: Identity) -> bool:
    """It does not take what it is given."""
    return True


class Method:
    """Something that is called through an attribute."""

    @staticmethod
    def allow(identity: Identity, handshake: Handshake) -> bool:
        """Everything is granted."""
        return True


class FunctionPolicyTests(SynchronousTestCase):
    """What the function may answer."""

    def ask(self, name: str, identity: Identity = JOHN) -> Deferred[Access]:
        """Ask a function of this module."""
        policy = FunctionPolicy(f"{__name__}:{name}")
        return Deferred.fromCoroutine(policy.allow(identity, ASKED))

    def test_granted(self) -> None:
        """True grants what was asked for, a access what it says."""
        for name in ("yes", "only_john", "deferred", "Method.allow"):
            self.assertIs(ASKED.requested, self.successResultOf(self.ask(name)), name)
        self.assertIs(OTHER, self.successResultOf(self.ask("other")))

    def test_waits(self) -> None:
        """A coroutine is waited for."""
        self.patch(sys.modules[__name__], "later", Deferred())
        answer = self.ask("waits")
        self.assertNoResult(answer)
        later.callback(True)
        self.assertIs(ASKED.requested, self.successResultOf(answer))

    def test_refused(self) -> None:
        """False, no answer, and a refusal of its own."""
        for name, identity in (("only_john", Identity()), ("nothing", JOHN)):
            error = self.failureResultOf(self.ask(name, identity), HandshakeRejected).value
            self.assertEqual((403, f"policy {__name__}:{name}"), (error.status, error.hint))
            self.assertEqual("you may not do this here", error.reason)
        error = self.failureResultOf(self.ask("refuses"), HandshakeRejected).value
        self.assertEqual((402, "pay first"), (error.status, error.reason))

    def test_mistakes(self) -> None:
        """An exception, and an answer that is none, are mistakes, and grant nothing."""
        self.failureResultOf(self.ask("fails"), KeyError)
        error = self.failureResultOf(self.ask("truthy"), TypeError).value
        self.assertIn("truthy returned int", str(error))


class LoadTests(SynchronousTestCase):
    """What cannot be used is one line when the gateway starts."""

    def setUp(self) -> None:
        """Modules are looked for in a folder of this test, which is the working directory."""
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.directory)
        self.patch(sys, "path", list(sys.path))
        self.patch(sys, "modules", dict(sys.modules))
        self.patch(sys, "dont_write_bytecode", True)

    def refused(self, name: str) -> str:
        """The text of the refusal."""
        text = str(self.assertRaises(ConfigError, FunctionPolicy, name))
        self.assertEqual(1, len(text.splitlines()), text)
        self.assertTrue(text.startswith(f"policy: {name}: "), text)
        return text

    def test_working_directory(self) -> None:
        """A module beside which the gateway was started is found, behind all others."""
        Path("rights_here.py").write_text("def may(identity, handshake):\n    return False\n")
        FunctionPolicy("rights_here:may")
        FunctionPolicy("rights_here:may")
        self.assertEqual(os.getcwd(), sys.path[-1])
        self.assertEqual(1, sys.path.count(os.getcwd()))

    def test_missing(self) -> None:
        """What is not there is refused before a client comes."""
        self.assertIn("ModuleNotFoundError", self.refused("nosuch_module:may"))

    def test_wrong_signature(self) -> None:
        """So is what takes something else."""
        self.assertIn("does not take (identity, handshake)", self.refused(f"{__name__}:too_few"))

    def test_no_signature(self) -> None:
        """What does not tell what it takes is believed."""
        FunctionPolicy("builtins:max")
