"""The ledger itself: reserve before the POST, write down after it, find again."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
import uuid
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

import anyio
from anyio import to_thread

from kling_mcp.ledger.database import open_database, relaxed, transaction
from kling_mcp.ledger.differences import differences
from kling_mcp.ledger.records import WITHDRAWN, Record, Wish, first_record, records
from kling_mcp.ledger.trouble import unusable
from kling_mcp.tasks import Task
from kling_tools.errors import KlingError, SpendCapReached
from kling_tools.results import ENDED

__all__ = ["LEASE_S", "Ledger"]

DAY_S = 86_400
LEASE_S = 15.0
"""Seconds after which a process that does not renew its lease is taken for dead."""
ROUNDING = 1e-6
"""Units by which a sum of prices such as 0.3 may be off."""

SANDBOXED = "http://sandbox.kling.invalid%"
"""Base URLs whose units are play money: they do not count against a cap of real ones."""

KEPT_S = 30 * 86_400
"""Seconds that Kling keeps a result (its API pages, on task queries)."""

OPEN = "status IN ('queued', 'unknown') AND task_id IS NULL"
"""Rows that still need something of us: to be sent, or to be looked for."""

ResultT = TypeVar("ResultT")
Around = Callable[[sqlite3.Connection], AbstractContextManager[sqlite3.Connection]]


class Ledger:
    """The store of one user. Methods run off the event loop, one at a time.

    Nothing is opened or created before the first call. `lease_s` is the seconds after which a
    lease that was not renewed is over. Every method raises NotConfigured when the file cannot be
    used, saying what stands in the way.
    """

    def __init__(
        self, folder: Path, clock: Callable[[], float] = time.time, *, lease_s: float = LEASE_S
    ) -> None:
        self.path = folder / "ledger.sqlite3"
        self.lease_s = lease_s
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._lock = anyio.Lock()

    @property
    def exists(self) -> bool:
        """Whether there is a file yet; one that may not be looked at counts, as a call will say."""
        try:
            return self.path.exists()
        except OSError:
            return True

    async def reserve(
        self, wish: Wish, *, day_cap: float | None = None, owner: str = ""
    ) -> tuple[Record, bool]:
        """The row of a wish, and whether it is new (`unknown` until its answer is known).

        The same request with the same take has one row until it fails; then a new attempt. A new
        row is leased to `owner`, who is about to send it.
        Raises SpendCapReached when the units of the last 24 hours would pass `day_cap`.
        """
        return await self._run(lambda db: self._reserve(db, wish, day_cap, owner))

    async def peek(self, wish: Wish) -> Record | None:
        """The row that `reserve` would find; nothing is written."""
        return await self._read(lambda db: _latest(db, wish))

    async def check_day(self, wish: Wish, day_cap: float | None) -> None:
        """Raises SpendCapReached when the wish would pass the day's cap; nothing is written."""
        if day_cap is None:
            return
        if self.exists:
            await self._read(lambda db: self._check_day(db, wish, day_cap))
        elif wish.estimate_units is None or wish.estimate_units > day_cap + ROUNDING:
            raise _over_the_day(wish, day_cap, 0.0)

    async def claim(self, record_id: str, owner: str) -> bool:
        """Take or renew the lease of an open row; False while somebody else holds it."""
        now = self._clock()
        changed = await self._run(
            lambda db: (
                db.execute(
                    "UPDATE tasks SET lease_owner = ?, lease_until = ? "  # noqa: S608
                    f"WHERE id = ? AND {OPEN} AND (lease_owner IN ('', ?) OR lease_until <= ?)",
                    (owner, now + self.lease_s, record_id, owner, now),
                ).rowcount
            )
        )
        return changed == 1

    async def release(self, record_id: str, owner: str) -> None:
        """Give a lease back."""
        await self._run(
            lambda db: db.execute(
                "UPDATE tasks SET lease_owner = '', lease_until = 0 "
                "WHERE id = ? AND lease_owner = ?",
                (record_id, owner),
            )
        )

    async def queue(
        self,
        record_id: str,
        message: str,
        due_at: float,
        owner: str | None = None,
        *,
        in_doubt: bool = False,
    ) -> Record:
        """Keep a row until a slot is free; it may be sent again from `due_at` on.

        One `in_doubt` may have been made by an earlier create and is `unknown` for that long.
        Like `refused`, it changes nothing when another process knows better.
        """
        status = "unknown" if in_doubt else "queued"
        return await self._run(
            lambda db: _not_made(
                db,
                record_id,
                "lease_owner = '', lease_until = 0, status = ?, message = ?, due_at = ?, "
                "tries = tries + 1, updated_at = ?",
                (status, message, due_at, self._clock()),
                owner,
            )
        )

    async def reopen(self, record_id: str, owner: str | None = None) -> Record:
        """A queued row is about to be sent: from now on its answer may be lost."""
        return await self._run(
            lambda db: _not_made(
                db, record_id, "status = 'unknown', updated_at = ?", (self._clock(),), owner
            )
        )

    async def open_rows(self) -> list[Record]:
        """Rows that still need something of us: queued, or sent without an answer; oldest first."""
        return await self._read(
            lambda db: records(
                db,
                f"WHERE {OPEN} ORDER BY created_at",
                (),
            )
        )

    async def record(self, record_id: str, task: Task, *, again: bool = False) -> Record:
        """Write down what the provider said of a task; one that has ended frees a slot, so that
        queued rows are due at once. What was seen to have ended does not run again: such an answer
        is older than the row.

        `again` says that the provider can be asked for all of it by our own id: it may then be
        lost with the machine's power, which spares a wait for the disk.
        """
        around = relaxed if again else transaction
        return await self._run(lambda db: self._record(db, record_id, task), around)

    async def refused(self, record_id: str, message: str, owner: str | None = None) -> None:
        """Mark a row as failed: the provider did not create the task.

        Its external_task_id is free again. A row that has a task by now stays as it is: another
        process has sent the same request with success. So does one whose lease is not `owner`'s
        any more: another process, which took this one for dead, may be sending it.
        """
        await self._run(
            lambda db: _not_made(
                db,
                record_id,
                "lease_owner = '', lease_until = 0, status = 'failed', message = ?, units = 0, "
                "updated_at = ?",
                (message, self._clock()),
                owner,
            )
        )

    async def withdraw(self, record_id: str) -> bool:
        """Take a queued row back: it becomes `failed` and is never sent. False, and nothing is
        changed, when it is not queued or when somebody holds its lease, who may be sending it."""
        now = self._clock()
        changed = await self._run(
            lambda db: (
                db.execute(
                    "UPDATE tasks SET lease_owner = '', lease_until = 0, status = 'failed', "
                    "message = ?, units = 0, updated_at = ? "
                    "WHERE id = ? AND status = 'queued' AND task_id IS NULL AND lease_until <= ?",
                    (WITHDRAWN, now, record_id, now),
                ).rowcount
            )
        )
        return changed == 1

    async def saved(
        self, record_id: str, path: Path, size_bytes: int, sha256: str, note: str = ""
    ) -> Record:
        """Write down where a video lies, what it is, and what is odd about it."""
        columns = "path = ?, bytes = ?, sha256 = ?, file_note = ?"
        values = (str(path), size_bytes, sha256, note)
        return await self._run(lambda db: _changed(db, record_id, columns, values))

    async def find(self, any_id: str, *, principal: str | None = None) -> Record | None:
        """The row with this task_id, external_task_id or id; the newest if there are several.
        Where a principal is named, of those alone that are theirs."""
        return await self._read(
            lambda db: first_record(
                db,
                "WHERE (task_id = ? OR external_task_id = ? OR id = ?) "
                "AND principal = coalesce(?, principal) "
                "ORDER BY created_at DESC, rowid DESC LIMIT 1",
                (any_id, any_id, any_id, principal),
            )
        )

    async def known(self, provider: str, task_ids: Collection[str]) -> dict[str, str]:
        """Those of the provider's task ids that have a row, with the row's id."""
        marks = ", ".join("?" * len(task_ids))
        found = await self._read(
            lambda db: db.execute(
                f"SELECT task_id, id FROM tasks WHERE provider = ? AND task_id IN ({marks})",  # noqa: S608
                (provider, *task_ids),
            ).fetchall()
        )
        return {row["task_id"]: row["id"] for row in found}

    async def page(
        self,
        *,
        limit: int,
        offset: int,
        product: str = "",
        status: str = "",
        provider: str = "",
        principal: str | None = None,
    ) -> list[Record]:
        """Rows, newest first, narrowed by what is not empty."""
        wanted = {
            "product": product,
            "status": status,
            "provider": provider,
            "principal": principal,
        }
        given = {name: value for name, value in wanted.items() if value}
        where = " AND ".join(f"{name} = ?" for name in given) or "1"
        return await self._read(
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

    async def _run(
        self, work: Callable[[sqlite3.Connection], ResultT], around: Around = transaction
    ) -> ResultT:
        async with self._lock:
            return await to_thread.run_sync(self._in_thread, work, around)

    async def _read(self, work: Callable[[sqlite3.Connection], ResultT]) -> ResultT:
        """One statement that only reads: it needs no transaction and waits for no writer."""
        async with self._lock:
            return await to_thread.run_sync(self._in_thread, work, nullcontext)

    def _in_thread(
        self,
        work: Callable[[sqlite3.Connection], ResultT],
        around: Around,
    ) -> ResultT:
        try:
            if self._connection is None:
                self._connection = open_database(self.path)
            with around(self._connection) as db:
                return work(db)
        except (sqlite3.Error, OSError) as error:
            raise unusable(self.path, error) from error

    def _reserve(
        self, db: sqlite3.Connection, wish: Wish, day_cap: float | None, owner: str
    ) -> tuple[Record, bool]:
        before = _latest(db, wish)
        if before and before.status != "failed":
            return before, False
        self._check_external_id(db, wish)
        self._check_day(db, wish, day_cap)
        now, record_id = self._clock(), uuid.uuid4().hex
        db.execute(
            "INSERT INTO tasks (id, provider, base_url, product, digest, take, attempt, "
            "external_task_id, status, model_name, prompt, request, estimate_units, created_at, "
            "updated_at, lease_owner, lease_until, principal, callback_key) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'unknown', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
                owner,
                now + self.lease_s if owner else 0,
                wish.principal,
                secrets.token_urlsafe(24),
            ),
        )
        return _row(db, record_id), True

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
            apart = "" if same else f" What differs: {differences(used, wish)}."
            raise KlingError(
                f"The external_task_id {wish.external_task_id} belongs to {owner} "
                f"({used.model_name}, take {used.take}, {used.status}).{apart}",
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
            raise _over_the_day(wish, day_cap, spent)

    def _record(self, db: sqlite3.Connection, record_id: str, task: Task) -> Record:
        now = self._clock()
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
            "UPDATE tasks SET lease_owner = '', lease_until = 0, "
            "task_id = coalesce(task_id, ?), status = ?, message = ?, "
            "units = coalesce(?, CASE WHEN task_id IS NULL THEN NULL ELSE units END), "
            "videos = ?, updated_at = ?, "
            "ended_at = coalesce(ended_at, CASE WHEN ? THEN ? END), "
            "expires_at = coalesce(expires_at, CASE WHEN ? THEN ? END) "
            "WHERE id = ? AND (? OR task_id IS NULL OR ended_at IS NULL)",
            (
                task.task_id,
                task.status,
                task.message,
                task.units,
                json.dumps(videos),
                now,
                task.status in ENDED,
                now,
                task.status == "succeed",
                min(task.updated_at or now, now) + KEPT_S,
                record_id,
                task.status in ENDED,
            ),
        )
        record = _row(db, record_id)
        if record.status in ENDED:
            db.execute(
                f"UPDATE tasks SET due_at = 0 WHERE {OPEN} AND provider = ?",  # noqa: S608
                (record.provider,),
            )
        return record


