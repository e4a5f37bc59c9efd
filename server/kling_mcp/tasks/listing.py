"""Past and running tasks: the ledger's rows, and those that only a provider knows."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import anyio

from kling_mcp.ledger.records import IS_RUNNING, RUNNING, Wanted
from kling_mcp.providers.client import HISTORY_PAGE
from kling_mcp.tasks.account import price_of
from kling_mcp.tasks.reader import local_path
from kling_tools.errors import InvalidRequest, KlingError, RequestRefused
from kling_tools.faults import Fault
from kling_tools.products import FILM, MADE, PRODUCTS, STEPS, Made, products_named
from kling_tools.quoting import counted
from kling_tools.requests.arguments import AUTO
from kling_tools.requests.times import moment, zone_named
from kling_tools.results import SANDBOX_NOTES, TaskPage, TaskView, Total

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.providers.client import KlingClient
    from kling_mcp.providers.configured import Configured
    from kling_mcp.providers.pool import Clients
    from kling_mcp.providers.task import Task
    from kling_mcp.tasks.reader import TaskReader
    from kling_mcp.tasks.views import Viewer
    from kling_tools.requests.arguments import ListTasksArguments
    from kling_tools.rules.capabilities import Capabilities

__all__ = ["Listing"]

logger = logging.getLogger(__name__)

NOT_IN_TIME = "it did not answer in time."
LAST_SEEN = "The tasks that you made here, in their last known state."
NEVER_MADE = "What was never made cost nothing; submit it again, changed as its line says."

NARROWING = ("text", "picture", "model_name", "status", "product", "provider", "since", "until")
"""The filters; where nothing matches, it is told how much does without each."""


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
        capabilities: Capabilities,
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self._reader = reader
        self._within_s = within_s
        self._capabilities = capabilities

    async def page(self, query: ListTasksArguments) -> TaskPage:
        """One page, newest first; its note names the lists that could not be read. A caller with a
        login sees only the ledger's rows of their own: a provider's list shows everybody's tasks.

        Raises NotConfigured for a provider without a key, InvalidRequest for a model that nobody
        knows.
        """
        if query.provider == AUTO:
            query = query.model_copy(update={"provider": ""})
        zone = zone_named(query.timezone) or self._reader.viewer.zone
        viewer, only = replace(self._reader.viewer, zone=zone), self._reader.only
        now = self._ledger.now()
        products = products_named(query.product)
        wanted = Wanted(
            product=products,
            steps_of=self._capabilities.models_of(
                row.name for row in PRODUCTS.values() if row.steps and row.name in products
            ),
            status=query.status,
            provider=query.provider,
            model_name=await self._model(query.model_name, only),
            principal=only,
            since=moment(query.since, now, zone) if query.since else None,
            until=moment(query.until, now, zone, end=True) if query.until else None,
            text=query.text,
            picture=local_path(query.picture) if "/" in query.picture else query.picture,
        )
        since, until = wanted["since"], wanted["until"]
        if since is not None and until is not None and until < since:
            message = f"{query.until} ends before {query.since} begins."
            raise InvalidRequest([Fault("until", "ends_before_it_begins", message, "a later time")])
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
        shown = _folded(rows[: query.page_size])
        own = [(row.created_at, viewer.listed(row, refused)) for row, refused in shown]
        if any(row.status == "failed" and row.task_id is None for row, _ in shown):
            notes.append(NEVER_MADE)
        merged = sorted([*own, *others], key=lambda item: item[0], reverse=True)
        played = any(self._clients.sandbox(name) for name in self._clients.names)
        if all(view.sandbox for _, view in merged) and (merged or played):
            pictures = merged and all(view.unit == "image unit" for _, view in merged)
            notes.append(SANDBOX_NOTES["picture" if pictures else "video"])
        total = self._total(await self._ledger.sums(**wanted))
        if not merged and not total.tasks:
            notes.append(await self._without_a_filter(wanted))
        return TaskPage(
            tasks=[view for _, view in merged],
            page=query.page,
            more=more or len(rows) > query.page_size,
            note=" ".join(filter(None, notes)) or None,
            total=total,
        )

    async def _model(self, said: str, only: str | None) -> str:
        """The model's name in the table, or as rows have it. Raises InvalidRequest, which names the
        nearest one, for a name that is neither."""
        if known := self._capabilities.canonical(said) if said else "":
            return known
        if not said:
            return ""
        if await self._ledger.page(limit=1, offset=0, model_name=said, principal=only):
            return said
        names = [*self._capabilities.models]
        meant = self._capabilities.known_as(said)
        near = [meant] if meant else get_close_matches(said, names, n=3, cutoff=0.0)
        message = f"no model is called {said[:64]!r}, and no task here has it."
        raise InvalidRequest([Fault("model_name", "unknown_model", message, " or ".join(near))])

    async def _without_a_filter(self, wanted: Wanted) -> str:
        """How many tasks match once one of the filters is left out; empty when none do."""
        counts = []
        for name in NARROWING:
            if wanted.get(name):
                wider: Wanted = {**wanted, name: None}  # type: ignore[misc]
                found = sum(row["tasks"] for row in await self._ledger.sums(**wider))
                counts += [f"without {name} {counted(found, 'task')}"] if found else []
        return f"None matches; {', '.join(counts)}." if counts else ""

    def _total(self, sums: Sequence[Mapping[str, Any]]) -> Total:
        """The sum of all providers; money is in each account's own currency. Dollars are missing
        where a reseller sets a part of the price."""

        def of_balances(name: str) -> dict[str, float] | None:
            paid = {
                f"{row['provider']} {row['currency']}".rstrip(): round(row[name], 4)
                for row in sums
                if row[name]
            }
            return paid or None

        found = Total(
            tasks=sum(row["tasks"] for row in sums),
            money=of_balances("money"),
            play_money=of_balances("play_money"),
        )
        for name, product in UNITS.items():
            parts = [(row["provider"], row[name]) for row in sums if row[name]]
            units = round(sum(part for _, part in parts), 3) or None
            usd = [
                price_of(provider, part, self._clients, self._capabilities, product).usd
                for provider, part in parts
            ]
            known = [part for part in usd if part is not None]
            setattr(found, name, units)
            usd_name = name.replace("units", "usd")
            if units and len(known) == len(usd) and usd_name in Total.model_fields:
                setattr(found, name.replace("units", "usd"), round(sum(known), 2))
        return found

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
            for product in _paths(configured, products_named(query.product)):
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


def _paths(provider: Configured, named: Sequence[Made]) -> Sequence[Made]:
    """A product for each path of the provider at which these products, or all, are listed. Steps
    are in our ledger alone."""
    if not named:
        return provider.row.own_paths
    served: Sequence[Made] = provider.row.products
    paths = {MADE[name].path: name for name in reversed(named) if name in served}
    unlisted = [*STEPS, FILM.name]
    return [*reversed(paths.values())] or [name for name in named[:1] if name not in unlisted]


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
    states = IS_RUNNING if wanted["status"] == RUNNING else (wanted["status"],)
    return (
        (not wanted["status"] or task.status in states)
        and made >= (wanted["since"] or 0.0)
        and made < (wanted["until"] or math.inf)
    )


UNITS: Mapping[str, Made] = {
    "units": "image2video",
    "estimated_units": "image2video",
    "queued_units": "image2video",
    "play_units": "image2video",
    "play_queued_units": "image2video",
    "step_units": "lip-sync",
    "play_step_units": "lip-sync",
    "image_units": "image-generation",
    "play_image_units": "image-generation",
}
"""The sums of units in a `Total`, each with a product that is priced in them."""


def _folded(rows: Sequence[Record]) -> list[tuple[Record, int]]:
    """The rows, and of each how many times its request was refused: of a request that was refused
    again and again the newest row stands for all."""
    found: dict[object, tuple[Record, int]] = {}
    for row in rows:
        refused = row.status == "failed" and row.task_id is None
        key = (row.digest, row.take, row.principal) if refused else row.id
        first, times = found.get(key, (row, 0))
        found[key] = first, times + refused
    return [*found.values()]
