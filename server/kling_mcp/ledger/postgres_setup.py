"""A connection's first words: the tables brought up to date, and the clocks compared."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kling_mcp.ledger.postgres_migrations import POSTGRES_MIGRATIONS

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = ["ahead_s", "migrate"]

MIGRATIONS_LOCK = "SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.migrations'))"


def migrate(connection: Connection[Any]) -> None:
    """Take the steps that were not taken yet; servers that come at once take each one once."""
    with connection.transaction():
        connection.execute(MIGRATIONS_LOCK.encode())
        connection.execute(
            b"CREATE TABLE IF NOT EXISTS migrations "
            b"(name TEXT PRIMARY KEY, applied_at DOUBLE PRECISION)"
        )
    for name, script in POSTGRES_MIGRATIONS:
        with connection.transaction():
            connection.execute(MIGRATIONS_LOCK.encode())
            given = connection.execute("SELECT 1 FROM migrations WHERE name = %s", (name,))
            if given.fetchone() is None:
                connection.execute(script.encode())
                connection.execute("INSERT INTO migrations VALUES (%s, %s)", (name, time.time()))


def ahead_s(connection: Connection[Any]) -> float:
    """Seconds by which the database's clock is ahead of this machine's; 0 when the way there takes
    longer. Half of the way there and back is taken for the way there."""
    before = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp()) AS now").fetchone()
    after = time.time()
    assert row is not None
    ahead = float(row["now"]) - (before + after) / 2
    return ahead if abs(ahead) > after - before else 0.0
