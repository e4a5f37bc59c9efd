"""A ledger that says which of its rows changed, whoever changed them."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from kling_mcp.changes import Changes
from kling_mcp.ledger import Ledger, Record, Wish
from kling_mcp.ledger.records import records
from kling_mcp.ledger.store import LEASE_S
from kling_mcp.tasks import Task
from kling_tools.results import TaskStatus

__all__ = ["NoticingLedger"]

REMEMBERED = 5_000
"""Rows whose last state is remembered; one of an older row is said again at worst."""

IN_ONE_READ = 500
"""Ids that one statement asks for; SQLite takes 32,766 values at most."""

_State = tuple[str, TaskStatus, str, float | None, str | None]


class NoticingLedger(Ledger):
    """Publishes the handle of every row that is not as it was when last seen here.

    What this process writes is noticed at once. What another process wrote is noticed when
    somebody here looks at the row, which the scheduler does for as long as somebody waits.
    """

    def __init__(
        self,
        folder: Path,
        changes: Changes,
        clock: Callable[[], float] = time.time,
        *,
        lease_s: float = LEASE_S,
    ) -> None:
        super().__init__(folder, clock, lease_s=lease_s)
        self._changes = changes
        self._last: dict[str, _State] = {}

    async def reserve(
        self, wish: Wish, *, day_cap: float | None = None, owner: str = ""
    ) -> tuple[Record, bool]:
        """See `Ledger.reserve`."""
        record, new = await super().reserve(wish, day_cap=day_cap, owner=owner)
        return self._noticed(record, written=new), new

    async def queue(
        self,
        record_id: str,
        message: str,
        due_at: float,
        owner: str | None = None,
        *,
        in_doubt: bool = False,
    ) -> Record:
        """See `Ledger.queue`."""
        record = await super().queue(record_id, message, due_at, owner, in_doubt=in_doubt)
        return self._noticed(record, written=True)

    async def reopen(self, record_id: str, owner: str | None = None) -> Record:
        """See `Ledger.reopen`."""
        return self._noticed(await super().reopen(record_id, owner), written=True)

    async def record(self, record_id: str, task: Task, *, again: bool = False) -> Record:
        """See `Ledger.record`."""
        return self._noticed(await super().record(record_id, task, again=again), written=True)

    async def refused(self, record_id: str, message: str, owner: str | None = None) -> None:
        """See `Ledger.refused`."""
        await super().refused(record_id, message, owner)
        await self.find(record_id)

    async def saved(
        self, record_id: str, path: Path, size_bytes: int, sha256: str, note: str = ""
    ) -> Record:
        """See `Ledger.saved`."""
        record = await super().saved(record_id, path, size_bytes, sha256, note)
        return self._noticed(record, written=True)

    async def find(self, any_id: str, *, principal: str | None = None) -> Record | None:
        """See `Ledger.find`."""
        record = await super().find(any_id, principal=principal)
        return record and self._noticed(record)

    async def several(self, any_ids: Collection[str]) -> dict[str, Record]:
        """The rows that `find` would find for each of these ids, in one read."""
        wanted = list(dict.fromkeys(any_ids))
        rows: list[Record] = []
        for place in range(0, len(wanted), IN_ONE_READ):
            rows += await self._read(partial(_having, wanted[place : place + IN_ONE_READ]))
        rows.sort(key=lambda row: row.created_at)
        for row in rows:
            self._noticed(row)
        by_id = {
            any_id: row for row in rows for any_id in (row.external_task_id, row.task_id, row.id)
        }
        return {any_id: by_id[any_id] for any_id in wanted if any_id in by_id}

    def _noticed(self, record: Record, *, written: bool = False) -> Record:
        """The row; one that is seen for the first time changed only if it was `written` now."""
        state = (record.handle, record.status, record.message, record.units, record.path)
        before = self._last.pop(record.id, None)
        self._last[record.id] = state
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]
        if before == state or (before is None and not written):
            return record
        for handle in dict.fromkeys((before[0] if before else record.handle, record.handle)):
            self._changes.publish(handle)
        return record


def _having(any_ids: list[str], db: sqlite3.Connection) -> list[Record]:
    marks = ", ".join("?" * len(any_ids))
    return records(
        db,
        f"WHERE task_id IN ({marks}) OR external_task_id IN ({marks}) OR id IN ({marks}) "
        "ORDER BY rowid",
        any_ids * 3,
    )
