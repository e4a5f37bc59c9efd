"""Reserves the row of a request before it is sent: the row of the same request, or a new one."""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kling_mcp.ledger.engine import Database
from kling_mcp.ledger.records import (
    COUNTED,
    DayCaps,
    NewRow,
    Record,
    first_record,
    record_of,
    records,
)
from kling_mcp.providers.task import OUR_IDS
from kling_tools.errors import KlingError, SpendCapReached
from kling_tools.quoting import clipped
from kling_tools.results import WITHOUT_VIDEO
from kling_tools.rules.capabilities import units_text

__all__ = [
    "ONLY_KNOWN_PRICES",
    "check_day",
    "check_external_id",
    "differences",
    "latest",
    "left_of_day",
    "next_take",
    "over_the_day",
    "reserve",
    "spent_in_a_day",
    "takes",
]


SHOWN = 40
"""Characters of a value that an error shows."""

NAMED = 4
"""Fields that an error names; it counts the others."""


def differences(used: Record, new_row: NewRow) -> str:
    """One line with the fields in which a row and a new request differ, and their values."""
    then = {**_named(used.request), "route": used.product, "take": used.take}
    now = {**_named(new_row.request), "route": new_row.product, "take": new_row.take}
    apart = [
        _told(name, then.get(name), now.get(name))
        for name in dict.fromkeys((*now, *then))
        if then.get(name) != now.get(name)
    ]
    if not apart:
        fits = [str(row.arguments.get("fit", "")) for row in (used, new_row)]
        return _framed(*fits) if fits[0] != fits[1] else "the content of a picture"
    more = f" and {len(apart) - NAMED} more" if len(apart) > NAMED else ""
    return "; ".join(apart[:NAMED]) + more


def _named(request: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in request.items() if name != "external_task_id"}


def _framed(then: str, now: str) -> str:
    """The change of a `fit`, such as "9:16 pad", in words."""
    was, is_now = (
        f"{'padded' if fit.endswith('pad') else 'cropped'} to {fit.partition(' ')[0]}"
        if fit
        else "as it is"
        for fit in (then, now)
    )
    return f"the picture was {was}, is {is_now}"


def _told(name: str, then: Any, now: Any) -> str:
    """The change of a field; of long values, the part around their first difference."""
    was, is_now = _text(then), _text(now)
    pairs = enumerate(zip(was, is_now, strict=False))
    same = next((place for place, (a, b) in pairs if a != b), min(len(was), len(is_now)))
    return f"{name} was {_around(was, same)}, is {_around(is_now, same)}"


def _text(value: Any) -> str:
    return "not given" if value is None else json.dumps(value, ensure_ascii=False)


