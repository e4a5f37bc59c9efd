"""The protocol's extension for long work, io.modelcontextprotocol/tasks (SEP-2663).

A client that declares it gets a handle instead of an answer from each tool that makes something,
asks with it (tasks/get, tasks/update, tasks/cancel) until the result is there, and is told of
changes where it listens. The handle is the id of the ledger's row, so any process that shares the
ledger can serve it, also after a restart.

Source: the specification 2026-07-28 of github.com/modelcontextprotocol/ext-tasks.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    ClientCapabilities,
    RequestParams,
    TextContent,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from kling_mcp.protocol.middleware import current_service
from kling_tools.decorations import decoration
from kling_tools.errors import KlingError, ProviderError, TaskNotFound
from kling_tools.products import PRODUCTS_BY_TOOL
from kling_tools.results import ENDED, Receipt, TaskView
from kling_tools.tools.tool import error_answer

if TYPE_CHECKING:
    from kling_mcp.ledger import Record

__all__ = [
    "FINAL",
    "TASKS",
    "InputRequests",
    "TaskDesk",
    "TaskState",
    "TasksExtension",
    "VideoTasks",
    "require_tasks",
]


TASKS = "io.modelcontextprotocol/tasks"
NOTE = "kling-mcp/note"
"""The key in `_meta` under which a cancel's empty answer says what was stopped."""

ProtocolStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]
"""The states of the extension. A tool's error is `completed`; `failed` is for JSON-RPC errors."""

FINAL: frozenset[ProtocolStatus] = frozenset({"completed", "failed", "cancelled"})

