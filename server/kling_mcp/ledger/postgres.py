"""The ledger in PostgreSQL, for several servers, with its notifications of changed rows."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio import to_thread

from kling_mcp.ledger.engine import Cursor, Database, ResultT
from kling_mcp.ledger.postgres_library import (
    ahead_s,
    alive,
    database_errors,
    is_transient,
    migrate,
    place_of,
    plain,
    pool_class,
    psycopg,
)
from kling_mcp.ledger.records import OPEN
from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from psycopg_pool import ConnectionPool

__all__ = ["PostgresEngine", "listening", "news"]


TOGETHER = 500
"""The most notifications that are handed over together."""

SILENT_S = 30.0
"""Seconds of silence after which a listener checks its connection."""


async def listening(url: str, connect_s: float) -> AsyncConnection[Any]:
    """A connection that hears of every changed row. Raises psycopg's errors."""
    from psycopg import AsyncConnection

    connection = await AsyncConnection.connect(
        url, autocommit=True, connect_timeout=int(connect_s), **alive(url)
    )
    try:
        found = await connection.execute("SELECT quote_ident(current_schema() || '.tasks')")
        row = await found.fetchone()
        assert row is not None
        await connection.execute(f"LISTEN {row[0]}".encode())
    except BaseException:
        await connection.close()
        raise
    return connection


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

PAUSES_S = (0.2, 1.0, 5.0)
"""Seconds between the tries to listen again; the last one repeats."""

TASKS_LOCK = "SELECT pg_advisory_xact_lock(hashtext(current_schema() || '.tasks'))"


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
        self.ahead_s = 0.0

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        return await self._run(work, None, again=True)

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
                async with await listening(self._url, BUSY_S) as connection:
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
        try:
            with pool.connection() as connection:
                if first is None:
                    return work(_Marked(connection))
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
        """Check a connection that is about to be used. When one is lost, most others are lost too:
        the pool checks all at once, as it would wait ever longer from one to the next."""
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
