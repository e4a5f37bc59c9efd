"""Opens the ledger that the settings name; a hosted one hides its database from callers."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kling_mcp.ledger.engine import Database, Engine, ResultT
from kling_mcp.ledger.sqlite import SqliteEngine
from kling_mcp.ledger.store import FILE_NAME, Ledger, Seen, ignored
from kling_tools.errors import NotConfigured

if TYPE_CHECKING:
    from kling_mcp.settings.settings import Settings

__all__ = ["DiscreetEngine", "open_ledger"]


logger = logging.getLogger(__name__)


class DiscreetEngine:
    """The same engine with errors for callers that give no details. The log has the details: a
    database's own words name folders, hosts, addresses and users."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.place = engine.place
        self.is_shared = engine.is_shared

    @property
    def exists(self) -> bool:
        """See `Engine`."""
        return self._engine.exists

    @property
    def ahead_s(self) -> float:
        """See `Engine`."""
        return self._engine.ahead_s

    async def read(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        with _quietly():
            return await self._engine.read(work)

    async def glance(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        with _quietly():
            return await self._engine.glance(work)

    async def write(
        self, work: Callable[[Database], ResultT], *, relaxed: bool = False, again: bool = True
    ) -> ResultT:
        """See `Engine`."""
        with _quietly():
            return await self._engine.write(work, relaxed=relaxed, again=again)

    async def alone(self, work: Callable[[Database], ResultT]) -> ResultT:
        """See `Engine`."""
        with _quietly():
            return await self._engine.alone(work)

    def changed_rows(self) -> AsyncGenerator[list[str], None]:
        """See `Engine`."""
        return self._engine.changed_rows()

    async def close(self) -> None:
        """See `Engine`."""
        await self._engine.close()


@contextmanager
def _quietly() -> Iterator[None]:
    try:
        yield
    except NotConfigured as error:
        logger.error("%s", error)
        raise NotConfigured(
            "The ledger of this server cannot be used now.",
            advice="Try again in a moment, or tell whoever runs the server: its log says why.",
        ) from error


def open_ledger(
    settings: Settings,
    clock: Callable[[], float] = time.time,
    seen: Seen = ignored,
    *,
    discreet: bool = False,
) -> Ledger:
    """The ledger in the PostgreSQL database that the settings name, or in a file in the home
    folder; the first call opens it. A `discreet` ledger tells its callers neither its place nor why
    it cannot be used. Raises NotConfigured for an address that cannot be read."""
    engine: Engine = SqliteEngine(settings.home / FILE_NAME)
    if settings.database is not None:
        from kling_mcp.ledger.postgres import PostgresEngine

        engine = PostgresEngine(settings.database.get_secret_value())
    if discreet:
        engine = DiscreetEngine(engine)
    return Ledger(engine, clock, seen=seen)
