"""Past and running tasks: the ledger's rows, and those that only a provider knows."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anyio

from kling_mcp.ledger.records import Wanted
from kling_mcp.providers.client import HISTORY_PAGE
from kling_tools.errors import KlingError, RequestRefused
from kling_tools.requests.times import moment, zone_named
from kling_tools.results import SANDBOX_NOTE, TaskPage, TaskView, Total

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger
    from kling_mcp.providers.client import KlingClient
    from kling_mcp.providers.pool import Clients
    from kling_mcp.providers.task import Task
    from kling_mcp.tasks.reader import TaskReader
    from kling_mcp.tasks.views import Viewer
    from kling_tools.requests.arguments import ListTasksArguments

__all__ = ["Listing"]

logger = logging.getLogger(__name__)

NOT_IN_TIME = "it did not answer in time."
LAST_SEEN = "The tasks that you made here, in their last known state."


class Listing:
    """Makes one page from both sources: the rows of `reader` and the lists of the providers.

    A page holds the same page of the ledger, updated from each provider's own list, and from the
    same page of that list the tasks that the ledger does not know. So every task is on exactly one
    page, although providers state neither order nor total. They are asked side by side and have
    `within_s` seconds to answer.
    """

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        reader: TaskReader,
        within_s: float,
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self._reader = reader
        self._within_s = within_s

    async def page(self, query: ListTasksArguments) -> TaskPage:
        """One page, newest first; its note names the lists that could not be read. A caller with a
        login sees only the ledger's rows of their own: a provider's list shows everybody's tasks.

        Raises NotConfigured for a provider without a key.
        """
        zone = zone_named(query.timezone) or self._reader.zone
        viewer, only = self._reader.viewer(zone), self._reader.only
        now = self._ledger.now()
        wanted = Wanted(
            product=query.product,
            status=query.status,
            provider=query.provider,
            model_name=query.model_name,
            principal=only,
            since=moment(query.since, now, zone) if query.since else None,
            until=moment(query.until, now, zone, end=True) if query.until else None,
            text=query.text,
            picture=query.picture,
        )
        others: list[tuple[float, TaskView]] = []
        more, notes = False, [LAST_SEEN]
        if only is None:
            others, more, notes = await self._elsewhere(query, viewer, wanted)
        rows = await self._ledger.page(
            limit=query.page_size + 1,
            offset=(query.page - 1) * query.page_size,
            **wanted,
        )
        await self._reader.examine(rows)
        own = [(row.created_at, viewer.listed(row)) for row in rows[: query.page_size]]
        merged = sorted([*own, *others], key=lambda item: item[0], reverse=True)
        played = any(self._clients.sandbox(name) for name in self._clients.names)
        if all(view.sandbox for _, view in merged) and (merged or played):
            notes.append(SANDBOX_NOTE)
        return TaskPage(
            tasks=[view for _, view in merged],
            page=query.page,
            more=more or len(rows) > query.page_size,
            note=" ".join(notes) or None,
            total=_total(await self._ledger.sums(**wanted)),
        )

    async def _elsewhere(
        self, query: ListTasksArguments, viewer: Viewer, wanted: Wanted
    ) -> tuple[list[tuple[float, TaskView]], bool, list[str]]:
        found: list[tuple[float, TaskView]] = []
        more = False
        notes: list[str] = []
        goes_on: list[str] = []
        names = [query.provider] if query.provider else list(self._clients.names)
        silent = [name for name in names if not self._clients.configured(name).row.lists]
        lists = await self._lists([name for name in names if name not in silent], query)
        for name, (pages, missing) in lists.items():
            if missing:
                notes.append(f"{name}'s own list is missing: {missing}")
            for tasks in pages:
                known = await self._ledger.known(name, [task.task_id for task in tasks])
                for task in tasks:
                    for row_id in known.get(task.task_id, ()):
                        await self._ledger.record(row_id, task)
                foreign = [
                    task for task in tasks if task.task_id not in known and _matches(task, wanted)
                ]
                found += [(t.created_at or 0.0, viewer.listed_foreign(t, name)) for t in foreign]
                if len(tasks) == query.page_size:
                    more = more or bool(foreign)
                    if not self._clients.sandbox(name):
                        goes_on.append(name)
        if goes_on and not more:
            notes.append(
                f"Videos made without this server may follow on page {query.page + 1}: the list at "
                f"{', '.join(dict.fromkeys(goes_on))} goes on."
            )
        if silent:
            has, its = ("has", "its") if len(silent) == 1 else ("have", "their")
            notes.append(
                f"{', '.join(silent)} {has} no list of {its} own: only tasks made here are shown, "
                "in their last known state."
            )
        return found, more, notes

    async def _lists(
        self, names: Sequence[str], query: ListTasksArguments
    ) -> dict[str, tuple[list[Sequence[Task]], str]]:
        """By provider: the page of each of its lists, and why other lists are missing. Raises
        NotConfigured for a provider without a key."""
        clients = {name: await self._clients.get(name) for name in names}
        found: dict[str, tuple[list[Sequence[Task]], str]] = {
            name: ([], NOT_IN_TIME) for name in names
        }

        async def ask(name: str) -> None:
            pages, _ = found[name]
            configured = self._clients.configured(name)
            missing = ""
            try:
                if configured.reads_all and not query.product:
                    pages.append(await _newest(clients[name], query.page, query.page_size))
                    found[name] = pages, ""
                    return
            except RequestRefused:  # an address that passes on nothing but the legacy standard
                logger.info("%s does not tell its history; its lists are read.", name)
            except KlingError as error:
                found[name] = pages, error.message
                return
            for product in (query.product,) if query.product else configured.row.products:
                try:
                    pages.append(await clients[name].tasks(product, query.page, query.page_size))
                except KlingError as error:
                    missing = error.message
                    break
            found[name] = pages, missing

        with anyio.move_on_after(self._within_s):
            async with anyio.create_task_group() as group:
                for name in names:
                    group.start_soon(ask, name)
        return found


async def _newest(client: KlingClient, page: int, page_size: int) -> list[Task]:
    """A page of the history of all products; its cursor leads only forward, from the newest task.
    Raises ProviderError."""
    wanted = page * page_size
    tasks: list[Task] = []
    cursor = ""
    while len(tasks) < wanted:
        limit = min(wanted - len(tasks), HISTORY_PAGE)
        following, cursor = await client.history(limit=limit, cursor=cursor)
        tasks += following
        if not cursor:
            break
    return tasks[wanted - page_size : wanted]


def _matches(task: Task, wanted: Wanted) -> bool:
    """Whether a task that only its provider knows is wanted. Its prompt, pictures and model are not
    known."""
    if any(wanted.get(name) for name in ("text", "picture", "model_name")):
        return False
    made = task.created_at or 0.0
    return (
        wanted["status"] in ("", task.status)
        and made >= (wanted["since"] or 0.0)
        and made < (wanted["until"] or math.inf)
    )


def _total(sums: Sequence[Mapping[str, Any]]) -> Total:
    """The sum of all providers; money is in each account's own currency."""

    def units(name: str) -> float | None:
        return round(sum(row[name] or 0 for row in sums), 3) or None

    return Total(
        tasks=sum(row["tasks"] for row in sums),
        units=units("units"),
        estimated_units=units("estimated_units"),
        queued_units=units("queued_units"),
        play_units=units("play_units"),
        play_queued_units=units("play_queued_units"),
        money={
            f"{row['provider']} {row['currency']}".rstrip(): round(row["money"], 4)
            for row in sums
            if row["money"]
        }
        or None,
    )
