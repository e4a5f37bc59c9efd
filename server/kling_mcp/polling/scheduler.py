"""One scheduler per process looks at all tasks that somebody waits for.

Ten callers who wait for one task cost what one costs. Where a provider has a list, one list request
answers for all tasks of a line; elsewhere single queries are spread over the time between two
looks. A task that nobody waits for any more is not asked for.

Where several servers share a ledger, one of them polls each task; the database tells the others. A
server that dies loses its claim after some seconds; another one with a waiting caller takes it.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from kling_mcp.polling.plan import Alarm, Due, Plan
from kling_mcp.polling.sweep import NOT_LOOKED_AT, Sweep
from kling_mcp.polling.watched import Watch, Watched
from kling_mcp.tasks.lookup import Found
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from kling_mcp.background import Background
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.ledger.changes import Changes
    from kling_mcp.outputs.downloads import AutoSave
    from kling_mcp.polling.pace import Pace
    from kling_mcp.polling.sweep import Looker
    from kling_mcp.providers.pool import Clients

__all__ = ["PollClaims", "Scheduler"]


LEAST_S = 15.0
MOST_S = 90.0
"""Seconds that a right lasts; longer between looks that lie far apart, so that it holds until the
next one."""

BEYOND_NEXT = 1.5
"""Multiple of the time between two looks that it lasts."""


class PollClaims:
    """Of this process. Where a ledger is not shared there is nothing to ask for."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._owner = uuid.uuid4().hex

    async def of(self, tasks: Sequence[Watched], now: float) -> list[Watched]:
        """Those of the tasks that this process is to ask the provider for now. What the provider
        does not have yet, and what no ledger knows, is not another one's."""
        if not self._ledger.is_shared:
            return list(tasks)
        rows = {row_id: watched for watched in tasks if (row_id := _row_id(watched))}
        gap_s = max((now - w.looked_at for w in tasks if w.looked_at is not None), default=0.0)
        lasts_s = min(max(BEYOND_NEXT * gap_s, LEAST_S), MOST_S)
        try:
            mine = await self._ledger.watch(rows, self._owner, lasts_s)
        except KlingError:  # whoever asks is told; to ask twice is better than never
            return list(tasks)
        return [watched for watched in tasks if (_row_id(watched) or "") in {*mine, ""}]

    async def let_go(self, tasks: Sequence[Watched]) -> None:
        """Nobody waits for them here any more."""
        if self._ledger.is_shared:
            rows = [row_id for watched in tasks if (row_id := _row_id(watched))]
            try:
                await self._ledger.unwatch(rows, self._owner)
            except KlingError:  # they end by themselves
                return


def _row_id(watched: Watched) -> str | None:
    record = watched.found.record if watched.found else None
    return record.id if record and record.task_id else None


logger = logging.getLogger(__name__)

REREAD_S = 5.0
"""Seconds after which a row is read again for what other processes wrote; nobody is asked."""

FRESH_S = 1.0
"""Seconds for which an answer is new enough for somebody who wants to know how things are now."""

REMEMBERED = 2_000
"""Tasks that nobody waits for at the moment, of which it is remembered when they were asked for:
hosts end a wait after some seconds and call again."""

GOLDEN = 0.618034
"""Multiples of it, modulo 1, are spread evenly however many there are."""


@dataclass(eq=False, frozen=True, slots=True)
class _Errand:
    """A request under way, and those for whom it is made."""

    members: Sequence[Watched]
    scope: anyio.CancelScope


