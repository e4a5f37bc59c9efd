"""When a task is asked for: by how long such a task usually takes (`usual.json`), and by what
failed; which requests are to be made now, and which of them by this process."""

from __future__ import annotations

import math
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from kling_mcp.ledger.records import KEPT_S, account_at
from kling_mcp.polling.watched import Kind, ListKey, Watched
from kling_tools.errors import KlingError, ProviderError
from kling_tools.products import ASSETS, MADE, Made

if TYPE_CHECKING:
    from kling_mcp.ledger import Ledger, NewRow, Record
    from kling_mcp.polling.watched import Watched
    from kling_mcp.providers.configured import Configured
    from kling_mcp.tasks.lookup import Found

__all__ = ["Due", "Pace", "Plan", "PollClaims", "Rhythm", "measured_s", "usual_rows", "usual_s"]


MODE = "std"
DURATION = "5"
"""Kling's defaults for a request that names neither."""


class UsualRow(BaseModel):
    """`usual_s` is the seconds from the submit to the end; an empty field stands for any value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    mode: str
    duration: str
    usual_s: float = Field(gt=0)
    source: str
    date: str


@cache
def usual_rows() -> list[UsualRow]:
    """The rows of the table; the first row that fits counts."""
    text = files("kling_mcp.polling").joinpath("usual.json").read_text(encoding="utf-8")
    return TypeAdapter(list[UsualRow]).validate_json(text)


def usual_s(model_name: str, request: dict[str, object]) -> float:
    """Seconds that a request of this model usually takes, by the first row that fits; the last
    one fits all."""
    return _usual_s(_asked(model_name, request))


def _asked(model_name: str, request: dict[str, object]) -> tuple[str, str, str]:
    """What decides how long a request takes: its model, mode and duration."""
    mode, duration = str(request.get("mode") or MODE), str(request.get("duration") or DURATION)
    return model_name, mode, duration


MEASURED = 3
"""Videos of one kind, at least, whose time counts in the place of the table's."""

MEASURED_IN_S = 30 * 86_400.0
"""Seconds that such videos may lie back."""

MEASURED_AMONG = 50
"""Videos of one model and product, the newest ones, among which those of a kind are looked for."""


async def measured_s(ledger: Ledger, like: NewRow | Record) -> float | None:
    """Seconds that the last requests like this one took at its provider, in the median; None where
    too few are known. Only those count whose end the provider told: a video that ended while nobody
    looked did not take until somebody did."""
    if not ledger.exists:
        return None
    kind = _asked(like.model_name, dict(like.request))
    rows = await ledger.page(
        limit=MEASURED_AMONG,
        offset=0,
        status="succeed",
        provider=like.provider,
        product=like.product,
        model_name=like.model_name,
        since=ledger.now() - MEASURED_IN_S,
    )
    took = [
        row.expires_at - KEPT_S - row.created_at
        for row in rows
        if row.expires_at and row.ended_at and row.expires_at < row.ended_at + KEPT_S
        if not row.tries and row.sandbox == like.sandbox
        if _asked(row.model_name, row.request) == kind
    ]
    is_shorter = like.sandbox or MADE[like.product].result == "picture"
    least_s = 0 if is_shorter else CREDIBLE_LEAST * _usual_s(kind)
    took = [each for each in took if least_s < each <= CREDIBLE * _usual_s(kind)]
    return median(took) if len(took) >= MEASURED else None


CREDIBLE_LEAST = 0.2
"""Part of the table's time up to which a time is none that a video took: the provider's clock is
late. The table tells of videos that a provider makes; images and a sandbox's videos take less."""

CREDIBLE = 20
"""Multiple of the table's time above which a time is none that a video took: a clock is wrong, or
the provider wrote to the task after its end."""

MEASURED_FOR_S = 600.0
"""Seconds for which what was measured is not read again, unless a task of its kind ends here."""

MEASURED_APART_S = 30.0
"""Seconds between two readings of one kind, also when its tasks end one after the other."""

Like = tuple[Kind, Made, bool]
"""Tasks that are measured together: their kind, their product, and whether a sandbox plays them."""


@dataclass(slots=True)
class Measured:
    """What a kind of task took: `usual_s` seconds by the ledger (None: too few are known), read
    `at` this time, for tasks that ended before `read_again` was set; `reading` while it is read."""

    at: float = -math.inf
    usual_s: float | None = None
    read_again: bool = False
    reading: bool = False

    def is_due(self, now: float) -> bool:
        """Whether it is to be read now."""
        age_s = now - self.at
        lasts_s = MEASURED_APART_S if self.read_again else MEASURED_FOR_S
        return not self.reading and age_s >= lasts_s


