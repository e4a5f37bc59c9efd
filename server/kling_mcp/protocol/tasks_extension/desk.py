"""What the extension needs from whoever does the work, and what it tells of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from mcp.server.context import ServerRequestContext
from mcp_types import CallToolResult

__all__ = ["FINAL", "InputRequests", "ProtocolStatus", "TaskDesk", "TaskState"]

ProtocolStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]
"""The extension's words. A tool's error is `completed`; `failed` is for JSON-RPC errors."""

FINAL: frozenset[ProtocolStatus] = frozenset({"completed", "failed", "cancelled"})

InputRequests = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One task now. Times are seconds since the epoch, `poll_s` seconds between two looks.

    `result` belongs to `completed`, `error` to `failed`, `input_requests` to `input_required`.
    """

    task_id: str
    status: ProtocolStatus
    message: str
    created_at: float
    updated_at: float
    poll_s: float
    result: CallToolResult | None = None
    error: Mapping[str, Any] | None = None
    input_requests: InputRequests | None = None

    def handle(self) -> dict[str, Any]:
        """The fields of a `Task`: all that a create answers. It is kept without end (`ttlMs`)."""
        fields: dict[str, Any] = {
            "taskId": self.task_id,
            "status": self.status,
            "createdAt": _iso(self.created_at),
            "lastUpdatedAt": _iso(self.updated_at),
            "ttlMs": None,
            "pollIntervalMs": max(1, round(self.poll_s * 1000)),
        }
        if self.message:
            fields["statusMessage"] = self.message
        return fields

    def detailed(self) -> dict[str, Any]:
        """The fields of a `DetailedTask`, with what belongs to its status."""
        fields = self.handle()
        if self.result is not None:
            dumped = self.result.model_dump(by_alias=True, mode="json", exclude_none=True)
            fields["result"] = {**dumped, "resultType": "complete"}
        if self.error is not None:
            fields["error"] = dict(self.error)
        if self.input_requests is not None:
            fields["inputRequests"] = {key: dict(r) for key, r in self.input_requests.items()}
        return fields


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


class TaskDesk(Protocol):
    """Whoever does the work. `ctx` says who asks: what is not theirs does not exist for them."""

    async def begun(
        self, tool: str, result: CallToolResult, ctx: ServerRequestContext[Any, Any]
    ) -> TaskState | None:
        """The task that this answer of a tool began, durable by now; None when it began none."""
        ...

    async def knows(self, task_id: str, ctx: ServerRequestContext[Any, Any]) -> bool:
        """Whether there is such a task; nobody is asked for its state."""
        ...

    async def state(self, task_id: str, ctx: ServerRequestContext[Any, Any]) -> TaskState | None:
        """The task now; None when there is none."""
        ...

    async def answer(
        self, task_id: str, responses: Mapping[str, Any], ctx: ServerRequestContext[Any, Any]
    ) -> bool:
        """Take the person's answers to what a task asked; False when there is no such task."""
        ...

    async def cancel(self, task_id: str, ctx: ServerRequestContext[Any, Any]) -> str | None:
        """Stop what can be stopped and say in a sentence what that was; None for no such task."""
        ...

    async def follow(
        self,
        task_id: str,
        ctx: ServerRequestContext[Any, Any],
        tell: Callable[[TaskState], None],
    ) -> None:
        """Tell of the task now and at each change, until it has ended; at once for no such task."""
        ...
