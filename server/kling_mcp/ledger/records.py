"""A wish before it has a row, and the row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from kling_mcp.ledger.engine import Database
from kling_mcp.tasks import Video
from kling_tools.capabilities import Product
from kling_tools.results import TaskStatus

__all__ = [
    "OPEN",
    "WITHDRAWN",
    "DayCaps",
    "Record",
    "Wish",
    "first_record",
    "record_of",
    "records",
]

OPEN = "status IN ('queued', 'unknown') AND task_id IS NULL"
"""Rows that still need something of us: to be sent, or to be looked for."""

WITHDRAWN = "withdrawn before it was sent"
"""The message of a row that its owner took back while it was queued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row. Times are seconds since the epoch, units Kling's.

    While a process works on a row it holds a lease, which it renews; `due_at` is when a queued row
    may be sent again after `tries` attempts; `ended_at` when it was first seen to have ended;
    `expires_at` when the provider deletes the video; `file_note` what is odd about the saved file.
    """

    id: str
    provider: str
    base_url: str
    product: Product
    digest: str
    take: int
    attempt: int
    external_task_id: str
    task_id: str | None
    status: TaskStatus
    model_name: str
    prompt: str
    request: dict[str, Any] = field(default_factory=dict)
    estimate_units: float | None
    units: float | None
    message: str
    videos: tuple[Video, ...]
    path: str | None
    created_at: float
    updated_at: float
    lease_owner: str
    lease_until: float
    due_at: float
    tries: int
    ended_at: float | None
    bytes: int | None
    sha256: str | None
    expires_at: float | None
    file_note: str = ""
    principal: str = ""
    callback_key: str = field(default="", compare=False, repr=False)

    @property
    def line(self) -> tuple[str, str, Product, str]:
        """The queue that it would wait in: what one user wants of one provider for one product."""
        return self.provider, self.base_url, self.product, self.principal

    @property
    def handle(self) -> str:
        """What an agent asks with: the provider's id, or ours until there is one."""
        return self.task_id or self.external_task_id

    @property
    def withdrawn(self) -> bool:
        """Whether its owner took it back before it was sent."""
        return self.status == "failed" and self.task_id is None and self.message == WITHDRAWN


COLUMNS = ", ".join(f.name for f in fields(Record))


def records(db: Database, rest: str, values: Sequence[Any]) -> list[Record]:
    """The rows that the rest of a SELECT finds."""
    rows = db.execute(f"SELECT {COLUMNS} FROM tasks {rest}", values).fetchall()  # noqa: S608
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


def _from_columns(row: Mapping[str, Any]) -> Record:
    columns = dict(row)
    columns["request"] = json.loads(columns["request"])
    columns["videos"] = tuple(Video(**video) for video in json.loads(columns["videos"]))
    return Record(**columns)