@lru_cache
def _usual_s(asked: tuple[str, str, str]) -> float:
    return next(
        row.usual_s
        for row in usual_rows()
        if all(
            not known or known == wanted
            for known, wanted in zip((row.model, row.mode, row.duration), asked, strict=True)
        )
    )


FIRST = 0.5
"""Part of the usual time after which the first request is due."""
EARLY = 0.125
"""Part of the usual time between two requests before the end is near."""
NEAR = 0.75
"""Part of the usual time from which on the end is near."""
SILENT = 3.0
"""Multiple of the usual time from which on the task is silent for too long."""
SILENT_LOOKS = 24
"""Requests for a task of no usual time before it counts as silent."""
RARER = 0.05
"""Part of its age between two requests for a silent task."""
RAREST_S = 60.0
HASTE = 0.1
"""Part of its age between two requests for a task on this machine, which may end at once."""
SOONEST_S = 0.5


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The requests for one task. `usual_s` is the seconds that it usually takes, `poll_s` those
    between two looks near its end: a task that ends there is noticed after half of them in the
    median. `local` when the provider is on this machine: asking costs nothing, and it may be a
    sandbox, whose tasks end within seconds.
    """

    usual_s: float
    poll_s: float
    local: bool = False

    @property
    def first_s(self) -> float:
        """Seconds after the submit at which the first request is due."""
        return 0.0 if self.local else FIRST * self.usual_s

    def wait_s(self, age_s: float) -> float:
        """Seconds until the next request for a task that was submitted `age_s` seconds ago."""
        if age_s >= max(SILENT * self.usual_s, SILENT_LOOKS * self.poll_s):
            return min(max(2 * self.poll_s, RARER * age_s), RAREST_S)
        if self.local:
            return min(max(HASTE * age_s, SOONEST_S), self.poll_s)
        if age_s < self.first_s:
            return self.first_s - age_s
        early = age_s < NEAR * self.usual_s
        return max(EARLY * self.usual_s, self.poll_s) if early else self.poll_s


SCOUTS = 16
"""Tasks of one kind that are asked for at their own times. Of more, the others are asked for once
one of their kind has ended at a lower age, or when they take longer than usual: when the scouts
have not ended yet, few others have. A caller who waits for no more tasks than that has scouts
alone."""

LATE = 1.5
"""Multiple of the usual time from which on a task is asked for whatever the scouts say."""

LEARNED_FOR_S = 3_600.0
"""Seconds for which the lowest age at which a task of one kind has ended is remembered."""

QUERIES_A_SECOND = 80
"""Single queries to one provider in one second, for all tasks together."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

DOWN = 3
"""Failures in a row after which a provider counts as down: one request at a time then finds out for
all its tasks."""

QUEUED_S = 1.0
"""Seconds between two tries for a queued row; no provider is asked before the row is due."""

MOST_DOUBLINGS = 8

SAFETY_NET = 6
"""Multiple of the time between two requests where the provider calls back when a task ends."""

TRUSTED_S = 3_600.0
"""Seconds for which a callback that proved true makes requests rarer."""


