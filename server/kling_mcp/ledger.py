"""The ledger: every video that was asked for, written down before money is spent.

One SQLite file in the user's data folder, in WAL mode so that several processes can share it. A
row exists before its POST, with the `external_task_id` that is sent, and is never deleted.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import anyio
from anyio import to_thread

from kling_mcp.tasks import Task, Video
from kling_tools.capabilities import Product
from kling_tools.errors import KlingError, NotConfigured, SpendCapReached
from kling_tools.results import TaskStatus

__all__ = ["Ledger", "Record", "Wish"]

DAY_S = 86_400
ROUNDING = 1e-6
"""Units by which a sum of prices such as 0.3 may be off."""
BUSY_S = 5.0
"""Seconds that a write waits for another process."""

ResultT = TypeVar("ResultT")

MIGRATIONS: tuple[tuple[str, str], ...] = (
    (
        "2026-11-20 tasks",
        """
        CREATE TABLE tasks (
            id               TEXT PRIMARY KEY,
            provider         TEXT NOT NULL,
            product          TEXT NOT NULL,
            digest           TEXT NOT NULL,
            take             INTEGER NOT NULL,
            attempt          INTEGER NOT NULL,
            external_task_id TEXT NOT NULL,
            task_id          TEXT,
            status           TEXT NOT NULL,
            model_name       TEXT NOT NULL,
            prompt           TEXT NOT NULL,
            request          TEXT NOT NULL,
            estimate_units   REAL,
            units            REAL,
            message          TEXT NOT NULL DEFAULT '',
            videos           TEXT NOT NULL DEFAULT '[]',
            path             TEXT,
            created_at       REAL NOT NULL,
            updated_at       REAL NOT NULL,
            UNIQUE (provider, digest, take, attempt)
        );
        CREATE UNIQUE INDEX tasks_by_claim ON tasks (provider, external_task_id)
            WHERE status <> 'failed' OR task_id IS NOT NULL;
        CREATE INDEX tasks_by_external_task_id ON tasks (external_task_id);
        CREATE INDEX tasks_by_task_id ON tasks (task_id);
        CREATE INDEX tasks_by_time ON tasks (created_at);
        """,
    ),
)
"""Steps from an empty file to today's, by name; each is applied once and never changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be made, before it has a row. `digest` stands for the whole request; `request`
    is what it asked, without the pictures' bytes."""

    provider: str
    product: Product
    digest: str
    take: int
    model_name: str
    prompt: str
    request: dict[str, Any]
    estimate_units: float | None
    external_task_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row. Times are seconds since the epoch, units Kling's."""

    id: str
    provider: str
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

    @property
    def handle(self) -> str:
        """What an agent asks with: the provider's id, or ours until there is one."""
        return self.task_id or self.external_task_id


_COLUMNS = ", ".join(f.name for f in fields(Record))


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
            lambda db: _one(
                db,
                "WHERE task_id = ? OR external_task_id = ? OR id = ? "
                "ORDER BY created_at DESC, rowid DESC LIMIT 1",
                (any_id, any_id, any_id),
            )
        )

    async def page(
        self, *, limit: int, offset: int, product: str = "", status: str = "", provider: str = ""
    ) -> list[Record]:
        """Rows, newest first, narrowed by what is not empty."""
        wanted = {"product": product, "status": status, "provider": provider}
        given = {name: value for name, value in wanted.items() if value}
        where = " AND ".join(f"{name} = ?" for name in given) or "1"
        return await self._run(
            lambda db: _many(
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
                self._connection = self._open()
            with _transaction(self._connection) as db:
                return work(db)
        except (sqlite3.Error, OSError) as error:
            raise NotConfigured(
                f"The ledger {self.path} cannot be used: {error}.",
                advice="Check the disk and the folder's rights, or set KLING_MCP_HOME to another "
                "folder.",
            ) from error

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(
            self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        try:
            db.row_factory = sqlite3.Row
            _use_wal(db)
            db.execute("PRAGMA synchronous = FULL")
            _migrate(db)
        except BaseException:
            db.close()
            raise
        return db

    def _reserve(
        self, db: sqlite3.Connection, wish: Wish, day_cap: float | None
    ) -> tuple[Record, bool]:
        before = _one(
            db,
            "WHERE provider = ? AND digest = ? AND take = ? ORDER BY attempt DESC LIMIT 1",
            (wish.provider, wish.digest, wish.take),
        )
        if before and before.status != "failed":
            return before, False
        self._check_external_id(db, wish)
        self._check_day(db, wish, day_cap)
        now, record_id = self._clock(), uuid.uuid4().hex
        db.execute(
            "INSERT INTO tasks (id, provider, product, digest, take, attempt, external_task_id, "
            "status, model_name, prompt, request, estimate_units, created_at, updated_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, 'unknown', ?, ?, ?, ?, ?, ?)",
            (
                record_id,
                wish.provider,
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
        record = _one(db, "WHERE id = ?", (record_id,))
        assert record is not None
        return record, True

    def _check_external_id(self, db: sqlite3.Connection, wish: Wish) -> None:
        used = wish.external_task_id and _one(
            db,
            "WHERE provider = ? AND external_task_id = ? "
            "AND (status <> 'failed' OR task_id IS NOT NULL)",
            (wish.provider, wish.external_task_id),
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
            "WHERE provider = ? AND created_at > ?",
            (wish.provider, self._clock() - DAY_S),
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
            "UPDATE tasks SET task_id = ?, status = ?, message = ?, "
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
        record = _one(db, "WHERE id = ?", (record_id,))
        assert record is not None
        return record


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch the file to WAL; when another process is at it too, SQLite itself does not wait."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > until:
                raise
        time.sleep(BUSY_S / 500)


def _migrate(db: sqlite3.Connection) -> None:
    with _transaction(db):
        db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at REAL)")
        applied = {row["name"] for row in db.execute("SELECT name FROM migrations")}
        for name, script in MIGRATIONS:
            if name not in applied:
                for statement in script.split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO migrations VALUES (?, ?)", (name, time.time()))


def _many(db: sqlite3.Connection, rest: str, values: Sequence[Any]) -> list[Record]:
    rows = db.execute(f"SELECT {_COLUMNS} FROM tasks {rest}", values)  # noqa: S608
    return [_record_of(row) for row in rows]


def _one(db: sqlite3.Connection, rest: str, values: Sequence[Any]) -> Record | None:
    records = _many(db, rest, values)
    return records[0] if records else None


def _record_of(row: sqlite3.Row) -> Record:
    columns = dict(row)
    columns["request"] = json.loads(columns["request"])
    columns["videos"] = tuple(Video(**video) for video in json.loads(columns["videos"]))
    return Record(**columns)
