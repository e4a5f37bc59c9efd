"""`python -m benchmarks.peers --install FOLDER`: install the others, measure, print the tables."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.peers.contenders import CONTENDERS, OURS, Contender, Place
from benchmarks.peers.installing import install
from benchmarks.peers.page import cancel_table, fault_tables, speed_table
from benchmarks.peers.provider import Desk, Fault, local_provider
from benchmarks.peers.speed import measure_speed
from benchmarks.peers.worst_days import FAULTS, Cancelled, Outcome, after_cancel, under_fault

PAGE = Path(__file__).resolve().parents[1] / "peers.md"
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


def main() -> None:
    """Measure and print; `--write` puts the tables into benchmarks/peers.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="where the others are put")
    parser.add_argument("--only", action="store_true", help=f"measure {OURS} alone")
    parser.add_argument("--runs", type=int, default=9, help="starts of each (default: 9)")
    parser.add_argument("--calls", type=int, default=40, help="submits to each (default: 40)")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    given = parser.parse_args()
    if given.install is None and not given.only:
        parser.error("--install FOLDER says where the other servers are, or are to be put")
    node = os.environ.get("KLING_MCP_NODE") or shutil.which("node") or "node"
    place = Place((given.install or Path()).resolve(), node)
    contenders = [one for one in CONTENDERS if one.name == OURS or not given.only]
    if not given.only:
        install(place)
    with tempfile.TemporaryDirectory(prefix="kling-mcp-peers-") as folder:
        measured = measure(contenders, place, Path(folder), given.runs, given.calls)
    print(measured)
    if given.write:
        head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        tail = rest.partition(END)[2]
        PAGE.write_text(f"{head}{BEGIN}\n{measured}\n{END}{tail}", encoding="utf-8")


def measure(
    contenders: Sequence[Contender], place: Place, folder: Path, runs: int, calls: int
) -> str:
    """All tables. Times are taken one after the other; the faults, where nothing but seconds is
    timed, strike all contenders at once."""
    with local_provider() as (address, desks):
        figures = measure_speed(contenders, place, address, folder, runs, calls)

        def worst(contender: Contender) -> tuple[dict[Fault, Outcome], Cancelled]:
            desk: Desk = desks[contender.dialect]
            own = folder / "worst"
            found = {
                fault: under_fault(contender, fault, place, address, desk, own) for fault in FAULTS
            }
            return found, after_cancel(contender, place, address, desk, own)

        with ThreadPoolExecutor(len(contenders)) as pool:
            both = dict(zip([c.name for c in contenders], pool.map(worst, contenders), strict=True))
    return "\n".join(
        [
            "## Speed and size\n",
            speed_table(contenders, figures),
            "## When the provider fails\n",
            fault_tables(contenders, {name: found for name, (found, _) in both.items()}),
            "## After a cancel\n",
            cancel_table(contenders, {name: cancelled for name, (_, cancelled) in both.items()}),
        ]
    )


main()
