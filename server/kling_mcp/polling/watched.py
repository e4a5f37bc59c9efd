"""The tasks of one wait: how they are, and what there is to say of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import anyio

from kling_tools.errors import KlingError, ProviderError, TaskNotFound
from kling_tools.products import Product
from kling_tools.results import ENDED, TaskView, WaitResult

if TYPE_CHECKING:
    from kling_mcp.ledger import Record
    from kling_mcp.tasks.lookup import Found

__all__ = ["Line", "Watch", "Watched"]


NAMED = 3
"""Tasks that a progress sentence names."""

TOO_LONG = 1.5
"""Multiple of the usual time from which on a task takes longer than usual."""

NOT_ANSWERED = "Not answered in time; wait again."

View = Callable[["Found"], TaskView]


class Watch:
    """What one caller waits for, in the caller's order and under the caller's ids."""

    def __init__(self) -> None:
        self._tasks: dict[str, Watched] = {}
        self._expected: list[Watched] = []
        self._pausing: anyio.CancelScope | None = None
        self._woken = False

    def add(self, task_id: str, watched: Watched) -> None:
        """Wait for one more task."""
        self._tasks[task_id] = watched
        watched.watches.add(self)
        if watched.urgent:
            self._expected.append(watched)

    def wake(self) -> None:
        """Something was seen of one of the tasks."""
        self._woken = True
        if self._pausing is not None:
            self._pausing.cancel()

    async def news(self, sleep: Callable[[float], Awaitable[None]], most_s: float) -> None:
        """Returns when something was seen of a task, or after some seconds."""
        if not self._woken:
            with anyio.CancelScope() as self._pausing:
                await sleep(most_s)
            self._pausing = None
        self._woken = False

    @property
    def done(self) -> bool:
        """Whether there is nothing more to wait for but files."""
        return all(watched.over for watched in self._tasks.values())

    @property
    def saving(self) -> bool:
        """Whether videos of these tasks are being saved."""
        return any(watched.saving for watched in self._tasks.values())

    @property
    def unseen(self) -> bool:
        """Whether a look is still to come that was asked for at once."""
        return any(watched.urgent for watched in self._expected)

    @property
    def trouble(self) -> KlingError | None:
        """What stood in the way of the last look at one of the tasks."""
        return next((watched.error for watched in self._tasks.values() if watched.error), None)

    @property
    def failure(self) -> KlingError | None:
        """What no waiting mends, if it concerns every task and is not just an unknown id."""
        tasks = self._tasks.values()
        errors = [watched.error for watched in tasks if watched.missing and watched.error]
        if len(errors) < len(tasks):
            return None
        mendable = all(isinstance(error, TaskNotFound) for error in errors)
        return None if mendable else errors[0]

    def sentence(self, view: View, usual_s: Callable[[Record], float]) -> str:
        """Where things stand, for a progress bar."""
        tasks = self._tasks.values()
        running = [watched for watched in tasks if watched.saving or not watched.over]
        words = [f"{len(tasks) - len(running)} of {len(tasks)} done"]
        for watched in running[:NAMED]:
            if watched.found is not None:
                record = watched.found.record
                usual = usual_s(record) if record and record.task_id else 0.0
                words.append(_progress(view(watched.found), usual))
        return ", ".join(words)

    def result(self, view: View) -> WaitResult:
        """Every task as last seen."""
        tasks = [self._view(task_id, watched, view) for task_id, watched in self._tasks.items()]
        return WaitResult(done=self.done, tasks=tasks)

    def _view(self, task_id: str, watched: Watched, view: View) -> TaskView:
        seen = view(watched.found) if watched.found else TaskView(task_id=task_id, status="unknown")
        if watched.missing and watched.error:
            return seen.model_copy(update={"error": watched.error.kind, "next": str(watched.error)})
        if watched.error and not watched.over:
            return seen.model_copy(update={"next": str(watched.error)})
        if watched.urgent or not watched.found:
            return seen.model_copy(update={"next": NOT_ANSWERED})
        return seen


def _progress(view: TaskView, usual_s: float) -> str:
    """A running task: its state, for how long, and how long is usual."""
    words = f"{view.task_id} {view.status}"
    if view.status in ENDED:
        return f"{words}, being saved"
    if view.elapsed_s is None:
        return words
    words += f" for {view.elapsed_s} s"
    if usual_s < 1:
        return words
    rounded = round(usual_s, -1 if usual_s >= 20 else 0)
    longer = view.elapsed_s > TOO_LONG * usual_s
    return f"{words}, {'longer than the usual' if longer else 'usually about'} {rounded:.0f} s"


Line = tuple[str, Product]
"""A provider and a product: what one list request answers for."""


class Watched:
    """Shared by all that wait for it.

    `asked_as` is the id that it is asked with, `found` its last state, `error` why it could not be
    asked for the last time. By the scheduler's clock, `asked_at` was the last request, `looked_at`
    the last answer of any kind, `read_at` the last look into the ledger, `due_at` is the next look.
    `phase` (0 to 1) is its place among the others, so that tasks of one age are not looked at in
    the same moment. `listed` is False once its provider's list did not show it. `failures` are
    looks in a row that were not answered, `fruitless` those that did not find a task whose create
    was not answered. `urgent` when somebody wants to know how it is now, `busy` while a look at it
    is under way, `saving` while its video is written.
    """

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
        self.urgent = False
        self.listed = True
        self.busy = False
        self.saving = False
        self.watches: set[Watch] = set()

    @property
    def ended(self) -> bool:
        """Whether it has ended, as far as is known."""
        state = (self.found.record or self.found.task) if self.found else None
        return state is not None and state.status in ENDED

    @property
    def provider(self) -> str:
        """The name of its provider; empty while nobody has found it."""
        return self.found.provider if self.found else ""

    @property
    def missing(self) -> bool:
        """Whether no further look mends it: nobody knows the task, or it cannot be asked for."""
        error = self.error
        return error is not None and not (isinstance(error, ProviderError) and error.retryable)

    @property
    def over(self) -> bool:
        """Whether there is nothing more to wait for but its file."""
        return self.missing or self.ended

    @property
    def runs(self) -> bool:
        """Whether it is to be looked at, now or later."""
        return not (self.missing or self.ended)

    def seen(self, found: Found, now: float) -> None:
        """Keep what its provider told just now."""
        self.found, self.error, self.failures = found, None, 0
        self.looked_at, self.urgent = now, False
        record = found.record
        lost = record is not None and record.task_id is None and record.status == "unknown"
        self.fruitless = self.fruitless + 1 if lost else 0

    def failed(self, error: KlingError, now: float) -> None:
        """It could not be asked for just now: its last state stands."""
        self.error = error
        self.failures += 1
        self.looked_at, self.urgent = now, False

    def rested(self) -> Watched:
        """What is remembered of it when nobody waits any more."""
        kept = Watched(self.asked_as, self.found, self.phase)
        kept.error, kept.failures, kept.fruitless = self.error, self.failures, self.fruitless
        kept.looked_at, kept.listed = self.looked_at, self.listed
        return kept

    def wake(self) -> None:
        """Tell all that wait for it."""
        for watch in self.watches:
            watch.wake()
