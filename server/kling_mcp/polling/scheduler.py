"""One scheduler per process asks for all tasks that somebody waits for.

Ten callers who wait for one task cost what one costs. Where a provider has a list, one list request
answers for all tasks of a product; elsewhere single queries are spread over the time between two
requests. A task that nobody waits for any more is not asked for. Where several servers share a
ledger, one of them polls each task; the database tells the others. A server that dies loses its
claim after some seconds; another one with a waiting caller takes it.

The states of a watched task (`Watched.state`); a task is `idle` while nobody waits for it. Each
arrow is a method here or in `poller`:

    idle    ──_enter───> waiting  for a caller of `watch` or `keep`
    idle    ──_enter───> saving   its row says that it has ended; its file is fetched
    idle    ──_enter───> over     its row says that it has ended
    waiting ──_send────> asking   it is due
    asking  ──_ask─────> waiting  it runs, its provider could not be asked, or another server asks
    asking  ──answered─> saving   it has ended; its file is fetched
    asking  ──answered─> over     it ended, nobody knows it, its key is refused, or it broke
    waiting ──answered─> saving   another server, or a call here, saw its end
    waiting ──answered─> over     another server, or a call here, saw its end
    saving  ──_save────> over     its file is there, or cannot be fetched
    over    ──_enter───> waiting  a caller comes for one that has not ended (`Watched.missing`)
    waiting ──_leave───> idle     with the last caller who waits
    asking  ──_leave───> idle     with the last caller who waits; the request is given up
    saving  ──_leave───> idle     with the last caller who waits; the download goes on
    over    ──_leave───> idle     with the last caller who waits

`_ask` also takes up a create that has no task yet: it may send a queued one, and looks for one
whose answer was lost. A wait (`Watch.until_over`) ends when its tasks are over, and leaves those
`waiting` that nobody sends (`Watched.is_left`).
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from kling_mcp.polling.pace import Due, Plan, PollClaims
from kling_mcp.polling.poller import NOT_ASKED, READ_AT_ONCE, Poller
from kling_mcp.polling.watched import ListKey, Signal, Watch, Watched
from kling_mcp.tasks.lookup import Found
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from kling_mcp.background import Background
    from kling_mcp.ledger import Ledger, Record
    from kling_mcp.ledger.changes import Changes
    from kling_mcp.outputs.downloads import Downloads
    from kling_mcp.polling.pace import Like, Pace
    from kling_mcp.providers.configured import Configured
    from kling_mcp.providers.pool import Clients
    from kling_mcp.tasks.lookup import Lookup

__all__ = ["KEPT_S", "Scheduler"]

logger = logging.getLogger(__name__)

KEPT_S = 30.0
"""Seconds that a task stays watched after a client asked for it: some polls of the slowest
provider. A client that stops asking does not say so."""

REREAD_S = 5.0
"""Seconds after which a row is read again for what other processes wrote; nobody is asked."""

READ_APART_S = 1.0
"""Seconds between two reads where so many rows are to be read again that it takes several."""

FRESH_S = 1.0
"""Seconds for which an answer is new enough for a caller who asks how things are now."""

REMEMBERED = 2_000
"""Tasks that nobody waits for at the moment, of which the last answer is remembered: hosts end a
wait after some seconds and call again."""

GOLDEN = 0.618034
"""Multiples of it, modulo 1, are spread evenly however many there are."""


@dataclass(eq=False, frozen=True, slots=True)
class _Request:
    """A request under way, and the tasks for which it is made."""

    members: Sequence[Watched]
    scope: anyio.CancelScope


class Scheduler:
    """Runs in the background only while somebody waits. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        ledger: Ledger,
        providers: Mapping[str, Configured],
        lookup: Lookup,
        clients: Clients,
        pace: Pace,
        downloads: Downloads,
        changes: Changes,
        background: Background,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._pace = pace
        self._changes = changes
        self._background = background
        self._clock = clock
        self._sleep = sleep
        self._slept_until = 0.0
        self._wake = Signal(sleep)
        self._plan = Plan(providers, pace)
        self._claims = PollClaims(ledger)
        self._poller = Poller(ledger, lookup, clients, pace, downloads, background, self._now)
        self._watched: dict[str, Watched] = {}
        self._remembered: dict[str, Watched] = {}
        self._kept: dict[str, tuple[anyio.CancelScope, Watch]] = {}
        self._requests: set[_Request] = set()
        self._entered = 0
        self._running = False

    @asynccontextmanager
    async def watch(
        self, task_ids: Sequence[str], *, at_once: bool = False
    ) -> AsyncIterator[Watch]:
        """Ask for these tasks for as long as the context is held; the watch tells how they are.

        With `at_once` each running task is asked for now; otherwise when it is due.
        """
        async with self._watching(Watch(Signal(self._sleep)), task_ids, at_once=at_once) as watch:
            yield watch

    @asynccontextmanager
    async def _watching(
        self, watch: Watch, task_ids: Sequence[str], *, at_once: bool = False
    ) -> AsyncIterator[Watch]:
        try:
            await self._enter_all(watch, task_ids, at_once=at_once)
            if not self._running:
                self._running = True
                self._background.start_soon(self._run)
            self._wake.set()
            yield watch
        finally:
            self._leave(watch)

    def keep(self, row_id: str, for_s: float = KEPT_S) -> None:
        """Watch this task from now on, or for longer, as if a caller waited for so many seconds: a
        client that asks again and again is then answered from the ledger."""
        until = anyio.current_time() + for_s
        if row_id in self._kept:
            self._kept[row_id][0].deadline = until
        else:
            scope, watch = anyio.CancelScope(deadline=until), Watch(Signal(self._sleep))
            self._kept[row_id] = scope, watch
            self._background.start_soon(self._keep, row_id, scope, watch)

    def kept(self, row_id: str) -> Watch | None:
        """The watch of a task that is kept, from the moment it is; None for any other."""
        return self._kept[row_id][1] if row_id in self._kept else None

    def end(self, row_id: str) -> None:
        """Keep this task no longer."""
        if row_id in self._kept:
            self._kept[row_id][0].cancel()

    async def _keep(self, row_id: str, scope: anyio.CancelScope, watch: Watch) -> None:
        try:
            with scope:
                async with self._watching(watch, [row_id]):
                    while not watch.over:
                        await watch.changed.wait()
        finally:
            del self._kept[row_id]

    async def _enter_all(self, watch: Watch, task_ids: Sequence[str], *, at_once: bool) -> None:
        rows = await self._rows(task_ids)
        now = self._now()
        if likes := self._pace.to_measure(rows.values(), now):
            self._background.start_soon(self._measure, likes, now)
        for task_id in dict.fromkeys(task_ids):
            self._enter(watch, task_id, rows.get(task_id), now, at_once=at_once)

    async def _measure(self, likes: Mapping[Like, Record], now: float) -> None:
        """Learn how long is usual, beside the waits: their requests do not depend on it."""
        await self._pace.measure(self._ledger, likes, now)
        for watched in self._watched.values():
            watched.notify()

    async def _rows(self, task_ids: Sequence[str]) -> dict[str, Record]:
        try:
            return await self._ledger.several(task_ids)
        except KlingError:  # the request that follows reports it
            return {}

    def _now(self) -> float:
        """Seconds since the epoch: at least the time up to which this scheduler has slept, so that
        setting the clock back delays nothing."""
        return max(self._clock(), self._slept_until)

    def _enter(
        self, watch: Watch, task_id: str, record: Record | None, now: float, *, at_once: bool
    ) -> None:
        key = record.id if record else task_id
        watched = self._watched.get(key)
        if watched is None:
            watched = self._watched[key] = self._begun(key, record, now)
            self._poller.save_if_due(watched)
        elif watched.missing:
            watched.error, watched.due_at = None, now
        stale = watched.looked_at is None or watched.looked_at < now - FRESH_S
        if not watched.over and ((at_once and stale) or watched.found is None):
            watched.due_at, watched.urgent = now, True
        watch.add(task_id, watched)

    def _begun(self, key: str, record: Record | None, now: float) -> Watched:
        """A task that nobody has waited for until now, with what is remembered of it."""
        watched = self._remembered.pop(key, None)
        if watched is None:
            self._entered += 1
            watched = Watched(key, None, self._entered * GOLDEN % 1)
        if record is not None:
            watched.found = Found(record.provider, record)
            watched.kind = self._pace.kind(record)
        if watched.missing:
            watched.error, watched.failures, watched.looked_at = None, 0, None
        watched.read_at = now
        watched.due_at = self._pace.first_at(watched, now)
        return watched

    def _leave(self, watch: Watch) -> None:
        left = []
        for key in [key for key, watched in self._watched.items() if watch in watched.watches]:
            watched = self._watched[key]
            watched.watches = tuple(other for other in watched.watches if other is not watch)
            if not watched.watches:
                del self._watched[key]
                self._remembered[key] = watched.remembered()
                left.append(watched)
        self._release([watched for watched in left if not watched.busy])
        while len(self._remembered) > REMEMBERED:
            del self._remembered[next(iter(self._remembered))]
        for request in self._requests:
            if not any(watched.watches for watched in request.members):
                request.scope.cancel()
        self._wake.set()

    def _release(self, left: Sequence[Watched]) -> None:
        """Let other servers ask for what nobody waits for here any more; what is being asked for
        is released after that."""
        if left:
            self._background.start_soon(self._claims.release, left)

    async def _run(self) -> None:
        """Go on for as long as somebody waits, also after a mistake of this server."""
        try:
            while self._watched:
                try:
                    async with anyio.create_task_group() as group:
                        group.start_soon(self._listen)
                        await self._ask_in_rounds(group)
                        group.cancel_scope.cancel()
                except Exception:
                    logger.exception("The tasks that callers wait for cannot be asked for.")
                    self._wake.clear()
                    now = self._now()
                    await self._sleep_until(now + REREAD_S, now)
        finally:
            self._running = False

    async def _listen(self) -> None:
        """Have the rows read again that anybody in this process changed."""
        async with self._changes.subscribe() as handles:
            async for handle in handles:
                for watched in self._watched.values():
                    record = watched.record
                    if record and handle in (record.handle, record.external_task_id):
                        watched.read_at = -math.inf
                        self._wake.set()

    async def _ask_in_rounds(self, group: TaskGroup) -> None:
        while self._watched:
            self._wake.clear()
            now = self._now()
            waiting = self._waiting()
            if stale := [watched for watched in waiting if watched.read_at <= now - REREAD_S]:
                await self._read_again(stale, now)
                now = self._now()
            for due in self._plan.due(self._watched.values(), now):
                self._send(group, due, now)
            waiting = self._waiting()
            next_at = min((min(w.asks_at, w.read_at + REREAD_S) for w in waiting), default=math.inf)
            await self._sleep_until(next_at, now)

    async def _read_again(self, stale: list[Watched], now: float) -> None:
        """Read the rows of these tasks, of very many some now and the others a second later."""
        stale.sort(key=lambda watched: watched.read_at)
        for watched in stale[READ_AT_ONCE:]:
            watched.read_at = now - REREAD_S + READ_APART_S
        await self._poller.read(stale[:READ_AT_ONCE])

    def _waiting(self) -> list[Watched]:
        return [watched for watched in self._watched.values() if watched.state == "waiting"]

    async def _sleep_until(self, when: float, now: float) -> None:
        """Return at that time, or when something happens; infinity never comes."""
        if await self._wake.wait(max(when - now, 0.0)):
            self._slept_until = max(when, now)

    def _send(self, group: TaskGroup, due: Due, now: float) -> None:
        key, members = due
        request = _Request(members, anyio.CancelScope())
        self._requests.add(request)
        for watched in members:
            watched.busy, watched.asked_at = True, now
        group.start_soon(self._ask, key, request)

    async def _ask(self, key: ListKey | None, request: _Request) -> None:
        members = request.members
        try:
            with request.scope:
                mine = await self._claims.claim(members, self._now())
                others = {*members} - {*mine}
                await self._leave_to_others([watched for watched in members if watched in others])
                if key is None or len(mine) < 2:
                    for watched in mine:
                        await self._poller.ask_one(watched)
                else:
                    await self._poller.ask_list(key, mine)
        except Exception:
            logger.exception("Tasks of %s could not be asked for.", members[0].provider)
            for watched in members:
                self._poller.answered(watched, KlingError(NOT_ASKED))
        finally:
            self._requests.discard(request)
            for watched in members:
                watched.busy = False
            self._release([w for w in members if w.asked_as not in self._watched])
            self._wake.set()

    async def _leave_to_others(self, tasks: Sequence[Watched]) -> None:
        """Another server asks for these: what it wrote down is the answer."""
        if tasks:
            await self._poller.read(tasks)
        for watched in tasks:
            now = self._now()
            watched.urgent, watched.looked_at = False, now
            watched.due_at = now + self._pace.poll_s(watched.provider)
            watched.notify()