def _around(text: str, place: int) -> str:
    if len(text) <= SHOWN:
        return text
    start = max(0, place - SHOWN // 2)
    if start:
        start = text.find(" ", start, place) + 1 or start
    part = clipped(text[start:], SHOWN)
    return f"…{part}" if start else part


ONLY_KNOWN_PRICES = "A cap takes only models whose price is known."

DAY_S = 86_400
ROUNDING = 1e-6
"""Units by which a sum of prices such as 0.3 may be off, as binary fractions are."""


def reserve(
    db: Database,
    new_row: NewRow,
    caps: DayCaps,
    owner: str,
    record_id: str,
    clock: Callable[[], float],
    lease_s: float,
) -> tuple[Record, bool]:
    """The row of a request, and whether it is new; see `Ledger.reserve`. A new row gets
    `record_id`, so that a second run after a lost commit still knows it as new."""
    before = latest(db, new_row)
    if before and before.status not in WITHOUT_VIDEO:
        return before, before.id == record_id
    check_external_id(db, new_row)
    now = clock()
    check_day(db, new_row, caps, now)
    columns = {
        "id": record_id,
        "provider": new_row.provider,
        "base_url": new_row.base_url,
        "product": new_row.product,
        "digest": new_row.digest,
        "take": new_row.take,
        "attempt": before.attempt + 1 if before else 1,
        "external_task_id": new_row.external_task_id or f"{OUR_IDS}{record_id}",
        "status": "sending" if owner else "unknown",
        "model_name": new_row.model_name,
        "prompt": new_row.prompt,
        "request": json.dumps(new_row.request, ensure_ascii=False),
        "arguments": json.dumps(new_row.arguments, ensure_ascii=False),
        "pictures": json.dumps(new_row.pictures, ensure_ascii=False),
        "estimate_units": new_row.estimate_units,
        "created_at": now,
        "updated_at": now,
        "lease_owner": owner,
        "lease_until": now + lease_s if owner else 0.0,
        "principal": new_row.principal,
        "sandbox": int(new_row.sandbox),
        "status_at": now,
        "callback_key": secrets.token_urlsafe(24),
    }
    marks = ", ".join("?" * len(columns))
    db.execute(
        f"INSERT INTO tasks ({', '.join(columns)}) VALUES ({marks})",  # noqa: S608
        tuple(columns.values()),
    )
    return record_of(db, record_id), True


def latest(db: Database, new_row: NewRow) -> Record | None:
    """The last attempt at a request; None without one."""
    return first_record(
        db,
        "WHERE provider = ? AND base_url = ? AND digest = ? AND take = ? "
        "ORDER BY attempt DESC LIMIT 1",
        (new_row.provider, new_row.base_url, new_row.digest, new_row.take),
    )


def next_take(db: Database, new_row: NewRow, earlier: Record) -> int:
    """The take for another take of an `earlier` row: the one that the same call got before, else
    the next free one of the request. So a call that is repeated is not paid twice."""
    rows = _made(db, new_row)
    for row in rows:
        if row.arguments.get("another_take_of") == earlier.id:
            return row.take
    return max((row.take for row in rows), default=0) + 1


def takes(db: Database, request: NewRow | Record) -> list[int]:
    """The takes of a request that exist or are being made, in their order."""
    return [row.take for row in _made(db, request)]


def _made(db: Database, request: NewRow | Record) -> list[Record]:
    rows = records(
        db,
        "WHERE provider = ? AND base_url = ? AND digest = ? ORDER BY take, attempt",
        (request.provider, request.base_url, request.digest),
    )
    return [row for row in rows if row.status not in WITHOUT_VIDEO]


def check_day(db: Database, new_row: NewRow, caps: DayCaps, now: float) -> None:
    """Raises SpendCapReached when the units of the last 24 hours would pass a cap."""
    for cap, spent, of_principal in _spent(db, new_row, caps, now):
        after = math.inf if new_row.estimate_units is None else spent + new_row.estimate_units
        if not after <= cap + ROUNDING:  # a damaged row may make it no number at all
            raise over_the_day(new_row, cap, spent, of_principal)


def left_of_day(db: Database, new_row: NewRow, caps: DayCaps, now: float) -> float:
    """The units that a request like this one may cost now; 0 if a damaged row hides them."""
    left = [cap - spent for cap, spent, _ in _spent(db, new_row, caps, now)]
    return 0.0 if any(map(math.isnan, left)) else min(left, default=math.inf)


def spent_in_a_day(db: Database, whose: str | None, now: float, *, sandbox: bool) -> float:
    """The units of the last 24 hours that count against a cap: of one principal, or of all (None),
    in real units or in the sandbox's play money."""
    row = db.execute(
        f"SELECT coalesce(sum({COUNTED}), 0) AS spent FROM tasks "  # noqa: S608
        "WHERE sandbox = ? AND created_at > ? AND principal = coalesce(?, principal)",
        (int(sandbox), now - DAY_S, whose),
    ).fetchone()
    spent: float = row["spent"]
    return spent


def _spent(
    db: Database, new_row: NewRow, caps: DayCaps, now: float
) -> Iterator[tuple[float, float, bool]]:
    """Each cap with the units of the last 24 hours that count against it, and whether it is the
    principal's."""
    for cap, whose in ((caps.team, None), (caps.principal, new_row.principal)):
        if cap is None:
            continue
        spent = spent_in_a_day(db, whose, now, sandbox=new_row.sandbox)
        yield cap, spent, whose is not None


def over_the_day(new_row: NewRow, cap: float, spent: float, of_principal: bool) -> SpendCapReached:
    """The error about a request that would pass a cap, with `spent` units of it used up."""
    price = "the price of this video is not known"
    if new_row.estimate_units is not None:
        price = f"this video would cost {new_row.estimate_units:g}"
    known = not math.isnan(spent)
    used = f"{spent:g}" if known else "an unknown number"
    whose, setting = (
        ("Your cap for a day", "KLING_MCP_MAX_UNITS_PER_DAY_USER")
        if of_principal
        else ("The day's cap", "KLING_MCP_MAX_UNITS_PER_DAY")
    )
    if known and new_row.sandbox:
        used += " of the sandbox's play money"
    return SpendCapReached(
        f"{whose} is {units_text(cap)}; {used} were spent in the last 24 hours, and {price}.",
        advice=ONLY_KNOWN_PRICES
        if new_row.estimate_units is None
        else f"Wait, or have {setting} raised.",
    )


def check_external_id(db: Database, new_row: NewRow) -> None:
    """Raises KlingError when another request, or an earlier attempt, has the external_task_id."""
    used = new_row.external_task_id and first_record(
        db,
        "WHERE provider = ? AND base_url = ? AND external_task_id = ? "
        "AND (status NOT IN ('failed', 'cancelled') OR task_id IS NOT NULL)",
        (new_row.provider, new_row.base_url, new_row.external_task_id),
    )
    if not used:
        return
    if used.principal != new_row.principal:
        raise KlingError(
            f"The external_task_id {new_row.external_task_id} is taken.",
            advice="Choose another one, or leave external_task_id out.",
        )
    same = (used.digest, used.take) == (new_row.digest, new_row.take)
    owner = "an earlier attempt" if same else "another request"
    apart = "" if same else f" What differs: {differences(used, new_row)}."
    raise KlingError(
        f"The external_task_id {new_row.external_task_id} belongs to {owner} "
        f"({used.model_name}, take {used.take}, {used.status}).{apart}",
        advice="Ask for that task with kling_get_task, or leave external_task_id out.",
    )
