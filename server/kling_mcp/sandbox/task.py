"""One task of the sandbox, and how far it is by the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kling_mcp.sandbox.order import Order

__all__ = ["Status", "Task"]

Status = Literal["submitted", "processing", "succeed", "failed"]


@dataclass(frozen=True, slots=True)
class Task:
    """A task as the state file keeps it; nothing runs, the clock alone decides how far it is.

    `task_id` is Kling's id, `public_id` the one that `provider` gave out, often the same.
    Times are Unix seconds: `created_at`, `started_at` when it begins to process, `ended_at` when
    it is done. `failure` is Kling's message of a task that fails, empty for one that succeeds.
    `units` are what it costs when it succeeds.
    """

    task_id: str
    public_id: str
    provider: str
    order: Order
    created_at: float
    started_at: float
    ended_at: float
    units: float
    failure: str = ""

    def status(self, now: float) -> Status:
        """Kling's word for where the task is."""
        if now < self.started_at:
            return "submitted"
        if now < self.ended_at:
            return "processing"
        return "failed" if self.failure else "succeed"

    def updated_at(self, now: float) -> float:
        """When the status last changed."""
        if now < self.started_at:
            return self.created_at
        return self.started_at if now < self.ended_at else self.ended_at

    def charged(self, now: float) -> float | None:
        """Units that were deducted: None while it runs, 0 when it failed."""
        if now < self.ended_at:
            return None
        return 0.0 if self.failure else self.units
