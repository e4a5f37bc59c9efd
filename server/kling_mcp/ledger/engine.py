"""What the ledger needs of a database: SQLite on one machine, PostgreSQL for several."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from kling_tools.errors import NotConfigured

__all__ = ["TASKS_TABLE", "Cursor", "Database", "Engine", "ResultT", "newer"]

ResultT = TypeVar("ResultT")

TASKS_TABLE = """
    CREATE TABLE tasks ({rowid}
        id               TEXT PRIMARY KEY,
        provider         TEXT NOT NULL,
        base_url         TEXT NOT NULL,
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
        estimate_units   {real},
        units            {real},
        message          TEXT NOT NULL DEFAULT '',
        videos           TEXT NOT NULL DEFAULT '[]',
        path             TEXT,
        created_at       {real} NOT NULL,
        updated_at       {real} NOT NULL,
        lease_owner      TEXT NOT NULL DEFAULT '',
        lease_until      {real} NOT NULL DEFAULT 0,
        due_at           {real} NOT NULL DEFAULT 0,
        tries            INTEGER NOT NULL DEFAULT 0,
        ended_at         {real},
        bytes            {size},
        sha256           TEXT,
        expires_at       {real},
        file_note        TEXT NOT NULL DEFAULT '',
        principal        TEXT NOT NULL DEFAULT '',
        callback_key     TEXT NOT NULL DEFAULT '',
        watch_owner      TEXT NOT NULL DEFAULT '',
        watch_until      {real} NOT NULL DEFAULT 0,
        money            {real},
        UNIQUE (provider, base_url, digest, take, attempt)
    );
    CREATE UNIQUE INDEX tasks_by_claim ON tasks (provider, base_url, external_task_id)
        WHERE status <> 'failed' OR task_id IS NOT NULL;
    CREATE INDEX tasks_by_external_task_id ON tasks (external_task_id);
    CREATE INDEX tasks_by_task_id ON tasks (task_id);
    CREATE INDEX tasks_by_time ON tasks (created_at);
    CREATE INDEX tasks_open ON tasks (status) WHERE status IN ('queued', 'unknown');
    CREATE INDEX tasks_by_callback_key ON tasks (callback_key) WHERE callback_key <> '';
    CREATE INDEX tasks_by_principal ON tasks (principal, created_at);
    """
"""The table and its indexes: the first step of both databases. The placeholders take their types
of the rowid (built into SQLite), a number and a size in bytes. A released step never changes."""


def newer(place: str, version: int, known: int) -> NotConfigured:
    """The error of a ledger that a newer program has written: what its rows say of money may be
    more than this one understands."""
    return NotConfigured(
        f"The ledger {place} was written by a newer kling-mcp: it has version {version}, and this "
        f"program knows versions up to {known}. Nothing was changed in it.",
        advice="Update kling-mcp.",
    )


class Cursor(Protocol):
    """What a statement gives. Rows are read by the names of their columns."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchall(self) -> Sequence[Mapping[str, Any]]:
        """All rows that are left."""
        ...


class Database(Protocol):
    """A connection, within a transaction or outside of one."""

    def execute(self, sql: str, values: Sequence[Any] = ..., /) -> Cursor:
        """Run one statement; `?` stands for each value."""
        ...


class Engine(Protocol):
    """Runs work off the event loop. Every method raises NotConfigured when the database cannot be
    used, saying what stands in the way; nothing is opened before the first one is called."""

    @property
    def place(self) -> str:
        """Where the database is, for people; never a password."""
        ...

    @property
    def exists(self) -> bool:
        """Whether there may be rows; False only if it is known that nothing was ever written."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether servers on several machines may use it at once."""
        ...

    @property
    def ahead_s(self) -> float:
        """Seconds by which the database's clock is ahead of this machine's: leases of several
        machines are judged by one clock."""
        ...

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        """Work that only reads: it waits for no writer."""
        ...

    async def write(
        self, work: Callable[[Database], ResultT], *, relaxed: bool = False, again: bool = True
    ) -> ResultT:
        """Work in a transaction, which is on the disk when this returns. One that is `relaxed`
        survives a killed process, and may be lost with a machine's power. Work that may be done
        `again` is, once, when the connection was lost on the way."""
        ...

    async def alone(self, work: Callable[[Database], ResultT]) -> ResultT:
        """Like `write`, while no other work of this kind runs anywhere: for what depends on
        several rows at once, and may be done again."""
        ...

    def told(self) -> AsyncGenerator[list[str], None]:
        """Ids of rows that anybody changed, as they change; ends at once where nobody says so.
        An empty list says that from now on nothing is missed; before, something may have been."""
        ...

    async def close(self) -> None:
        """Close what was opened."""
        ...
