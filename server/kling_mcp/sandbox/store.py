"""The state of a sandbox: one SQLite file that several processes may use at once."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from kling_mcp.sandbox.faults import Fault
from kling_mcp.sandbox.order import Order
from kling_mcp.sandbox.task import Task

__all__ = ["Counts", "NotStored", "SandboxStore"]

NotStored = Literal["external_id_taken", "concurrency", "no_balance"]
"""Why a task was not stored, by the name of its refusal."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    task_id TEXT PRIMARY KEY,
    external_id TEXT UNIQUE,
    product TEXT NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    units REAL NOT NULL,
    failure TEXT NOT NULL,
    order_json TEXT NOT NULL,
    body_json TEXT NOT NULL,
    fingerprint TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS strikes (fault TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
"""
_TASK = "task_id, order_json, created_at, started_at, ended_at, units, failure"
_BUSY_S = 30.0


@dataclass(frozen=True, slots=True)
class Counts:
    """What the sandbox was asked.

    `requests` by kind (`creates`, `creates_refused`, `queries`, `lists`, `costs`, `downloads`,
    `downloads_with_authorization`), `accepted` creates that made a task, `accepted_per_request`
    the same by fingerprint: equal requests but for their external id and callback have one.
    `strikes` of faults by switch.
    """

    requests: dict[str, int]
    accepted: int
    accepted_per_request: dict[str, int]
    strikes: dict[str, int]


class SandboxStore:
    """The tasks, counters and secrets in `home`; both are made when first needed.

    Every call opens and closes the file: there is nothing to shut down, and the embedded form may
    be used from any thread. A crash of the machine, not of a process, may lose the last tasks.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / "sandbox.sqlite3"
        self._ready = False
        self._signing_key: bytes | None = None

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._home.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._file, timeout=_BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            if not self._ready:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                self._ready = True
            yield connection
        finally:
            connection.close()

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def add(
        self,
        order: Order,
        *,
        body: dict[str, Any],
        fingerprint: str,
        now: float,
        queue_s: float,
        render_s: float,
        slots: int,
        pack_units: float,
        failure: str = "",
    ) -> Task | NotStored:
        """Store a new task, or say why not; the three limits are judged in one transaction.

        The external id must be new in the whole account [live], after a failed task too (not
        probed), fewer than `slots` tasks may be unfinished, and the pack must still hold the
        units of all that run and of this one.
        """
        task = Task(
            task_id=str((int(now * 1000) << 19) + secrets.randbits(19)),
            order=order,
            created_at=now,
            started_at=now + queue_s,
            ended_at=now + queue_s + render_s,
            units=order.units,
            failure=failure,
        )
        external_id = order.external_task_id or None
        with self._writing() as db:
            if db.execute("SELECT 1 FROM tasks WHERE external_id = ?", (external_id,)).fetchone():
                return "external_id_taken"
            running = db.execute("SELECT count(*) FROM tasks WHERE ended_at > ?", (now,))
            if running.fetchone()[0] >= slots:
                return "concurrency"
            due = db.execute(
                "SELECT total(units) FROM tasks WHERE failure = '' OR ended_at > ?", (now,)
            )
            if due.fetchone()[0] + task.units > pack_units:
                return "no_balance"
            db.execute(
                "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    task.task_id,
                    external_id,
                    order.product,
                    task.created_at,
                    task.started_at,
                    task.ended_at,
                    task.units,
                    task.failure,
                    json.dumps(order.to_json()),
                    json.dumps(body),
                    fingerprint,
                ),
            )
        return task

    def find(self, any_id: str) -> Task | None:
        """The task with that task id or external id."""
        query = f"SELECT {_TASK} FROM tasks WHERE task_id = ? OR external_id = ?"  # noqa: S608
        with self._open() as db:
            row = db.execute(query, (any_id, any_id)).fetchone()
        return _task(row) if row else None

    def page(self, product: str, number: int, size: int) -> list[Task]:
        """One page of a product's tasks, newest first; `number` begins at 1."""
        query = (
            f"SELECT {_TASK} FROM tasks WHERE product = ? "  # noqa: S608
            "ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?"
        )
        with self._open() as db:
            rows = db.execute(query, (product, size, (number - 1) * size)).fetchall()
        return [_task(row) for row in rows]

    def body(self, any_id: str) -> dict[str, Any] | None:
        """The request body that made the task, each picture as its hash and size."""
        with self._open() as db:
            row = db.execute(
                "SELECT body_json FROM tasks WHERE task_id = ? OR external_id = ?",
                (any_id, any_id),
            ).fetchone()
        return dict(json.loads(row[0])) if row else None

    def spent(self, now: float) -> float:
        """Units of all tasks that have succeeded by now."""
        query = "SELECT total(units) FROM tasks WHERE failure = '' AND ended_at <= ?"
        with self._open() as db:
            return float(db.execute(query, (now,)).fetchone()[0])

    def statuses(self, now: float) -> dict[str, int]:
        """How many tasks stand where, by Kling's words."""
        with self._open() as db:
            rows = db.execute(f"SELECT {_TASK} FROM tasks").fetchall()  # noqa: S608
        found: dict[str, int] = {"submitted": 0, "processing": 0, "succeed": 0, "failed": 0}
        for row in rows:
            found[_task(row).status(now)] += 1
        return found

    def count(self, *names: str) -> None:
        """Count one request under each name."""
        with self._writing() as db:
            for name in names:
                db.execute(
                    "INSERT INTO counters VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET n = n + 1",
                    (name,),
                )

    def counts(self) -> Counts:
        """What was asked so far, over all processes."""
        with self._open() as db:
            per_request = dict(
                db.execute("SELECT fingerprint, count(*) FROM tasks GROUP BY fingerprint")
            )
            return Counts(
                requests=dict(db.execute("SELECT name, n FROM counters ORDER BY name")),
                accepted=sum(per_request.values()),
                accepted_per_request=per_request,
                strikes=dict(db.execute("SELECT fault, n FROM strikes ORDER BY fault")),
            )

    def claim(self, fault: Fault) -> bool:
        """Whether the fault strikes once more; each strike is counted."""
        with self._writing() as db:
            row = db.execute("SELECT n FROM strikes WHERE fault = ?", (str(fault),)).fetchone()
            if fault.times is not None and (row[0] if row else 0) >= fault.times:
                return False
            db.execute(
                "INSERT INTO strikes VALUES (?, 1) ON CONFLICT (fault) DO UPDATE SET n = n + 1",
                (str(fault),),
            )
        return True

    def forget_strikes(self) -> None:
        """Count the strikes of faults from the start again."""
        with self._writing() as db:
            db.execute("DELETE FROM strikes")

    def signing_key(self) -> bytes:
        """The key that video URLs are signed with; made once, the same after a restart."""
        if self._signing_key is None:
            with self._writing() as db:
                fresh = secrets.token_bytes(32)
                db.execute("INSERT OR IGNORE INTO secrets VALUES ('url', ?)", (fresh,))
                row = db.execute("SELECT value FROM secrets WHERE name = 'url'").fetchone()
            self._signing_key = bytes(row[0])
        return self._signing_key


def _task(row: tuple[Any, ...]) -> Task:
    task_id, order_json, created_at, started_at, ended_at, units, failure = row
    order = Order.from_json(json.loads(order_json))
    return Task(task_id, order, created_at, started_at, ended_at, units, failure)
