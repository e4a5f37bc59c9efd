"""The ledger in PostgreSQL, for several servers, with its notifications of changed rows.

Older servers may still run when a newer one takes a step of `POSTGRES_STEPS`, from an empty schema
to today's tables. So a step only adds, every new column has a default, and whatever an older
version reads or writes keeps its meaning.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import anyio
from anyio import to_thread

from kling_mcp.ledger.engine import (
    FILM_TABLES,
    RETIRED_MODELS_TABLE,
    SIGN_IN_TABLES,
    TASKS_TABLE,
    Cursor,
    Database,
    ResultT,
    newer,
    statements_for,
)
from kling_mcp.ledger.records import OPEN
from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg_pool import ConnectionPool

__all__ = ["POSTGRES_STEPS", "PostgresEngine", "listening", "news"]


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
    SIGN_IN_TABLES.format(real="DOUBLE PRECISION"),
    FILM_TABLES.format(real="DOUBLE PRECISION"),
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


TOGETHER = 500
"""The most notifications that are handed over together."""

SILENT_S = 30.0
"""Seconds of silence after which a listener checks its connection."""


@asynccontextmanager
async def listening(url: str, connect_s: float) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection that hears of every changed row; it is closed however the work with it ends.
    Raises psycopg's errors."""
    from psycopg import AsyncConnection

    connection = await AsyncConnection.connect(
        url, autocommit=True, connect_timeout=int(connect_s), **alive(url)
    )
    try:
        found = await connection.execute("SELECT quote_ident(current_schema() || '.tasks')")
        row = await found.fetchone()
        assert row is not None
        await connection.execute(f"LISTEN {row[0]}".encode())
        yield connection
    finally:  # its own __aexit__ rolls back first, and a cancellation in that leaves it open
        await connection.close()


async def news(connection: AsyncConnection[Any]) -> AsyncIterator[list[str]]:
    """Yields the ids of changed rows; ids that arrive together are handed over together."""
    while True:
        ids: dict[str, None] = {}
        async for notice in connection.notifies(timeout=SILENT_S, stop_after=1):
            ids[notice.payload] = None
        async for notice in connection.notifies(timeout=0, stop_after=TOGETHER):
            ids[notice.payload] = None
        if ids:
            yield list(ids)
        else:
            await connection.execute("SELECT 1")


logger = logging.getLogger(__name__)

CONNECTIONS = 4
"""The most connections of one server; one more listens."""

BUSY_S = 5.0
"""Seconds for which work waits for a connection, or for somebody else's lock."""

TRUSTED_S = 0.5
"""Seconds for which a connection that has just worked is not checked before a read, which may run
again; the check takes as long as the read."""

PAUSES_S = (0.2, 1.0, 5.0)
"""Seconds between the tries to listen again; the last one repeats."""

TASKS_LOCK = "SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.tasks'))"


class _Trusting(threading.local):
    """A thread trusts connections that have worked `since` then (seconds of the monotonic
    clock)."""

    since = math.inf


