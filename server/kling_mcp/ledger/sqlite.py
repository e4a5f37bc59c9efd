"""The ledger in one SQLite file, and advice for its owner when the file cannot be used."""

from __future__ import annotations

import errno
import os
import re
import secrets
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread

from kling_mcp.ledger.engine import (
    FILM_TABLES,
    RETIRED_MODELS_TABLE,
    SIGN_IN_TABLES,
    TASKS_TABLE,
    Database,
    ResultT,
    newer,
    statements_for,
)
from kling_tools.errors import NotConfigured

__all__ = [
    "STEPS",
    "SqliteEngine",
    "columns_of",
    "open_database",
    "relaxed",
    "transaction",
    "unusable",
    "version_of",
]


_ELSEWHERE = "or set KLING_MCP_HOME to another folder"
_SPACE = f"Free some space on its disk, {_ELSEWHERE}."
_RIGHTS = f"Allow this user to write to the file and its folder, {_ELSEWHERE}."
_HELD = (
    "Another program has held it for too long: close what has the file open, or a server that "
    "hangs, and call again."
)
_STRANGE = (
    "Put back a copy of it, or move the file away to begin a new one; without it the server does "
    "not know what was paid before."
)
_OTHER_TABLES = (
    "Its tables are not those of this program: restart the server, which updates an older file. "
    "Nothing in it is lost."
)
_ANY = f"Check the disk and the folder's rights, {_ELSEWHERE}."

_BY_SQLITE = {
    sqlite3.SQLITE_ERROR: _OTHER_TABLES,
    sqlite3.SQLITE_FULL: _SPACE,
    sqlite3.SQLITE_IOERR: f"Its disk is full or broken: free some space, {_ELSEWHERE}.",
    sqlite3.SQLITE_READONLY: _RIGHTS,
    sqlite3.SQLITE_PERM: _RIGHTS,
    sqlite3.SQLITE_BUSY: _HELD,
    sqlite3.SQLITE_LOCKED: _HELD,
    sqlite3.SQLITE_NOTADB: _STRANGE,
    sqlite3.SQLITE_CORRUPT: _STRANGE,
}
"""By SQLite's primary result code (sqlite.org/rescode.html)."""

_BY_ERRNO = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
}


def unusable(path: Path, error: sqlite3.Error | OSError) -> NotConfigured:
    """The error that says why the file cannot be used, with advice for its owner."""
    if isinstance(error, OSError):
        advice = _BY_ERRNO.get(error.errno or 0, _ANY)
    else:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        advice = _BY_SQLITE.get(code, _ANY)
    return NotConfigured(f"The ledger {path} cannot be used: {error}.", advice=advice)


STEPS: tuple[str, ...] = (
    TASKS_TABLE.format(rowid="", real="REAL", size="INTEGER"),
    RETIRED_MODELS_TABLE.format(real="REAL"),
    SIGN_IN_TABLES.format(real="REAL"),
    FILM_TABLES.format(real="REAL"),
)
"""The steps from an empty file to today's tables. A released step never changes. The file's version
(`PRAGMA user_version`) is the number of steps taken."""


BUSY_S = 5.0
"""Seconds that a write waits for another process."""

_TEXT = partial(str, encoding="utf-8", errors="replace")
"""Reads a text of the file; one bad byte must not hide all rows of a read."""


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def open_database(path: Path) -> sqlite3.Connection:
    """Open the file with today's tables, or make it.

    Every commit reaches the disk before it returns. A file without tables, such as one of 0 bytes,
    has lost its rows: this program makes the file with its tables inside. Raises NotConfigured for
    a file of a newer version, sqlite3.Error and OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        there = path.exists()
    except PermissionError:
        there = True
    return _open(path, new=not there and not _make(path))


def _make(path: Path) -> bool:
    """Make the file beside its place, and give it its name once the tables are in it. Returns
    whether the file is there now: some disks have no second names."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        _open(new, new=True).close()
        os.link(new, path)
        return True
    except FileExistsError:
        return path.exists()
    except (OSError, NotImplementedError):
        return False
    finally:
        for end in ("", "-wal", "-shm"):
            with suppress(OSError):
                new.with_name(new.name + end).unlink()


