"""The state of a task, from the ledger and the provider that made it."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from kling_mcp.ledger import Ledger, Record
from kling_mcp.ledger.records import account_at, beyond_use
from kling_mcp.providers.pool import Clients
from kling_mcp.providers.task import Task, settled
from kling_tools.errors import KlingError, NotConfigured, TaskNotFound, quote_provider
from kling_tools.products import Product
from kling_tools.results import WITHOUT_VIDEO
from kling_tools.rules.capabilities import Wire

if TYPE_CHECKING:
    from kling_mcp.providers.client import KlingClient

__all__ = ["Found", "Lookup", "in_ledger", "is_address", "not_found"]


logger = logging.getLogger(__name__)


_FILE_NAME = re.compile(r"\.[a-z][a-z0-9]{1,4}$", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether it is a link, a path or a file's name, and no id. No provider is sent one."""
    return "/" in text or "\\" in text or bool(_FILE_NAME.search(text))


def not_found(task_id: str) -> TaskNotFound:
    """The error for a task of another caller, in the same words as for one that does not exist."""
    named = quote_provider(task_id)[:64]
    return TaskNotFound(
        f"You have no saved video {named}."
        if is_address(task_id)
        else f"You have no task {named}.",
        advice="Give a task_id: kling_list_tasks shows your tasks.",
    )


@dataclass(frozen=True, slots=True)
class Found:
    """A task of the ledger (`record`), or one made elsewhere (`task`), and its provider; `product`
    and `wire` are the route on which a task made elsewhere was found."""

    provider: str
    record: Record | None = None
    task: Task | None = None
    product: Product | None = None
    wire: Wire = "legacy"

    @property
    def state(self) -> Record | Task:
        """What is known of it."""
        state = self.record or self.task
        assert state is not None
        return state


def in_ledger(record: Record, *, fresh: bool = False) -> Found | None:
    """The task of a row for which no provider has to be asked: it has ended, or is a film. None
    for any other, and with `fresh` for one with a video. Raises KlingError for a row beyond use."""
    if record.is_beyond_use:
        raise beyond_use(record)
    ended = record.status in WITHOUT_VIDEO or (record.status == "succeed" and not fresh)
    return Found(record.provider, record) if ended or record.is_film else None


class Lookup:
    """Asks the right provider for a task, and writes down what it says. `take_up` sends a queued
    request, or finds out about one whose answer was lost (`Sender.take_up`)."""

    def __init__(
        self,
        clients: Clients,
        ledger: Ledger,
        take_up: Callable[[Record, KlingClient], Awaitable[Record]],
    ) -> None:
        self._clients = clients
        self._ledger = ledger
        self._take_up = take_up

    async def find_or_take_up(self, any_id: str, known: Found | None = None) -> Found:
        """The task as it is now. A request that has no task at its provider yet is taken up first:
        a queued one may be sent. A task made elsewhere is asked for where it was found before
        (`known`).

        Raises like `find`.
        """
        if known and known.task and known.product:
            client = await self._clients.get(known.provider)
            task = await client.task(known.product, known.task.task_id, known.wire)
            return replace(known, task=settled(task, self._ledger.now()))
        found = await self.find(any_id)
        record = found.record
        if (
            record
            and record.task_id is None
            and (record.status == "queued" or record.is_unanswered)
        ):
            client = await self._clients.get(record.provider)
            found = replace(found, record=await self._taken_up(record, client))
        return found

    async def _taken_up(self, record: Record, client: KlingClient) -> Record:
        """The row after it was taken up. A refusal that ends it is its state from now on, and no
        error of the call that asks for it. Raises ProviderError like `Sender.take_up`."""
        try:
            return await self._take_up(record, client)
        except KlingError:
            now = await self._ledger.find(record.id)
            if now is None or not now.is_gone:
                raise
            return now

    async def find(self, any_id: str, *, fresh: bool = False) -> Found:
        """The task with this id or external id, now.

        An ended task is asked for again only with `fresh` (its URL may have expired); one that has
        no id at its provider yet cannot be asked for.
        Raises TaskNotFound when no configured provider knows it, NotConfigured when the provider
        that made it is not configured any more, and other ProviderErrors.
        """
        record = await self._ledger.find(any_id)
        if record is None and is_address(any_id):
            raise not_found(any_id)
        if record is None:
            return await self._foreign(any_id)
        if known := in_ledger(record, fresh=fresh):
            return known
        client = await self._clients.get(record.provider)
        now_at = self._clients.configured(record.provider).base_url
        if account_at(record.base_url) != account_at(now_at):
            raise NotConfigured(
                f"This task was made at {record.base_url}; {record.provider} is set to {now_at}.",
                advice=f"Set {record.provider.upper()}_BASE_URL back to ask for it.",
            )
        if record.task_id is None:
            return Found(record.provider, record)
        task = await client.task(record.product, record.task_id, record.wire)
        return Found(record.provider, await self._ledger.record(record.id, task))

    async def _foreign(self, task_id: str) -> Found:
        """A task made elsewhere: every provider and product is asked at once, and after them the
        new standard, which also knows the tasks that it alone has made."""
        found: list[Found] = []
        missing: list[TaskNotFound] = []
        trouble: list[KlingError] = []

        async def ask(name: str, product: Product, wire: Wire = "legacy") -> None:
            try:
                client = await self._clients.get(name)
                task = await client.task(product, task_id, wire)
                task = settled(task, self._ledger.now())
                found.append(Found(name, task=task, product=product, wire=wire))
                group.cancel_scope.cancel()
            except TaskNotFound as error:
                missing.append(error)
            except KlingError as error:
                trouble.append(error)
            except Exception:
                logger.exception("%s could not be asked for a task.", name)
                trouble.append(KlingError(f"{name} could not be asked: the log says more."))

        async with anyio.create_task_group() as group:
            for name in self._clients.names:
                for product in self._clients.configured(name).row.own_paths:
                    group.start_soon(ask, name, product)
        if not found and not trouble:
            async with anyio.create_task_group() as group:
                for name in self._clients.names:
                    configured = self._clients.configured(name)
                    if configured.reads_all:
                        group.start_soon(ask, name, configured.row.products[0], "new")
        if found:
            return found[0]
        if trouble:
            raise trouble[0]
        if self._clients.several:
            missing[0].message = f"None of {', '.join(self._clients.names)} knows such a task."
        raise missing[0]
