"""The SQLite file behind the ledger: opened, brought up to date, and written in transactions."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kling_mcp.ledger.migrations import MIGRATIONS

__all__ = ["open_database", "relaxed", "transaction"]

BUSY_S = 5.0
"""Seconds that a write waits for another process."""


def open_database(path: Path) -> sqlite3.Connection:
    """The file with today's tables, made when it is not there.

    Every commit reaches the disk before it returns. Raises sqlite3.Error and OSError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        db.text_factory = _text
        _use_wal(db)
        _check(db)
        db.execute("PRAGMA synchronous = FULL")
        _migrate(db)
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
    """A transaction that survives a killed process, and may be lost with a machine's power."""
    db.execute("PRAGMA synchronous = NORMAL")
    try:
        with transaction(db):
            yield db
    finally:
        db.execute("PRAGMA synchronous = FULL")


def _check(db: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError for a file whose pages are damaged: what was paid before is
    not known then. A value that does not fit its column is no reason: its row is told as damaged.
    """
    found = [row[0] for row in db.execute("PRAGMA quick_check")]
    damage = [text for text in found if text != "ok" and not _OF_A_ROW.match(text)]
    if damage:
        error = sqlite3.DatabaseError(f"it is damaged ({' '.join(damage[0].split())[:200]})")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


_OF_A_ROW = re.compile(r"(NULL|TEXT|NUMERIC|non-\w+) value in tasks\.")


def _text(data: bytes) -> str:
    """A text of the file; one bad byte must not hide all rows of a read."""
    return data.decode(errors="replace")


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
    with transaction(db):
        db.execute("CREATE TABLE IF NOT EXISTS migrations (name TEXT PRIMARY KEY, applied_at REAL)")
        applied = {row["name"] for row in db.execute("SELECT name FROM migrations")}
        for name, script in MIGRATIONS:
            if name not in applied:
                for statement in script.split(";"):
                    db.execute(statement)
                db.execute("INSERT INTO migrations VALUES (?, ?)", (name, time.time()))