def _over_the_day(wish: Wish, day_cap: float, spent: float) -> SpendCapReached:
    price = "an unknown number" if wish.estimate_units is None else f"{wish.estimate_units:g}"
    return SpendCapReached(
        f"The day's cap is {day_cap:g} units; {spent:g} were spent in the last 24 hours and this "
        f"video would cost {price}.",
        advice="Wait, make a cheaper video, or have KLING_MCP_MAX_UNITS_PER_DAY raised.",
    )


def _latest(db: sqlite3.Connection, wish: Wish) -> Record | None:
    return first_record(
        db,
        "WHERE provider = ? AND base_url = ? AND digest = ? AND take = ? "
        "ORDER BY attempt DESC LIMIT 1",
        (wish.provider, wish.base_url, wish.digest, wish.take),
    )


def _changed(
    db: sqlite3.Connection, record_id: str, changes: str, values: Sequence[object]
) -> Record:
    db.execute(f"UPDATE tasks SET {changes} WHERE id = ?", (*values, record_id))  # noqa: S608
    return _row(db, record_id)


def _not_made(
    db: sqlite3.Connection,
    record_id: str,
    changes: str,
    values: Sequence[object],
    owner: str | None,
) -> Record:
    """The row, changed if it is open and, where an owner is named, if the lease is theirs."""
    db.execute(
        f"UPDATE tasks SET {changes} WHERE id = ? AND {OPEN} "  # noqa: S608
        "AND lease_owner = coalesce(?, lease_owner)",
        (*values, record_id, owner),
    )
    return _row(db, record_id)


def _row(db: sqlite3.Connection, record_id: str) -> Record:
    record = first_record(db, "WHERE id = ?", (record_id,))
    assert record is not None
    return record
