"""
Draw the results of a run as a picture.

    python benchmarks/run.py --json results.json
    python benchmarks/picture.py results.json docs/explanation/benchmarks.svg

A panel for each scenario, a bar for each server; the longest bar of a panel fills it, so that bars
compare within a panel and not between them.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

TITLES = {
    "A": "A  one channel, flat out: deliveries per CPU second",
    "B": "B  a channel each, flat out: deliveries per CPU second",
    "C": "C  one channel, 20 messages/s: deliveries per CPU second",
    "D": "D  idle connections: KiB each (less is better)",
    "E": "E  handshakes per CPU second",
    "F": "F  messages to Redis per CPU second",
    "G": "G  one client, flat out: deliveries per CPU second",
}
LABEL, BAR, ROW, GAP = 90, 250, 16, 34
WIDTH = LABEL + BAR + 70

#: The words of a screen reader, and the colours in light and in dark.
ABOUT = """\
<title id="t">Results of the benchmarks</title>
<desc id="d">Bars for each server, in a panel for each scenario. The tables have the figures.</desc>
<style>
.page { fill: #fff } text { fill: #1d2733 }
.ours { fill: #c6302b } .floor { fill: #777 } .other { fill: #9fb4c7 }
@media (prefers-color-scheme: dark) {
.page { fill: #16191d } text { fill: #e8edf2 } .ours { fill: #e0605b } .other { fill: #64798d }
}
</style>"""


def short(value: float) -> str:
    """Return a number with three digits and a unit."""
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def panel(title: str, rows: list[tuple[str, float]], top: int) -> Iterator[str]:
    """One scenario."""
    yield f'<text x="0" y="{top + 12}" font-weight="bold">{escape(title)}</text>'
    most = max(value for _, value in rows)
    for number, (name, value) in enumerate(rows):
        y = top + 20 + number * ROW
        group = name.partition("-")[0]
        kind = {"wsredis": "ours", "floor": "floor"}.get(group, "other")
        wide = max(1.0, BAR * value / most)
        yield f'<text x="{LABEL - 6}" y="{y + 11}" text-anchor="end">{escape(name)}</text>'
        box = f'x="{LABEL}" y="{y + 2}" width="{wide:.1f}" height="{ROW - 4}"'
        yield f'<rect class="{kind}" {box}/>'
        yield f'<text x="{LABEL + wide + 5:.1f}" y="{y + 11}">{short(value)}</text>'


def main() -> None:
    """Read, and draw."""
    results = json.loads(Path(sys.argv[1]).read_text())["results"]
    parts: list[str] = []
    top = 10
    for letter, title in TITLES.items():
        figures: dict[str, list[float]] = {}
        for each in results:
            if each["scenario"] == letter and "figure" in each:
                figures.setdefault(each["server"], []).append(each["figure"])
        if figures:
            rows = [(name, statistics.median(found)) for name, found in figures.items()]
            parts += panel(title, rows, top)
            top += 20 + ROW * len(rows) + GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 0 {WIDTH + 20} {top}" '
        f'width="{WIDTH + 20}" font-family="sans-serif" font-size="11" '
        'role="img" aria-labelledby="t d">\n'
        f'{ABOUT}\n<rect class="page" x="-10" width="{WIDTH + 20}" height="{top}" rx="10"/>'
    )
    Path(sys.argv[2]).write_text("\n".join([head, *parts, "</svg>"]) + "\n")


if __name__ == "__main__":
    main()
