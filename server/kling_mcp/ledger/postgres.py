"""A PostgreSQL database that several servers share."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio import to_thread

from kling_mcp.ledger.engine import Cursor, Database, ResultT
from kling_mcp.ledger.postgres_migrations import POSTGRES_MIGRATIONS
from kling_mcp.ledger.records import OPEN
from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg_pool import ConnectionPool

__all__ = ["PostgresEngine"]

logger = logging.getLogger(__name__)

CONNECTIONS = 4
"""Connections of one server at most, and one more that listens."""

BUSY_S = 5.0
"""Seconds that work waits for a connection, or for a lock that others hold."""

TOGETHER = 500
"""News that are handed over together at most."""

SILENT_S = 30.0
"""Seconds after which a listener that hears nothing makes sure that it is still connected."""

PAUSES_S = (0.2, 1.0, 5.0)
"""Seconds between tries to listen again."""

TASKS_LOCK = "SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.tasks'))"
MIGRATIONS_LOCK = "SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.migrations'))"


class PostgresEngine:
    """See `Engine`. `url` is a libpq connection URI, such as postgresql://user:word@host/name; a
    schema can be chosen with its `options` or the role's search_path. Raises NotConfigured for one
    that cannot be read, and where the library is not installed."""

    is_shared = True
    exists = True

    def __init__(self, url: str) -> None:
        self.place = _place(url)
        self._url = url
        self._pool: ConnectionPool[Connection[Mapping[str, Any]]] | None = None
        self._limiter: anyio.CapacityLimiter | None = None
        self._opening = anyio.Lock()
        self.ahead_s = 0.0

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        return await self._run(work, (), again=True)

    async def write(
        self, work: Callable[[Database], ResultT], *, relaxed: bool = False, again: bool = True
    ) -> ResultT:
        """See `Engine`."""
        first = ("SET LOCAL synchronous_commit = off",) if relaxed else ()
        return await self._run(work, first, again=again)

    async def alone(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        return await self._run(work, (TASKS_LOCK,), again=False)

    async def told(self) -> AsyncIterator[list[str]]:
        """See `Engine`; listens again for as long as it takes when the connection is lost."""
        failures = 0
        while True:
            try:
                async with await self._listening() as connection:
                    failures = 0
                    yield []
                    async for ids in _news(connection):
                        yield ids
            except (NotConfigured, OSError) as error:
                logger.warning("Not told of changes at the moment: %s", error)
            except self._errors() as error:
                logger.warning("Not told of changes at the moment: %s", _plain(error))
            await anyio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
            failures += 1

    def looked_at(self) -> tuple[list[str], int, int]:
        """The steps that were taken, how many rows there are, and how many of them are open;
        nothing is changed. Raises NotConfigured; to be called off the event loop."""
        try:
            with _psycopg().connect(self._url, connect_timeout=int(BUSY_S)) as connection:
                connection.read_only = True
                if connection.execute("SELECT to_regclass('migrations')").fetchone()[0] is None:
                    return [], 0, 0
                steps = connection.execute("SELECT name FROM migrations ORDER BY applied_at, name")
                counts = f"SELECT count(*), count(*) FILTER (WHERE {OPEN}) FROM tasks"  # noqa: S608
                rows, open_rows = connection.execute(counts).fetchone()
                return [name for (name,) in steps.fetchall()], rows, open_rows
        except self._errors() as error:
            raise self._unusable(error) from error

    async def close(self) -> None:
        """See `Engine`."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await to_thread.run_sync(pool.close)

    async def _run(
        self, work: Callable[[Database], ResultT], first: Sequence[str], *, again: bool
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
        first: Sequence[str],
        again: bool,
    ) -> ResultT:
        try:
            with pool.connection() as connection, connection.transaction():
                for statement in first:
                    connection.execute(statement.encode())
                return work(_Marked(connection))
        except self._errors() as error:
            if again and _passes(error):
                return self._in_thread(pool, work, first, False)
            raise self._unusable(error) from error

    def _opened(self) -> ConnectionPool[Connection[Mapping[str, Any]]]:
        """The pool, with today's tables behind it."""
        from psycopg.rows import dict_row

        pool_of = _pool_class()
        pool: ConnectionPool[Connection[Mapping[str, Any]]] = pool_of(
            self._url,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=BUSY_S,
            kwargs={"row_factory": dict_row, "connect_timeout": int(BUSY_S)},
            configure=self._configure,
            check=pool_of.check_connection,
            open=False,
        )
        try:
            _psycopg().connect(self._url, connect_timeout=int(BUSY_S)).close()
            pool.open(wait=True, timeout=BUSY_S)
            with pool.connection() as connection:
                _migrate(connection)
        except self._errors() as error:
            pool.close()
            raise self._unusable(error) from error
        return pool

    def _configure(self, connection: Connection[Any]) -> None:
        """Every new connection; a pool replaces its connections now and then."""
        with connection.transaction():
            connection.execute(f"SET lock_timeout = '{BUSY_S:.0f}s'".encode())
            self.ahead_s = _ahead_s(connection)
        connection.prepare_threshold = 2

    async def _listening(self) -> AsyncConnection[Any]:
        from psycopg import AsyncConnection

        connection = await AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=int(BUSY_S)
        )
        found = await connection.execute("SELECT quote_ident(current_schema() || '.tasks')")
        row = await found.fetchone()
        assert row is not None
        await connection.execute(f"LISTEN {row[0]}".encode())
        return connection

    def _errors(self) -> tuple[type[Exception], ...]:
        psycopg = _psycopg()
        from psycopg_pool import PoolTimeout

        return (psycopg.Error, PoolTimeout)

    def _unusable(self, error: Exception) -> NotConfigured:
        return NotConfigured(
            f"The ledger {self.place} cannot be used: {_plain(error)}.",
            advice="Check KLING_MCP_DATABASE, and that PostgreSQL runs and lets this user in.",
        )


