"""The SQLite file of a sandbox: opened for each use, made when first needed, brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["StateFile"]

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
"""
_KEPT = (
    "external_id, product, created_at, started_at, ended_at, units, failure, order_json, "
    "body_json, fingerprint"
)
_BUSY_S = 30.0


class StateFile:
    """One file that several processes may use at once.

    Every use opens and closes it: there is nothing to shut down, and the embedded form may be used
    from any thread. A crash of the machine, not of a process, may lose the last writes.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._ready = False

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection that commits each statement by itself."""
        self._home.mkdir(parents=True, exist_ok=True)
        file = self._home / "sandbox.sqlite3"
        connection = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")
            if not self._ready:
                connection.execute("PRAGMA journal_mode = WAL")
                _bring_up_to_date(connection)
                self._ready = True
            yield connection
        finally:
            connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A connection inside a transaction that nobody else writes in; undone on an error."""
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
    """Make the tables, and carry over tasks of a file from before there were providers."""
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
