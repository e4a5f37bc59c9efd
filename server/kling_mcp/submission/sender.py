"""Sends each request once: first the row, then the POST; after a lost answer, a look-up.

A create is never repeated blindly. Where a provider refuses a second task with the same
external_task_id, the same id is sent again; elsewhere the row stays `unknown` and says so. A
process that works on a row holds the row's lease. When a process dies, its lease runs out, and
another process takes the row up.

The states of a create. Each arrow is a method here, in `made_tasks` or in `ledger.leases`. On the
right is the `Ledger` method by which it writes:

    new       ──send───────────────> sending   reserve   the row is there before the POST
    refused   ──send───────────────> sending   reserve   the same request comes again: one more row
    cancelled ──send───────────────> sending   reserve   the same request comes again: one more row
    made      ──send───────────────> sending   reserve   the same, and what it made is gone
    sending   ──_record────────────> made      record    the provider answered with a task
    sending   ──take_over_note─────> made      record    a note kept the task
    sending   ──_after_lost_answer─> sending   ...       there is no task: one more POST
    sending   ──_fail──────────────> refused   refused   provider, body or full queue refuses
    sending   ──_enqueue───────────> queued    queue     no slot is free (a step: `send_at_once`)
    sending   ──let_go─────────────> unknown   ...       no task is found, seen or written down
    sending   ──...────────────────> unknown   ...       the process dies, and its lease runs out
    unknown   ──_lease_when_free───> unknown   claim     the same request comes again
    unknown   ──_work_on───────────> unknown   claim     a get, a wait or recovery looks for it
    unknown   ──_create────────────> unknown   ...       there is no task: one more POST
    unknown   ──_record────────────> made      record    its task is found, or one more POST made it
    unknown   ──take_over_note─────> made      record    a note kept the task
    unknown   ──_enqueue───────────> unknown   queue     one more POST found no slot
    queued    ──_work_on───────────> leased    claim     it is due, and first in its line
    queued    ──withdraw───────────> cancelled withdraw  its owner takes it back, or it is too old
    leased    ──_send_queued───────> sending   reopen    the POST follows
    leased    ──_send_queued───────> refused   refused   its body is gone or damaged
    leased    ──let_go─────────────> queued    ...       it was just tried, or its body is not read
    leased    ──...────────────────> queued    ...       the process dies, and its lease runs out
    made      ──_refresh───────────> made      record    the same request comes again

A row that is `sending` has a lease; without one it counts as `unknown`. A row that is `unknown` is
looked for, and sent again, under a lease too. `leased` is `queued` with a lease: it cannot be
withdrawn any more. `refused` is `failed` without a task_id. `made` is any row with a task_id; its
status is the provider's: `submitted`, `processing`, `succeed` or `failed`. What it made is gone
(`Record.is_gone`) when the task failed, when its element or voice was deleted or has ended, and
when `Steps` called `Ledger.set_aside`, as a step is too old or was refused. `MadeTasks.write_down`
calls `_record`.
"""

from __future__ import annotations

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
from kling_mcp.submission.create_body import CreateBody
from kling_mcp.submission.made_tasks import (
    MadeTasks,
    has_generated_id,
    ids_of,
    maybe_charged,
    repeat_refused,
    safe_advice,
)
from kling_mcp.submission.queue import KeptBodies, KeptBody, is_whole
from kling_tools.decorations import decoration
from kling_tools.errors import (
    ConcurrencyFull,
    DuplicateTask,
    KlingError,
    ModelRetired,
    ProviderDown,
    ProviderError,
    RateLimited,
)
from kling_tools.results import ENDED

__all__ = ["Sender"]

OTHERS_S = 40.0
"""Seconds to wait for another process that sends the same request right now."""

QUEUE_S = 86_400.0
"""Seconds for which a request waits here at most; then it is withdrawn."""

FIRST_QUEUE_S = 1.0
"""Seconds before the second try of a queued row: error 1303 requires at least one."""
MOST_STEPS = 10
"""Tries after which the pause no longer grows."""

PATIENCE_S = 30.0
"""Seconds of pauses in which a step finds no slot: its call is answered soon after."""


LOST = "The queued request is no longer stored here. It was never sent."
DAMAGED = "The kept request is damaged: it is no longer what was asked for. It was never sent."

MAY_BE_MISSING = {"element_list", "voice_list"}
"""Arguments that name something which may have been deleted: Kling's answer does not tell that from
a retired model."""


