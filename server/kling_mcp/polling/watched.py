"""The tasks of one wait: how they are, and what there is to say of them."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Literal

import anyio

from kling_mcp.ledger.records import followed
from kling_tools.errors import KlingError, NotConfigured, ProviderError, TaskNotFound
from kling_tools.products import Made
from kling_tools.results import ENDED, TaskView, WaitResult

if TYPE_CHECKING:
    from kling_mcp.ledger import Record
    from kling_mcp.tasks.lookup import Found
    from kling_tools.service import Report

__all__ = ["Kind", "ListKey", "Signal", "WaitState", "Watch", "Watched"]


NAMED = 3
"""Tasks that a progress sentence names."""

TOO_LONG = 1.5
"""Multiple of the usual time from which on a task takes longer than usual."""

REPORT_S = 5.0
"""Seconds between two reports of progress while nothing happens."""

LEAST_LOOK_S = 5
"""Seconds that the first look may take, also when the caller does not want to wait."""

NOT_ANSWERED = "Not answered in time; wait again."

View = Callable[["Found"], TaskView]

Rows = Callable[[Sequence[str]], Awaitable[Mapping[str, "Record"]]]
"""Reads rows of the ledger by their ids. Raises KlingError."""

WaitState = Literal["waiting", "asking", "saving", "over"]
"""The states of a watched task; `polling.scheduler` draws them."""


class Signal:
    """Wakes the one coroutine that waits for it. A signal that is set before the wait lets the wait
    return at once. `sleep` waits a number of seconds."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._sleep = sleep
        self._is_set = False
        self._waiting: anyio.CancelScope | None = None

    def set(self) -> None:
        """End the wait, or the next one."""
        self._is_set = True
        if self._waiting is not None:
            self._waiting.cancel()

    def clear(self) -> None:
        """Forget that it was set."""
        self._is_set = False

    async def wait(self, most_s: float = math.inf) -> bool:
        """Wait for the signal, `most_s` seconds at most, and clear it. Returns whether the seconds
        ran out first."""
        slept = False
        if not self._is_set:
            with anyio.CancelScope() as self._waiting:
                await (anyio.sleep_forever() if most_s == math.inf else self._sleep(most_s))
                slept = True
            self._waiting = None
        self._is_set = False
        return slept


