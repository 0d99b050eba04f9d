"""Runs the cases of the Autobahn test suite; ``--help`` explains the options."""

from __future__ import annotations

import argparse
import sys
from collections import Counter

from tests.conformance.suite import Server


def main() -> int:
    """Run them and print what differs from what is expected. Returns: The exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("cases", nargs="*", help="numbers, as 1.* or 5.19; all if none is given")
    parser.add_argument("--compress", action="store_true", help="the gateway compresses")
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--asgi", action="store_true", help="an ASGI application sends them back, not a handler"
    )
    ways.add_argument(
        "--through-redis",
        action="store_true",
        help="messages go to Redis and come back, instead of through a handler",
    )
    parser.add_argument(
        "--wstest",
        default="",
        metavar="COMMAND",
        help="the command of the suite itself, with all 517 cases; without it kosoku runs those "
        "that are not about compression",
    )
    options = parser.parse_args()
    with Server.running(options.compress, options.through_redis, options.asgi) as server:
        results = server.run(options.cases, options.wstest)
    useless = [each for each in results if each.is_of_no_use and not options.compress]
    failed = [each for each in results if not each.has_passed and each not in useless]
    unexpected = [each for each in failed if not (options.through_redis and each.needs_handler)]
    for each in failed:
        mark = "FAIL" if each in unexpected else "excused"
        print(f"{mark:8} {each.case:10} {each.behavior}, closing {each.closing}")
    kinds = Counter(each.case.partition(".")[0] for each in results)
    passed = Counter(each.case.partition(".")[0] for each in results if each.has_passed)
    for kind in kinds:
        print(f"{kind:>3}.*  {passed[kind]} of {kinds[kind]}")
    print(
        f"{sum(passed.values())} of {len(results)} cases passed, {len(useless)} are of no use "
        f"without --compress, {len(unexpected)} failed and should not"
    )
    return 1 if unexpected or not results else 0


if __name__ == "__main__":
    sys.exit(main())
