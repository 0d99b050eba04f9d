"""``python -m wsredis``."""

from __future__ import annotations

import sys

from wsredis.django.check_project import CHECK_PROJECT
from wsredis.service.cli import COMMANDS, main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], commands={**COMMANDS, "check-project": CHECK_PROJECT}))
