"""What a PostgreSQL database tells of rows that change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from kling_mcp.ledger.postgres_library import alive

if TYPE_CHECKING:
    from psycopg import AsyncConnection

__all__ = ["listening", "news"]

TOGETHER = 500
"""News that are handed over together at most."""

SILENT_S = 30.0
"""Seconds after which a listener that hears nothing makes sure that it is still connected."""


async def listening(url: str, connect_s: float) -> AsyncConnection[Any]:
    """A connection that hears of every row. Raises what the library raises."""
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