class Pace:
    """Decides from the providers' rows, the usual durations and what went wrong.

    `providers` are the configured ones by name; `sandbox_s` is the seconds that a task of the
    embedded sandbox takes.
    """

    def __init__(self, providers: Mapping[str, Configured], sandbox_s: float) -> None:
        self._providers = providers
        self._most_poll_s = max(provider.row.poll_s for provider in providers.values())
        self._sandbox_s = sandbox_s
        self._failures: dict[str, int] = {}
        self._quiet: dict[str, tuple[float, KlingError]] = {}
        self._called_back: dict[str, float] = {}
        self._soonest: dict[Kind, tuple[float, float]] = {}
        self._measured: dict[Like, Measured] = {}

    def kind(self, record: Record) -> Kind | None:
        """What the row's task has in common with those that take as long. None where nothing can be
        learned from them: at a provider on this machine, for an element or a voice."""
        provider = self._providers.get(record.provider)
        if provider is None or _is_local(provider) or record.product in ASSETS:
            return None
        return record.provider, _asked(record.model_name, record.request)

    def ended(self, kind: Kind, record: Record) -> None:
        """Learn at what age a task of this kind was seen to have ended."""
        at = record.ended_at
        if record.status == "succeed" and at and not record.tries:
            if known := self._measured.get((kind, record.product, record.sandbox)):
                known.read_again = True
            age_s, learned_at = self._soonest.get(kind, (math.inf, at))
            if at - record.created_at <= age_s or at > learned_at + LEARNED_FOR_S:
                self._soonest[kind] = at - record.created_at, at

    def held_s(self, kind: Kind) -> float:
        """Age before which only scouts of this kind are asked for, in seconds."""
        age_s, _ = self._soonest.get(kind, (math.inf, 0.0))
        return min(LATE * _usual_s(kind[1]), age_s)

    def to_measure(self, records: Iterable[Record], now: float) -> dict[Like, Record]:
        """One of the running tasks of each kind that is to be measured now; it counts as being
        read from here on, so that `measure` is to follow."""
        found: dict[Like, Record] = {}
        for record in records:
            kind = self.kind(record)
            if kind is None or record.is_film or record.ended_at is not None:
                continue
            like = kind, record.product, record.sandbox
            measured = self._measured.setdefault(like, Measured())
            if measured.is_due(now):
                found[like], measured.reading = record, True
        return found

    async def measure(self, ledger: Ledger, likes: Mapping[Like, Record], now: float) -> None:
        """Learn what tasks like these took last; where the ledger cannot tell, what was known
        before stands, or else the table says how long is usual."""
        try:
            for like, record in likes.items():
                measured = self._measured[like]
                measured.at, measured.read_again = now, False
                try:
                    measured.usual_s = await measured_s(ledger, record)
                except KlingError:
                    measured.read_again = True
                measured.reading = False
        finally:
            for like in likes:
                self._measured[like].reading = False

    def usual_s(self, record: Record) -> float | None:
        """Seconds that this task usually takes from its submit to its end, by those that were
        measured or by the table; those of a film were estimated when it was asked for. None while
        it is not known yet which of them holds."""
        if kind := self.kind(record):
            measured = self._measured.get((kind, record.product, record.sandbox), Measured())
            if measured.usual_s is not None:
                return measured.usual_s
            if measured.reading:
                return None
        return self.expected_s(record)

    def expected_s(self, record: Record) -> float:
        """The same without what was measured. Requests keep to it, as a task may be faster than the
        last ones were."""
        if record.is_film:
            return float(record.request.get("usual_s") or 0.0)
        provider = self._providers.get(record.provider)
        if provider and provider.embedded:
            return self._sandbox_s
        if asset := ASSETS.get(record.product):
            return asset.usual_s
        return usual_s(record.model_name, record.request)

    def poll_s(self, provider: str) -> float:
        """Seconds between two requests near the end of a task; for a provider that is not
        configured, those of the most patient one."""
        configured = self._providers.get(provider)
        return configured.row.poll_s if configured else self._most_poll_s

    def first_at(self, watched: Watched, now: float) -> float:
        """Time of the first request for a newly watched task, in seconds since the epoch."""
        if watched.looked_at is not None:
            return max(now, self.next_at(watched, watched.looked_at))
        found = watched.found
        if found is None or (found.record is not None and found.record.task_id is None):
            return now
        if found.provider not in self._providers:  # the request says so at once
            return now
        rhythm, age_s = self._rhythm(found, now), _age_s(watched, now)
        if age_s >= rhythm.first_s:
            return now
        return now + rhythm.wait_s(age_s) + watched.phase * rhythm.poll_s

    def next_at(self, watched: Watched, now: float) -> float:
        """Time of the next request after one made `now`, both in seconds since the epoch."""
        found = watched.found
        poll_s = self.poll_s(found.provider if found else "")
        if watched.failures:
            asked_s = getattr(watched.error, "retry_after_s", None) or 0.0
            return now + max(asked_s, _backoff_s(poll_s, watched.failures))
        if found is None:
            return now + poll_s
        if found.record is not None and found.record.task_id is None:
            queued = found.record.status == "queued"
            return now + (QUEUED_S if queued else _backoff_s(poll_s, watched.fruitless))
        return now + self._rhythm(found, now).wait_s(_age_s(watched, now))

    def quiet(self, provider: str) -> tuple[float, KlingError] | None:
        """Until when (seconds since the epoch) this provider is not asked, and why."""
        return self._quiet.get(provider)

    def is_doubtful(self, provider: str) -> bool:
        """Whether it failed `DOWN` times in a row: one request then finds out for all its tasks."""
        return self._failures.get(provider, 0) >= DOWN

    def heard_from(self, provider: str) -> None:
        """The provider answered. A time until which it asked to be left alone still holds."""
        self._failures.pop(provider, None)

    def called_back(self, provider: str, now: float) -> None:
        """The provider called back that a task had ended, and it had: for a while its tasks are
        asked for more rarely, in case a callback is lost."""
        self._called_back[provider] = now

    def failed(self, provider: str, error: KlingError, now: float) -> None:
        """The provider could not be asked. It is left alone for as long as it says, and longer and
        longer after `DOWN` failures in a row."""
        if not (isinstance(error, ProviderError) and error.retryable):
            return
        count = self._failures[provider] = self._failures.get(provider, 0) + 1
        quiet_s = error.retry_after_s or 0.0
        if count >= DOWN:
            quiet_s = max(quiet_s, _backoff_s(self.poll_s(provider), count - DOWN))
        if quiet_s:
            self._quiet[provider] = (now + quiet_s, error)

    def just_answered(self, record: Record, now: float) -> bool:
        """Whether the provider answered for the row's task so shortly before `now` (seconds since
        the epoch) that asking again would be too soon."""
        age_s = now - record.updated_at
        return record.task_id is not None and 0 <= age_s < self.poll_s(record.provider) / 2

    def _rhythm(self, found: Found, now: float) -> Rhythm:
        usual = self.expected_s(found.record) if found.record else usual_s("", {})
        configured = self._providers.get(found.provider)
        if configured is None:  # the request that follows reports it
            return Rhythm(usual, self._most_poll_s, local=False)
        poll_s = configured.row.poll_s
        if self._called_back.get(found.provider, -math.inf) > now - TRUSTED_S:
            poll_s *= SAFETY_NET
        return Rhythm(usual, poll_s, local=_is_local(configured))