InputRequests = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """One task now. Times are seconds since the epoch, `poll_s` the seconds between two questions.

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
        """The fields of a `Task`, the whole answer to a create. It is kept for good (`ttlMs`)."""
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
        """The fields of a `DetailedTask`, with the field of its status."""
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
    """Does the work of the extension. `ctx` says who asks: other callers' tasks do not exist for
    them."""

    async def begun(
        self, tool: str, result: CallToolResult, ctx: ServerRequestContext[Any, Any]
    ) -> TaskState | None:
        """The task that this answer of a tool began, already durable; None if it began none."""
        ...

    async def knows(self, task_id: str, ctx: ServerRequestContext[Any, Any]) -> bool:
        """Whether the task exists; no provider is asked."""
        ...

    async def state(self, task_id: str, ctx: ServerRequestContext[Any, Any]) -> TaskState | None:
        """The task now; None when it does not exist."""
        ...

    async def answer(
        self, task_id: str, responses: Mapping[str, Any], ctx: ServerRequestContext[Any, Any]
    ) -> bool:
        """Take the person's answers to a task's questions; False when the task does not exist."""
        ...

    async def cancel(self, task_id: str, ctx: ServerRequestContext[Any, Any]) -> str | None:
        """Stop what can be stopped, and say in a sentence what that was; None when the task does
        not exist."""
        ...

    async def follow(
        self,
        task_id: str,
        ctx: ServerRequestContext[Any, Any],
        tell: Callable[[TaskState], None],
    ) -> None:
        """Call `tell` with the task now and at each change, until it has ended. Returns at once
        when the task does not exist."""
        ...


logger = logging.getLogger(__name__)

CREATES = frozenset(PRODUCTS_BY_TOOL)
"""The tools that begin a task; the others answer at once, or wait no longer than hosts allow."""

WITHDRAWN = "It was withdrawn before it was sent; it cost nothing and is not made."
RUNS_ON = (
    "It is not waited for any more. Kling cannot cancel a job: task {handle} goes on and is "
    "paid{free}; kling_get_task shows it, and asking for the same video again costs nothing."
)
OVER = "It had ended before."


def _runs_on(record: Record) -> str:
    free = ", in the sandbox with no money" if record.sandbox else ""
    return RUNS_ON.format(handle=record.handle, free=free)


Context = ServerRequestContext[Any, Any]


class VideoTasks:
    """The desk of the two create tools. Their handles are the ids of the ledger's rows: random,
    written before anything is sent, and good for every process that shares the ledger."""

    def __init__(self) -> None:
        self._following: dict[str, set[anyio.CancelScope]] = {}

    async def begun(self, tool: str, result: CallToolResult, ctx: Context) -> TaskState | None:
        """The task of a receipt, new or made before; a dry run began none."""
        fields = result.structured_content or {}
        if tool not in CREATES or not fields.get("task_id") or "request" in fields:
            return None
        record = await current_service().reader.find(fields["task_id"])
        if record is None:
            return None
        receipt = Receipt.model_validate(fields).model_copy(update={"next": None})
        over = await self._last_look(record, ctx)
        if over is None and record.status != "cancelled":
            current_service().keep_watching(record)
        return replace(self._state(record, ctx, over), message=receipt.text())

    async def knows(self, task_id: str, ctx: Context) -> bool:
        """Whether the ledger has such a row."""
        return await self._row(task_id, ctx) is not None

    async def state(self, task_id: str, ctx: Context) -> TaskState | None:
        """The task now. A client that asks again and again counts as waiting: the scheduler asks
        the provider once for all clients, and the ledger answers them. While the provider is down,
        the last known state stands. Raises MCPError for an error that no waiting mends."""
        record = await self._row(task_id, ctx)
        if record is None:
            return None
        service = current_service()
        watch = service.kept_watch(record)
        trouble = watch.last_error if watch else None
        known = watch is not None and (trouble is None or _passes(trouble))
        try:
            if known and record.status not in ENDED:
                view = service.reader.view(record)
            else:
                view, trouble = await service.view_now(record), None
        except TaskNotFound as error:
            return self._completed(record, error_answer(error), ctx)
        except KlingError as error:
            if not _passes(error):
                raise MCPError(code=INTERNAL_ERROR, message=str(error)) from error
            view, trouble = service.reader.view(record), error
        record = await self._row(task_id, ctx) or record
        if view.status not in ENDED:
            view = await self._last_look(record, ctx) or view
        state = self._state(record, ctx, view)
        if state.status in FINAL:
            return state
        service.keep_watching(record)
        if trouble is not None:
            return replace(state, message=f"{trouble.message} {trouble.next}".strip())
        return state

    async def answer(self, task_id: str, responses: Mapping[str, Any], ctx: Context) -> bool:
        """A video asks nothing once it is begun (the person was asked before). Any answer is thus
        to a question that is not open, and is ignored, as the specification requires."""
        return await self._row(task_id, ctx) is not None

    async def cancel(self, task_id: str, ctx: Context) -> str | None:
        """Withdraw a queued request, or stop waiting for a running one, which Kling finishes."""
        record = await self._row(task_id, ctx)
        if record is None:
            return None
        service = current_service()
        if await service.withdraw(record):
            return WITHDRAWN
        record = await self._row(task_id, ctx) or record
        if record.status in ENDED:
            return OVER
        service.stop_watching(record)
        for scope in self._following.get(task_id, ()):
            scope.cancel()
        return _runs_on(record)

    async def follow(self, task_id: str, ctx: Context, tell: Callable[[TaskState], None]) -> None:
        """Keep the task watched and tell of its changes until it ends or is cancelled."""
        service = current_service()
        scope = anyio.CancelScope()
        self._following.setdefault(task_id, set()).add(scope)
        told: TaskState | None = None
        try:
            with scope:
                async with service.changed_tasks() as changed, service.watch([task_id]):
                    while record := await self._row(task_id, ctx):
                        state = self._state(record, ctx, await self._last_look(record, ctx))
                        if told is None or _told_fields(state) != _told_fields(told):
                            tell(state)
                            told = state
                        if state.status in FINAL:
                            return
                        while await changed.receive() not in (record.handle, task_id):
                            pass
        except Exception as error:
            expected = isinstance(error, KlingError)
            logger.warning("Task %s cannot be followed: %s", task_id, error, exc_info=not expected)
        finally:
            self._following[task_id].discard(scope)
            if not self._following[task_id]:
                del self._following[task_id]
        if scope.cancelled_caught and told is not None and (row := await self._row(task_id, ctx)):
            tell(self._working(row, ctx, _runs_on(row)))

    async def _row(self, task_id: str, ctx: Context) -> Record | None:
        """The caller's row behind a handle. Every handle that a client names is looked up here."""
        return await current_service().reader.row(task_id)

    def _is_over(self, record: Record, ctx: Context) -> bool:
        return record.status in ENDED or current_service().reader.lost_for_good(record)

    async def _last_look(self, record: Record, ctx: Context) -> TaskView | None:
        """The view of a task that has ended, with its file written; None while it runs."""
        if record.status == "cancelled" or not self._is_over(record, ctx):
            return None
        try:
            return await current_service().view_now(record)
        except KlingError:
            return current_service().reader.view(record)

    def _state(self, record: Record, ctx: Context, view: TaskView | None) -> TaskState:
        service = current_service()
        if record.status == "cancelled":
            return replace(self._working(record, ctx, WITHDRAWN), status="cancelled")
        if view is None or not self._is_over(record, ctx):
            return self._working(record, ctx, service.progress(record))
        shown = view.model_copy(update={"model_name": record.model_name})
        return self._completed(record, _answer(shown), ctx)

    def _completed(self, record: Record, result: CallToolResult, ctx: Context) -> TaskState:
        return replace(self._working(record, ctx, ""), status="completed", result=result)

    def _working(self, record: Record, ctx: Context, message: str) -> TaskState:
        return TaskState(
            task_id=record.id,
            status="working",
            message=message,
            created_at=record.created_at,
            updated_at=record.updated_at,
            poll_s=current_service().poll_s(record),
        )


def _passes(error: KlingError) -> bool:
    return isinstance(error, ProviderError) and error.retryable


def _answer(view: TaskView) -> CallToolResult:
    """The video, or why there is none, with the fields that the tool's schema promises."""
    return CallToolResult(
        content=[TextContent(type="text", text=view.text())],
        structured_content=view.structured(),
        is_error=view.status != "succeed",
    )


def _told_fields(state: TaskState) -> tuple[object, ...]:
    """The fields whose change is told; the seconds that have gone by are left out."""
    told = state.detailed()
    del told["lastUpdatedAt"]
    if state.status not in FINAL:
        del told["statusMessage"]
    return tuple(sorted(map(str, told.items())))


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