class Watch:
    """What one caller waits for, in the caller's order and under the caller's ids. `changed` is set
    when something was learned of one of the tasks."""

    def __init__(self, changed: Signal) -> None:
        self.changed = changed
        self._tasks: dict[str, Watched] = {}
        self._asked_at_once: list[Watched] = []

    def add(self, task_id: str, watched: Watched) -> None:
        """Wait for one more task."""
        self._tasks[task_id] = watched
        if self not in watched.watches:
            watched.watches = (*watched.watches, self)
        if watched.urgent:
            self._asked_at_once.append(watched)

    @property
    def count(self) -> int:
        """How many tasks it waits for."""
        return len(self._tasks)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for but files."""
        return all(watched.over for watched in self._tasks.values())

    @property
    def saving(self) -> bool:
        """Whether videos of these tasks are being saved."""
        return any(watched.saving for watched in self._tasks.values())

    @property
    def answer_pending(self) -> bool:
        """Whether a request that was to be made at once has not been answered yet."""
        return any(watched.urgent for watched in self._asked_at_once)

    @property
    def last_error(self) -> KlingError | None:
        """Why one of the tasks could not be asked for the last time."""
        return next((watched.error for watched in self._tasks.values() if watched.error), None)

    @property
    def lasting_error(self) -> KlingError | None:
        """An error that concerns every task and that no waiting mends; None where each id answers
        for itself: for unknown ones, and for known tasks of a provider that is set up no more."""
        tasks = self._tasks.values()
        errors = [watched.error for watched in tasks if watched.missing and watched.error]
        if len(errors) < len(tasks):
            return None
        return next((watched.error for watched in tasks if not watched.answers_for_itself), None)

    async def until_over(
        self,
        timeout_s: float,
        report: Report,
        view: View,
        rows: Rows,
        usual_s: Callable[[Record], float | None],
        clock: Callable[[], float],
        unsent: Callable[[Record], bool],
    ) -> WaitResult:
        """Wait until the tasks are over and their files written, `timeout_s` seconds at most, and
        report where they stand on the way. A first look may take `LEAST_LOOK_S` in any case. A
        request that nobody sends (`unsent`) is not waited for. For the answer the `rows` are read.

        Raises an error that no waiting mends only when it concerns every task.
        """
        began, said, said_at = clock(), "", 0.0
        while True:
            waited = clock() - began
            over = all(watched.over or watched.is_left(unsent) for watched in self._tasks.values())
            pending, saving = self.answer_pending, over and self.saving
            ended = over and not saving
            most_s = max(timeout_s, LEAST_LOOK_S if pending or saving else 0)
            if error := self.lasting_error:
                raise error
            sentence = self.sentence(view, usual_s)
            unsure = waited < REPORT_S and self._is_unsure(usual_s)
            if not (pending or unsure) and (sentence != said or waited >= said_at + REPORT_S):
                said, said_at = sentence, waited
                whole = max(timeout_s, waited)
                await report(whole if ended else waited, whole, sentence)
            if ended or waited >= most_s:
                return await self._result(view, rows, done=over)
            await self.changed.wait(min(REPORT_S, most_s - waited))

    def sentence(self, view: View, usual_s: Callable[[Record], float | None]) -> str:
        """Where things stand, for a progress bar."""
        tasks = self._tasks.values()
        running = [watched for watched in tasks if watched.saving or not watched.over]
        words = [f"{len(tasks) - len(running)} of {len(tasks)} done"]
        for watched in running[:NAMED]:
            if watched.found is not None:
                record = watched.found.record
                usual = (usual_s(record) or 0.0) if record and record.task_id else 0.0
                asked = watched.looked_at is not None
                words.append(_progress(view(watched.found), usual, asked=asked))
        return ", ".join(words)

    def _is_unsure(self, usual_s: Callable[[Record], float | None]) -> bool:
        """Whether it is still being read how long one of the tasks usually takes."""
        running = (
            watched for watched in self._tasks.values() if watched.saving or not watched.over
        )
        records = (watched.record for watched in islice(running, NAMED))
        return any(record and usual_s(record) is None for record in records)

    async def _result(self, view: View, rows: Rows, *, done: bool) -> WaitResult:
        """Every task as last seen."""
        ids = [watched.record.id for watched in self._tasks.values() if watched.record]
        try:
            whole = await rows(ids) if ids else {}
        except KlingError:  # the last known state stands
            whole = {}
        tasks = [_view(task_id, watched, view, whole) for task_id, watched in self._tasks.items()]
        return WaitResult(done=done, tasks=tasks)


def _view(task_id: str, watched: Watched, view: View, rows: Mapping[str, Record]) -> TaskView:
    found, record = watched.found, watched.record
    if found is not None and record is not None:
        found = replace(found, record=rows.get(record.id, record))
    seen = view(found) if found else TaskView(task_id=task_id, status="unknown")
    if watched.missing and watched.error:
        return seen.model_copy(update={"error": watched.error.kind, "next": str(watched.error)})
    if watched.error and not watched.over:
        return seen.model_copy(update={"next": str(watched.error)})
    if watched.urgent or not watched.found:
        return seen.model_copy(update={"next": NOT_ANSWERED})
    return seen


def _progress(view: TaskView, usual_s: float, *, asked: bool) -> str:
    """A running task: its state, for how long, how long is usual, and how far a film is. Only one
    that was `asked` for can be said to take longer."""
    words = f"{view.task_id} {view.status}"
    if view.status in ENDED:
        return f"{words}, being saved"
    if view.elapsed_s is not None:
        words += f" for {view.elapsed_s} s"
    if view.elapsed_s is not None and usual_s >= 1:
        rounded = round(usual_s, -1 if usual_s >= 20 else 0)
        longer = asked and view.elapsed_s > TOO_LONG * usual_s
        words += f", {'longer than the usual' if longer else 'usually about'} {rounded:.0f} s"
    return f"{words}, {view.file}" if view.file else words


ListKey = tuple[str, Made | None]
"""A provider and a product: what one legacy list answers for. Without a product, the new standard
answers for whatever product and standard made the tasks."""


Kind = tuple[str, tuple[str, str, str]]
"""A provider, and the model, mode and duration of tasks that take about as long there."""


class Watched:
    """One task, shared by all that wait for it; `watches` are theirs.

    `asked_as` is the id that it is asked with, `found` its last state, `error` why it could not be
    asked for the last time. Times are seconds since the epoch by the scheduler's clock: `asked_at`
    is the last request, `looked_at` the last answer of any kind, `read_at` the last read of its
    row, `due_at` the next request, which is not made before `held_until`. `phase` (0 to 1) is its
    place among the others, so that tasks of one age are not asked for in the same moment; `kind` is
    that of tasks that take about as long. `listed` is False once its provider's list did not show
    it. `failures` counts requests in a row that failed, `fruitless` those that did not find a task
    whose create was not answered. `urgent` while somebody waits for an answer at once, `busy` while
    a request is under way, `saving` while its video is written.
    """

    __slots__ = (
        "_found",
        "asked_as",
        "asked_at",
        "busy",
        "due_at",
        "error",
        "failures",
        "fruitless",
        "held_until",
        "kind",
        "listed",
        "looked_at",
        "phase",
        "read_at",
        "saving",
        "urgent",
        "watches",
    )

    def __init__(self, asked_as: str, found: Found | None, phase: float) -> None:
        self.asked_as = asked_as
        self.found = found
        self.phase = phase
        self.error: KlingError | None = None
        self.failures = 0
        self.fruitless = 0
        self.asked_at = 0.0
        self.looked_at: float | None = None
        self.read_at = 0.0
        self.due_at = 0.0
        self.held_until = 0.0
        self.kind: Kind | None = None
        self.urgent = False
        self.listed = True
        self.busy = False
        self.saving = False
        self.watches: tuple[Watch, ...] = ()

    @property
    def found(self) -> Found | None:
        """Its last state; its row as it is `followed`."""
        return self._found

    @found.setter
    def found(self, found: Found | None) -> None:
        if found is not None and found.record is not None:
            found = replace(found, record=followed(found.record))
        self._found = found

    @property
    def state(self) -> WaitState:
        """Where it is in the drawing of `polling.scheduler`."""
        if self.saving:
            return "saving"
        if self.over:
            return "over"
        return "asking" if self.busy else "waiting"

    @property
    def record(self) -> Record | None:
        """Its row in the ledger; None for a task made elsewhere, or not found yet."""
        return self.found.record if self.found else None

    @property
    def provider(self) -> str:
        """The name of its provider; empty while nobody has found it."""
        return self.found.provider if self.found else ""

    @property
    def asks_at(self) -> float:
        """Time of the next request."""
        return self.due_at if self.urgent else max(self.due_at, self.held_until)

    def is_one_of_few(self, few: int) -> bool:
        """Whether somebody waits for this task and no more than so many in all."""
        return any(watch.count <= few for watch in self.watches)

    @property
    def missing(self) -> bool:
        """Whether no further request can help: nobody knows the task, or it cannot be asked for."""
        error = self.error
        return error is not None and not (isinstance(error, ProviderError) and error.retryable)

    @property
    def answers_for_itself(self) -> bool:
        """Whether its error says nothing of other tasks."""
        kept = self.record is not None and isinstance(self.error, NotConfigured)
        return kept or isinstance(self.error, TaskNotFound)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for but its file."""
        known = (self.found.record or self.found.task) if self.found else None
        return self.missing or (known is not None and known.status in ENDED)

    def is_left(self, unsent: Callable[[Record], bool]) -> bool:
        """Whether it is a request that nobody sends."""
        return self.record is not None and unsent(self.record)

    def learn(self, outcome: Found | KlingError, now: float) -> None:
        """Keep what was learned of it just now: its state, or why it could not be asked for."""
        self.looked_at, self.urgent = now, False
        if isinstance(outcome, KlingError):
            self.error = outcome
            self.failures += 1
            return
        self.found, self.error, self.failures = outcome, None, 0
        record = outcome.record
        lost = record is not None and record.is_unanswered
        self.fruitless = self.fruitless + 1 if lost else 0

    def remembered(self) -> Watched:
        """A copy with what is kept of it when nobody waits any more."""
        kept = Watched(self.asked_as, self.found, self.phase)
        kept.error, kept.failures, kept.fruitless = self.error, self.failures, self.fruitless
        kept.looked_at, kept.listed = self.looked_at, self.listed
        return kept

    def notify(self) -> None:
        """Wake all that wait for it."""
        for watch in self.watches:
            watch.changed.set()
