"""A row of the ledger and the wish before it has one, with what reads and changes rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from kling_mcp.ledger.engine import Database
from kling_mcp.providers.configured import SANDBOX_URL
from kling_mcp.providers.task import FILE_LATE_S, Task, Video
from kling_tools.errors import KlingError
from kling_tools.products import Product
from kling_tools.results import ENDED, TaskStatus

__all__ = [
    "COUNTED",
    "OPEN",
    "WITHDRAWN",
    "DayCaps",
    "NewRow",
    "Record",
    "beyond_use",
    "change",
    "first_record",
    "not_made",
    "record_of",
    "records",
    "write_task",
]


OPEN = "status IN ('queued', 'unknown') AND task_id IS NULL"
"""Rows that still need something of us: to be sent, or to be looked for."""

COUNTED = "coalesce(CASE WHEN status IN ('succeed', 'failed') THEN units END, estimate_units, 0)"
"""The units of a row that count against a cap, in SQL: the estimate until the true cost is known.
See `Record.counted_units`."""

WITHDRAWN = "withdrawn before it was sent"
"""The message of a row that its owner took back while it was queued."""


LONGEST_LEASE_S = 30.0
"""Seconds that a lease may lie ahead, those by which clocks differ included. One that ends later
was written before the clock was set back, and is none."""

END_OF_TIME = 253_402_300_799
"""The last second of the year 9999: no calendar goes on after it."""

Seconds = Annotated[float, Field(ge=0, le=END_OF_TIME)]
Units = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRow:
    """What is to be made, before it has a row. `digest` stands for the whole request; `request`
    is what it asked, without the pictures' bytes."""

    provider: str
    base_url: str
    product: Product
    digest: str
    take: int
    model_name: str
    prompt: str
    request: dict[str, Any]
    estimate_units: float | None
    external_task_id: str = ""
    principal: str = ""


@dataclass(frozen=True, slots=True)
class DayCaps:
    """The most units of 24 hours: of everybody's videos, and of one principal's; None means no
    cap."""

    team: float | None = None
    principal: float | None = None

    @property
    def least(self) -> float | None:
        """The stricter one."""
        return min((cap for cap in (self.team, self.principal) if cap is not None), default=None)


NEEDED_TO_ASK = {"id", "provider", "base_url", "product", "task_id"}
"""Columns by which a task is asked for; what its provider answers mends some of the others."""

LONGEST_QUEUE_S = 30.0
"""Seconds between two tries of a queued row at most, whatever the provider asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row. Times are seconds since the epoch, units Kling's; `money` was taken from the
    account's balance instead of units, in its currency.

    While a process works on a row it holds a lease, which it renews; `due_at` is when a queued row
    may be sent again after `tries` attempts; `ended_at` when it was first seen to have ended;
    `expires_at` when the provider deletes the video; `file_note` what is odd about the saved file.
    `damaged` names the columns whose values no version writes; they are read as empty here. A
    row is `shadowed` when an older one has its id at the provider: some gateways give one id twice.
    """

    id: str
    provider: str
    base_url: str
    product: Product
    digest: str
    take: Count
    attempt: Count
    external_task_id: str
    task_id: str | None
    status: TaskStatus
    model_name: str
    prompt: str
    request: dict[str, Any] = field(default_factory=dict)
    estimate_units: Units | None
    units: Units | None
    message: str
    videos: tuple[Video, ...]
    path: str | None
    created_at: Seconds
    updated_at: Seconds
    lease_owner: str
    lease_until: Seconds
    due_at: Seconds
    tries: Count
    ended_at: Seconds | None
    bytes: Count | None
    sha256: str | None
    expires_at: Seconds | None
    file_note: str = ""
    principal: str = ""
    callback_key: str = field(default="", compare=False, repr=False)
    money: Units | None = None
    damaged: tuple[str, ...] = ()
    shadowed: bool = field(default=False, compare=False)

    @property
    def line(self) -> tuple[str, str, Product, str]:
        """The queue that it would wait in: what one user wants of one provider for one product."""
        return self.provider, self.base_url, self.product, self.principal

    def is_leased(self, now: float) -> bool:
        """Whether somebody works on it."""
        return now < self.lease_until <= now + LONGEST_LEASE_S

    @property
    def is_beyond_use(self) -> bool:
        """Whether it can neither be sent nor asked for, as the columns for that are damaged."""
        needed = NEEDED_TO_ASK if self.task_id else {*self.damaged}
        free = self.status == "failed" and "attempt" not in self.damaged
        return not free and not needed.isdisjoint(self.damaged)

    def is_due(self, now: float) -> bool:
        """Whether a queued row may be sent (again): also one that is to wait longer than any row
        waits, by a clock that was set back or by an older version."""
        return not now < self.due_at <= now + LONGEST_QUEUE_S

    @property
    def handle(self) -> str:
        """What an agent asks with, for this row alone: the provider's id, or ours until there is
        one."""
        return self.id if self.shadowed else self.task_id or self.external_task_id or self.id

    @property
    def counted_units(self) -> float:
        """What it cost as far as is known, else what it is estimated to cost."""
        known = self.units if self.status in ENDED else None
        return known if known is not None else self.estimate_units or 0.0

    @property
    def sandboxed(self) -> bool:
        """Whether the embedded sandbox made it, whoever is configured now: its units are play
        money."""
        return self.base_url.startswith(SANDBOX_URL)

    @property
    def withdrawn(self) -> bool:
        """Whether its owner took it back before it was sent."""
        return self.status == "failed" and self.task_id is None and self.message == WITHDRAWN


