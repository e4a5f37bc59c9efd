"""`kling-mcp tasks`: the ledger in the terminal. What was made, when, its cost and its file."""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, get_args

from kling_mcp.cli.terminal import steer
from kling_tools.errors import KlingError, quote_provider
from kling_tools.products import MADE, products_named, spoken
from kling_tools.quoting import clipped, counted
from kling_tools.requests.times import FORMS, moment, zone_named
from kling_tools.results import SANDBOX_WOULD, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from kling_mcp.ledger import Ledger, Record

__all__ = ["add_arguments", "reconcile", "run_from"]

CLEAR = "\x1b[2J\x1b[H"
EVERY_S = 2.0
DAY_S = 86_400
PROMPT_SHOWN, PROMPT_LEAST = 50, 12
"""Characters of a prompt: as many as fit into the terminal's width, within these bounds."""

MOST_ROWS = 100_000
UNKNOWN = "?"
HEADER = ("made", "status", "model", "units", "prompt")
USUAL = "image2video"
"""The product of most rows; of others the tool is told before the prompt."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "id", nargs="?", default="", metavar="ID", help="only the task with this id"
    )
    parser.add_argument(
        "--dossier",
        action="store_true",
        help="all facts of the task ID, for its provider's support: Markdown, or with --json JSON",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    parser.add_argument("--watch", action="store_true", help="show it again every two seconds")
    parser.add_argument(
        "--limit", type=_limit, default=20, metavar="N", help="most rows (default: %(default)s)"
    )
    states = get_args(TaskStatus)
    parser.add_argument(
        "--status",
        default="",
        metavar="WORD",
        choices=states,
        help=f"only rows in this state: {', '.join(states)}",
    )
    parser.add_argument(
        "--product",
        type=_products,
        default=(),
        metavar="WORD",
        help="only what this makes: pictures, videos, elements, voices, or a tool, such as "
        "'edit video'",
    )
    parser.add_argument("--provider", default="", metavar="NAME", help="only this provider's rows")
    parser.add_argument(
        "--reconcile",
        action="store_true",
        help="compare the ledger with the bill of each provider; free of charge",
    )
    parser.add_argument(
        "--since",
        default="30 days",
        metavar="TIME",
        help=f"begin of the bill: {FORMS} (default: %(default)s)",
    )


def run_from(arguments: argparse.Namespace) -> int:
    """Print the ledger, or with `reconcile` its comparison with the bills. Returns 0, 1 when they
    differ, and 2 for a provider that does not exist. Only the comparison asks providers, free of
    charge. Writes nothing.

    Raises NotConfigured when the ledger or a setting cannot be used.
    """
    import anyio

    if arguments.dossier:
        return anyio.run(_dossier, arguments)
    return anyio.run(reconcile if arguments.reconcile else _run, arguments)


async def _dossier(arguments: argparse.Namespace) -> int:
    """Print all facts of one task. Returns 0, or 1 without such a task."""
    from anyio import to_thread

    from kling_mcp.ledger import open_ledger
    from kling_mcp.providers.configured import configured_providers
    from kling_mcp.providers.redaction import redactor_of
    from kling_mcp.settings.settings import load_settings
    from kling_mcp.tasks.dossier import as_markdown, dossier

    settings = load_settings()
    ledger = open_ledger(settings)
    try:
        row = await _found(ledger, arguments.id) if arguments.id and ledger.exists else None
        if row is None:
            what = f"No task with the id {arguments.id!r}" if arguments.id else "--dossier needs ID"
            print(f"{what}: kling-mcp tasks lists the tasks of {ledger.place}.", file=sys.stderr)
            return 1
        answers = await ledger.answers(row.id)
    finally:
        await ledger.close()
    redactor = redactor_of(settings, configured_providers(settings).values())
    facts = await to_thread.run_sync(dossier, row, answers, redactor.line)
    print(json.dumps(facts, indent=2) if arguments.json else as_markdown(facts))
    return 0


async def reconcile(
    arguments: argparse.Namespace, sleep: Callable[[float], Awaitable[None]] | None = None
) -> int:
    """Print each provider's bill against the ledger. Returns 0 when all that have one agree, 2 for
    a provider that is not set up, else 1. At most one request a second is sent."""
    from contextlib import AsyncExitStack

    import anyio

    from kling_mcp.ledger import open_ledger
    from kling_mcp.providers.configured import configured_providers
    from kling_mcp.providers.pool import Clients
    from kling_mcp.providers.redaction import redactor_of
    from kling_mcp.settings.settings import load_settings
    from kling_mcp.tasks.bills import bill_of

    settings = load_settings()
    providers = configured_providers(settings)
    ledger = open_ledger(settings)
    try:
        since = moment(arguments.since, time.time(), zone_named(settings.timezone))
    except ValueError as error:
        raise KlingError(f"--since: {error}.") from None
    if since > time.time():
        raise KlingError(f"--since: {arguments.since} is still to come, so no bill has it.")
    if arguments.provider and arguments.provider not in providers:
        return _no_provider(arguments.provider, providers)
    for name in ("httpx", "httpcore", "stamina"):  # the bill says what went wrong
        logging.getLogger(name).setLevel(logging.ERROR)
    if not ledger.exists:
        print(f"No tasks yet ({ledger.place} does not exist).", file=sys.stderr)
        return 0
    async with AsyncExitStack() as stack:
        stack.push_async_callback(ledger.close)
        redactor = redactor_of(settings, providers.values())
        clients = Clients(providers, settings, stack, redactor=redactor)
        bills = []
        for name, provider in providers.items():
            if arguments.provider not in ("", name):
                continue
            client = await clients.get(name)
            bills.append(await bill_of(provider, client, ledger, since, sleep=sleep or anyio.sleep))
            text = json.dumps(bills[-1].model_dump(exclude_none=True)) if arguments.json else ""
            print(text or bills[-1].text(), flush=True)
    kept = [bill for bill in bills if providers[bill.provider].row.tells_units]
    return 0 if all(bill.agrees for bill in kept) else 1


def _no_provider(name: str, known: Iterable[str]) -> int:
    print(f"There is no provider {name!r}, only {', '.join(known)}.", file=sys.stderr)
    return 2


def _products(text: str) -> tuple[str, ...]:
    if not (named := products_named(text)):
        words = ", ".join(dict.fromkeys(map(spoken, MADE)))
        raise argparse.ArgumentTypeError(f"pictures, videos, {words}, not {text!r}")
    return named


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) <= MOST_ROWS:
        raise argparse.ArgumentTypeError(f"a number from 1 to {MOST_ROWS}, not {text!r}")
    return int(text)


async def _run(arguments: argparse.Namespace) -> int:
    import anyio

    from kling_mcp.ledger import open_ledger
    from kling_mcp.providers.rows import read_providers
    from kling_mcp.settings.settings import load_settings

    settings = load_settings()
    ledger = open_ledger(settings)
    try:
        while True:
            rows = await _rows(ledger, arguments) if ledger.exists else []
            rows = [await _with_cost(ledger, row) for row in rows]
            names = read_providers(settings.providers)
            if arguments.provider and not rows and arguments.provider not in names:
                return _no_provider(arguments.provider, names)
            if arguments.watch and sys.stdout.isatty():
                steer(sys.stdout, CLEAR)
            if rows:
                shown = _as_json(rows) if arguments.json else _as_table(rows, arguments.limit)
                print(shown, flush=True)
            else:
                print(_nothing(ledger, arguments), file=sys.stderr)
            if not arguments.watch:
                return 0
            await anyio.sleep(EVERY_S)
    finally:
        await ledger.close()


async def _rows(ledger: Ledger, arguments: argparse.Namespace) -> list[Record]:
    """The rows to show, and one more where there are more."""
    if arguments.id:
        found = await _found(ledger, arguments.id)
        return [found, *await _shots(ledger, found)] if found else []
    return await ledger.page(
        limit=arguments.limit if arguments.json else arguments.limit + 1,
        offset=0,
        status=arguments.status,
        product=arguments.product,
        provider=arguments.provider,
    )


async def _found(ledger: Ledger, any_id: str) -> Record | None:
    """The row with this id, or of the film with this name."""
    row = await ledger.find(any_id)
    if row is None and (film := await ledger.films.find(any_id, None)):
        return await ledger.find(film.id)
    return row


async def _shots(ledger: Ledger, row: Record) -> list[Record]:
    """The rows of a film's shots, in their order; none for any other row."""
    if not row.is_film:
        return []
    ids = [shot.record_id for shot in (await ledger.films.of_row(row.id)).shots if shot.record_id]
    found = await ledger.several(ids)
    return [found[row_id] for row_id in dict.fromkeys(ids) if row_id in found]


