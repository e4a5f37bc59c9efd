"""The ledger that the settings name."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from kling_mcp.ledger.store import Ledger, Seen, ignored

if TYPE_CHECKING:
    from kling_mcp.settings import Settings

__all__ = ["open_ledger"]


def open_ledger(
    settings: Settings, clock: Callable[[], float] = time.time, seen: Seen = ignored
) -> Ledger:
    """The ledger in PostgreSQL where the settings name a database, else the file in the home
    folder; nothing is opened yet. Raises NotConfigured for an address that is none."""
    if settings.database is None:
        return Ledger(settings.home, clock, seen=seen)
    from kling_mcp.ledger.postgres import PostgresEngine

    return Ledger(PostgresEngine(settings.database.get_secret_value()), clock, seen=seen)