NOT_COLUMNS = ("damaged", "shadowed")

SHADOWED = (
    "EXISTS (SELECT 1 FROM tasks AS older "
    "WHERE older.task_id = coalesce(tasks.task_id, tasks.external_task_id) "
    "AND (older.created_at, older.rowid) < (tasks.created_at, tasks.rowid)) AS shadowed"
)

COLUMNS = ", ".join(f.name for f in fields(Record) if f.name not in NOT_COLUMNS)

EMPTY: dict[str, Any] = {
    **dict.fromkeys(("id", "provider", "base_url", "digest", "external_task_id", "model_name"), ""),
    **dict.fromkeys(("prompt", "message", "lease_owner", "file_note", "principal"), ""),
    **dict.fromkeys(("created_at", "updated_at", "lease_until", "due_at"), 0.0),
    **dict.fromkeys(("task_id", "estimate_units", "units", "path", "ended_at", "bytes"), None),
    **dict.fromkeys(("sha256", "expires_at", "money"), None),
    **dict.fromkeys(("take", "attempt", "tries"), 0),
    "product": "image2video",
    "status": "unknown",
    "request": {},
    "videos": (),
    "callback_key": "",
}
"""What a damaged column is read as."""


def records(db: Database, rest: str, values: Sequence[Any]) -> list[Record]:
    """The rows that the rest of a SELECT finds."""
    rows = db.execute(f"SELECT {COLUMNS}, {SHADOWED} FROM tasks {rest}", values).fetchall()  # noqa: S608
    return [_from_columns(row) for row in rows]


def first_record(db: Database, rest: str, values: Sequence[Any]) -> Record | None:
    """The first of these rows."""
    found = records(db, rest, values)
    return found[0] if found else None


def record_of(db: Database, record_id: str) -> Record:
    """The row with this id of its own, which there is: rows are never deleted."""
    record = first_record(db, "WHERE id = ?", (record_id,))
    assert record is not None
    return record


_NOTHING = object()
"""Stands for bytes in a column of texts or numbers, which no SQL finds by their value."""


@cache
def _reader() -> TypeAdapter[Record]:
    return TypeAdapter(Record)


