"""When which task is looked at next, and sleeping until then or until something happens."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import anyio

from kling_mcp.polling.watched import Line, Watched

if TYPE_CHECKING:
    from kling_mcp.polling.pace import Pace
    from kling_mcp.providers.pool import Clients

__all__ = ["Alarm", "Due", "Plan"]


class Alarm:
    """`clock` gives seconds since the epoch, `sleep` waits; a sleep that is over has taken its
    time, whatever the clock says, so that clocks which are set back delay nothing."""

    def __init__(
        self, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._reached = 0.0
        self._rung = False
        self._sleeping: anyio.CancelScope | None = None

    def now(self) -> float:
        """The clock's time, or the one up to which was slept, if that is later."""
        return max(self._clock(), self._reached)

    def ring(self) -> None:
        """Something happened: the sleep is over, or the next one will not begin."""
        self._rung = True
        if self._sleeping is not None:
            self._sleeping.cancel()

    def hush(self) -> None:
        """What happened so far is being seen to."""
        self._rung = False

    async def until(self, when: float) -> None:
        """Returns at that time, or when somebody rings; infinity is no time at all."""
        if self._rung:
            return
        now = self.now()
        with anyio.CancelScope() as self._sleeping:
            if when == math.inf:
                await anyio.sleep_forever()
            await self._sleep(max(when - now, 0.0))
            self._reached = max(when, now)
        self._sleeping = None


UNLISTED = 2
"""Failures in a row after which a task is asked for by itself: its list may be what fails."""

Due = tuple[Line | None, Sequence[Watched]]
"""A request to be made: a line with its tasks, or no line and one task."""


class Plan:
    """Puts tasks of one list together, and holds back what a provider is not to be asked now."""

    def __init__(self, clients: Clients, pace: Pace) -> None:
        self._clients = clients
        self._pace = pace
        self._swept_at: dict[Line, float] = {}

    def due(self, tasks: Iterable[Watched], now: float) -> list[Due]:
        """The requests for tasks that are due; what is held back gets a later time."""
        busy = {watched.provider for watched in tasks if watched.busy}
        waiting = [watched for watched in tasks if watched.runs and not watched.busy]
        alone, lines = self._sorted(waiting)
        found: list[Due] = [(None, [watched]) for watched in self._ready(alone, now)]
        for line, members in lines.items():
            ready = self._ready(members, now)
            again_at = self._swept_at.get(line, -math.inf) + self._pace.poll_s(line[0])
            if ready and again_at > now and not any(watched.urgent for watched in ready):
                for watched in ready:
                    watched.due_at = again_at
            elif ready:
                self._swept_at[line] = now
                found.append((line, members))
        return self._probing(found, busy, now)

    def _sorted(
        self, waiting: Sequence[Watched]
    ) -> tuple[list[Watched], dict[Line, list[Watched]]]:
        """Tasks that are asked for one by one, and those of which one list tells."""
        alone: list[Watched] = []
        lines: dict[Line, list[Watched]] = defaultdict(list)
        for watched in waiting:
            line = self._line_of(watched)
            (alone if line is None else lines[line]).append(watched)
        for line in [line for line, members in lines.items() if len(members) == 1]:
            alone += lines.pop(line)
        return alone, lines

    def _line_of(self, watched: Watched) -> Line | None:
        """The list that may answer for a task; None when it has to be asked for by itself."""
        found = watched.found
        if found is None or not watched.listed or watched.failures >= UNLISTED:
            return None
        if found.provider not in self._clients.names:
            return None
        configured = self._clients.configured(found.provider)
        record = found.record
        if not configured.row.lists or (record and record.base_url != configured.base_url):
            return None
        product = record.product if record and record.task_id else found.product
        return (found.provider, product) if product else None

    def _ready(self, tasks: Sequence[Watched], now: float) -> list[Watched]:
        return [w for w in tasks if w.due_at <= now and not self._is_quiet(w, now)]

    def _is_quiet(self, watched: Watched, now: float) -> bool:
        """Whether its provider wants to be left alone; who waits is told why."""
        quiet = self._pace.quiet(watched.provider)
        if quiet is None or quiet[0] <= now:
            return False
        watched.due_at, watched.error = quiet[0], quiet[1]
        if watched.urgent:
            watched.urgent, watched.looked_at = False, now
            watched.wake()
        return True

    def _probing(self, due: Sequence[Due], asked: set[str], now: float) -> list[Due]:
        """Of what is due, only one request to each provider that failed time after time; `asked`
        are the providers that are being asked."""
        kept: list[Due] = []
        for line, members in due:
            provider = members[0].provider
            if self._pace.is_doubtful(provider) and provider in asked:
                for watched in members:
                    watched.due_at = now + self._pace.poll_s(provider)
            else:
                asked.add(provider)
                kept.append((line, members))
        return kept
