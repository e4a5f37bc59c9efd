"""What changes among the tasks that somebody subscribed to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

from anyio.abc import TaskStatus

from kling_mcp.task_uris import TASKS_URI, task_of
from kling_tools.errors import KlingError
from kling_tools.results import ENDED

if TYPE_CHECKING:
    from kling_mcp.ledger import Record
    from kling_mcp.service import Service

__all__ = ["follow"]

logger = logging.getLogger(__name__)


async def follow(
    service: Service,
    uris: Sequence[str],
    tell: Callable[[str], None],
    *,
    task_status: TaskStatus[None],
) -> None:
    """Keep the tasks behind these URIs watched, and tell of each that changes, until cancelled. It
    has started when no change is missed any more.

    Without a ledger that can be read there is nothing to tell; calls say why.
    """
    try:
        await _watch_and_tell(service, uris, tell, task_status)
    except Exception as error:
        expected = isinstance(error, KlingError)
        logger.warning("A subscription goes without news: %s", error, exc_info=not expected)
        with suppress(RuntimeError):  # it may have started before
            task_status.started()


async def _watch_and_tell(
    service: Service,
    uris: Sequence[str],
    tell: Callable[[str], None],
    task_status: TaskStatus[None],
) -> None:
    named = {uri: task_id for uri in uris if (task_id := task_of(uri))}
    if not named and TASKS_URI not in uris:
        task_status.started()
        return
    async with service.changes.subscribe() as changes, AsyncExitStack() as stack:
        await service.hears()
        await stack.enter_async_context(service.watch(list(named.values())))
        watched: set[str] = set()

        async def watch(records: Sequence[Record]) -> None:
            new = [r.id for r in records if r.status not in ENDED and r.id not in watched]
            if new:
                watched.update(new)
                await stack.enter_async_context(service.watch(new))

        if TASKS_URI in uris:
            await watch(await service.rows.running())
        task_status.started()
        async for handle in changes:
            record = await service.rows.find(handle)
            own = record is not None and record.handle == handle  # else it may be another's task_id
            if not own and not service.sees_all:
                continue
            if TASKS_URI in uris:
                await watch([record] if record else [])
                tell(TASKS_URI)
            names = {handle}
            if record:
                names |= {record.id, record.external_task_id, record.task_id or handle}
            for uri, task_id in named.items():
                if names & {task_id, service.principal.external_id(task_id)}:
                    tell(uri)