class _Marked:
    """A connection that takes `?` for each value, as SQLite does."""

    def __init__(self, connection: Connection[Mapping[str, Any]]) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> Cursor:
        """See `Database`."""
        query = sql.replace("%", "%%").replace("?", "%s").encode()
        return cast(Cursor, self._connection.execute(query, [_storable(v) for v in values]))


def _storable(value: Any) -> Any:
    """PostgreSQL's texts hold every character but one."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


async def _news(connection: AsyncConnection[Any]) -> AsyncIterator[list[str]]:
    """Ids as they come; those that have come meanwhile are handed over together."""
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


def _migrate(connection: Connection[Any]) -> None:
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


def _ahead_s(connection: Connection[Any]) -> float:
    """Half of the way there and back is taken for the way there."""
    before = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp()) AS now").fetchone()
    after = time.time()
    assert row is not None
    ahead = float(row["now"]) - (before + after) / 2
    return ahead if abs(ahead) > after - before else 0.0


@contextmanager
def _extra() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise NotConfigured(
            "PostgreSQL needs a library that is not installed.",
            advice='Install it: pip install "kling-mcp[postgres]".',
        ) from error


def _psycopg() -> Any:
    with _extra():
        import psycopg
    return psycopg


def _pool_class() -> Any:
    with _extra():
        import psycopg_pool
    return psycopg_pool.ConnectionPool


def _passes(error: Exception) -> bool:
    """Whether the same work may do the next time: the connection was lost, or another transaction
    stood in the way of this one. A pool has waited long enough."""
    from psycopg_pool import PoolTimeout

    state = getattr(error, "sqlstate", None)
    if state is None:
        lost = isinstance(error, _psycopg().OperationalError)
        return lost and not isinstance(error, PoolTimeout)
    return str(state).startswith(("08", "57P", "40P01", "40001"))


def _plain(error: Exception) -> str:
    """The database's words in one line; libpq names host and user, never the password."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def _place(url: str) -> str:
    """What may be shown of an address. A password with an @ or a / in it would be taken apart,
    and part of it for a host."""
    with _extra():
        from psycopg.conninfo import conninfo_to_dict
    authority, _, path = url.partition("?")[0].partition("://")[2].partition("/")
    try:
        given = conninfo_to_dict(url)
    except _psycopg().ProgrammingError:
        given = {}
    if not given or authority.count("@") > 1 or "@" in path:
        raise NotConfigured(
            "KLING_MCP_DATABASE is not an address such as postgresql://user:password@host/name.",
            advice="Write an @ in a password as %40, a / as %2F, a % as %25.",
        )
    return f"{given.get('dbname') or 'postgres'} at {given.get('host') or 'localhost'}"
