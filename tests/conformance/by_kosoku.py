"""
Runs cases with kosoku, and prints the verdicts as JSON: ``python -m ... URL [CASE ...]``.

It is a program of its own, since kosoku brings a package with the name of Autobahn.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import kosoku


async def main(url: str, cases: list[str]) -> None:
    """Run *cases*, or all but those about compression, which fail by themselves."""
    try:
        results = await kosoku.run_fuzzingclient(url, cases or None, ["12.*", "13.*"])
    except kosoku.FailureError as failure:
        results = failure.results
    found = [(each.case_id, each.behavior.value, each.behavior_close.value) for each in results]
    print(json.dumps(found), flush=True)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
# Its threads may still run, and an interpreter that ends in the usual way aborts then.
os._exit(0)
