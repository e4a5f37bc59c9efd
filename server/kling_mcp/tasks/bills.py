"""The bill of a provider held against the ledger: what was charged without a row, which rows were
not charged, and which amounts differ. Asking is free; nothing is written."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import anyio

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.records import account_at
from kling_mcp.providers.balance import Deduction, Source
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.configured import Configured
from kling_tools.errors import KlingError
from kling_tools.products import MADE
from kling_tools.quoting import counted
from kling_tools.results import Bill, BilledTask
from kling_tools.rules.capabilities import units_text

__all__ = ["bill_of", "since_text"]

PAUSE_S = 1.0
"""Seconds between two requests: Kling's account pages allow one a second."""

MOST_PAGES = 40
"""The most pages of one source that are read: 20,000 charges."""

MOST_ROWS = 50_000
"""The most rows of the ledger that are compared."""

LATE_S = 12 * 3600.0
"""Seconds for which a charge may be missing: Kling's other account page is so far behind."""

SAME = 0.005
"""The most by which two amounts may differ and be the same: Kling tells two decimals."""

NO_BILL = "It has no list of charges: compare its console or its own bill."


@dataclass(slots=True)
class _Charged:
    """All deductions for one task."""

    units: float | None = None
    money: float | None = None
    currency: str = ""
    keys: list[str] = field(default_factory=list)

    def add(self, paid: Deduction) -> None:
        if paid.units is not None:
            self.units = round((self.units or 0.0) + paid.units, 6)
        if paid.money is not None:
            self.money = round((self.money or 0.0) + paid.money, 6)
            self.currency = paid.currency
        if paid.key_name and paid.key_name not in self.keys:
            self.keys.append(paid.key_name)

    def task(self, task_id: str, here: str = "") -> BilledTask:
        return BilledTask(
            task_id=task_id,
            key=", ".join(self.keys) or None,
            units=self.units,
            money=self.money,
            currency=self.currency or None,
            here=here or None,
        )


def since_text(since: float) -> str:
    """The time (seconds since the epoch) as a bill names it, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(since))


async def bill_of(
    provider: Configured,
    client: KlingClient,
    ledger: Ledger,
    since: float,
    *,
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
) -> Bill:
    """The provider's bill since a time (seconds since the epoch), compared with the ledger; a note
    says when it has none or cannot be read. Raises NotConfigured for an unusable ledger."""
    bill = Bill(provider=provider.name, since=since_text(since), charged=None)
    if not provider.row.tells_units:
        bill.note = NO_BILL
        return bill
    try:
        paid, whole = await _deductions(client, since, ledger.now(), sleep)
    except KlingError as error:
        bill.charged = None
        bill.note = f"It does not tell its charges: {error.message} {error.advice}".strip()
        return bill
    charged: dict[str, _Charged] = {}
    for deduction in paid:
        charged.setdefault(deduction.task_id, _Charged()).add(deduction)
    rows = await _rows(provider, ledger, since, charged)
    bill.charged = len(charged)
    bill.not_ended = sum(_is_open(row) for row in rows if row.task_id in charged) or None
    bill.left = _left(paid)
    known = {row.task_id: row for row in rows if row.task_id in charged}
    bill.without_row = [sums.task(name) for name, sums in charged.items() if name not in known]
    bill.different = [
        charged[row.task_id].task(row.task_id, apart)
        for row in known.values()
        if row.task_id and (apart := _difference(row, charged[row.task_id]))
    ]
    if whole:
        bill.without_charge = [
            BilledTask(task_id=row.handle, here=_uncharged(row, ledger.now()))
            for row in rows
            if row.status == "succeed" and row.task_id not in charged and not _is_free(row)
        ]
    bill.note = _note(rows, whole=whole) if bill.without_row or not whole else None
    return bill


async def _deductions(
    client: KlingClient, since: float, until: float, sleep: Callable[[float], Awaitable[None]]
) -> tuple[list[Deduction], bool]:
    """What packs and balance paid, and whether that is all of it."""
    paid: list[Deduction] = []
    whole, asked = True, 0
    for source in get_args(Source):
        cursor = ""
        for _ in range(MOST_PAGES):
            if asked:
                await sleep(PAUSE_S)
            asked += 1
            before = cursor
            page, cursor = await client.deductions(source, since, until, cursor)
            paid += page
            if not cursor or cursor == before:
                break
        whole = whole and not cursor
    return paid, whole


async def _rows(
    provider: Configured, ledger: Ledger, since: float, charged: Mapping[str, _Charged]
) -> list[Record]:
    """The rows of this account since then, and older ones that were charged since then."""
    recent = await ledger.page(limit=MOST_ROWS, offset=0, since=since, provider=provider.name)
    missing = charged.keys() - {row.task_id for row in recent}
    older = await ledger.several(sorted(missing))
    rows = {row.id: row for row in (*recent, *older.values())}
    here = account_at(provider.base_url)
    return [row for row in rows.values() if account_at(row.base_url) == here]


def _is_free(row: Record) -> bool:
    """Whether it cost nothing, or was to cost nothing and no other cost was told."""
    return (row.estimate_units if row.units is None else row.units) == 0 and not row.money


def _is_open(row: Record) -> bool:
    """Whether its end and its cost are not known here yet."""
    return row.ended_at is None and row.units is None and row.money is None


def _difference(row: Record, bill: _Charged) -> str:
    """What the row says, where that is not what the bill says; empty where it is the same, and as
    long as the row says nothing."""
    if _is_open(row):
        return ""
    units = abs((row.units or 0.0) - (bill.units or 0.0)) <= SAME
    money = abs((row.money or 0.0) - (bill.money or 0.0)) <= SAME
    currency = not (row.money and row.currency and bill.currency) or row.currency == bill.currency
    if units and money and currency:
        return ""
    parts = [] if row.units is None else [units_text(row.units, MADE[row.product].unit)]
    if row.money is not None:
        parts.append(f"{row.money:g} {row.currency}".rstrip())
    return f"here {row.status}, {' and '.join(parts) or 'no cost told'}"


def _uncharged(row: Record, now: float) -> str:
    late = now - (row.ended_at or row.updated_at) < LATE_S
    return f"ended less than {LATE_S / 3600:g} h ago, so it may still come" if late else ""


def _left(paid: Sequence[Deduction]) -> str | None:
    told = [item for item in paid if item.left is not None and item.at is not None]
    last = max(told, key=lambda item: item.at or 0.0, default=None)
    return None if last is None else f"{last.left:g} {last.currency}".rstrip()


def _note(rows: Sequence[Record], *, whole: bool) -> str | None:
    """What explains charges without a row, and a bill that was not read to its end."""
    lost = sum(row.is_unanswered for row in rows)
    notes = [
        f"{counted(lost, 'request')} here {'has' if lost == 1 else 'have'} no known task: its "
        "answer was lost."
        if lost
        else "",
        "" if whole else "The bill is longer than what was read: choose a shorter time.",
    ]
    return " ".join(note for note in notes if note) or None
