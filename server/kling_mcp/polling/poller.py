"""The requests for watched tasks, and what each answer changes: one task by a query; many by the
list of their product, or by queries and the history of the new standard, which answer for whatever
product and standard made them. `scheduler.py` draws the states of a watched task at its top."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio

from kling_mcp.ledger.records import followed
from kling_mcp.polling.watched import ListKey, Watched
from kling_mcp.providers.client import HISTORY_PAGE, RECORDS_AT_ONCE
from kling_tools.errors import AuthFailed, KlingError, NotConfigured, PaymentRequired, ProviderError
from kling_tools.products import Made

if TYPE_CHECKING:
    from kling_mcp.background import Background
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.outputs.downloads import Downloads
    from kling_mcp.polling.pace import Pace
    from kling_mcp.providers.client import KlingClient
    from kling_mcp.providers.pool import Clients
    from kling_mcp.providers.task import Task
    from kling_mcp.tasks.lookup import Found, Lookup

__all__ = ["NOT_ASKED", "READ_AT_ONCE", "Poller"]


logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Requests to one provider that run side by side."""

READ_AT_ONCE = 500
"""Rows that are read at a time: whole rows take more memory than what is kept of them."""

NOT_ASKED = "This server made a mistake and could not ask for the task. Its log says more."

OF_THE_ACCOUNT = (AuthFailed, PaymentRequired, NotConfigured)
"""Refusals of a list that each of its tasks would get as well."""


