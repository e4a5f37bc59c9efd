"""Tasks that Kling made for rows of the ledger: found after a lost answer, and written down.

A task that was made is paid. It must reach the ledger even if the ledger is away for a moment, and
it must be found before its request may be sent again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Literal

import anyio

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.notes import Notes
from kling_mcp.providers.client import HISTORY_PAGE, KlingClient
from kling_mcp.providers.rows import ProviderRow
from kling_mcp.providers.task import Task
from kling_mcp.submission.queue import KeptBodies
from kling_mcp.tasks.views import WITHOUT_ID
from kling_tools.decorations import decoration
from kling_tools.errors import KlingError, ProviderDown, ProviderError, TaskNotFound
from kling_tools.products import STEPS
from kling_tools.quoting import counted

__all__ = [
    "MadeTasks",
    "has_generated_id",
    "ids_of",
    "maybe_charged",
    "repeat_refused",
    "safe_advice",
]

logger = logging.getLogger(__name__)

APPEARS_WITHIN_S = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each look for a task whose answer was lost: it may take a moment to appear."""

LOOK_S = 12.0
"""Seconds for all these looks: the call has to end before its host gives up."""

CLOCKS_DIFFER_S = 120.0
"""Seconds by which the provider's clock may be behind this machine's."""

MADE_WITHIN_S = 600.0
"""Seconds after a create in which its task was made: longer than any create waits."""

WRITTEN_AFTER_S = (1.0, 2.0, 4.0)
"""Seconds after each failed try to write a task down. A database that restarts or moves to another
machine is away for about so long, and the caller must hear of it in time."""

NOTED = "A note of it is kept; the server enters it into the ledger later. "


class MadeTasks:
    """Finds the tasks of rows, and writes them into the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        queue: KeptBodies,
        notes: Notes,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._notes = notes
        self._sleep = sleep

    async def find(self, record: Record, client: KlingClient) -> Record | None:
        """Ask the provider for the task of a row whose answer was lost. Returns the row with its
        task, or None when the provider has none or cannot be asked. A create without our id is
        looked for by its time: it is the only video of those minutes that nobody else's is.

        An external_task_id of the caller's own may belong to an older task, or be the provider's
        id of another task. Such tasks do not count. Raises ProviderError.
        """
        if record.is_step:
            return None
        if not record.named:
            return await self._find_by_time(record, client)
        if client.row.external_ids == "none":
            return None
        try:
            task = await client.task(record.product, record.external_task_id, record.wire)
        except TaskNotFound:
            return None
        older = (task.created_at or 0.0) < record.created_at - CLOCKS_DIFFER_S
        anothers = older or task.task_id == record.external_task_id
        if anothers and not has_generated_id(record):
            return None
        return await self.write_down(record, task, client)

    async def _find_by_time(self, record: Record, client: KlingClient) -> Record | None:
        """The row with the one video without an id of its own that the account made in the minutes
        of the create, and that is in no row; None without one, and when there are several."""
        since = record.created_at - CLOCKS_DIFFER_S
        until = record.created_at + MADE_WITHIN_S
        tasks, cursor = await client.history(limit=HISTORY_PAGE, since=since, until=until)
        known = await self._ledger.known(record.provider, [task.task_id for task in tasks])
        free = [t for t in tasks if not t.external_task_id and t.task_id not in known]
        if len(free) != 1 or cursor:
            return None
        return await self.write_down(record, free[0], client)

    async def find_soon(self, record: Record, client: KlingClient) -> tuple[Record | None, bool]:
        """Look for the task several times, for LOOK_S seconds at most. Returns the row with its
        task or None, and whether the provider says that it has no such task. Raises nothing."""
        found, is_absent = None, False
        if record.is_step or (ids_of(record, client.row) == "none" and record.named):
            return found, is_absent
        with anyio.move_on_after(LOOK_S):
            for pause_s in APPEARS_WITHIN_S:
                await self._sleep(pause_s)
                try:
                    found = await self.find(record, client)
                except ProviderError:
                    is_absent = False
                    continue
                if found:
                    break
                is_absent = True
        return found, is_absent

    async def write_down(self, record: Record, task: Task, client: KlingClient) -> Record:
        """Write the task into its row, drop the row's body from the queue, and return the row.
        Raises KlingError with `charged` yes and the task's id when the ledger cannot be written."""
        try:
            made = await self._record(record, task, client)
        except Exception as error:
            noted = await self._notes.task(record.id) is not None
            known = error if isinstance(error, KlingError) else None
            reason = known.message if known else "the ledger broke; its log tells more."
            logger.warning("Task %s is not in the ledger.", task.task_id, exc_info=not known)
            raise KlingError(
                f"Task {task.task_id} was made, but could not be written down: {reason}",
                charged="yes",
                advice=f"Keep the id {task.task_id}; kling_wait_for_tasks and kling_save_video "
                f"take it. {NOTED if noted else ''}{known.advice if known else ''}".strip(),
            ) from error
        if record.tries:
            with decoration("a tidy queue"):
                await self._queue.drop(record.id)
        return made

    async def _record(self, record: Record, task: Task, client: KlingClient) -> Record:
        """Wait for a ledger that is away for a moment; a note keeps the task for longer."""
        can_be_asked = ids_of(record, client.row) == "unique"
        noted = False
        for pause_s in (*WRITTEN_AFTER_S, None):
            try:
                made = await self._ledger.record(record.id, task, again=can_be_asked)
            except Exception:
                noted = noted or await self._notes.write(record.id, task)
                if pause_s is None:
                    raise
                await self._sleep(pause_s)
            else:
                break
        if noted:
            await self._notes.drop(record.id)
        return made

    async def take_over_note(self, record: Record) -> Record:
        """The row, with its task if a note says that the task was made."""
        task = await self._notes.task(record.id)
        if task is None:
            return record
        if record.task_id is None:
            record = await self._ledger.record(record.id, task)
        await self._notes.drop(record.id)
        return record

    async def take_over_notes(self) -> None:
        """Write into the ledger what notes say, now that it can be written again."""
        for record_id in await self._notes.kept():
            record = await self._ledger.find(record_id)
            if record is not None and record.id == record_id:
                await self.take_over_note(record)


