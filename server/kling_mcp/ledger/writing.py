"""What is written into a row that there is: answers of the provider, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from kling_mcp.ledger.engine import Database
from kling_mcp.ledger.records import OPEN, Record, record_of
from kling_mcp.tasks import FILE_LATE_S, Task
from kling_tools.results import ENDED

__all__ = ["change", "not_made", "write_task"]

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
