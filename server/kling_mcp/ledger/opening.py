"""The ledger that the settings name."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kling_mcp.ledger.sqlite import SqliteEngine
from kling_mcp.ledger.store import FILE_NAME, Ledger, Seen, ignored

if TYPE_CHECKING:
    from kling_mcp.ledger.engine import Engine
    from kling_mcp.settings import Settings

__all__ = ["open_ledger"]


def open_ledger(
    settings: Settings,
    clock: Callable[[], float] = time.time,
    seen: Seen = ignored,
    *,
    discreet: bool = False,
) -> Ledger:
    """The ledger in PostgreSQL where the settings name a database, else the file in the home
    folder; nothing is opened yet. A `discreet` one tells its callers neither where it is nor what
    stands in its way. Raises NotConfigured for an address that is none."""
    engine: Engine = SqliteEngine(settings.home / FILE_NAME)
    if settings.database is not None:
        from kling_mcp.ledger.postgres import PostgresEngine

        engine = PostgresEngine(settings.database.get_secret_value())
    if discreet:
        from kling_mcp.ledger.discreet import DiscreetEngine

        engine = DiscreetEngine(engine)
    return Ledger(engine, clock, seen=seen)
