"""psycopg, imported when a database is named; what its errors mean, and what may be shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kling_tools.errors import NotConfigured

__all__ = ["alive", "database_errors", "passes", "place_of", "plain", "pool_class", "psycopg"]

ALIVE: Mapping[str, int] = {
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}
"""How libpq notices within some seconds (the first in ms) that the machine at the other end is
gone without a word; by itself it waits for a quarter of an hour. Work that hangs holds all else
up."""


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


def passes(error: Exception) -> bool:
    """Whether the same work may do the next time: the connection was lost, or another transaction
    stood in the way of this one. A pool has waited long enough."""
    from psycopg_pool import PoolTimeout

    state = getattr(error, "sqlstate", None)
    if state is None:
        lost = isinstance(error, psycopg().OperationalError)
        return lost and not isinstance(error, PoolTimeout)
    return str(state).startswith(("08", "57P", "40P01", "40001"))


def plain(error: Exception) -> str:
    """The database's words in one line; libpq names host and user, never the password."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def alive(url: str) -> dict[str, Any]:
    """What connections are opened with so that none outlives the other end, unless the address
    says otherwise."""
    with _extra():
        from psycopg.conninfo import conninfo_to_dict
    given = conninfo_to_dict(url)
    return {name: value for name, value in ALIVE.items() if name not in given}


def place_of(url: str) -> str:
    """What may be shown of an address. A password with an @ or a / in it would be taken apart,
    and part of it for a host."""
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
