"""One task that somebody waits for, as it was last seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kling_tools.capabilities import Product
from kling_tools.errors import KlingError, ProviderError
from kling_tools.results import ENDED

if TYPE_CHECKING:
    from kling_mcp.lookup import Found
    from kling_mcp.watch import Watch

__all__ = ["Line", "Watched"]

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
