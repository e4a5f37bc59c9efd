"""The extension on the wire: handles instead of answers, tasks/get, tasks/update, tasks/cancel.

Source: the specification 2026-07-28 of github.com/modelcontextprotocol/ext-tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    ClientCapabilities,
    RequestParams,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kling_mcp.protocol.tasks_extension.video_tasks import TaskDesk
from kling_tools.decorations import decoration

__all__ = ["TASKS", "TasksExtension", "declares_tasks", "require_tasks"]

TASKS = "io.modelcontextprotocol/tasks"
NOTE = "kling-mcp/note"
"""The key in `_meta` under which a cancel's empty answer says what was stopped."""

Context = ServerRequestContext[Any, Any]


class _TaskParams(RequestParams):
    task_id: str


class _UpdateParams(_TaskParams):
    input_responses: dict[str, Any]


class TasksExtension(Extension):
    """Serves the tasks of one desk to clients that declare the extension."""

    identifier = TASKS

    def __init__(self, desk: TaskDesk) -> None:
        self.desk = desk

    def methods(self) -> Sequence[MethodBinding]:
        """The three methods, for 2026-07-28 and later only."""
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return (
            MethodBinding("tasks/get", _TaskParams, self._get, versions),
            MethodBinding("tasks/update", _UpdateParams, self._update, versions),
            MethodBinding("tasks/cancel", _TaskParams, self._cancel, versions),
        )

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        """A handle in place of the answer that began a task. Everything else is answered as to
        any client: refusals, dry runs, questions to the person."""
        result = await call_next(ctx)
        if not declares_tasks(ctx) or not isinstance(result, CallToolResult) or result.is_error:
            return result
        with decoration("the task's handle"):
            state = await self.desk.begun(params.name, result, ctx)
            return result if state is None else {"resultType": "task", **state.handle()}
        return result

    async def _get(self, ctx: Context, params: _TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        state = await self.desk.state(params.task_id, ctx)
        if state is None:
            raise _unknown(params.task_id)
        return {"resultType": "complete", **state.detailed()}

    async def _update(self, ctx: Context, params: _UpdateParams) -> HandlerResult:
        _check(ctx, params.task_id)
        if not await self.desk.answer(params.task_id, params.input_responses, ctx):
            raise _unknown(params.task_id)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: Context, params: _TaskParams) -> HandlerResult:
        _check(ctx, params.task_id)
        note = await self.desk.cancel(params.task_id, ctx)
        if note is None:
            raise _unknown(params.task_id)
        return {"resultType": "complete", "_meta": {NOTE: note}}


def declares_tasks(ctx: Context) -> bool:
    """Whether this very request says that its client knows the extension."""
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and ctx.session.check_client_capability(
        ClientCapabilities(extensions={TASKS: {}})
    )


def require_tasks(ctx: Context) -> None:
    """Raises the error that names the capability to a client that does not declare it."""
    if not declares_tasks(ctx):
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message=f"This needs the client capability {TASKS}.",
            data={"requiredCapabilities": {"extensions": {TASKS: {}}}},
        )


def _check(ctx: Context, task_id: str) -> None:
    headers = getattr(ctx.request, "headers", None)
    if headers is not None and decode_header_value(headers.get(MCP_NAME_HEADER)) != task_id:
        raise MCPError(
            code=HEADER_MISMATCH,
            message=f"{MCP_NAME_HEADER} header does not match the request body's 'taskId'",
        )
    require_tasks(ctx)


def _unknown(task_id: str) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=f"There is no task {task_id[:64]!r}.")
