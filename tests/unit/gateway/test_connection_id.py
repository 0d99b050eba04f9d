"""Tests of `wsredis.gateway.connection_id`."""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from wsredis.gateway.connection_id import connection_id, next_serial


class ConnectionIdTests(SynchronousTestCase):
    """The names of connections."""

    def test_short(self) -> None:
        """A name can be read aloud, and found in a log by a double click."""
        self.assertRegex(connection_id(12), r"\A[2-9b-z]{5}-12\Z")

    def test_unique(self) -> None:
        """No other connection of the process has the same one."""
        names = {connection_id(next_serial()) for _ in range(1000)}
        self.assertEqual(1000, len(names))

    def test_other_process(self) -> None:
        """Nor has one of another process: a worker, or the gateway after a restart."""
        program = "from wsredis.gateway.connection_id import connection_id as f; print(f(1))"
        printed = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        self.assertRegex(printed.stdout, r"\A\w{5}-1\n\Z")
        self.assertNotEqual(connection_id(1), printed.stdout.strip())
