"""Tests of the plugin: twistd finds it, and importing it costs nothing."""

from __future__ import annotations

import ast
import inspect
import signal

from twisted.application.service import IServiceMaker
from twisted.plugin import IPlugin, getPlugins
from twisted.trial.unittest import SynchronousTestCase

from twisted.plugins import wsredis_plugin  # type: ignore[attr-defined]
from wsredis.service.signals import SIGNALS


class PluginTests(SynchronousTestCase):
    """``twistd wsredis`` exists."""

    def test_found(self) -> None:
        """Twisted lists it, once."""
        found = [each for each in getPlugins(IServiceMaker) if each.tapname == "wsredis"]
        self.assertEqual(1, len(found))

    def test_leads_to_the_tap(self) -> None:
        """It names the module of the command, and that module has what twistd asks for."""
        for each in SIGNALS:
            # Importing the command catches them.
            self.addCleanup(signal.signal, each, signal.getsignal(each))
        maker = wsredis_plugin.wsredis
        self.assertTrue(IPlugin.providedBy(maker))
        self.assertEqual("wsredis.service.command", maker.module)
        self.assertEqual("[options]", maker.options().synopsis)
        self.assertTrue(callable(maker.makeService))

    def test_imports_nothing_else(self) -> None:
        """
        It is imported for every command of twistd.

        An import of txredisapi or of the reactor would choose the reactor for all of them.
        """
        tree = ast.parse(inspect.getsource(wsredis_plugin))
        imported = [
            node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in ast.walk(tree)
            if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        self.assertEqual(["twisted.application.service"], imported)
