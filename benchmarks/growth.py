"""`python -m benchmarks.growth`: how requests to a provider grow with the tasks that are open.

Runs for some ten minutes (in virtual time, with real submits) and writes the figures to
docs/growth.json; with `--draw` the figures are only drawn, as docs/growth.svg (matplotlib has to be
installed for that).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.waiting import waited

COUNTS = {"kling": (100, 1_000, 3_000, 10_000), "newapi": (100, 1_000, 3_000)}
"""Open tasks; without a list, 10,000 tasks of three minutes would want 80 requests a second."""

NAMES = {"kling": "with a list (Kling)", "newapi": "without one (new-api)"}
DOCS = Path(__file__).parents[1] / "docs"
FIGURES = DOCS / "growth.json"
PICTURE = DOCS / "growth.svg"


def measured() -> list[dict[str, Any]]:
    """A row for each provider and number of open tasks."""
    rows = []
    for provider, counts in COUNTS.items():
        for count in counts:
            with tempfile.TemporaryDirectory(prefix="kling-mcp-growth-") as folder:
                row = asdict(waited(provider, count, Path(folder)))
            print(row, flush=True)
            rows.append(row)
    return rows


def draw(rows: list[dict[str, Any]]) -> None:
    """Two curves of each kind: requests, and how late an end is noticed."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "kling-mcp"
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for provider, name in NAMES.items():
        own = [row for row in rows if row["provider"] == provider]
        tasks = [row["tasks"] for row in own]
        left.plot(tasks, [row["requests"] for row in own], marker="o", label=name)
        right.plot(tasks, [row["median_s"] for row in own], marker="o", label=name)
        if provider == "kling":
            naive = [row["naive"] for row in own]
            left.plot(tasks, naive, linestyle=":", color="grey", label="each one every 5 s")
    left.set(xscale="log", yscale="log", xlabel="open tasks", title="Requests until all have ended")
    right.set(xscale="log", xlabel="open tasks", title="Seconds to notice an end (median)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(PICTURE, metadata={"Date": None})


def main() -> int:
    """Measure, unless only a drawing is wanted, and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--draw", action="store_true", help="draw the figures that there are")
    if not parser.parse_args().draw:
        FIGURES.write_text(json.dumps(measured(), indent=1) + "\n")
    draw(json.loads(FIGURES.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