class PostgresEngine:
    """See `Engine`. `url` is a libpq connection URI, such as postgresql://user:word@host/name. Its
    `options` or the role's search_path can choose a schema. Raises NotConfigured for a URL that
    cannot be read, and without psycopg."""

    is_shared = True
    exists = True

    def __init__(self, url: str) -> None:
        self.place = place_of(url)
        self._url = url
        self._pool: ConnectionPool[Connection[Mapping[str, Any]]] | None = None
        self._limiter: anyio.CapacityLimiter | None = None
        self._opening = anyio.Lock()
        self._worked_at: WeakKeyDictionary[Connection[Any], float] = WeakKeyDictionary()
        self._trusting = _Trusting()
        self.ahead_s = 0.0

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        return await self._run(work, None, again=True)

    async def glance(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`; the database is elsewhere, so this is a `read`."""
        return await self.read(work)

    async def write(
        self, work: Callable[[Database], ResultT], *, relaxed: bool = False, again: bool = True
    ) -> ResultT:
        """See `Engine`."""
        first = ("SET LOCAL synchronous_commit = off",) if relaxed else ()
        return await self._run(work, first, again=again)

    async def alone(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        return await self._run(work, (TASKS_LOCK,), again=True)

    async def changed_rows(self) -> AsyncGenerator[list[str], None]:
        """See `Engine`; after a lost connection it listens again, however long that takes."""
        failures = 0
        while True:
            try:
                async with listening(self._url, BUSY_S) as connection:
                    failures = 0
                    yield []
                    async for ids in news(connection):
                        yield ids
            except (NotConfigured, OSError) as error:
                logger.warning("Not told of changes at the moment: %s", error)
            except database_errors() as error:
                logger.warning("Not told of changes at the moment: %s", plain(error))
            await anyio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
            failures += 1

    def looked_at(self) -> tuple[int, int, int]:
        """The version of the tables (0 without tables), the number of rows, and the number of open
        rows. Changes nothing. It blocks: call it off the event loop. Raises NotConfigured."""
        try:
            with psycopg().connect(self._url, connect_timeout=int(BUSY_S)) as connection:
                connection.read_only = True
                if connection.execute("SELECT to_regclass('versions')").fetchone()[0] is None:
                    return 0, 0, 0
                (version,) = connection.execute("SELECT max(version) FROM versions").fetchone()
                counts = f"SELECT count(*), count(*) FILTER (WHERE {OPEN}) FROM tasks"  # noqa: S608
                rows, open_rows = connection.execute(counts).fetchone()
                return version or 0, rows, open_rows
        except database_errors() as error:
            raise self._unusable(error) from error

    async def close(self) -> None:
        """See `Engine`."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await to_thread.run_sync(pool.close)

    async def _run(
        self, work: Callable[[Database], ResultT], first: Sequence[str] | None, *, again: bool
    ) -> ResultT:
        if self._limiter is None:
            self._limiter = anyio.CapacityLimiter(CONNECTIONS)
        async with self._opening:
            if self._pool is None:
                self._pool = await to_thread.run_sync(self._opened)
            pool = self._pool
        return await to_thread.run_sync(
            self._in_thread, pool, work, first, again, limiter=self._limiter
        )

    def _in_thread(
        self,
        pool: ConnectionPool[Connection[Mapping[str, Any]]],
        work: Callable[[Database], ResultT],
        first: Sequence[str] | None,
        again: bool,
    ) -> ResultT:
        self._trusting.since = monotonic() - TRUSTED_S if first is None and again else math.inf
        try:
            with pool.connection() as connection:
                if first is None:
                    found = work(_Marked(connection))
                    self._worked_at[connection] = monotonic()
                    return found
                with connection.transaction():
                    for statement in first:
                        connection.execute(statement.encode())
                    return work(_Marked(connection))
        except database_errors() as error:
            if again and is_transient(error):
                return self._in_thread(pool, work, first, False)
            raise self._unusable(error) from error

    def _opened(self) -> ConnectionPool[Connection[Mapping[str, Any]]]:
        """Open the pool and bring the tables to today's version."""
        from psycopg.rows import dict_row

        pool_of = pool_class()
        pool: ConnectionPool[Connection[Mapping[str, Any]]] = pool_of(
            self._url,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=BUSY_S,
            reconnect_timeout=BUSY_S,  # tries get rarer for so long, then the next call begins anew
            kwargs={
                **alive(self._url),
                "row_factory": dict_row,
                "connect_timeout": int(BUSY_S),
                "autocommit": True,
            },
            configure=self._configure,
            check=self._check,
            open=False,
        )
        try:
            psycopg().connect(self._url, connect_timeout=int(BUSY_S)).close()
            pool.open(wait=True, timeout=BUSY_S)
            with pool.connection() as connection:
                migrate(connection, self.place)
        except NotConfigured:
            pool.close()
            raise
        except database_errors() as error:
            pool.close()
            raise self._unusable(error) from error
        return pool

    def _configure(self, connection: Connection[Any]) -> None:
        """Prepare a new connection; the pool replaces its connections now and then."""
        connection.execute(f"SET lock_timeout = '{BUSY_S:.0f}s'".encode())
        connection.isolation_level = psycopg().IsolationLevel.READ_COMMITTED
        self.ahead_s = ahead_s(connection)
        connection.prepare_threshold = 2

    def _check(self, connection: Connection[Any]) -> None:
        """Check a connection that is about to be used by this thread, unless it is trusted. When
        one is lost, most others are lost too: the pool checks all at once, as it would wait ever
        longer from one to the next."""
        if self._worked_at.get(connection, 0.0) > self._trusting.since:
            return
        try:
            pool_class().check_connection(connection)
        except database_errors():
            if self._pool is not None:
                self._pool.check()
            raise

    def _unusable(self, error: Exception) -> NotConfigured:
        return NotConfigured(
            f"The ledger {self.place} cannot be used: {plain(error)}.",
            advice="Check KLING_MCP_DATABASE, and that PostgreSQL runs and lets this user in.",
        )


class _Marked:
    """A connection whose statements have `?` for each value, as SQLite's have."""

    def __init__(self, connection: Connection[Mapping[str, Any]]) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        """See `Database`."""
        query = sql.replace("%", "%%").replace("?", "%s").encode()
        return cast(Cursor, self._connection.execute(query, [_storable(v) for v in values]))


def _storable(value: Any) -> Any:
    """The value without NUL, the only character that PostgreSQL's texts cannot hold."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value
