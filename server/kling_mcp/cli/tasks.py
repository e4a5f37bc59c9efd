"""`kling-mcp tasks`: the ledger in the terminal. What was made, when, its cost and its file."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from kling_mcp.cli.terminal import steer
from kling_tools.errors import quote_provider
from kling_tools.quoting import clipped, counted
from kling_tools.results import SANDBOX_WOULD, TaskStatus

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger, Record

__all__ = ["add_arguments", "run_from"]

CLEAR = "\x1b[2J\x1b[H"
EVERY_S = 2.0
DAY_S = 86_400
PROMPT_SHOWN = 50
HEADER = ("made", "status", "model", "units", "prompt")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    parser.add_argument("--watch", action="store_true", help="show it again every two seconds")
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="rows (default: 20)")
    states = get_args(TaskStatus)
    parser.add_argument(
        "--status",
        default="",
        metavar="WORD",
        choices=states,
        help=f"only rows in this state: {', '.join(states)}",
    )
    parser.add_argument("--provider", default="", metavar="NAME", help="only this provider's rows")


def run_from(arguments: argparse.Namespace) -> int:
    """Print the ledger and return 0. Asks no provider and writes nothing.

    Raises NotConfigured when the ledger or a setting cannot be used.
    """
    import anyio

    return anyio.run(_run, arguments)


async def _run(arguments: argparse.Namespace) -> int:
    import anyio

    from kling_mcp.ledger import open_ledger
    from kling_mcp.settings.settings import load_settings

    ledger = open_ledger(load_settings())
    if not ledger.exists:
        print(f"No videos yet ({ledger.place} does not exist).", file=sys.stderr)
        return 0
    try:
        while True:
            rows = await _rows(ledger, arguments)
            text = _as_json(rows) if arguments.json else _as_table(rows)
            if arguments.watch and sys.stdout.isatty():
                steer(sys.stdout, CLEAR)
            print(text, flush=True)
            if not arguments.watch:
                return 0
            await anyio.sleep(EVERY_S)
    finally:
        await ledger.close()


async def _rows(ledger: Ledger, arguments: argparse.Namespace) -> list[Record]:
    return await ledger.page(
        limit=max(1, arguments.limit),
        offset=0,
        status=arguments.status,
        provider=arguments.provider,
    )


def _as_json(rows: list[Record]) -> str:
    return "\n".join(json.dumps(_facts(row)) for row in rows)


def _facts(row: Record) -> dict[str, Any]:
    return {
        "task_id": row.task_id,
        "external_task_id": row.external_task_id,
        "provider": row.provider,
        "sandbox": row.sandbox,
        "product": row.product,
        "status": row.status,
        "model_name": row.model_name,
        "prompt": row.prompt,
        "take": row.take,
        "created_at": row.created_at,
        "estimate_units": row.estimate_units,
        "units": row.units,
        "money": row.money,
        "path": row.path,
        "bytes": row.bytes,
        "sha256": row.sha256,
        "message": row.message,
        "request": row.request,
    }


def _as_table(rows: list[Record]) -> str:
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER) - 1)]
    lines = []
    for place, (*first, last) in enumerate(cells):
        start = "  ".join(cell.ljust(width) for cell, width in zip(first, widths, strict=True))
        lines.append(f"{start}  {last}".rstrip())
        if place:
            lines.append(f"    {_where(rows[place - 1])}")
    since = time.time() - DAY_S
    day = [row for row in rows if row.created_at > since and row.status != "queued"]
    spent = sum(row.counted_units for row in day if not row.sandbox)
    played = sum(row.counted_units for row in day if row.sandbox)
    play = f"; {SANDBOX_WOULD} {counted(played, 'unit')}" if played else ""
    lines.append(
        f"{len(rows)} shown; {counted(spent, 'unit')} in the last 24 hours among them{play}."
    )
    return "\n".join(lines)


def _cells(row: Record) -> tuple[str, ...]:
    made = datetime.fromtimestamp(row.created_at).astimezone().strftime("%Y-%m-%d %H:%M")
    if row.money is not None:
        units = f"{row.money:g} of the balance"
    elif row.units is not None:
        units = f"{row.units:g}"
    else:
        units = "?" if row.estimate_units is None else f"~{row.estimate_units:g}"
    if row.sandbox:
        units += " (play)"
    short = clipped(" ".join(row.prompt.split()), PROMPT_SHOWN)
    return made, row.status, f"{row.model_name} ({row.provider})", units, short


def _where(row: Record) -> str:
    """The file of a row; else its task id, with the reason why it has no file."""
    if row.path:
        return row.path
    reason = row.message if row.status in ("failed", "queued") else ""
    return quote_provider(f"{row.handle} {reason}".strip())
