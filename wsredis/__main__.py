"""``wsredis``, and the same as ``python -m wsredis``."""

from __future__ import annotations

import sys

from wsredis.django.check_project import CHECK_PROJECT
from wsredis.service.cli import COMMANDS, main

__all__ = ["run"]


def run() -> int:
    """Run the command line of this process, and return the status."""
    return main(sys.argv[1:], commands={**COMMANDS, "check-project": CHECK_PROJECT})


if __name__ == "__main__":
    sys.exit(run())
