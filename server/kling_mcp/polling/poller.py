"""The requests for watched tasks, one by one or by list, and what each answer changes."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio

from kling_mcp.polling.sweep import Sweep
from kling_mcp.polling.watched import ListKey, Watched
from kling_tools.errors import AuthFailed, KlingError, NotConfigured, PaymentRequired, ProviderError

if TYPE_CHECKING:
    from kling_mcp.background import Background
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.outputs.downloads import Downloads
    from kling_mcp.polling.pace import Pace
    from kling_mcp.tasks.lookup import Found, Lookup

__all__ = ["NOT_ASKED", "Poller"]

logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Requests to one provider that run side by side."""

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
        sweep: Sweep,
        pace: Pace,
        downloads: Downloads,
        background: Background,
        now: Callable[[], float],
    ) -> None:
        self._ledger = ledger
        self._lookup = lookup
        self._sweep = sweep
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
        async with anyio.create_task_group() as group:
            for watched in members:
                group.start_soon(self.ask_one, watched)

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
        rows = {watched.record.id: watched for watched in tasks if watched.record}
        for watched in tasks:
            watched.read_at = now
        try:
            records = await self._ledger.several(rows) if rows else {}
        except KlingError:  # the request that follows reports it
            return
        for row_id, record in records.items():
            watched = rows[row_id]
            if watched.found is not None and record != watched.record:
                self.answered(watched, replace(watched.found, record=record))

    def answered(self, watched: Watched, outcome: Found | KlingError) -> None:
        """Its provider answered or failed, or its row changed: keep that, and wake who waits."""
        now = self._now()
        watched.learn(outcome, now)
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