def _from_columns(row: Mapping[str, Any]) -> Record:
    """The row, whatever stands in it. A column with what no version writes is read as empty and
    named as damaged; what a newer version adds to a video is passed over."""
    columns = {k: _NOTHING if isinstance(v, bytes) else v for k, v in dict(row).items()}
    columns |= {"request": _json(row["request"]), "videos": _json(row["videos"])}
    try:
        return _reader().validate_python(columns)
    except ValidationError as error:
        damaged = dict.fromkeys(str(detail["loc"][0]) for detail in error.errors())
    empty = {name: EMPTY[name] for name in damaged}
    return _reader().validate_python({**columns, **empty, "damaged": tuple(damaged)})


def _json(text: Any) -> Any:
    """What a column's JSON says, or the column as it is when it is none."""
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (TypeError, ValueError, RecursionError):
        return text


def _finite(text: str) -> float:
    """A number. Raises ValueError for infinity, NaN and what is too large."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


KEPT_S = 30 * 86_400
"""Seconds that Kling keeps a result (its API pages, on task queries)."""


def write_task(db: Database, record_id: str, task: Task, now: float) -> Record:
    """The row with what the provider said of its task; see `Ledger.record`."""
    videos = [
        {
            "url": video.url,
            "duration_s": video.duration_s,
            "watermark_url": video.watermark_url,
            "id": video.id,
        }
        for video in task.videos
    ]
    ended = task.lacks_file or task.status in ENDED
    status, goes_on = task.status, "TRUE"
    if task.lacks_file:
        since = record_of(db, record_id).ended_at or now
        status = "succeed" if now - since >= FILE_LATE_S else status
        goes_on = "(task_id IS NULL OR (status <> 'failed' AND videos = '[]'))"
    elif not ended:
        goes_on = "(task_id IS NULL OR ended_at IS NULL)"
    expires_at = min(task.updated_at or now, now) + KEPT_S if status == "succeed" else None
    db.execute(
        "UPDATE tasks SET lease_owner = '', lease_until = 0, "  # noqa: S608
        "task_id = coalesce(task_id, ?), status = ?, message = ?, "
        "units = CASE WHEN ? THEN NULL "
        "ELSE coalesce(?, CASE WHEN task_id IS NULL OR (ended_at IS NULL AND ?) THEN NULL "
        "ELSE units END) END, "
        "money = coalesce(?, money), videos = ?, updated_at = ?, ended_at = coalesce(ended_at, ?), "
        "expires_at = coalesce(expires_at, ?) "
        f"WHERE id = ? AND {goes_on}",
        (
            task.task_id,
            status,
            task.message,
            task.money is not None,
            task.units,
            ended,
            task.money,
            json.dumps(videos),
            now,
            now if ended else None,
            expires_at,
            record_id,
        ),
    )
    record = record_of(db, record_id)
    if record.status in ENDED:
        db.execute(
            f"UPDATE tasks SET due_at = 0 WHERE {OPEN} AND due_at > 0 AND provider = ?",  # noqa: S608
            (record.provider,),
        )
    return record


def change(db: Database, record_id: str, changes: str, values: Sequence[object]) -> Record:
    """The row with these changes."""
    db.execute(f"UPDATE tasks SET {changes} WHERE id = ?", (*values, record_id))  # noqa: S608
    return record_of(db, record_id)


def not_made(
    db: Database, record_id: str, changes: str, values: Sequence[object], owner: str | None
) -> Record:
    """The row, changed if it is open and, where an owner is named, if the lease is theirs."""
    db.execute(
        f"UPDATE tasks SET {changes} WHERE id = ? AND {OPEN} "  # noqa: S608
        "AND lease_owner = coalesce(?, lease_owner)",
        (*values, record_id, owner),
    )
    return record_of(db, record_id)


def beyond_use(record: Record) -> KlingError:
    """What is told of a damaged row that can neither be sent nor asked for."""
    columns = ", ".join(record.damaged)
    return KlingError(
        f"Row {record.id} of the ledger ({record.handle}) is damaged in {columns}: it is neither "
        "sent nor asked for.",
        charged="yes" if record.task_id else "unknown",
        advice="Look at the provider's console whether it was made. To make (and pay) the video "
        "anew, raise take.",
    )