def _is_local(provider: Configured) -> bool:
    return provider.embedded or urlsplit(provider.base_url).hostname in LOOPBACK


def _backoff_s(poll_s: float, times: int) -> float:
    return float(min(poll_s * 2 ** min(times, MOST_DOUBLINGS), RAREST_S))


def _age_s(watched: Watched, now: float) -> float:
    """Seconds since the provider got the task. A row that was queued here reached the provider
    later than it was made: the time of its last write is nearer."""
    assert watched.found is not None
    state, record = watched.found.state, watched.record
    began = record.updated_at if record and record.tries else state.created_at or now
    return max(0.0, now - began)


UNLISTED = 2
"""Failures in a row after which a task is asked for by itself: its list may be what fails."""

Due = tuple[ListKey | None, Sequence[Watched]]
"""A request to make: a list with its tasks, or no list and one task."""


class Plan:
    """Groups tasks of one list, has scouts go before tasks of their kind, and delays requests to a
    provider that asked to be left alone. It writes only `due_at`, `held_until`, `urgent`,
    `looked_at` and `error` of a task: when it is asked for, and why not yet."""

    def __init__(self, providers: Mapping[str, Configured], pace: Pace) -> None:
        self._providers = providers
        self._pace = pace
        self._swept_at: dict[ListKey, float] = {}
        self._second = 0.0
        self._queries = Counter[str]()

    def due(self, tasks: Iterable[Watched], now: float) -> list[Due]:
        """The requests for tasks that are due at `now`; delayed tasks get a later `due_at`."""
        busy = {watched.provider for watched in tasks if watched.busy}
        waiting = [watched for watched in tasks if watched.state == "waiting"]
        if all(watched.due_at > now for watched in waiting):
            return []
        alone, lists = self._sorted(waiting)
        self._hold(tasks, [watched for watched in alone if watched.due_at <= now])
        ready = self._within_budget(self._ready(alone, now), now)
        found: list[Due] = [(None, [watched]) for watched in ready]
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

    def _hold(self, tasks: Iterable[Watched], alone: Sequence[Watched]) -> None:
        """Leave the tasks behind the first `SCOUTS` of a kind until one of it has ended. They are
        asked for within half a round then: some of them ended before."""
        if not alone:
            return
        running = Counter[Kind]()
        behind = set[Watched]()
        for watched in tasks:
            if watched.kind and not watched.over:
                running[watched.kind] += 1
                if running[watched.kind] > SCOUTS:
                    behind.add(watched)
        ages_s = {
            kind: self._pace.held_s(kind) for kind, count in running.items() if count > SCOUTS
        }
        for watched in alone:
            watched.held_until = 0.0
            record = watched.record
            if watched not in behind or not (watched.kind and record and record.task_id):
                continue
            if not record.tries and not watched.is_one_of_few(SCOUTS):
                spread_s = watched.phase * self._pace.poll_s(record.provider) / 2
                watched.held_until = record.created_at + ages_s[watched.kind] + spread_s

    def _within_budget(self, ready: list[Watched], now: float) -> list[Watched]:
        """Those for which there are queries left in this second, the ones that were not asked for
        longest first; the others are due in the next one."""
        if self._second != math.floor(now):
            self._second, self._queries = math.floor(now), Counter()
        kept = []
        for watched in sorted(ready, key=lambda one: (not one.urgent, one.asked_at)):
            if self._queries[watched.provider] < QUERIES_A_SECOND:
                self._queries[watched.provider] += 1
                kept.append(watched)
            else:
                watched.due_at = self._second + 1
        return kept

    def _ready(self, tasks: Sequence[Watched], now: float) -> list[Watched]:
        return [w for w in tasks if w.asks_at <= now and not self._put_off(w, now)]

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
        claimed = {*mine, ""}
        return [watched for watched in tasks if (_row_id(watched) or "") in claimed]

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
