"""A wish is sent once: the row first, then the POST, and after a lost answer a look-up.

A create is never repeated blindly. Where a provider refuses a second task with the same
`external_task_id`, the same id is sent again; elsewhere the row stays `unknown` and says so. While
one process works on a row it holds the row's lease; a lease that is not renewed is a dead process,
and whoever comes next takes the row up where it lies.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

import anyio

from kling_mcp.ledger import DayCaps, Ledger, NewRow, Record
from kling_mcp.ledger.leases import Leases
from kling_mcp.ledger.notes import Notes
from kling_mcp.ledger.records import LONGEST_QUEUE_S, beyond_use
from kling_mcp.providers.client import KlingClient
from kling_mcp.providers.json_body import Body
from kling_mcp.providers.task import Task
from kling_mcp.submission.create_body import CreateBody
from kling_mcp.submission.lost_answers import blind, how_to_go_on, is_open, is_ours, maybe_charged
from kling_mcp.submission.queue import KeptBodies
from kling_tools.decorations import decoration
from kling_tools.errors import (
    ConcurrencyFull,
    DuplicateTask,
    KlingError,
    ProviderDown,
    ProviderError,
    RateLimited,
    TaskNotFound,
)
from kling_tools.results import ENDED

__all__ = ["Sender"]

logger = logging.getLogger(__name__)

APPEARS_WITHIN_S = (0.0, 1.0, 2.0, 4.0)
"""Seconds before each look for a task whose answer was lost: it may take a moment to appear."""

LOOK_S = 12.0
"""Seconds for all these looks: the call has to end before its host gives up."""

CLOCKS_DIFFER_S = 120.0
"""Seconds by which the provider's clock may be behind this machine's."""

OTHERS_S = 40.0
"""Seconds to wait for another process that sends the same wish right now."""

WRITTEN_AFTER_S = (1.0, 2.0, 4.0)
"""Seconds after each try to write down a task that was made: a database that is started anew, or
moved to another machine, is away for so long; and its caller is to hear of it in time."""

NOTED = "A note of it is kept, and taken into the ledger by itself. "

FIRST_QUEUE_S = 1.0
"""Seconds before the second try of a queued row: 1303 wants at least one."""
MOST_STEPS = 10
"""Tries after which they do not get rarer any more."""


class Sender:
    """Sends wishes and takes up rows that were left open."""

    def __init__(
        self,
        ledger: Ledger,
        queue: KeptBodies,
        notes: Notes,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
    ) -> None:
        self._ledger = ledger
        self._queue = queue
        self._notes = notes
        self._sleep = sleep
        self._leases = Leases(ledger)
        self._stuck: set[str] = set()
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def send(
        self, new_row: NewRow, client: KlingClient, body: CreateBody, caps: DayCaps
    ) -> tuple[Record, bool]:
        """The row of the wish, and whether it was sent just now.

        A full house makes the row `queued`. Raises SpendCapReached, NotConfigured (the ledger),
        and ProviderError: with `charged` `unknown` when the task may exist and was not found.
        """
        lock = self._locks.setdefault(
            f"{new_row.provider}/{new_row.digest}/{new_row.take}", anyio.Lock()
        )
        async with lock:
            owner = uuid.uuid4().hex
            with anyio.CancelScope(shield=True):
                record, new = await self._ledger.reserve(new_row, caps=caps, owner=owner)
                if record.is_beyond_use:
                    raise beyond_use(record)
                if new:
                    async with self._leases.held(record, owner):
                        record = await self._create(record, client, _on_wire(body, record))
            if new:
                return record, True
            record = await self._leased_to(owner, await self._settled(record))
            if record.lease_owner != owner:
                return await self._refreshed(record, client), False
            return await self._sent_again(record, client, body, owner)

    async def _sent_again(
        self, record: Record, client: KlingClient, body: CreateBody, owner: str
    ) -> tuple[Record, bool]:
        """An open row of a dead process or of an earlier call: looked for first."""
        with anyio.CancelScope(shield=True):
            async with self._leases.held(record, owner):
                found = await self._taken_up(record, client) if is_open(record) else record
                if found is None:
                    record = await self._create(
                        record, client, _on_wire(body, record), sent_before=True
                    )
                await self._leases.let_go(record, owner)
        return found or record, found is None

    async def take_up(self, record: Record, client: KlingClient) -> Record:
        """Do what an open row still needs, if nobody does: send it, or look for its task.

        A queued one is left alone until those before it have been sent: where they find no slot,
        neither would it. Returns the row as it is now. Raises ProviderError like `send`.
        """
        if record.is_beyond_use:
            raise beyond_use(record)
        if (settled := await self._settled(record)).task_id:
            return settled
        if not record.is_due(self._ledger.now()):
            return record
        if record.status == "queued" and not await self._ledger.is_first_in_line(
            record, besides=self._stuck
        ):
            return record
        try:
            return await self._worked_on(record, client)
        except Exception:
            self._stuck.add(record.id)
            raise

    async def _worked_on(self, record: Record, client: KlingClient) -> Record:
        owner = uuid.uuid4().hex
        with anyio.CancelScope(shield=True):
            if not await self._ledger.claim(record.id, owner):
                return await self._ledger.find(record.id) or record
            async with self._leases.held(record, owner):
                record = await self._ledger.find(record.id) or record
                due = record.is_due(self._ledger.now())  # or it was tried since it was read
                if due and is_open(record):
                    record = await self._found_or_sent(record, client)
                elif due and record.task_id is None and record.status == "queued":
                    record = await self._send_queued(record, client)
                await self._leases.let_go(record, owner)
        return record

    async def settle(self) -> None:
        """Write into the ledger what notes say, now that it can be written again."""
        for record_id in await self._notes.kept():
            record = await self._ledger.find(record_id)
            if record is not None and record.id == record_id:
                await self._settled(record)

    async def _settled(self, record: Record) -> Record:
        """The row, with its task if a note says that it was made."""
        task = await self._notes.task(record.id)
        if task is None:
            return record
        if record.task_id is None:
            record = await self._ledger.record(record.id, task)
        await self._notes.drop(record.id)
        return record

    async def withdraw(self, record: Record) -> bool:
        """Take back a queued row for good, and its pictures in the queue; False when it is not
        queued any more or is being sent at this moment."""
        if not await self._ledger.withdraw(record.id):
            return False
        await self.tidy()
        return True

    async def tidy(self) -> None:
        """Remove bodies that dead processes left of rows that nobody will send any more."""
        kept = await self._queue.kept()
        if kept:
            now = self._ledger.now()
            needed = {
                row.id
                for row in await self._ledger.open_rows()
                if row.status == "queued" or row.tries or row.is_leased(now) or row.damaged
            }
            await self._queue.sweep(kept - needed)

    async def _found_or_sent(self, record: Record, client: KlingClient) -> Record:
        """A row whose answer was lost: its task, or, if the row comes from the queue and its body
        still lies in the queue, sent again; where neither is there it stays as it is."""
        if found := await self._taken_up(record, client):
            return found
        body = await self._queue.body(record.id) if record.tries else None
        if body is None:
            return record
        return await self._create(record, client, body, sent_before=True)

    async def _send_queued(self, record: Record, client: KlingClient) -> Record:
        body = await self._queue.body(record.id)
        if body is None:
            message = "its pictures are not in the queue any more; submit it again"
            await self._ledger.refused(record.id, message, record.lease_owner)
            return await self._ledger.find(record.id) or record
        reopened = await self._ledger.reopen(record.id, record.lease_owner)
        if not is_open(reopened) or reopened.lease_owner != record.lease_owner:
            return reopened
        return await self._create(reopened, client, body)

    async def _create(
        self, record: Record, client: KlingClient, body: Body, *, sent_before: bool = False
    ) -> Record:
        """The POST, and what follows from its answer; the caller holds lease and shield.

        When it was `sent_before` and that answer was lost, a refusal now says nothing of then: the
        row stays `unknown`.
        """
        try:
            task = await client.create(record.product, body)
        except DuplicateTask as error:
            return await self._duplicate(record, client, error, sent_before=sent_before)
        except ProviderError as error:
            if error.charged != "no":
                return await self._after_lost_answer(record, client, body, error)
            full = isinstance(error, ConcurrencyFull | RateLimited)
            if full and (record.tries or not sent_before):
                return await self._queued(record, client, body, error, in_doubt=sent_before)
            if sent_before:
                raise maybe_charged(error, record, client.row) from None
            await self._refused(record, error.provider_message or error.message)
            raise
        except KlingError as error:
            if not sent_before:
                await self._refused(record, error.message)
            raise
        return await self._made(record, task, client)

    async def _made(self, record: Record, task: Task, client: KlingClient) -> Record:
        try:
            made = await self._written_down(record, task, client)
        except Exception as error:
            noted = await self._notes.task(record.id) is not None
            known = error if isinstance(error, KlingError) else None
            reason = known.message if known else "the ledger broke, its log tells more."
            logger.warning("Task %s is not in the ledger.", task.task_id, exc_info=not known)
            raise KlingError(
                f"Task {task.task_id} was made, and could not be written down: {reason}",
                charged="yes",
                advice=f"Keep the id {task.task_id}; kling_wait_for_tasks and kling_save_video "
                f"take it. {NOTED if noted else ''}{known.advice if known else ''}".strip(),
            ) from error
        with decoration("a tidy queue"):
            if record.tries:
                await self._queue.drop(record.id)
        return made

    async def _written_down(self, record: Record, task: Task, client: KlingClient) -> Record:
        """A task that was made is paid: a ledger that is away for a moment is waited for, and
        a note is kept for the time after that."""
        can_be_asked = client.row.external_ids == "unique"
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

    async def _refused(self, record: Record, message: str) -> None:
        await self._ledger.refused(record.id, message, record.lease_owner)
        if record.tries:
            await self._queue.drop(record.id)

    async def _queued(
        self,
        record: Record,
        client: KlingClient,
        body: Body,
        error: ProviderError,
        *,
        in_doubt: bool,
    ) -> Record:
        """The row with a time to send it (again) at. One `in_doubt` stays `unknown`: when it was
        sent before and that answer was lost, no later refusal means that it was not made."""
        try:
            kept = await self._queue.keep(record.id, body)
        except KlingError as unusable:
            if not in_doubt:
                await self._refused(record, unusable.message)
            raise
        if not kept and in_doubt:
            raise maybe_charged(error, record, client.row)
        if not kept:
            await self._refused(record, error.provider_message or error.message)
            error.advice = (
                "Too many requests wait on this computer already: submit it again when some have "
                "been sent (kling_wait_for_tasks)."
            )
            raise error
        patience_s = FIRST_QUEUE_S * 1.5 ** min(record.tries, MOST_STEPS)
        wait_s = min(max(error.retry_after_s or 0.0, patience_s), LONGEST_QUEUE_S)
        due_at = self._ledger.now() + wait_s
        return await self._ledger.queue(
            record.id, error.message, due_at, record.lease_owner, in_doubt=in_doubt
        )

    async def _duplicate(
        self, record: Record, client: KlingClient, error: DuplicateTask, *, sent_before: bool
    ) -> Record:
        """The id is taken: by this very row's first try, or by somebody else's task.

        An id of ours can only be taken by this row, so that the task exists even while it cannot
        be seen. One of the caller's own is somebody else's unless the row was sent before.
        """
        ours = is_ours(record.external_task_id, record)
        if not (ours or sent_before or record.tries):
            await self._refused(record, error.provider_message)
            raise error
        try:
            found = await self._look_up(record, client)
        except ProviderError:
            found = None
        if found is None:
            if not ours:
                raise maybe_charged(error, record, client.row)
            error.charged = "yes"
            error.message = "The task exists, and cannot be seen at the moment."
            error.advice = how_to_go_on(record, client.row)
            raise error
        return found

    async def _after_lost_answer(
        self, record: Record, client: KlingClient, body: Body, error: ProviderError
    ) -> Record:
        """Look for the task for some seconds; then, where that is safe, send it once more.

        Whatever the second answer refuses, it says nothing of the first: the row stays `unknown`.
        """
        found, not_there = await self._appeared(record, client)
        if found:
            return found
        if not_there and client.row.external_ids == "unique":
            try:
                return await self._made(record, await client.create(record.product, body), client)
            except DuplicateTask as duplicate:
                return await self._duplicate(record, client, duplicate, sent_before=True)
            except ProviderError as second:
                error = second
        raise maybe_charged(error, record, client.row)

    async def _appeared(self, record: Record, client: KlingClient) -> tuple[Record | None, bool]:
        """The row of a task that appears within some seconds, and, when none does, whether the
        provider says that there is none."""
        found, not_there = None, False
        if client.row.external_ids == "none":
            return found, not_there
        with anyio.move_on_after(LOOK_S):
            for pause_s in APPEARS_WITHIN_S:
                await self._sleep(pause_s)
                try:
                    found = await self._look_up(record, client)
                except ProviderError:
                    not_there = False
                    continue
                if found:
                    break
                not_there = True
        return found, not_there

    async def _taken_up(self, record: Record, client: KlingClient) -> Record | None:
        """The task of a row whose answer was lost earlier; None when it may be sent again.

        Raises ProviderError, `charged` unknown, when that cannot be known.
        """
        try:
            found = await self._look_up(record, client)
        except ProviderError as error:
            raise maybe_charged(error, record, client.row) from None
        if found is None and client.row.external_ids != "unique":
            if record.tries:
                await self._queue.drop(record.id)
            raise blind(client.row)
        return found

    async def _look_up(self, record: Record, client: KlingClient) -> Record | None:
        """The row of a task whose answer was lost, if the provider has the task and tells.

        An id of the caller's own may belong to an older task, or be the provider's id of another
        one, which are not this one.
        """
        if client.row.external_ids == "none":
            return None
        try:
            task = await client.task(record.product, record.external_task_id)
        except TaskNotFound:
            return None
        older = (task.created_at or 0.0) < record.created_at - CLOCKS_DIFFER_S
        anothers = older or task.task_id == record.external_task_id
        if anothers and not is_ours(record.external_task_id, record):
            return None
        return await self._made(record, task, client)

    async def _refreshed(self, record: Record, client: KlingClient) -> Record:
        """A row found again, with the task's state of now where the provider tells it."""
        if record.status in ENDED or record.task_id is None:
            return record
        try:
            task = await client.task(record.product, record.task_id)
        except ProviderError:
            return record
        return await self._ledger.record(record.id, task)

    async def _leased_to(self, owner: str, record: Record) -> Record:
        """The row when no other process sends it any more: leased to the owner if it is open.

        Raises ProviderDown when another process still holds it after some seconds.
        """
        until = self._ledger.now() + OTHERS_S
        while is_open(record):
            with anyio.CancelScope(shield=True):
                free = not record.is_leased(self._ledger.now())
                if free and await self._ledger.claim(record.id, owner):
                    return await self._ledger.find(record.id) or record
            if self._ledger.now() >= until:
                raise ProviderDown(
                    "Another process is sending this very request at the moment.",
                    charged="unknown",
                    advice="Call again in a moment: it answers with the same task.",
                )
            await self._sleep(0.2)
            record = await self._ledger.find(record.id) or record
        return record


def _on_wire(body: CreateBody, record: Record) -> Body:
    return body.on_wire(record.external_task_id, record.callback_key)