async def _with_cost(ledger: Ledger, row: Record) -> Record:
    """The row of a film with what was paid for it; any other row as it is."""
    if not row.is_film:
        return row
    from kling_mcp.ledger.films import cost_of

    made = await ledger.several(await ledger.films.paid_for(row.id))
    return replace(row, units=cost_of(made.values()))


def _nothing(ledger: Ledger, arguments: argparse.Namespace) -> str:
    at = f" at {arguments.provider}" if arguments.provider else ""
    state = f" with the status {arguments.status}" if arguments.status else ""
    state += f" with the id {arguments.id}" if arguments.id else ""
    state += " of this kind" if arguments.product else ""
    place = ledger.place if ledger.exists else f"{ledger.place} does not exist"
    return f"No tasks{at}{state} yet ({place})."


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
        "currency": row.currency or None,
        "list_price": row.list_price,
        "path": row.path,
        "bytes": row.bytes,
        "sha256": row.sha256,
        "message": row.message,
        "request": row.request,
    }


def _as_table(found: list[Record], limit: int) -> str:
    rows = found[:limit]
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER) - 1)]
    room = PROMPT_SHOWN
    if sys.stdout.isatty():
        left = shutil.get_terminal_size().columns - sum(widths) - 2 * len(widths)
        room = min(PROMPT_SHOWN, max(PROMPT_LEAST, left))
    lines = []
    for place, (*first, prompt) in enumerate(cells):
        start = "  ".join(cell.ljust(width) for cell, width in zip(first, widths, strict=True))
        lines.append(f"{start}  {clipped(prompt, room)}".rstrip())
        if place:
            lines.append(f"    {_where(rows[place - 1])}")
    older = f" (older ones: --limit {min(2 * limit, MOST_ROWS)})" if len(found) > limit else ""
    since = time.time() - DAY_S
    day = [
        row for row in rows if row.created_at > since and row.status != "queued" and not row.is_film
    ]
    paid = [row for row in day if not row.sandbox]
    among = f"{_cost(paid)} in the last 24 hours among"
    unpriced = sum(_price(row) == UNKNOWN for row in paid)
    open_price = f", and {unpriced} of an unknown price" if unpriced else ""
    played = [row for row in day if row.sandbox]
    play = f"; {SANDBOX_WOULD} {_cost(played)}" if any(map(_is_priced, played)) else ""
    lines.append(f"{len(rows)} shown{older}; {among} them{open_price}{play}.")
    return "\n".join(lines)


