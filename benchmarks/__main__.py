"""`python -m benchmarks`: print the table; with `--check`, fail when a budget is missed."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.measurements import measure_everything
from benchmarks.report import as_json, table


def main() -> int:
    """Measure; the exit code is 1 when `--check` was given and a budget is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--runs", type=int, default=9, help="starts of each server (default: 9)")
    parser.add_argument("--calls", type=int, default=50, help="submits to each (default: 50)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--check", action="store_true", help="exit 1 when a budget is missed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kling-mcp-benchmarks-") as folder:
        rows = list(measure_everything(arguments.runs, arguments.calls, Path(folder)))
    print(json.dumps(as_json(rows), indent=2) if arguments.json else table(rows))
    return int(arguments.check and any(row.over for row in rows))


if __name__ == "__main__":
    sys.exit(main())
