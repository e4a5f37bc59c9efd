"""The state of a sandbox in SQLite: tasks, counters of requests and faults, the signing key."""

from __future__ import annotations

import json
import secrets
import sqlite3
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from kling_sandbox.faults import Fault
from kling_sandbox.orders import Order, Task

__all__ = ["KLING", "Counters", "Counts", "NotStored", "SandboxStore", "StateFile"]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    task_id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    public_id TEXT NOT NULL,
    external_id TEXT,
    product TEXT NOT NULL,
    created_at REAL NOT NULL,
    started_at REAL NOT NULL,
    ended_at REAL NOT NULL,
    units REAL NOT NULL,
    failure TEXT NOT NULL,
    order_json TEXT NOT NULL,
    body_json TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    UNIQUE (provider, public_id),
    UNIQUE (provider, external_id)
);
CREATE TABLE IF NOT EXISTS counters (name TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS strikes (fault TEXT PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS deleted (task_id TEXT PRIMARY KEY);
"""
_KEPT = (
    "external_id, product, created_at, started_at, ended_at, units, failure, order_json, "
    "body_json, fingerprint"
)
_AT_ONCE = "product IN ('identify-face', 'tts')"
_BUSY_S = 30.0


class StateFile:
    """One file that several processes may use at once.

    Every use opens and closes it, so nothing must be shut down, and any thread may use it. A crash
    of the machine, but not of a process, may damage it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._ready = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that commits after each statement."""
        self._home.mkdir(parents=True, exist_ok=True)
        file = self._home / "sandbox.sqlite3"
        connection = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)
        try:
            # No write-ahead log: each use would make it and remove it.
            connection.execute("PRAGMA synchronous = OFF")
            if not self._ready:
                _bring_up_to_date(connection)
                self._ready = True
            yield connection
        finally:
            connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection inside an exclusive write transaction, rolled back on an error."""
        with self.reading() as connection, _transaction(connection):
            yield connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Create the tables, and convert a file from before the sandbox played gateways."""
    with _transaction(connection):
        columns = {row[1] for row in connection.execute("PRAGMA table_info(tasks)")}
        old = bool(columns) and "provider" not in columns
        if old:
            connection.execute("ALTER TABLE tasks RENAME TO tasks_of_kling")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        if old:
            connection.execute(
                f"INSERT INTO tasks (task_id, provider, public_id, {_KEPT}) "  # noqa: S608
                f"SELECT task_id, 'kling', task_id, {_KEPT} FROM tasks_of_kling"
            )
            connection.execute("DROP TABLE tasks_of_kling")


KLING = "kling"
"""The default provider."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of requests.

    `requests` by kind: `creates`, `creates_refused`, `queries`, `lists`, `costs`, `deletes`,
    `downloads`, `downloads_with_authorization`. `accepted`: creates that made a task, without those
    that were answered at once;
    `accepted_per_request`: all by fingerprint, which ignores the external id and the callback.
    `per_provider`: the requests of each provider by kind, and its `accepted`. `strikes`: by switch,
    how often each fault struck.
    """

    requests: dict[str, int]
    accepted: int
    accepted_per_request: dict[str, int]
    per_provider: dict[str, dict[str, int]]
    strikes: dict[str, int]


class Counters:
    """The counters in a sandbox's state file."""

    def __init__(self, file: StateFile) -> None:
        self._file = file

    def count(self, *names: str, provider: str = KLING) -> None:
        """Count one request under each name, in total and for its provider."""
        with self._file.writing() as db:
            for name in names:
                for counter in (name, f"{provider}/{name}"):
                    db.execute(
                        "INSERT INTO counters VALUES (?, 1) "
                        "ON CONFLICT (name) DO UPDATE SET n = n + 1",
                        (counter,),
                    )

    def counts(self) -> Counts:
        """The counts so far, over all processes."""
        requests: dict[str, int] = {}
        per_provider: dict[str, dict[str, int]] = {}
        with self._file.reading() as db:
            for name, n in db.execute("SELECT name, n FROM counters ORDER BY name"):
                provider, slash, kind = str(name).partition("/")
                if slash:
                    per_provider.setdefault(provider, {})[kind] = n
                else:
                    requests[name] = n
            for provider, n in db.execute(
                f"SELECT provider, count(*) FROM tasks WHERE NOT {_AT_ONCE} "  # noqa: S608
                "GROUP BY provider ORDER BY provider"
            ):
                per_provider.setdefault(provider, {})["accepted"] = n
            per_request = dict(
                db.execute("SELECT fingerprint, count(*) FROM tasks GROUP BY fingerprint")
            )
            return Counts(
                requests=requests,
                accepted=sum(counts.get("accepted", 0) for counts in per_provider.values()),
                accepted_per_request=per_request,
                per_provider=per_provider,
                strikes=dict(db.execute("SELECT fault, n FROM strikes ORDER BY fault")),
            )

    def claim(self, fault: Fault) -> bool:
        """Whether the fault may strike once more. Counts the strike."""
        with self._file.writing() as db:
            row = db.execute("SELECT n FROM strikes WHERE fault = ?", (str(fault),)).fetchone()
            if fault.times is not None and (row[0] if row else 0) >= fault.times:
                return False
            db.execute(
                "INSERT INTO strikes VALUES (?, 1) ON CONFLICT (fault) DO UPDATE SET n = n + 1",
                (str(fault),),
            )
        return True

    def forget_strikes(self) -> None:
        """Set the counts of strikes back to zero."""
        with self._file.writing() as db:
            db.execute("DELETE FROM strikes")


NotStored = Literal["external_id_taken", "concurrency", "no_balance"]
"""The name of the refusal of a task that was not stored."""

_TASK = (
    "task_id, public_id, provider, order_json, created_at, started_at, ended_at, units, failure, "
    "task_id IN (SELECT task_id FROM deleted)"
)
_OF_IMAGES = "coalesce(json_extract(order_json, '$.images'), 0) > 0"
_SLOTS = "max(1, coalesce(json_extract(order_json, '$.images'), 0))"
_LETTERS = string.ascii_letters + string.digits


class SandboxStore(Counters):
    """The state in `home`, which is made when first needed.

    Each provider has an account of its own, with its own ids, external ids, slots and units.
    """

    def __init__(self, home: Path) -> None:
        super().__init__(StateFile(home))
        self._signing_key: bytes | None = None

    def add(
        self,
        order: Order,
        *,
        provider: str = KLING,
        rewrite_id: bool = False,
        body: dict[str, Any],
        fingerprint: str,
        now: float,
        queue_s: float,
        render_s: float,
        slots: int,
        pack_units: float,
        failure: str = "",
    ) -> Task | NotStored:
        """Store a new task, or return why not. One transaction checks all three limits.

        The external id must be new in the whole account [live], also after a failed task (not
        probed). Fewer than `slots` tasks may be unfinished; n pictures take n slots. The pack of
        videos, or that of pictures, must have the units of all running tasks and of this one. With
        `rewrite_id` the public id is `task_` and 32 letters and digits, as new-api makes it. An
        element or voice gets its id, of 15 digits, here.
        """
        task_id = str((int(now * 1000) << 19) + secrets.randbits(19))
        if order.made:
            made = replace(order.made, asset_id=f"3{int(task_id) % 10**14:014d}")
            order = replace(order, made=made)
        task = Task(
            task_id=task_id,
            public_id=_public_id() if rewrite_id else task_id,
            provider=provider,
            order=order,
            created_at=now,
            started_at=now + queue_s,
            ended_at=now + queue_s + render_s,
            units=order.units,
            failure=failure,
        )
        external_id = order.external_task_id or None
        with self._file.writing() as db:
            taken = "SELECT 1 FROM tasks WHERE provider = ? AND external_id = ?"
            if db.execute(taken, (provider, external_id)).fetchone():
                return "external_id_taken"
            running = f"SELECT total({_SLOTS}) FROM tasks WHERE provider = ? AND ended_at > ?"  # noqa: S608
            used = db.execute(running, (provider, now)).fetchone()[0]
            if used >= slots or (used and used + order.images > slots):
                return "concurrency"
            due = (
                "SELECT total(units) FROM tasks "  # noqa: S608
                f"WHERE provider = ? AND (failure = '' OR ended_at > ?) AND ({_OF_IMAGES}) = ?"
            )
            kind = bool(order.images)
            if db.execute(due, (provider, now, kind)).fetchone()[0] + task.units > pack_units:
                return "no_balance"
            db.execute(
                "INSERT INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    task.task_id,
                    task.provider,
                    task.public_id,
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

    def find(self, any_id: str, provider: str = KLING, *, external: bool = True) -> Task | None:
        """The provider's task with that public id or, if `external`, external id; else None."""
        query = (
            f"SELECT {_TASK} FROM tasks WHERE provider = ? "  # noqa: S608
            "AND (public_id = ? OR (? AND external_id = ?))"
        )
        return self._one(query, provider, any_id, external, any_id)

    def filmed(self, task_id: str) -> Task | None:
        """The task with that id of Kling's, of any provider; else None."""
        return self._one(f"SELECT {_TASK} FROM tasks WHERE task_id = ?", task_id)  # noqa: S608

    def page(self, product: str, number: int, size: int, provider: str = KLING) -> list[Task]:
        """One page of a product's tasks, newest first; `number` begins at 1."""
        query = (
            f"SELECT {_TASK} FROM tasks WHERE provider = ? AND product = ? "  # noqa: S608
            "ORDER BY created_at DESC, rowid DESC LIMIT ? OFFSET ?"
        )
        with self._file.reading() as db:
            rows = db.execute(query, (provider, product, size, (number - 1) * size)).fetchall()
        return [_task(row) for row in rows]

    def tasks(self, provider: str, since: float, until: float) -> list[Task]:
        """All tasks made from `since` to `until` (Unix seconds), newest first."""
        query = (
            f"SELECT {_TASK} FROM tasks "  # noqa: S608
            "WHERE provider = ? AND created_at BETWEEN ? AND ? "
            "ORDER BY created_at DESC, rowid DESC"
        )
        with self._file.reading() as db:
            return [_task(row) for row in db.execute(query, (provider, since, until))]

    def maker(self, asset_id: str, provider: str = KLING) -> Task | None:
        """The task that makes the element or voice with that id; else None."""
        query = (
            f"SELECT {_TASK} FROM tasks WHERE provider = ? "  # noqa: S608
            "AND json_extract(order_json, '$.made.asset_id') = ?"
        )
        return self._one(query, provider, asset_id)

    def delete(self, task: Task) -> bool:
        """Delete the element or voice that the task made. False when that is done already."""
        with self._file.writing() as db:
            made = db.execute("INSERT OR IGNORE INTO deleted VALUES (?)", (task.task_id,))
            return made.rowcount > 0

    def body(self, any_id: str, provider: str = KLING) -> dict[str, Any] | None:
        """The body that Kling got for the task, with each picture as its hash and size.

        Fields that the gateway dropped are not in it.
        """
        query = (
            "SELECT body_json FROM tasks WHERE provider = ? AND (public_id = ? OR external_id = ?)"
        )
        with self._file.reading() as db:
            row = db.execute(query, (provider, any_id, any_id)).fetchone()
        return dict(json.loads(row[0])) if row else None

    def spent(self, now: float, provider: str | None = None) -> float:
        """Units of all videos that have succeeded by now, of one provider or of all."""
        query = (
            "SELECT total(units) FROM tasks "  # noqa: S608
            "WHERE failure = '' AND ended_at <= ? AND provider = ifnull(?, provider) "
            f"AND NOT ({_OF_IMAGES})"
        )
        with self._file.reading() as db:
            return float(db.execute(query, (now, provider)).fetchone()[0])

    def statuses(self, now: float) -> dict[str, int]:
        """The number of tasks by Kling's status."""
        with self._file.reading() as db:
            rows = db.execute(f"SELECT {_TASK} FROM tasks").fetchall()  # noqa: S608
        found: dict[str, int] = {"submitted": 0, "processing": 0, "succeed": 0, "failed": 0}
        for row in rows:
            found[_task(row).status(now)] += 1
        return found

    def signing_key(self) -> bytes:
        """The signing key of video URLs. It is made once and survives a restart."""
        if self._signing_key is None:
            with self._file.writing() as db:
                fresh = secrets.token_bytes(32)
                db.execute("INSERT OR IGNORE INTO secrets VALUES ('url', ?)", (fresh,))
                row = db.execute("SELECT value FROM secrets WHERE name = 'url'").fetchone()
            self._signing_key = bytes(row[0])
        return self._signing_key

    def _one(self, query: str, *values: object) -> Task | None:
        with self._file.reading() as db:
            row = db.execute(query, values).fetchone()
        return _task(row) if row else None


def _public_id() -> str:
    return "task_" + "".join(secrets.choice(_LETTERS) for _ in range(32))


def _task(row: tuple[Any, ...]) -> Task:
    task_id, public_id, provider, order_json, created, started, ended, units, failure, deleted = row
    order = Order.from_json(json.loads(order_json))
    return Task(
        task_id, public_id, provider, order, created, started, ended, units, failure, bool(deleted)
    )