def has_generated_id(record: Record) -> bool:
    """Whether the external_task_id was made from the row's id, so that no other task has it."""
    return record.external_task_id.endswith(record.id)


def ids_of(record: Record, row: ProviderRow) -> Literal["unique", "unknown", "none"]:
    """What our id of the row means to the provider, as `ProviderRow.external_ids` says it."""
    return row.external_ids if record.named else "none"


def maybe_charged(error: ProviderError, record: Record, row: ProviderRow) -> ProviderError:
    """The error with `charged` unknown, for a row whose first create may have been made. Advice to
    try again is replaced by advice that cannot pay twice."""
    error.charged = "unknown"
    advice = "" if error.retryable else error.advice
    error.advice = f"{safe_advice(record, row)} {advice}".strip()
    return error


def safe_advice(record: Record, row: ProviderRow) -> str:
    """What the agent can do about a row without a known task, without paying twice."""
    if ids_of(record, row) == "unique":
        return (
            f"Do not submit a new request. Ask kling_get_task for {record.external_task_id}, or "
            "send the very same request again: its task is looked up first, so it is not paid "
            "twice."
        )
    return _look_at_the_console(record, row)


def repeat_refused(record: Record, row: ProviderRow) -> ProviderError:
    """The refusal to send a request again that might then be paid twice."""
    if record.is_step:
        return ProviderDown(
            f"The {STEPS[record.product].words} was asked of {row.name} before, and its answer was "
            "lost. The video itself was not asked for.",
            provider=row.name,
            charged="unknown",
            advice=_another_step(record),
        )
    return ProviderDown(
        f"This request was sent to {row.name} before. Its answer was lost, so the video may have "
        "been made and paid.",
        provider=row.name,
        charged="unknown",
        advice=_look_at_the_console(record, row),
    )


LOOKED_FOR = {
    "none": "This provider cannot look a task up by our id",
    "unknown": "This provider found no task by our id, which proves nothing there",
}
"""By what a provider's row says of `external_ids`, where they are not unique."""


def _another_step(record: Record) -> str:
    step = STEPS[record.product]
    price = counted(record.estimate_units or 0.0, "unit")
    return (
        f"The {step.words} ({price}) may have been charged and cannot be looked up. The same "
        f"request does not pay it again; with take {record.take + 1} it does, and goes on."
    )


def _look_at_the_console(record: Record, row: ProviderRow) -> str:
    if record.is_step:
        return _another_step(record)
    if not record.named:
        return WITHOUT_ID
    return (
        f"{LOOKED_FOR[row.external_ids]}: look at its console or its bill. The same request is not "
        "sent again; raise take to make (and pay) the video once more."
    )
