"""Noticing which rows of the ledger changed, whoever changed them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kling_mcp.changes import Changes
from kling_tools.results import ENDED, TaskStatus

if TYPE_CHECKING:
    from kling_mcp.ledger import Record

__all__ = ["Noticing"]

REMEMBERED = 5_000
"""Rows whose last state is remembered; one of an older row is said again at worst."""

_State = tuple[str, TaskStatus, str, float | None, str | None]


class Noticing:
    """Publishes the handle of every row that is not as it was when last seen here.

    What this process writes is noticed at once. What another process wrote is noticed when the
    database tells of it, or when somebody here looks at the row, which the scheduler does for as
    long as somebody waits.
    """

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._last: dict[str, _State] = {}

    @property
    def unfinished(self) -> list[str]:
        """The ids of the rows that had not ended when they were last seen here."""
        return [row_id for row_id, state in self._last.items() if state[1] not in ENDED]

    def __call__(self, record: Record, written: bool) -> None:
        """A row passes; one that is seen for the first time changed only if it was `written` just
        now."""
        state = (record.handle, record.status, record.message, record.units, record.path)
        before = self._last.pop(record.id, None)
        self._last[record.id] = state
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]
        if before == state or (before is None and not written):
            return
        for handle in dict.fromkeys((before[0] if before else record.handle, record.handle)):
            self._changes.publish(handle)