class Sender:
    """Sends requests, and takes up rows that were left open. A queued row waits `queue_s` seconds
    at most. `asked_to_spend` says that this process was called to send a request; one that is
    `read_only` sends none."""

    def __init__(
        self,
        ledger: Ledger,
        queue: KeptBodies,
        notes: Notes,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        *,
        queue_s: float = QUEUE_S,
        read_only: bool = False,
    ) -> None:
        self.queue_s = queue_s
        self.read_only = read_only
        self.asked_to_spend = False
        self._wanted: set[str] = set()
        self._ledger = ledger
        self._queue = queue
        self._tasks = MadeTasks(ledger, queue, notes, sleep)
        self._sleep = sleep
        self._leases = Leases(ledger)
        self._stuck: set[str] = set()
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    async def send(
        self, new_row: NewRow, client: KlingClient, body: CreateBody, caps: DayCaps
    ) -> tuple[Record, bool]:
        """Send a request, or find the row of the same request. Returns the row, and whether it was
        sent just now; the row is `queued` when no slot is free.

        Raises SpendCapReached, NotConfigured (the ledger), and ProviderError: with `charged`
        unknown when the task may exist and was not found.
        """
        self.asked_to_spend = True
        lock = self._locks.setdefault(
            f"{new_row.provider}/{new_row.digest}/{new_row.take}", anyio.Lock(fast_acquire=True)
        )
        async with lock:
            owner = uuid.uuid4().hex
            with anyio.CancelScope(shield=True):
                record, new = await self._ledger.reserve(new_row, caps=caps, owner=owner)
                if record.is_beyond_use:
                    raise beyond_use(record)
                if new:
                    async with self._leases.renewed(record, owner):
                        return await self._create(record, client, _of_row(body, record)), True
            if (record.provider, record.digest) != (new_row.provider, new_row.digest):
                return record, False  # another server has it sent by one of `others`
            record = await self._tasks.take_over_note(record)
            record = await self._lease_when_free(owner, record)
            if record.lease_owner != owner:
                return await self._refresh(record, client), False
            return await self._send_again(record, client, body, owner)

    async def send_at_once(
        self, new_row: NewRow, client: KlingClient, body: CreateBody, caps: DayCaps
    ) -> tuple[Record, bool]:
        """`send` for a step, which never waits in the queue: while no slot is free it is sent again
        here, for PATIENCE_S seconds."""
        waited_s, tries = 0.0, 0
        while True:
            try:
                return await self.send(new_row, client, body, caps)
            except (ConcurrencyFull, RateLimited) as error:
                pause_s, tries = _pause_s(error, tries), tries + 1
                waited_s += pause_s
                if waited_s > PATIENCE_S or error.charged != "no":
                    raise
            await self._sleep(pause_s)

    async def _send_again(
        self, record: Record, client: KlingClient, body: CreateBody, owner: str
    ) -> tuple[Record, bool]:
        """Look for the task of an open row that a dead process or an earlier call left; send the
        row again only if there is none."""
        with anyio.CancelScope(shield=True):
            async with self._leases.renewed(record, owner):
                found = await self._find(record, client) if record.is_unanswered else record
                if found is None:
                    whole = _of_row(body, record)
                    record = await self._create(record, client, whole, sent_before=True)
                await self._leases.let_go(record, owner)
        return found or record, found is None

    def want(self, record_id: str) -> None:
        """Let a queued row be sent: somebody waits for it."""
        self._wanted.add(record_id)

    def may_send(self, record: Record) -> bool:
        """Whether this process may send a row that no call has just asked for: it has sent another
        one, or somebody waits for this one. Nothing that only reads sends."""
        asked = self.asked_to_spend or record.id in self._wanted
        return asked and not self.read_only and not self.is_too_old(record)

    def is_too_old(self, record: Record) -> bool:
        """Whether a queued row has waited for so long that it is withdrawn."""
        waited_s = self._ledger.now() - record.created_at
        return record.status == "queued" and waited_s >= self.queue_s

    async def take_up(self, record: Record, client: KlingClient) -> Record:
        """Do what an open row still requires, if no process does: send it where `may_send` allows
        that, or look for its task.

        Skips a queued row unless it is first in its line: if the older ones got no slot, it would
        not either. Returns the row as it is now. Raises ProviderError like `send`.
        """
        if record.is_beyond_use:
            raise beyond_use(record)
        if (known := await self._tasks.take_over_note(record)).task_id:
            return known
        if not record.is_due(self._ledger.now()):
            return record
        if record.status == "queued" and not await self._is_next(record):
            return record
        try:
            return await self._work_on(record, client)
        except Exception:
            self._stuck.add(record.id)
            raise

    async def _is_next(self, record: Record) -> bool:
        """Whether a queued row may be sent now, and no row before it waits to be sent."""
        return self.may_send(record) and await self._ledger.is_first_in_line(
            record, besides=self._stuck, sent_here=self.may_send
        )

    async def _work_on(self, record: Record, client: KlingClient) -> Record:
        owner = uuid.uuid4().hex
        with anyio.CancelScope(shield=True):
            if not await self._ledger.claim(record.id, owner):
                return await self._ledger.find(record.id) or record
            async with self._leases.renewed(record, owner):
                record = await self._ledger.find(record.id) or record
                due = record.is_due(self._ledger.now())  # or it was tried since it was read
                if due and record.is_unanswered:
                    record = await self._find_or_send(record, client)
                elif due and record.task_id is None and record.status == "queued":
                    record = await self._send_queued(record, client)
                await self._leases.let_go(record, owner)
        return record

    async def take_over_notes(self) -> None:
        """Write into the ledger what notes of made tasks say. Raises NotConfigured."""
        await self._tasks.take_over_notes()

    async def withdraw(self, record: Record, message: str = "") -> bool:
        """Take back a queued row for good, with its pictures in the queue. Returns False when the
        row is no longer queued, or is being sent at this moment. `message` says why."""
        if not await self._ledger.withdraw(record.id, message):
            return False
        await self.tidy()
        return True

    async def tidy(self) -> None:
        """Remove bodies that dead processes left for rows that no process will send again."""
        kept = await self._queue.kept()
        if kept:
            now = self._ledger.now()
            needed = {
                row.id
                for row in await self._ledger.open_rows()
                if row.status == "queued" or row.tries or row.is_leased(now) or row.damaged
            }
            await self._queue.sweep(kept - needed)

    async def _find_or_send(self, record: Record, client: KlingClient) -> Record:
        """Look for the task of a row whose answer was lost; send the row again if there is none
        and its body still lies in the queue."""
        if found := await self._find(record, client):
            return found
        kept = record.tries and self.may_send(record)
        body = await self._queue.body(record.id) if kept else None
        if body is None or not await is_whole(body, record.kept_sha256):
            return record
        return await self._create(record, client, body, sent_before=True)

    async def _send_queued(self, record: Record, client: KlingClient) -> Record:
        body = await self._queue.body(record.id)
        damaged = body is not None and not await is_whole(body, record.kept_sha256)
        if body is None or damaged:
            message = DAMAGED if damaged else LOST
            await self._ledger.refused(record.id, message, record.lease_owner)
            await self._drop_body(record)
            return await self._ledger.find(record.id) or record
        reopened = await self._ledger.reopen(record.id, record.lease_owner)
        if not reopened.is_unanswered or reopened.lease_owner != record.lease_owner:
            return reopened
        return await self._create(reopened, client, body)

    async def _create(
        self, record: Record, client: KlingClient, body: Body, *, sent_before: bool = False
    ) -> Record:
        """The POST, and what follows from its answer; the caller holds lease and shield.

        `sent_before` says that the answer to an earlier POST was lost. A refusal now says nothing
        of that one, so the row stays `unknown`.
        """
        try:
            task = await client.create(record.product, body, record.endpoint)
        except DuplicateTask as error:
            return await self._find_duplicate(record, client, error, sent_before=sent_before)
        except ProviderError as error:
            if isinstance(error, ModelRetired) and not MAY_BE_MISSING & record.arguments.keys():
                with decoration("the memory of a retired model"):
                    await self._ledger.retire(record)
            if not isinstance(error, ConcurrencyFull | RateLimited):
                with decoration("the provider's words for a dossier"):
                    await self._ledger.keep_answer(record.id, error)
            if error.charged != "no":
                return await self._after_lost_answer(record, client, body, error)
            full = isinstance(error, ConcurrencyFull | RateLimited) and not record.is_step
            if full and (record.tries or not sent_before):
                return await self._enqueue(record, client, body, error, in_doubt=sent_before)
            if sent_before:
                raise maybe_charged(error, record, client.row) from None
            await self._fail(record, error.message, error.provider_says)
            raise
        except KlingError as error:
            if not sent_before:
                await self._fail(record, error.message)
            raise
        return await self._tasks.write_down(record, task, client)

    async def _fail(self, record: Record, message: str, provider_says: str = "") -> None:
        await self._ledger.refused(
            record.id, provider_says or message, record.lease_owner, quoted=bool(provider_says)
        )
        await self._drop_body(record)

    async def _drop_body(self, record: Record) -> None:
        if record.tries:
            await self._queue.drop(record.id)

    async def _enqueue(
        self,
        record: Record,
        client: KlingClient,
        body: Body,
        error: ProviderError,
        *,
        in_doubt: bool,
    ) -> Record:
        """Keep the body, and give the row a time to be sent (again). A row `in_doubt` was sent
        before and that answer was lost: it stays `unknown`."""
        try:
            sha256 = (
                record.kept_sha256
                if isinstance(body, KeptBody)
                else await self._queue.keep(record.id, body)
            )
        except KlingError as unusable:
            if not in_doubt:
                await self._fail(record, unusable.message)
            raise
        if sha256 is None and in_doubt:
            raise maybe_charged(error, record, client.row)
        if sha256 is None:
            await self._fail(record, error.message, error.provider_says)
            error.advice = (
                "Too many requests wait in the queue already. Submit this one again when some have "
                "been sent (kling_wait_for_tasks)."
            )
            raise error
        due_at = self._ledger.now() + _pause_s(error, record.tries)
        return await self._ledger.queue(
            record.id, error.message, due_at, record.lease_owner, sha256, in_doubt=in_doubt
        )

    async def _find_duplicate(
        self, record: Record, client: KlingClient, error: DuplicateTask, *, sent_before: bool
    ) -> Record:
        """The external_task_id is taken: find this row's task, or raise the error.

        Only this row can have taken an id that we generated, so its task exists even if it cannot
        be seen. An id that the caller chose belongs to another task, unless the row was sent
        before.
        """
        generated = has_generated_id(record)
        if not (generated or sent_before or record.tries):
            await self._fail(record, "", error.provider_says)
            raise error
        try:
            found = await self._tasks.find(record, client)
        except ProviderError:
            found = None
        if found is not None:
            return found
        if not generated:
            raise maybe_charged(error, record, client.row)
        error.charged = "yes"
        error.message = "The task exists, but cannot be seen at the moment."
        error.advice = safe_advice(record, client.row)
        raise error

    async def _after_lost_answer(
        self, record: Record, client: KlingClient, body: Body, error: ProviderError
    ) -> Record:
        """Look for the task for some seconds; then, where that is safe, send it once more.

        A refusal of the second POST says nothing of the first: the row stays `unknown`.
        """
        found, is_absent = await self._tasks.find_soon(record, client)
        if found:
            return found
        if is_absent and ids_of(record, client.row) == "unique":
            try:
                task = await client.create(record.product, body, record.endpoint)
                return await self._tasks.write_down(record, task, client)
            except DuplicateTask as duplicate:
                return await self._find_duplicate(record, client, duplicate, sent_before=True)
            except ProviderError as second:
                error = second
        raise maybe_charged(error, record, client.row)

    async def _find(self, record: Record, client: KlingClient) -> Record | None:
        """The task of a row whose answer was lost earlier; None when the row may be sent again.

        Raises ProviderError, `charged` unknown, when neither can be known.
        """
        try:
            found = await self._tasks.find(record, client)
        except ProviderError as error:
            raise maybe_charged(error, record, client.row) from None
        if found is None and ids_of(record, client.row) != "unique":
            await self._drop_body(record)
            raise repeat_refused(record, client.row)
        return found

    async def _refresh(self, record: Record, client: KlingClient) -> Record:
        """A row found again, with the task's present state if the provider tells it."""
        if record.status in ENDED or record.task_id is None:
            return record
        try:
            task = await client.task(record.product, record.task_id, record.wire)
        except ProviderError:
            return record
        return await self._ledger.record(record.id, task)

    async def _lease_when_free(self, owner: str, record: Record) -> Record:
        """Wait until no other process sends the row. Returns it, leased to the owner if it is open.

        Raises ProviderDown when another process still holds it after OTHERS_S seconds.
        """
        until = self._ledger.now() + OTHERS_S
        while record.is_unanswered:
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


def _pause_s(error: ProviderError, tries: int) -> float:
    """The seconds before what found no slot so many times before is sent again."""
    pause_s = FIRST_QUEUE_S * 1.5 ** min(tries, MOST_STEPS)
    return min(max(error.retry_after_s or 0.0, pause_s), LONGEST_QUEUE_S)


def _of_row(body: CreateBody, record: Record) -> Body:
    return body.on_wire(record.external_task_id, record.callback_key, record.wire)
