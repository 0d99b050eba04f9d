"""``python -m wsredis``."""

from __future__ import annotations

import sys

from wsredis.service.cli import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