def _lost(reason: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(reason)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _connect(path: Path, busy_s: float) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    db.text_factory = _TEXT
    return db


def _second_connection(path: Path) -> sqlite3.Connection:
    """A connection to a file that is open already. It reads what was committed last, beside a
    writer, and waits for nobody."""
    db = _connect(path, 0)
    db.execute("PRAGMA query_only = ON")
    return db


def _open(path: Path, *, new: bool) -> sqlite3.Connection:
    db = _connect(path, BUSY_S)
    try:
        db.create_function("lower", 1, _lower, deterministic=True)  # SQLite's own knows A-Z only
        _use_wal(db)
        _check(db)
        if not new and not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise _lost("it is empty")
        db.execute("PRAGMA synchronous = FULL")
        _migrate(db, path)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield db
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def relaxed(db: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """A transaction that survives a killed process, but may be lost in a power cut."""
    db.execute("PRAGMA synchronous = NORMAL")
    try:
        with transaction(db):
            yield db
    finally:
        db.execute("PRAGMA synchronous = FULL")


def _check(db: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError for a file with damaged pages: it may have lost paid rows. A
    value that does not fit its column damages one row only, which `Record.damaged` tells."""
    try:
        found = [row[0] for row in db.execute("PRAGMA quick_check")]
    except sqlite3.DatabaseError as broken:
        if broken.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CORRUPT:
            raise
        found = [str(broken)]
    damage = [text for text in found if text != "ok" and not _OF_A_ROW.match(text)]
    if damage:
        raise _lost(f"it is damaged ({' '.join(damage[0].split())[:200]})")


_OF_A_ROW = re.compile(r"(NULL|TEXT|NUMERIC|non-\w+) value in tasks\.")


def _use_wal(db: sqlite3.Connection) -> None:
    """Switch the file to WAL. SQLite itself does not wait while another process switches it."""
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


def version_of(db: sqlite3.Connection) -> int:
    """The number of steps taken with a file; 0 for an empty one.

    Raises sqlite3.DatabaseError for a file whose tables were made by something else.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version == 0 and db.execute("SELECT 1 FROM sqlite_master").fetchone():
        error = sqlite3.DatabaseError("its tables were not made by a released kling-mcp")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error
    return int(version)


def columns_of(db: sqlite3.Connection) -> list[str]:
    """The names of the columns of the table `tasks`; none without the table."""
    return [row[1] for row in db.execute("PRAGMA table_info(tasks)")]


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    with transaction(db):
        version = version_of(db)
        if version > len(STEPS):
            raise newer(str(path), version, len(STEPS))
        for step in STEPS[version:]:
            for statement in step.split(";"):
                db.execute(statement)
        for statement in statements_for(STEPS, columns_of(db), str(path)):
            db.execute(statement)
        if version < len(STEPS):
            db.execute(f"PRAGMA user_version = {len(STEPS)}")


Around = Callable[[sqlite3.Connection], AbstractContextManager[sqlite3.Connection]]


class SqliteEngine:
    """See `Engine`. It does one piece of work at a time."""

    is_shared = False
    ahead_s = 0.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None
        self._glancing: sqlite3.Connection | None = None
        self._lock = anyio.Lock(fast_acquire=True)

    @property
    def place(self) -> str:
        """See `Engine`."""
        return str(self.path)

    @property
    def exists(self) -> bool:
        """Whether the file exists. A file without access counts: a call will name the reason."""
        try:
            return self._connection is not None or self.path.exists()
        except OSError:
            return True

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        return await self._run(work, nullcontext)

    async def glance(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`. What cannot be answered at once is read like anything else."""
        if self._glancing is not None:
            with suppress(sqlite3.Error):
                return work(self._glancing)
        return await self.read(work)

    async def write(
        self, work: Callable[[Database], ResultT], *, relaxed: bool = False, again: bool = True
    ) -> ResultT:
        """See `Engine`."""
        return await self._run(work, _relaxed if relaxed else transaction)

    async def alone(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`; SQLite runs one writing transaction at a time anyway."""
        return await self._run(work, transaction)

    async def changed_rows(self) -> AsyncGenerator[list[str], None]:
        """See `Engine`; SQLite yields nothing."""
        nothing: tuple[list[str], ...] = ()
        for ids in nothing:
            yield ids

    async def close(self) -> None:
        """See `Engine`."""
        if self._glancing is not None:
            glancing, self._glancing = self._glancing, None
            glancing.close()
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
                self._glancing = _second_connection(self.path)
            with around(self._connection) as db:
                return work(db)
        except (sqlite3.Error, OSError) as error:
            raise unusable(self.path, error) from error


_relaxed = relaxed
