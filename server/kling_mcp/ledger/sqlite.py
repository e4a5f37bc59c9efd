"""One SQLite file, in WAL mode so that several processes of one machine can share it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import anyio
from anyio import to_thread

from kling_mcp.ledger.database import open_database, relaxed, transaction
from kling_mcp.ledger.engine import Database, ResultT
from kling_mcp.ledger.trouble import unusable

__all__ = ["SqliteEngine"]

Around = Callable[[sqlite3.Connection], AbstractContextManager[sqlite3.Connection]]


class SqliteEngine:
    """See `Engine`. Work is done one piece at a time."""

    is_shared = False
    ahead_s = 0.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._lock = anyio.Lock()

    @property
    def place(self) -> str:
        """See `Engine`."""
        return str(self.path)

    @property
    def exists(self) -> bool:
        """Whether there is a file yet; one that may not be looked at counts, as a call will say."""
        try:
            return self.path.exists()
        except OSError:
            return True

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        return await self._run(work, nullcontext)

    async def write(
        self, work: Callable[[Database], ResultT], *, relaxed: bool = False, again: bool = True
    ) -> ResultT:
        """See `Engine`."""
        return await self._run(work, _relaxed if relaxed else transaction)

    async def alone(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`; every transaction of SQLite that writes is alone."""
        return await self._run(work, transaction)

    async def told(self) -> AsyncGenerator[list[str], None]:
        """See `Engine`; SQLite tells nothing."""
        nothing: tuple[list[str], ...] = ()
        for ids in nothing:
            yield ids

    async def close(self) -> None:
        """See `Engine`."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            await to_thread.run_sync(connection.close)

    async def _run(self, work: Callable[[Database], ResultT], around: Around) -> ResultT:
        async with self._lock:
            return await to_thread.run_sync(self._in_thread, work, around)

    def _in_thread(self, work: Callable[[Database], ResultT], around: Around) -> ResultT:
        try:
            if self._connection is None:
                self._connection = open_database(self.path)
            with around(self._connection) as db:
                return work(db)
        except (sqlite3.Error, OSError) as error:
            raise unusable(self.path, error) from error


_relaxed = relaxed