def _cost(rows: list[Record]) -> str:
    """What the rows cost or are estimated to cost, each unit and currency for itself."""
    sums: dict[str, float] = {}
    for row in rows:
        if row.money is not None:
            paid = f"{row.currency} of the balance".strip()
            sums[paid] = sums.get(paid, 0.0) + row.money
        elif row.counted_units:
            unit = MADE[row.product].unit
            sums[unit] = sums.get(unit, 0.0) + row.counted_units
    parts = [
        counted(round(sum_, 4), name) if name.endswith("unit") else f"{sum_:.10g} {name}"
        for name, sum_ in sums.items()
    ]
    return " and ".join(parts) or "0 units"


def _is_priced(row: Record) -> bool:
    return bool(row.counted_units or row.money)


def _cells(row: Record) -> tuple[str, ...]:
    made = datetime.fromtimestamp(row.created_at).astimezone().strftime("%Y-%m-%d %H:%M")
    units = _price(row) + (" (play)" if row.sandbox and not row.is_film else "")
    made_by = "" if row.product == USUAL else f"{spoken(row.product)}: "
    return (
        made,
        row.status,
        "" if row.is_film else f"{row.model_name} ({row.provider})",
        units,
        made_by + " ".join(row.prompt.split()),
    )


def _price(row: Record) -> str:
    if row.is_film:  # all that was made for it, also what it shows no longer
        return f"{row.units:g} in all" if row.units else ""
    if row.money is not None:
        return f"{row.money:g} {row.currency}".rstrip() + " of the balance"
    image = " image" if MADE[row.product].unit == "image unit" else ""
    if row.units is not None:
        return f"{row.units:g}{image}"
    return UNKNOWN if row.estimate_units is None else f"~{row.estimate_units:g}{image}"


def _where(row: Record) -> str:
    """The file of a row; else its task id, with the reason why it has no file."""
    if row.path:
        more = len(row.each_file()) - 1
        return f"{row.path}, and {more} more" if more > 0 else row.path
    reason = row.message if row.is_film or row.status in ("failed", "queued") else ""
    return quote_provider(f"{row.handle} {reason}".strip())
