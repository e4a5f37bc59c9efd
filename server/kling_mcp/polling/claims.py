"""Where several servers share a ledger, one of them asks the providers for each task.

The others hear from the database what it wrote down. A server that dies loses its rights after some
seconds, and another one that somebody waits at takes them.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kling_mcp.polling.watched import Watched
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger

__all__ = ["Rights"]

LEAST_S = 15.0
MOST_S = 90.0
"""Seconds that a right lasts; longer between looks that lie far apart, so that it holds until the
next one."""

BEYOND_NEXT = 1.5
"""Multiple of the time between two looks that it lasts."""


class Rights:
    """Of this process. Where a ledger is not shared there is nothing to ask for."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._owner = uuid.uuid4().hex

    async def of(self, tasks: Sequence[Watched], now: float) -> list[Watched]:
        """Those of the tasks that this process is to ask the provider for now. What the provider
        does not have yet, and what no ledger knows, is not another one's."""
        if not self._ledger.is_shared:
            return list(tasks)
        rows = {row_id: watched for watched in tasks if (row_id := _row_id(watched))}
        gap_s = max((now - w.looked_at for w in tasks if w.looked_at is not None), default=0.0)
        lasts_s = min(max(BEYOND_NEXT * gap_s, LEAST_S), MOST_S)
        try:
            mine = await self._ledger.watch(rows, self._owner, lasts_s)
        except KlingError:  # whoever asks is told; to ask twice is better than never
            return list(tasks)
        return [watched for watched in tasks if (_row_id(watched) or "") in {*mine, ""}]

    async def let_go(self, tasks: Sequence[Watched]) -> None:
        """Nobody waits for them here any more."""
        if self._ledger.is_shared:
            rows = [row_id for watched in tasks if (row_id := _row_id(watched))]
            try:
                await self._ledger.unwatch(rows, self._owner)
            except KlingError:  # they end by themselves
                return


def _row_id(watched: Watched) -> str | None:
    record = watched.found.record if watched.found else None
    return record.id if record and record.task_id else None