class Poller:
    """Asks the providers and the ledger for watched tasks, and has finished videos saved. `now`
    tells the seconds since the epoch."""

    def __init__(
        self,
        ledger: Ledger,
        lookup: Lookup,
        clients: Clients,
        pace: Pace,
        downloads: Downloads,
        background: Background,
        now: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._lookup = lookup
        self._sweep = Sweep(clients, ledger)
        self._pace = pace
        self._downloads = downloads
        self._background = background
        self._now = now
        self._limiters = defaultdict[str, anyio.CapacityLimiter](
            partial(anyio.CapacityLimiter, AT_ONCE)
        )

    async def ask_list(self, key: ListKey, members: Sequence[Watched]) -> None:
        """One list request for all of them, and single ones for those that it does not show. An
        end that another process has seen meanwhile is taken from the ledger."""
        await self.read(members)
        running = {watched: watched.found for watched in members if not watched.over}
        tasks = [found for found in running.values() if found is not None]
        if len(tasks) < 2 or len(tasks) < len(running):
            await self._ask_each(list(running))
            return
        try:
            async with self._limiters[key[0]]:
                outcomes = await self._sweep.current(*key, tasks)
        except KlingError as error:
            await self._list_refused(key, list(running), error)
            return
        except Exception:
            logger.exception("The list of %s cannot be read.", key[0])
            await self._ask_unlisted(list(running))
            return
        self._pace.heard_from(key[0])
        unlisted = []
        for watched, outcome in zip(running, outcomes, strict=True):
            if outcome is None:
                unlisted.append(watched)
            else:
                self.answered(watched, outcome)
        await self._ask_unlisted(unlisted)

    async def _list_refused(
        self, key: ListKey, members: Sequence[Watched], error: KlingError
    ) -> None:
        """A list that is refused for a reason of its own says nothing of its tasks."""
        retryable = isinstance(error, ProviderError) and error.retryable
        self._pace.failed(key[0], error, self._now())
        if retryable or isinstance(error, OF_THE_ACCOUNT):
            for watched in members:
                self.answered(watched, error)
        else:
            await self._ask_unlisted(members)

    async def _ask_unlisted(self, members: Sequence[Watched]) -> None:
        for watched in members:
            watched.listed = False
        await self._ask_each(members)

    async def _ask_each(self, members: Sequence[Watched]) -> None:
        left = iter(members)

        async def work() -> None:
            for watched in left:
                await self.ask_one(watched)

        async with anyio.create_task_group() as group:
            for _ in members[:AT_ONCE]:
                group.start_soon(work)

    async def ask_one(self, watched: Watched) -> None:
        """One query; a request that was never sent, or whose answer was lost, is taken up."""
        provider = watched.provider
        outcome: Found | KlingError
        try:
            async with self._limiters[provider]:
                outcome = await self._lookup.find_or_take_up(watched.asked_as, watched.found)
            self._pace.heard_from(outcome.provider)
        except KlingError as error:
            outcome = error
            self._pace.failed(provider, error, self._now())
        except Exception:
            logger.exception("Task %s could not be asked for.", watched.asked_as)
            outcome = KlingError(NOT_ASKED)
        self.answered(watched, outcome)

    async def read(self, tasks: Sequence[Watched]) -> None:
        """Take from the ledger what other processes wrote there."""
        now = self._now()
        for watched in tasks:
            watched.read_at = now
        for place in range(0, len(tasks), READ_AT_ONCE):
            some = tasks[place : place + READ_AT_ONCE]
            rows = {watched.record.id: watched for watched in some if watched.record}
            try:
                records = await self._ledger.several(rows) if rows else {}
            except KlingError:  # the request that follows reports it
                return
            for row_id, record in records.items():
                watched = rows[row_id]
                if watched.found is not None and followed(record) != watched.record:
                    self.answered(watched, replace(watched.found, record=record))

    def answered(self, watched: Watched, outcome: Found | KlingError) -> None:
        """Its provider answered or failed, or its row changed: keep that, and wake who waits."""
        now = self._now()
        ran = not watched.over
        watched.learn(outcome, now)
        if ran and watched.kind and watched.record:
            self._pace.ended(watched.kind, watched.record)
        asked_at = watched.asked_at if watched.busy and not watched.failures else now
        soonest = now + self._pace.poll_s(watched.provider) / 2
        watched.due_at = max(self._pace.next_at(watched, asked_at), soonest)
        self.save_if_due(watched)
        watched.notify()

    def save_if_due(self, watched: Watched) -> None:
        """Have the video of a finished task saved, where that is wanted."""
        record = watched.record
        if record and not watched.saving and self._downloads.is_due(record):
            watched.saving = True
            self._background.start_soon(self._save, watched, record)

    async def _save(self, watched: Watched, record: Record) -> None:
        try:
            outcome = await self._downloads.save_row(record, math.inf)
        finally:
            watched.saving = False
        if not isinstance(outcome, KlingError) and watched.found is not None:
            watched.found = replace(watched.found, record=outcome)
        watched.notify()


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
"""Requests of one sweep that run side by side."""
CLOCKS_DIFFER_S = 120.0
"""Seconds by which the provider's clock may differ from this machine's."""


class Sweep:
    """Reads the lists of the providers, and writes down what they say of tasks of the ledger."""

    def __init__(self, clients: Clients, ledger: Ledger) -> None:
        self._clients = clients
        self._ledger = ledger
        self._page_sizes: dict[tuple[str, Made], int] = {}

    async def current(
        self, provider: str, product: Made | None, tasks: Sequence[Found]
    ) -> list[Found | KlingError | None]:
        """Each of the tasks as it is now, or why that could not be written down; None for a task
        that the answer does not show. They are of one product, or (None) the new standard answers
        for all. Raises ProviderError and NotConfigured."""
        wanted = {found.state.task_id or "": found.state.created_at for found in tasks}
        if product is None:
            shown = await _of_any_product(await self._clients.get(provider), wanted)
        else:
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
        self, provider: str, product: Made, wanted: Mapping[str, float | None]
    ) -> dict[str, Task]:
        """The wanted tasks that the provider's list shows, by id. `wanted` says when each was made,
        in seconds since the epoch.

        Pages that the wanted tasks alone would fill are read side by side. Further pages are read
        only while a task is missing and may be on them. A list never gets shorter: no page is
        smaller than the one before, and once that was too small, pages are full.
        """
        client = await self._clients.get(provider)
        found: dict[str, Task] = {}
        key = (provider, product)
        pages = _pages(len(wanted), self._page_sizes.get(key, 0))
        self._page_sizes[key] = pages[0][1]
        certain = len(wanted) // SIZES[-1]
        vain = 0
        together = [pages[:certain]] if certain else []
        for shown in [*together, *([page] for page in pages[certain:])]:
            reads = [partial(client.tasks, product, page, size) for page, size in shown]
            tasks = await _side_by_side(reads)
            found.update((task.task_id, task) for task in tasks if task.task_id in wanted)
            vain = 0 if any(task.task_id in wanted for task in tasks) else vain + 1
            missing = [made_at for task_id, made_at in wanted.items() if task_id not in found]
            full = len(tasks) == sum(size for _, size in shown)
            if not missing or not full or _is_past(tasks, missing):
                break
            if vain >= max(PAGES, len(missing) // WORTH):
                break
            self._page_sizes[key] = SIZES[-1]
        return found


async def _of_any_product(
    client: KlingClient, wanted: Mapping[str, float | None]
) -> dict[str, Task]:
    """The wanted tasks that the new standard knows, by id, with the fewest requests: queries of 20
    ids, or pages of the history since the first was made, which hold 500 tasks. What the history
    lacks is queried for; it is left when the queries for the rest are fewer than its pages."""
    found: dict[str, Task] = {}
    missing = list(wanted)
    made_at = [at for at in wanted.values() if at is not None]
    if len(made_at) == len(wanted) > RECORDS_AT_ONCE:
        since, cursor, pages = min(made_at) - CLOCKS_DIFFER_S, "", 0
        while missing and pages < max(1, len(missing) // RECORDS_AT_ONCE):
            tasks, cursor = await client.history(limit=HISTORY_PAGE, since=since, cursor=cursor)
            found.update((task.task_id, task) for task in tasks if task.task_id in wanted)
            missing = [task_id for task_id in wanted if task_id not in found]
            pages += 1
            if not cursor:
                break
    some = [missing[n : n + RECORDS_AT_ONCE] for n in range(0, len(missing), RECORDS_AT_ONCE)]
    reads = [partial(client.records, ids) for ids in some]
    return found | {task.task_id: task for task in await _side_by_side(reads)}


def _pages(count: int, least: int) -> list[tuple[int, int]]:
    """Pages and their sizes, `least` or more, in the order of asking: a small one first where that
    may do."""
    largest = SIZES[-1]
    full = [(page, largest) for page in range(1, MOST_PAGES + 1)]
    fitting = next((size for size in SIZES if size >= max(ROOM * count, least)), largest)
    return full if fitting == largest else [(1, fitting), *full]


async def _side_by_side(reads: Sequence[Callable[[], Awaitable[list[Task]]]]) -> list[Task]:
    """All tasks of these requests. Raises ProviderError like the client, for the first that
    fails."""
    if len(reads) == 1:
        return await reads[0]()
    tasks: list[Task] = []
    failed: list[KlingError] = []
    at_once = anyio.CapacityLimiter(PAGES_AT_ONCE)

    async def run(read: Callable[[], Awaitable[list[Task]]]) -> None:
        try:
            async with at_once:
                tasks.extend([] if failed else await read())
        except KlingError as error:
            failed.append(error)

    async with anyio.create_task_group() as group:
        for read in reads:
            group.start_soon(run, read)
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