class Scheduler:
    """Runs in the background only while somebody waits. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        ledger: Ledger,
        clients: Clients,
        looker: Looker,
        pace: Pace,
        autosave: AutoSave,
        changes: Changes,
        background: Background,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._pace = pace
        self._autosave = autosave
        self._changes = changes
        self._background = background
        self._alarm = Alarm(clock, sleep)
        self._plan = Plan(clients, pace)
        self._claims = PollClaims(ledger)
        self._sweep = Sweep(looker, ledger, pace, self._told, self._alarm.now)
        self._watched: dict[str, Watched] = {}
        self._resting: dict[str, Watched] = {}
        self._background_work: set[_Errand] = set()
        self._entered = 0
        self._running = False

    @asynccontextmanager
    async def watch(
        self, task_ids: Sequence[str], *, at_once: bool = False
    ) -> AsyncIterator[Watch]:
        """Look at these tasks for as long as the context is held; the watch tells how they are.

        With `at_once` each running task is asked for now; without, when its rhythm says so.
        """
        watch = Watch()
        try:
            rows = await self._rows(task_ids)
            for task_id in dict.fromkeys(task_ids):
                self._enter(watch, task_id, rows.get(task_id), at_once=at_once)
            if not self._running:
                self._running = True
                self._background.start_soon(self._run)
            self._alarm.ring()
            yield watch
        finally:
            self._leave(watch)

    async def _rows(self, task_ids: Sequence[str]) -> dict[str, Record]:
        try:
            return await self._ledger.several(task_ids)
        except KlingError:  # the look that follows tells of it
            return {}

    def _enter(self, watch: Watch, task_id: str, record: Record | None, *, at_once: bool) -> None:
        now = self._alarm.now()
        key = record.id if record else task_id
        watched = self._watched.get(key)
        if watched is None:
            watched = self._woken(key, record, now)
            self._watched[key] = watched
            self._settle(watched)
        elif watched.missing:
            watched.error, watched.due_at = None, now
        stale = watched.looked_at is None or watched.looked_at < now - FRESH_S
        if watched.runs and ((at_once and stale) or watched.found is None):
            watched.due_at, watched.urgent = now, True
        watch.add(task_id, watched)

    def _woken(self, key: str, record: Record | None, now: float) -> Watched:
        watched = self._resting.pop(key, None)
        if watched is None:
            self._entered += 1
            watched = Watched(key, None, self._entered * GOLDEN % 1)
        if record is not None:
            watched.found = Found(record.provider, record)
        if watched.missing:
            watched.error, watched.failures, watched.looked_at = None, 0, None
        watched.read_at = now
        watched.due_at = self._pace.first_at(watched, now)
        return watched

    def _leave(self, watch: Watch) -> None:
        left = []
        for key in [key for key, watched in self._watched.items() if watch in watched.watches]:
            watched = self._watched[key]
            watched.watches.discard(watch)
            if not watched.watches:
                del self._watched[key]
                self._resting[key] = watched.rested()
                left.append(watched)
        self._let_go([watched for watched in left if not watched.busy])
        while len(self._resting) > REMEMBERED:
            del self._resting[next(iter(self._resting))]
        for errand in self._background_work:
            if not any(watched.watches for watched in errand.members):
                errand.scope.cancel()
        self._alarm.ring()

    def _let_go(self, left: Sequence[Watched]) -> None:
        """Others may ask for what nobody waits for here any more; what is asked for at this moment
        is let go after that."""
        if left:
            self._background.start_soon(self._claims.let_go, left)

    async def _run(self) -> None:
        """Goes on for as long as somebody waits, also after a mistake of its own."""
        try:
            while self._watched:
                await self._looked_at()
        finally:
            self._running = False

    async def _looked_at(self) -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._hear)
                await self._look(group)
                group.cancel_scope.cancel()
        except Exception:
            logger.exception("The tasks that are waited for cannot be looked at.")
            self._alarm.hush()
            await self._alarm.until(self._alarm.now() + REREAD_S)

    async def _look(self, group: TaskGroup) -> None:
        while self._watched:
            self._alarm.hush()
            await self._read_again()
            for due in self._plan.due(self._watched.values(), self._alarm.now()):
                self._send(group, due)
            await self._alarm.until(self._next_at())

    async def _hear(self) -> None:
        """What anybody in this process sees of a task is news for those who wait for it."""
        async with self._changes.subscribe() as handles:
            async for handle in handles:
                for watched in self._watched.values():
                    record = watched.found and watched.found.record
                    if record and handle in (record.handle, record.external_task_id):
                        watched.read_at = -math.inf
                        self._alarm.ring()

    async def _read_again(self) -> None:
        before = self._alarm.now() - REREAD_S
        waiting = [w for w in self._watched.values() if w.runs and not w.busy]
        if any(watched.read_at <= before for watched in waiting):
            await self._sweep.read(waiting)

    def _send(self, group: TaskGroup, due: Due) -> None:
        line, members = due
        errand = _Errand(members, anyio.CancelScope())
        self._background_work.add(errand)
        for watched in members:
            watched.busy, watched.asked_at = True, self._alarm.now()

        async def ask() -> None:
            try:
                with errand.scope:
                    mine = await self._claims.of(members, self._alarm.now())
                    await self._leave_to_others([w for w in members if w not in mine])
                    if line is None or len(mine) < 2:
                        for watched in mine:
                            await self._sweep.ask_one(watched)
                    else:
                        await self._sweep.ask_line(line, mine)
            except Exception:
                logger.exception("Tasks of %s could not be looked at.", members[0].provider)
                for watched in members:
                    watched.failed(KlingError(NOT_LOOKED_AT), self._alarm.now())
                    watched.wake()
            finally:
                self._background_work.discard(errand)
                for watched in members:
                    watched.busy = False
                self._let_go([w for w in members if w.asked_as not in self._watched])
                self._alarm.ring()

        group.start_soon(ask)

    async def _leave_to_others(self, tasks: Sequence[Watched]) -> None:
        """Another server asks for these: what it wrote down is the answer."""
        if tasks:
            await self._sweep.read(tasks)
        for watched in tasks:
            now = self._alarm.now()
            watched.urgent, watched.looked_at = False, now
            watched.due_at = now + self._pace.poll_s(watched.provider)
            watched.wake()

    def _told(self, watched: Watched) -> None:
        """A task was answered for, or changed in the ledger."""
        now = self._alarm.now()
        asked_at = watched.asked_at if watched.busy and not watched.failures else now
        soonest = now + self._pace.poll_s(watched.provider) / 2
        watched.due_at = max(self._pace.next_at(watched, asked_at), soonest)
        self._settle(watched)
        watched.wake()

    def _settle(self, watched: Watched) -> None:
        """Have the video of a finished task saved, where that is wanted."""
        record = watched.found and watched.found.record
        if record and not watched.saving and self._autosave.is_due(record):
            watched.saving = True
            self._background.start_soon(self._save, watched, record)

    async def _save(self, watched: Watched, record: Record) -> None:
        try:
            outcome = await self._autosave.kept(record, math.inf)
        finally:
            watched.saving = False
        if not isinstance(outcome, KlingError) and watched.found is not None:
            watched.found = replace(watched.found, record=outcome)
        watched.wake()

    def _next_at(self) -> float:
        waiting = [w for w in self._watched.values() if w.runs and not w.busy]
        return min((min(w.due_at, w.read_at + REREAD_S) for w in waiting), default=math.inf)
