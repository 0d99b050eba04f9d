"""Tests for `tests.support.guide`: how-tos as lists of steps."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.support.guide import Command, File, steps

ROOT = Path(__file__).parents[2]


class StepsTests(SynchronousTestCase):
    """The steps of the pages about deployment."""

    if not (ROOT / "docs").exists():
        skip = "these are tests of a checkout"

    def test_order(self) -> None:
        """Files and commands come as they stand on the page, and files with their contents."""
        some = steps("deploy-systemd")
        places = [step.place for step in some if isinstance(step, File)]
        self.assertEqual(
            ["/etc/wsredis/wsredis.toml", "/etc/systemd/system/wsredis.service"], places[:2]
        )
        (unit,) = [step for step in some if isinstance(step, File)][1:2]
        self.assertEqual((ROOT / "docs/examples/wsredis.service").read_text("utf-8"), unit.text)
        start = some.index(Command("sudo systemctl enable --now wsredis"))
        self.assertLess(some.index(unit), start)

    def test_every_file(self) -> None:
        """No page shows a whole configuration without the place where it belongs."""
        for page in (ROOT / "docs" / "howto").glob("deploy-*.rst"):
            shown = page.read_text("utf-8").split(".. literalinclude:: ")[1:]
            whole = [each for each in shown if ":start-at:" not in each.split("\n\n")[0]]
            placed = [step for step in steps(page.stem) if isinstance(step, File)]
            self.assertEqual(len(whole), len(placed), page.name)
