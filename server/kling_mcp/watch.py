"""The tasks of one wait: what was last seen of each, and which still run."""

from __future__ import annotations

from collections.abc import Sequence

from kling_tools.errors import KlingError
from kling_tools.results import ENDED, TaskView, WaitResult

__all__ = ["Watch"]

NAMED = 3
"""Tasks that a progress sentence names."""


class Watch:
    """`open` holds the ids that are still to be looked at, in the caller's order."""

    def __init__(self, task_ids: Sequence[str]) -> None:
        self._ids = task_ids
        self._views: dict[str, TaskView] = {}
        self._missing: set[str] = set()

    @property
    def open(self) -> list[str]:
        """Tasks that have not ended as far as is known."""
        return [task_id for task_id in self._ids if not self._is_over(task_id)]

    def seen(self, task_id: str, view: TaskView) -> None:
        """Keep what was seen of a task."""
        self._views[task_id] = view

    def missing(self, task_id: str, error: KlingError) -> None:
        """No further look mends it: the provider does not know the task, or cannot be asked."""
        self._missing.add(task_id)
        before = self._views.get(task_id) or TaskView(task_id=task_id, status="unknown")
        self._views[task_id] = before.model_copy(update={"error": error.kind, "next": str(error)})

    def delayed(self, task_id: str, known: TaskView | None, error: KlingError) -> None:
        """The provider could not be asked: the last state stands, with the reason. `known` is
        that of the ledger, if it has the task."""
        seen = self._views.get(task_id) or known
        view = seen or TaskView(task_id=task_id, status="unknown")
        self._views[task_id] = view.model_copy(update={"next": str(error)})

    def sentence(self) -> str:
        """Where things stand, for a progress bar."""
        over = len(self._ids) - len(self.open)
        words = [f"{i} {self._views[i].status}" for i in self.open[:NAMED] if i in self._views]
        return f"{over} of {len(self._ids)} done" + (f", {', '.join(words)}" if words else "")

    @property
    def nothing_else(self) -> bool:
        """Whether there is no task at all that can be told of."""
        return self._missing == set(self._ids)

    def result(self) -> WaitResult:
        """Every task as last seen."""
        unseen = TaskView(task_id="", status="unknown", next="Not answered in time; wait again.")
        tasks = [
            self._views.get(task_id) or unseen.model_copy(update={"task_id": task_id})
            for task_id in self._ids
        ]
        return WaitResult(done=not self.open, tasks=tasks)

    def _is_over(self, task_id: str) -> bool:
        view = self._views.get(task_id)
        return task_id in self._missing or (view is not None and view.status in ENDED)
