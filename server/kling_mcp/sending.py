"""A wish is sent once: the row first, then the POST, and after a lost answer a look-up.

A create is never repeated blindly. Where a provider refuses a second task with the same
`external_task_id`, the same id is sent again; elsewhere the row stays `unknown` and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

import anyio

from kling_mcp.body import JsonBody
from kling_mcp.client import KlingClient
from kling_mcp.ledger import Ledger, Record, Wish
from kling_tools.errors import DuplicateTask, KlingError, ProviderDown, ProviderError, TaskNotFound
from kling_tools.results import ENDED

__all__ = ["Sender"]

MakeBody = Callable[[str], JsonBody]
"""The body of a create with the external_task_id that it is given."""


class Sender:
    """Sends wishes, one at a time for equal ones."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def send(
        self, wish: Wish, client: KlingClient, make_body: MakeBody, day_cap: float | None
    ) -> tuple[Record, bool]:
        """The row of the wish, and whether it was sent just now.

        Raises SpendCapReached, NotConfigured (the ledger), and ProviderError: with `charged`
        `unknown` when the task may exist and could not be found.
        """
        lock = self._locks.setdefault(f"{wish.provider}/{wish.digest}/{wish.take}", anyio.Lock())
        async with lock:
            record, new = await self._ledger.reserve(wish, day_cap=day_cap)
            if record.status in ENDED or record.task_id:
                return await self._refreshed(record, client), False
            if not new:
                found = await self._looked_up_again(record, client)
                if found:
                    return found, False
                if client.row.external_ids != "unique":
                    raise _blind(record, client.row.name)
            with anyio.CancelScope(shield=True):
                record = await self._create(record, client, make_body(record.external_task_id))
            return record, True

    async def _create(self, record: Record, client: KlingClient, body: JsonBody) -> Record:
        """The POST; shielded by the caller, because an answer that nobody waits for is lost."""
        try:
            task = await client.create(record.product, body)
        except DuplicateTask as error:
            ours = record.external_task_id.endswith(record.id)
            found = await self._look_up(record, client) if ours else None
            if found is None:
                await self._ledger.refused(record.id, error.provider_message)
                raise
            return found
        except ProviderError as error:
            if error.charged == "no":
                await self._ledger.refused(record.id, error.provider_message or error.message)
                raise
            return await self._after_lost_answer(record, client, error)
        except KlingError as error:
            await self._ledger.refused(record.id, error.message)
            raise
        try:
            return await self._ledger.record(record.id, task)
        except KlingError as error:
            raise KlingError(
                f"Task {task.task_id} was made, and could not be written down: {error.message}",
                charged="yes",
                advice=f"Keep the id {task.task_id}; kling_wait_for_tasks and kling_save_video "
                f"take it. {error.advice}",
            ) from error

    async def _after_lost_answer(
        self, record: Record, client: KlingClient, error: ProviderError
    ) -> Record:
        """The create may have arrived: the task is looked up by the id that was sent."""
        try:
            found = await self._look_up(record, client)
        except ProviderError:
            found = None
        if found:
            return found
        error.advice = _how_to_go_on(record, client)
        raise error

    async def _looked_up_again(self, record: Record, client: KlingClient) -> Record | None:
        try:
            return await self._look_up(record, client)
        except ProviderError as error:
            error.charged = "unknown"
            error.advice = _how_to_go_on(record, client)
            raise

    async def _look_up(self, record: Record, client: KlingClient) -> Record | None:
        """The row of a task whose answer was lost, if the provider has the task and tells."""
        if client.row.external_ids == "none":
            return None
        try:
            task = await client.task(record.product, record.external_task_id)
        except TaskNotFound:
            return None
        return await self._ledger.record(record.id, task)

    async def _refreshed(self, record: Record, client: KlingClient) -> Record:
        """A row found again, with the task's state of now where the provider tells it."""
        if record.status in ENDED:
            return record
        try:
            task = await client.task(record.product, record.handle)
        except ProviderError:
            return record
        return await self._ledger.record(record.id, task)


def _how_to_go_on(record: Record, client: KlingClient) -> str:
    if client.row.external_ids == "unique":
        return (
            f"Do not submit anew. Ask kling_get_task for {record.external_task_id}, or send the "
            "very same request again: it is then looked up first and not paid twice."
        )
    return _NO_LOOK_UP


_NO_LOOK_UP = (
    "This provider cannot be asked for it by our id: look at its console or its bill. The same "
    "request is not sent again by itself; raise take to make (and pay) the video anew."
)


def _blind(record: Record, provider: str) -> ProviderError:
    return ProviderDown(
        f"This request was sent to {provider} before and its answer was lost, so it may exist.",
        provider=provider,
        charged="unknown",
        advice=_NO_LOOK_UP,
    )
