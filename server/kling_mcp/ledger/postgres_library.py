"""psycopg as the ledger uses it, and the steps from an empty schema to today's tables.

Older servers may still run when a newer one takes a step. So a step only adds, every new column has
a default, and whatever an older version reads or writes keeps its meaning.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kling_mcp.ledger.engine import RETIRED_MODELS_TABLE, TASKS_TABLE, newer, statements_for
from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from psycopg import Connection

__all__ = [
    "POSTGRES_STEPS",
    "ahead_s",
    "alive",
    "database_errors",
    "is_transient",
    "migrate",
    "place_of",
    "plain",
    "pool_class",
    "psycopg",
]


POSTGRES_STEPS: tuple[str, ...] = (
    TASKS_TABLE.format(
        rowid="\n        rowid            BIGINT GENERATED ALWAYS AS IDENTITY,",
        real="DOUBLE PRECISION",
        size="BIGINT",
    )
    + """
    CREATE FUNCTION tasks_tell() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM pg_notify(TG_TABLE_SCHEMA || '.tasks', NEW.id);
        RETURN NULL;
    END $$;
    CREATE TRIGGER tasks_tell_new AFTER INSERT ON tasks
        FOR EACH ROW EXECUTE FUNCTION tasks_tell();
    CREATE TRIGGER tasks_tell_change AFTER UPDATE ON tasks
        FOR EACH ROW
        WHEN ((OLD.status, OLD.task_id, OLD.message, OLD.units, OLD.path)
            IS DISTINCT FROM (NEW.status, NEW.task_id, NEW.message, NEW.units, NEW.path))
        EXECUTE FUNCTION tasks_tell();
    CREATE TABLE bodies (
        record_id TEXT NOT NULL,
        part      INTEGER NOT NULL,
        data      BYTEA NOT NULL,
        PRIMARY KEY (record_id, part)
    );
    CREATE TABLE whole_bodies (record_id TEXT PRIMARY KEY, bytes BIGINT NOT NULL);
    """,
    RETIRED_MODELS_TABLE.format(real="DOUBLE PRECISION"),
)
"""The steps from an empty schema to today's tables. A released step never changes. The schema's
version, in the table `versions`, is the number of steps taken."""


ALIVE: Mapping[str, int] = {
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""libpq's settings (seconds, the first one ms) that detect a machine which vanished. By itself
libpq waits for a quarter of an hour, and work that hangs holds up everything else."""


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise NotConfigured(
            "PostgreSQL needs a library that is not installed.",
            advice='Install it: pip install "kling-mcp[postgres]".',
        ) from error


def psycopg() -> Any:
    """The library. Raises NotConfigured where it is not installed."""
    with _extra():
        import psycopg as library
    return library


def pool_class() -> Any:
    """Its pool of connections. Raises NotConfigured where it is not installed."""
    with _extra():
        import psycopg_pool
    return psycopg_pool.ConnectionPool


def database_errors() -> tuple[type[Exception], ...]:
    """What the library raises."""
    from psycopg_pool import PoolTimeout

    return (psycopg().Error, PoolTimeout)


def is_transient(error: Exception) -> bool:
    """True for a lost connection or a conflict with another transaction: the same work may succeed
    now. False for a timeout of the pool, which has waited long enough."""
    from psycopg_pool import PoolTimeout

    state = getattr(error, "sqlstate", None)
    if state is None:
        lost = isinstance(error, psycopg().OperationalError)
        return lost and not isinstance(error, PoolTimeout)
    return str(state).startswith(("08", "57P", "40P01", "40001"))


def plain(error: Exception) -> str:
    """The database's message in one line; libpq names host and user, never the password."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def alive(url: str) -> dict[str, Any]:
    """The options of `ALIVE` for a connection, without those that the address sets itself."""
    with _extra():
        from psycopg.conninfo import conninfo_to_dict
    given = conninfo_to_dict(url)
    return {name: value for name, value in ALIVE.items() if name not in given}


def place_of(url: str) -> str:
    """The database and host of an address, for people to read. Raises NotConfigured for an address
    that cannot be read, or with an @ or a / in its password: part of it would show as the host."""
    with _extra():
        from psycopg.conninfo import conninfo_to_dict
    authority, _, path = url.partition("?")[0].partition("://")[2].partition("/")
    try:
        given = conninfo_to_dict(url)
    except psycopg().ProgrammingError:
        given = {}
    if not given or authority.count("@") > 1 or "@" in path:
        raise NotConfigured(
            "KLING_MCP_DATABASE is not an address such as postgresql://user:password@host/name.",
            advice="Write an @ in a password as %40, a / as %2F, a % as %25.",
        )
    return f"{given.get('dbname') or 'postgres'} at {given.get('host') or 'localhost'}"


STEPS_LOCK = "SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.versions'))"


def migrate(connection: Connection[Any], place: str) -> None:
    """Take all missing steps, or none. Servers that start together take each step once. Raises
    NotConfigured for a schema of a newer version."""
    with connection.transaction():
        connection.execute(STEPS_LOCK.encode())
        connection.execute(
            b"CREATE TABLE IF NOT EXISTS versions "
            b"(version INTEGER PRIMARY KEY, applied_at DOUBLE PRECISION NOT NULL)"
        )
        row = connection.execute("SELECT max(version) AS version FROM versions").fetchone()
        version = row["version"] or 0 if row else 0
        if version > len(POSTGRES_STEPS):
            raise newer(place, version, len(POSTGRES_STEPS))
        for number, step in enumerate(POSTGRES_STEPS[version:], version + 1):
            connection.execute(step.encode())
            connection.execute("INSERT INTO versions VALUES (%s, %s)", (number, time.time()))
        found = connection.execute(
            b"SELECT attname FROM pg_attribute "
            b"WHERE attrelid = to_regclass('tasks') AND attnum > 0 AND NOT attisdropped"
        ).fetchall()
        for statement in statements_for(POSTGRES_STEPS, [row["attname"] for row in found], place):
            connection.execute(statement.encode())


def ahead_s(connection: Connection[Any]) -> float:
    """Seconds by which the database's clock is ahead of this machine's; 0 when the difference is
    smaller than the time of the question. The answer counts as given at half of that time."""
    before = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp()) AS now").fetchone()
    after = time.time()
    assert row is not None
    ahead = float(row["now"]) - (before + after) / 2
    return ahead if abs(ahead) > after - before else 0.0
