"""One round of requests: at one task, or at all tasks of a line with one list request."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from kling_mcp.polling.watched import Line, Watched
from kling_mcp.providers.task import settled
from kling_tools.errors import AuthFailed, KlingError, NotConfigured, PaymentRequired, ProviderError
from kling_tools.products import Product

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.polling.pace import Pace
    from kling_mcp.providers.client import KlingClient
    from kling_mcp.providers.pool import Clients
    from kling_mcp.providers.task import Task
    from kling_mcp.submission.sender import Sender
    from kling_mcp.tasks.lookup import Found, Lookup

__all__ = ["NOT_LOOKED_AT", "Looker", "Sweep"]


SIZES = (30, 100, 500)
"""Page sizes that are asked for; Kling takes 1 to 500."""
ROOM = 2
"""Places on a page for each task that is looked for: others may have made newer ones."""
PAGES = 3
WORTH = 10
"""Pages in a row that show nothing of what is looked for, before single queries are the cheaper
way: so many, or one for so many tasks that are missing."""
MOST_PAGES = 60
PAGES_AT_ONCE = 4
"""Pages of one list that are read side by side."""
CLOCKS_DIFFER_S = 120.0
"""Seconds by which the provider's clock may differ from this machine's."""


class Looker:
    """Asks the providers, and writes down what they say; raises `KlingError` and its kin."""

    def __init__(self, clients: Clients, ledger: Ledger, lookup: Lookup, sender: Sender) -> None:
        self._clients = clients
        self._ledger = ledger
        self._lookup = lookup
        self._sender = sender
        self._crowded: set[tuple[str, Product]] = set()

    async def current(self, any_id: str) -> Found:
        """The task as it is now; an open row is taken up first."""
        found = await self._lookup.find(any_id)
        record = found.record
        if record and record.task_id is None and record.status in ("queued", "unknown"):
            client = await self._clients.get(record.provider)
            found = replace(found, record=await self._sender.take_up(record, client))
        return found

    async def again(self, found: Found) -> Found:
        """A task that was made elsewhere, asked for where it was found before."""
        assert found.task is not None
        assert found.product is not None
        client = await self._clients.get(found.provider)
        task = await client.task(found.product, found.task.task_id)
        return replace(found, task=settled(task, self._ledger.now()))

    async def listed(
        self, provider: str, product: Product, wanted: Mapping[str, float | None]
    ) -> dict[str, Task]:
        """Those of the tasks that the provider's list shows, by id; `wanted` says when each was
        made, in seconds since the epoch.

        Pages that the tasks fill by themselves are read side by side. Further ones are read only
        while one of the tasks is missing and may be there; a list that was too long for a small
        page is asked for full ones from then on.
        """
        client = await self._clients.get(provider)
        found: dict[str, Task] = {}
        line = (provider, product)
        pages = _pages(len(wanted), crowded=line in self._crowded)
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
            self._crowded.add(line)
        return found

    async def told(self, found: Found, task: Task) -> Found:
        """What the provider's list told of a task, written down if it is anything new."""
        record = found.record
        if record is None:
            return replace(found, task=task)
        if _says(record, task):
            return found
        return replace(found, record=await self._ledger.record(record.id, task))


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
    """Whether a list that gives the newest first has passed all that is missing."""
    oldest = min((task.created_at or 0.0 for task in tasks), default=0.0)
    return oldest > 0 and all(
        made_at is not None and made_at > oldest + CLOCKS_DIFFER_S for made_at in missing
    )


def _says(record: Record, task: Task) -> bool:
    """Whether the row says already what the provider tells."""
    told = (task.status, task.message, task.videos)
    same = told == (record.status, record.message, record.videos)
    return same and task.units in (None, record.units) and task.money in (None, record.money)


logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Requests to one provider that run side by side."""

NOT_LOOKED_AT = "It could not be looked at, by a mistake of this server: its log says more."

OF_THE_ACCOUNT = (AuthFailed, PaymentRequired, NotConfigured)
"""What a list refuses for this reason, each of its tasks is refused for too."""


class Sweep:
    """Asks for tasks and hands what it sees to `told`, each time a task was answered for."""

    def __init__(
        self,
        looker: Looker,
        ledger: Ledger,
        pace: Pace,
        told: Callable[[Watched], None],
        now: Callable[[], float],
    ) -> None:
        self._looker = looker
        self._ledger = ledger
        self._pace = pace
        self._told = told
        self._now = now
        self._limiters: dict[str, anyio.CapacityLimiter] = {}

    async def ask_line(self, line: Line, members: Sequence[Watched]) -> None:
        """One list request for all of them, and single ones for those that it does not show.

        What another process has seen to have ended meanwhile is taken from the ledger.
        """
        await self.read(members)
        running = [watched for watched in members if watched.runs]
        if len(running) < 2:
            await self._ask_each(running)
            return
        made_at = {_task_id(watched): _made_at(watched) for watched in running}
        try:
            async with self._limiter(line[0]):
                tasks = await self._looker.listed(*line, made_at)
        except KlingError as error:
            await self._not_listed(line, running, error)
            return
        except Exception:
            logger.exception("The list of %s cannot be read.", line[0])
            await self._alone(running)
            return
        self._pace.answered(line[0])
        unlisted = [watched for watched in running if _task_id(watched) not in tasks]
        for watched in running:
            task = tasks.get(_task_id(watched))
            if task is None or watched.found is None:
                continue
            try:
                watched.seen(await self._looker.told(watched.found, task), self._now())
            except KlingError as error:
                watched.failed(error, self._now())
            self._told(watched)
        await self._alone(unlisted)

    async def ask_one(self, watched: Watched) -> None:
        """One query, or whatever else the task needs; nothing when the ledger knows its end."""
        found = watched.found
        provider = watched.provider
        try:
            async with self._limiter(provider):
                if found and found.task:
                    found = await self._looker.again(found)
                else:
                    found = await self._looker.current(watched.asked_as)
            self._pace.answered(found.provider)
            watched.seen(found, self._now())
        except KlingError as error:
            self._pace.failed(provider, error, self._now())
            watched.failed(error, self._now())
        except Exception:
            logger.exception("Task %s could not be looked at.", watched.asked_as)
            watched.failed(KlingError(NOT_LOOKED_AT), self._now())
        self._told(watched)

    async def read(self, tasks: Sequence[Watched]) -> None:
        """See what became of them in the ledger, which other processes write too."""
        now = self._now()
        rows = {w.found.record.id: w for w in tasks if w.found and w.found.record}
        for watched in tasks:
            watched.read_at = now
        try:
            found = await self._ledger.several(rows) if rows else {}
        except KlingError:  # whoever asks the provider next is told
            return
        for row_id, record in found.items():
            watched = rows[row_id]
            if watched.found is not None and record != watched.found.record:
                watched.seen(replace(watched.found, record=record), now)
                self._told(watched)

    async def _ask_each(self, alone: Sequence[Watched]) -> None:
        async with anyio.create_task_group() as group:
            for watched in alone:
                group.start_soon(self.ask_one, watched)

    async def _not_listed(self, line: Line, members: Sequence[Watched], error: KlingError) -> None:
        """A list that is refused for a reason of its own says nothing of its tasks."""
        retryable = isinstance(error, ProviderError) and error.retryable
        self._pace.failed(line[0], error, self._now())
        if retryable or isinstance(error, OF_THE_ACCOUNT):
            for watched in members:
                watched.failed(error, self._now())
                self._told(watched)
            return
        await self._alone(members)

    async def _alone(self, members: Sequence[Watched]) -> None:
        for watched in members:
            watched.listed = False
        await self._ask_each(members)

    def _limiter(self, provider: str) -> anyio.CapacityLimiter:
        if provider not in self._limiters:
            self._limiters[provider] = anyio.CapacityLimiter(AT_ONCE)
        return self._limiters[provider]


def _task_id(watched: Watched) -> str:
    found = watched.found
    assert found is not None
    state = found.record or found.task
    assert state is not None
    return state.task_id or ""


def _made_at(watched: Watched) -> float | None:
    found = watched.found
    assert found is not None
    state = found.record or found.task
    return state.created_at if state else None
