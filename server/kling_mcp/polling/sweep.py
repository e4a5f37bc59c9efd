"""The state of many tasks of one provider and product, read from the provider's own list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from kling_tools.errors import KlingError
from kling_tools.products import Product

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.providers.client import KlingClient
    from kling_mcp.providers.pool import Clients
    from kling_mcp.providers.task import Task
    from kling_mcp.tasks.lookup import Found

__all__ = ["Sweep"]


SIZES = (30, 100, 500)
"""Page sizes of the requests; Kling takes 1 to 500."""
ROOM = 2
"""Places on a page for each wanted task: others may have made newer ones."""
PAGES = 3
WORTH = 10
"""Pages in a row without a wanted task after which single queries are cheaper: `PAGES`, or one for
each `WORTH` missing tasks."""
MOST_PAGES = 60
PAGES_AT_ONCE = 4
"""Pages of one list that are read side by side."""
CLOCKS_DIFFER_S = 120.0
"""Seconds by which the provider's clock may differ from this machine's."""


class Sweep:
    """Reads the lists of the providers, and writes down what they say of tasks of the ledger."""

    def __init__(self, clients: Clients, ledger: Ledger) -> None:
        self._clients = clients
        self._ledger = ledger
        self._crowded: set[tuple[str, Product]] = set()

    async def current(
        self, provider: str, product: Product, tasks: Sequence[Found]
    ) -> list[Found | KlingError | None]:
        """Each of the tasks as it is now, or why that could not be written down; None for a task
        that the list does not show. Raises ProviderError and NotConfigured."""
        wanted = {found.state.task_id or "": found.state.created_at for found in tasks}
        shown = await self._tasks(provider, product, wanted)
        tasks_shown = [shown.get(found.state.task_id or "") for found in tasks]
        return [
            await self._written_down(found, task) if task else None
            for found, task in zip(tasks, tasks_shown, strict=True)
        ]

    async def _written_down(self, found: Found, task: Task) -> Found | KlingError:
        record = found.record
        if record is None:
            return replace(found, task=task)
        if _is_known(record, task):
            return found
        try:
            return replace(found, record=await self._ledger.record(record.id, task))
        except KlingError as error:
            return error

    async def _tasks(
        self, provider: str, product: Product, wanted: Mapping[str, float | None]
    ) -> dict[str, Task]:
        """The wanted tasks that the provider's list shows, by id. `wanted` says when each was made,
        in seconds since the epoch.

        Pages that the wanted tasks alone would fill are read side by side. Further pages are read
        only while a task is missing and may be on them. A list that was too long for a small page
        is read in full pages from then on.
        """
        client = await self._clients.get(provider)
        found: dict[str, Task] = {}
        key = (provider, product)
        pages = _pages(len(wanted), crowded=key in self._crowded)
        certain = len(wanted) // SIZES[-1]
        vain = 0
        together = [pages[:certain]] if certain else []
        for shown in [*together, *([page] for page in pages[certain:])]:
            tasks = await _read(client, product, shown)
            found.update((task.task_id, task) for task in tasks if task.task_id in wanted)
            vain = 0 if any(task.task_id in wanted for task in tasks) else vain + 1
            missing = [made_at for task_id, made_at in wanted.items() if task_id not in found]
            full = len(tasks) == sum(size for _, size in shown)
            if not missing or not full or _is_past(tasks, missing):
                break
            if vain >= max(PAGES, len(missing) // WORTH):
                break
            self._crowded.add(key)
        return found


def _pages(count: int, *, crowded: bool) -> list[tuple[int, int]]:
    """Pages and their sizes in the order of asking: a small one first where that may do."""
    largest = SIZES[-1]
    full = [(page, largest) for page in range(1, MOST_PAGES + 1)]
    fitting = next((size for size in SIZES if size >= ROOM * count), largest)
    return full if crowded or fitting == largest else [(1, fitting), *full]


async def _read(
    client: KlingClient, product: Product, pages: Sequence[tuple[int, int]]
) -> list[Task]:
    """All tasks of these pages. Raises ProviderError like the client, for the first that fails."""
    if len(pages) == 1:
        return await client.tasks(product, *pages[0])
    tasks: list[Task] = []
    failed: list[KlingError] = []
    at_once = anyio.CapacityLimiter(PAGES_AT_ONCE)

    async def read(page: int, size: int) -> None:
        try:
            async with at_once:
                tasks.extend([] if failed else await client.tasks(product, page, size))
        except KlingError as error:
            failed.append(error)

    async with anyio.create_task_group() as group:
        for page, size in pages:
            group.start_soon(read, page, size)
    if failed:
        raise failed[0]
    return tasks


def _is_past(tasks: list[Task], missing: list[float | None]) -> bool:
    """Whether a list, newest first, has passed the place of every missing task."""
    oldest = min((task.created_at or 0.0 for task in tasks), default=0.0)
    return oldest > 0 and all(
        made_at is not None and made_at > oldest + CLOCKS_DIFFER_S for made_at in missing
    )


def _is_known(record: Record, task: Task) -> bool:
    """Whether the row holds everything that the provider says."""
    said = (task.status, task.message, task.videos)
    same = said == (record.status, record.message, record.videos)
    return same and task.units in (None, record.units) and task.money in (None, record.money)
