"""One round of requests: what it asks for, and what becomes of the answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio

from kling_mcp.polling.watched import Line, Watched
from kling_tools.errors import AuthFailed, KlingError, NotConfigured, PaymentRequired, ProviderError

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger
    from kling_mcp.polling.looker import Looker
    from kling_mcp.polling.pace import Pace

__all__ = ["NOT_LOOKED_AT", "Sweep"]

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
