"""The ledger itself: reserve before the POST, write down after it, find again."""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread

from kling_mcp.ledger.database import open_database, transaction
from kling_mcp.ledger.records import Record, Wish, first_record, records
from kling_mcp.tasks import Task
from kling_tools.errors import KlingError, NotConfigured, SpendCapReached

__all__ = ["Ledger"]

DAY_S = 86_400
ROUNDING = 1e-6
"""Units by which a sum of prices such as 0.3 may be off."""

SANDBOXED = "http://sandbox.kling.invalid%"
"""Base URLs whose units are play money: they do not count against a cap of real ones."""

ResultT = TypeVar("ResultT")


class Ledger:
    """The store of one user. Methods run off the event loop, one at a time.

    Nothing is opened or created before the first call. Every method raises NotConfigured when
    the file cannot be used, saying what stands in the way.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self.path = folder / "ledger.sqlite3"
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._lock = anyio.Lock()

    async def reserve(self, wish: Wish, *, day_cap: float | None = None) -> tuple[Record, bool]:
        """The row of a wish, and whether it is new (`unknown` until its answer is known).

        The same request with the same take has one row until it fails; then a new attempt.
        Raises SpendCapReached when the units of the last 24 hours would pass `day_cap`.
        """
        return await self._run(lambda db: self._reserve(db, wish, day_cap))

    async def record(self, record_id: str, task: Task) -> Record:
        """Write down what the provider said of a task."""
        return await self._run(lambda db: self._record(db, record_id, task))

    async def refused(self, record_id: str, message: str) -> None:
        """Mark a row as failed: the provider did not create the task.

        Its external_task_id is free again. A row that has a task by now stays as it is: another
        process has sent the same request with success.
        """
        await self._run(
            lambda db: db.execute(
                "UPDATE tasks SET status = 'failed', message = ?, units = 0, updated_at = ? "
                "WHERE id = ? AND task_id IS NULL",
                (message, self._clock(), record_id),
            )
        )

    async def saved(self, record_id: str, path: Path) -> None:
        """Write down where a video lies."""
        await self._run(
            lambda db: db.execute("UPDATE tasks SET path = ? WHERE id = ?", (str(path), record_id))
        )

    async def find(self, any_id: str) -> Record | None:
        """The row with this task_id, external_task_id or id; the newest if there are several."""
        return await self._run(
            lambda db: first_record(
                db,
                "WHERE task_id = ? OR external_task_id = ? OR id = ? "
                "ORDER BY created_at DESC, rowid DESC LIMIT 1",
                (any_id, any_id, any_id),
            )
        )

    async def known(self, provider: str, task_ids: Collection[str]) -> frozenset[str]:
        """Those of the provider's task ids that have a row."""
        marks = ", ".join("?" * len(task_ids))
        found = await self._run(
            lambda db: db.execute(
                f"SELECT task_id FROM tasks WHERE provider = ? AND task_id IN ({marks})",  # noqa: S608
                (provider, *task_ids),
            ).fetchall()
        )
        return frozenset(row["task_id"] for row in found)

    async def page(
        self, *, limit: int, offset: int, product: str = "", status: str = "", provider: str = ""
    ) -> list[Record]:
        """Rows, newest first, narrowed by what is not empty."""
        wanted = {"product": product, "status": status, "provider": provider}
        given = {name: value for name, value in wanted.items() if value}
        where = " AND ".join(f"{name} = ?" for name in given) or "1"
        return await self._run(
            lambda db: records(
                db,
                f"WHERE {where} ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?",
                (*given.values(), limit, offset),
            )
        )

    async def close(self) -> None:
        """Close the file, if it was opened."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await to_thread.run_sync(connection.close)

    async def _run(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        async with self._lock:
            return await to_thread.run_sync(self._in_thread, work)

    def _in_thread(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        try:
            if self._connection is None:
                self._connection = open_database(self.path)
            with transaction(self._connection) as db:
                return work(db)
        except (sqlite3.Error, OSError) as error:
            raise NotConfigured(
                f"The ledger {self.path} cannot be used: {error}.",
                advice="Check the disk and the folder's rights, or set KLING_MCP_HOME to another "
                "folder.",
            ) from error

    def _reserve(
        self, db: sqlite3.Connection, wish: Wish, day_cap: float | None
    ) -> tuple[Record, bool]:
        before = first_record(
            db,
            "WHERE provider = ? AND base_url = ? AND digest = ? AND take = ? "
            "ORDER BY attempt DESC LIMIT 1",
            (wish.provider, wish.base_url, wish.digest, wish.take),
        )
        if before and before.status != "failed":
            return before, False
        self._check_external_id(db, wish)
        self._check_day(db, wish, day_cap)
        now, record_id = self._clock(), uuid.uuid4().hex
        db.execute(
            "INSERT INTO tasks (id, provider, base_url, product, digest, take, attempt, "
            "external_task_id, status, model_name, prompt, request, estimate_units, created_at, "
            "updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'unknown', ?, ?, ?, ?, ?, ?)",
            (
                record_id,
                wish.provider,
                wish.base_url,
                wish.product,
                wish.digest,
                wish.take,
                before.attempt + 1 if before else 1,
                wish.external_task_id or f"kmcp-{record_id}",
                wish.model_name,
                wish.prompt,
                json.dumps(wish.request, ensure_ascii=False),
                wish.estimate_units,
                now,
                now,
            ),
        )
        record = first_record(db, "WHERE id = ?", (record_id,))
        assert record is not None
        return record, True

    def _check_external_id(self, db: sqlite3.Connection, wish: Wish) -> None:
        used = wish.external_task_id and first_record(
            db,
            "WHERE provider = ? AND base_url = ? AND external_task_id = ? "
            "AND (status <> 'failed' OR task_id IS NOT NULL)",
            (wish.provider, wish.base_url, wish.external_task_id),
        )
        if used:
            same = (used.digest, used.take) == (wish.digest, wish.take)
            owner = "an earlier attempt" if same else "another request"
            raise KlingError(
                f"The external_task_id {wish.external_task_id} belongs to {owner} "
                f"({used.model_name}, take {used.take}, {used.status}).",
                advice="Ask for that task with kling_get_task, or leave external_task_id out.",
            )

    def _check_day(self, db: sqlite3.Connection, wish: Wish, day_cap: float | None) -> None:
        if day_cap is None:
            return
        (spent,) = db.execute(
            "SELECT coalesce(sum(coalesce(units, estimate_units, 0)), 0) FROM tasks "
            "WHERE (base_url LIKE ?) = (? LIKE ?) AND created_at > ?",
            (SANDBOXED, wish.base_url, SANDBOXED, self._clock() - DAY_S),
        ).fetchone()
        if wish.estimate_units is None or spent + wish.estimate_units > day_cap + ROUNDING:
            price = "unknown" if wish.estimate_units is None else f"{wish.estimate_units:g}"
            raise SpendCapReached(
                f"The day's cap is {day_cap:g} units; {spent:g} were spent in the last 24 hours "
                f"and this video costs {price}.",
                advice="Wait, make a cheaper video, or have KLING_MCP_MAX_UNITS_PER_DAY raised.",
            )

    def _record(self, db: sqlite3.Connection, record_id: str, task: Task) -> Record:
        videos = [
            {
                "url": video.url,
                "duration_s": video.duration_s,
                "watermark_url": video.watermark_url,
                "id": video.id,
            }
            for video in task.videos
        ]
        db.execute(
            "UPDATE tasks SET task_id = coalesce(task_id, ?), status = ?, message = ?, "
            "units = coalesce(?, CASE WHEN task_id IS NULL THEN NULL ELSE units END), "
            "videos = ?, updated_at = ? WHERE id = ?",
            (
                task.task_id,
                task.status,
                task.message,
                task.units,
                json.dumps(videos),
                self._clock(),
                record_id,
            ),
        )
        record = first_record(db, "WHERE id = ?", (record_id,))
        assert record is not None
        return record
