"""Tests for setup.cfg and tox.ini: packages, and the ends of the ranges of dependencies."""

from __future__ import annotations

import json
import re
from configparser import ConfigParser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import wsredis

ROOT = Path(wsredis.__file__).parents[1]

#: A requirement: its name, and the lowest version that it allows.
_REQUIREMENT = re.compile(r"([A-Za-z-]+)(?:\[[a-z]+\])? *(?:>=|==|~=) *([0-9.]+?)(?:\.0)*(?:,.*)?")


def read(name: str) -> ConfigParser:
    """A file of the project."""
    parser = ConfigParser(interpolation=None)
    parser.read(ROOT / name)
    return parser


def lowest(text: str) -> dict[str, str]:
    """The lowest versions of requirements; those without one are left out."""
    lines = [line for line in text.strip().splitlines() if not line.startswith("#")]
    found = [_REQUIREMENT.fullmatch(line) for line in lines]
    return {match[1].lower(): match[2] for match in found if match}


class PackagingTests(SynchronousTestCase):
    """The installed files, and the versions that were tested."""

    if not (ROOT / "setup.cfg").exists():
        skip = "these are tests of a checkout"

    def test_packages(self) -> None:
        """All folders of the package are packed, and the plugin."""
        options = read("setup.cfg")["options"]
        folders = {
            ".".join(path.parent.relative_to(ROOT).parts)
            for path in (ROOT / "wsredis").rglob("*.py")
        }
        self.assertEqual({*folders, "twisted.plugins"}, set(options["packages"].split()))

    def test_lower_ends(self) -> None:
        """The environment "oldest" has the lowest version of every dependency."""
        setup = read("setup.cfg")
        declared = lowest(setup["options"]["install_requires"])
        self.assertEqual(
            len(declared),
            sum(not line.startswith("#") for line in self._lines(setup)),
            "each has a lower end",
        )
        for extra in ("auth-url", "django", "jwt", "layer", "metrics", "publisher"):
            declared.update(lowest(setup["options.extras_require"][extra]))
        self.assertEqual(declared, lowest(read("tox.ini")["testenv:oldest"]["deps"]))

    def _lines(self, setup: ConfigParser) -> list[str]:
        return setup["options"]["install_requires"].strip().splitlines()

    def test_npm_version(self) -> None:
        """The npm package has the same version, in the form that npm knows."""
        package = json.loads((ROOT / "package.json").read_text("utf-8"))
        release, dev, number = wsredis.__version__.partition(".dev")
        self.assertEqual(f"{release}-dev.{number}" if dev else release, package["version"])
