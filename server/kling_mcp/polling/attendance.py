"""Clients that ask now and then, instead of waiting, count as waiting for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from kling_mcp.background import Background
    from kling_mcp.ledger import Record
    from kling_mcp.polling.pace import Pace
    from kling_mcp.polling.scheduler import Scheduler
    from kling_mcp.polling.watched import Watch
    from kling_tools.errors import KlingError

__all__ = ["ATTENDED_S", "Attendance"]

ATTENDED_S = 30.0
"""Seconds that a task stays watched after somebody asked for it: some polls of the slowest
provider. A client that stops asking does not say so."""


class Attendance:
    """Keeps the tasks watched that were asked for lately, all of them by the one scheduler, so that
    each client's poll is answered from the ledger and causes no request of its own."""

    def __init__(self, scheduler: Scheduler, pace: Pace, background: Background) -> None:
        self._scheduler = scheduler
        self._pace = pace
        self._background = background
        self._attended: dict[str, anyio.CancelScope] = {}
        self._watches: dict[str, Watch] = {}

    def asked(self, row_id: str) -> None:
        """Somebody wants to know of this running task: it is watched from now, or for longer."""
        until = anyio.current_time() + ATTENDED_S
        if scope := self._attended.get(row_id):
            scope.deadline = until
        else:
            self._attended[row_id] = scope = anyio.CancelScope(deadline=until)
            self._background.start_soon(self._attend, row_id, scope)

    def has(self, row_id: str) -> bool:
        """Whether the task is watched already, so that the ledger tells how it is."""
        return row_id in self._watches

    def trouble(self, row_id: str) -> KlingError | None:
        """What stood in the way of the last look at the task."""
        watch = self._watches.get(row_id)
        return watch.trouble if watch else None

    def usual_s(self, record: Record) -> float:
        """Seconds that a task like this one usually takes; 0 before it is made."""
        return self._pace.usual_s(record) if record.task_id else 0.0

    def poll_s(self, record: Record) -> float:
        """Seconds to wait between two looks at this task."""
        return self._pace.poll_s(record.provider)

    def just_seen(self, record: Record, now: float) -> bool:
        """Whether its provider told of it so shortly before `now`, seconds since the epoch, that
        asking again would be too soon."""
        age_s = now - record.updated_at
        return record.task_id is not None and 0 <= age_s < self.poll_s(record) / 2

    def end(self, row_id: str) -> None:
        """Nobody wants to know any more: the watching ends at once."""
        if scope := self._attended.get(row_id):
            scope.cancel()

    async def _attend(self, row_id: str, scope: anyio.CancelScope) -> None:
        try:
            with scope:
                async with self._scheduler.watch([row_id]) as watch:
                    self._watches[row_id] = watch
                    while not watch.done:
                        await watch.news(anyio.sleep, ATTENDED_S)
        finally:
            self._watches.pop(row_id, None)
            self._attended.pop(row_id, None)
