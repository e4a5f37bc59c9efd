"""Which requests are to be made now, and which of them by this process."""

from __future__ import annotations

import math
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from kling_mcp.ledger.records import account_at
from kling_mcp.polling.watched import ListKey, Watched
from kling_tools.errors import KlingError

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger
    from kling_mcp.polling.pace import Pace
    from kling_mcp.providers.configured import Configured

__all__ = ["Due", "Plan", "PollClaims"]


UNLISTED = 2
"""Failures in a row after which a task is asked for by itself: its list may be what fails."""

Due = tuple[ListKey | None, Sequence[Watched]]
"""A request to make: a list with its tasks, or no list and one task."""


class Plan:
    """Groups tasks of one list, and delays requests to a provider that asked to be left alone. It
    writes only `due_at`, `urgent`, `looked_at` and `error` of a task: when it is asked for, and why
    not yet."""

    def __init__(self, providers: Mapping[str, Configured], pace: Pace) -> None:
        self._providers = providers
        self._pace = pace
        self._swept_at: dict[ListKey, float] = {}

    def due(self, tasks: Iterable[Watched], now: float) -> list[Due]:
        """The requests for tasks that are due at `now`; delayed tasks get a later `due_at`."""
        busy = {watched.provider for watched in tasks if watched.busy}
        waiting = [watched for watched in tasks if watched.state == "waiting"]
        alone, lists = self._sorted(waiting)
        found: list[Due] = [(None, [watched]) for watched in self._ready(alone, now)]
        for key, members in lists.items():
            ready = self._ready(members, now)
            again_at = self._swept_at.get(key, -math.inf) + self._pace.poll_s(key[0])
            if ready and again_at > now and not any(watched.urgent for watched in ready):
                for watched in ready:
                    watched.due_at = again_at
            elif ready:
                self._swept_at[key] = now
                found.append((key, members))
        return self._probing(found, busy, now)

    def _sorted(
        self, waiting: Sequence[Watched]
    ) -> tuple[list[Watched], dict[ListKey, list[Watched]]]:
        """Tasks that are asked for one by one, and tasks that share a list. Those of several
        products or of both standards share one request where the provider can answer it."""
        alone: list[Watched] = []
        lists: dict[ListKey, list[Watched]] = defaultdict(list)
        for watched in waiting:
            key = self._list_of(watched)
            (alone if key is None else lists[key]).append(watched)
        for provider in {key[0] for key in lists}:
            of_all: ListKey = (provider, None)
            keys = [key for key in lists if key[0] == provider]
            if len(keys) > 1 and self._providers[provider].reads_all:
                lists[of_all] = [watched for key in keys for watched in lists.pop(key)]
        for key in [key for key, members in lists.items() if len(members) == 1]:
            alone += lists.pop(key)
        return alone, lists

    def _list_of(self, watched: Watched) -> ListKey | None:
        """The list that may answer for a task: that of its product, or the new standard's for a
        task that was made on it. None when only a query can."""
        found = watched.found
        if found is None or not watched.listed or watched.failures >= UNLISTED:
            return None
        configured, record = self._providers.get(found.provider), found.record
        if configured is None or not configured.row.lists:
            return None
        if record and account_at(record.base_url) != account_at(configured.base_url):
            return None
        wire = record.wire if record and record.task_id else found.wire
        if wire == "new":
            return (found.provider, None) if configured.reads_all else None
        product = record.product if record and record.task_id else found.product
        return (found.provider, product) if product else None

    def _ready(self, tasks: Sequence[Watched], now: float) -> list[Watched]:
        return [w for w in tasks if w.due_at <= now and not self._put_off(w, now)]

    def _put_off(self, watched: Watched, now: float) -> bool:
        """Delay a task whose provider asked to be left alone, and give the reason to its watches.
        Returns whether it did."""
        quiet = self._pace.quiet(watched.provider)
        if quiet is None or quiet[0] <= now:
            return False
        watched.due_at, watched.error = quiet[0], quiet[1]
        if watched.urgent:
            watched.urgent, watched.looked_at = False, now
            watched.notify()
        return True

    def _probing(self, due: Sequence[Due], asked: set[str], now: float) -> list[Due]:
        """The requests that are due, but only one to each provider that failed time after time;
        `asked` are the providers that are being asked."""
        kept: list[Due] = []
        for key, members in due:
            provider = members[0].provider
            if self._pace.is_doubtful(provider) and provider in asked:
                for watched in members:
                    watched.due_at = now + self._pace.poll_s(provider)
            else:
                asked.add(provider)
                kept.append((key, members))
        return kept


CLAIM_LEAST_S = 15.0
CLAIM_MOST_S = 90.0
"""Seconds that a claim lasts; longer between requests that lie far apart, so that it holds until
the next one."""

BEYOND_NEXT = 1.5
"""Multiple of the time between two requests that a claim lasts."""


class PollClaims:
    """Claims which tasks this process polls. With a ledger that is not shared: all of them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._owner = uuid.uuid4().hex

    async def claim(self, tasks: Sequence[Watched], now: float) -> list[Watched]:
        """Those of the tasks that this process asks the provider for now. A task that its provider
        or the ledger does not have yet is never another process's."""
        if not self._ledger.is_shared:
            return list(tasks)
        rows = {row_id: watched for watched in tasks if (row_id := _row_id(watched))}
        gap_s = max((now - w.looked_at for w in tasks if w.looked_at is not None), default=0.0)
        lasts_s = min(max(BEYOND_NEXT * gap_s, CLAIM_LEAST_S), CLAIM_MOST_S)
        try:
            mine = await self._ledger.claim_polling(rows, self._owner, lasts_s)
        except KlingError:  # the request that follows reports it; to ask twice beats never asking
            return list(tasks)
        return [watched for watched in tasks if (_row_id(watched) or "") in {*mine, ""}]

    async def release(self, tasks: Sequence[Watched]) -> None:
        """Let other processes ask for these tasks: nobody waits for them here any more."""
        if self._ledger.is_shared:
            rows = [row_id for watched in tasks if (row_id := _row_id(watched))]
            try:
                await self._ledger.release_polling(rows, self._owner)
            except KlingError:  # claims end by themselves
                return


def _row_id(watched: Watched) -> str | None:
    record = watched.record
    return record.id if record and record.task_id else None
