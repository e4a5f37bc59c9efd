"""The tools that the official `tasks-*` conformance scenarios want to find, on our own server.

Their tasks live in memory and follow the clock; everything on the wire is the product's.
"""

import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from mcp.server import MCPServer
from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.tools import Tool
from mcp_types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    InputRequiredResult,
    TextContent,
)
from tests.server.serving import sandbox_settings

import kling_mcp.protocol.server
from kling_mcp.protocol.tasks_extension import InputRequests, TaskState, VideoTasks, require_tasks

Ctx = ServerRequestContext[Any, Any]

ASKS = {"confirm_delete": ("confirm",), "multi_input": ("name", "age")}
"""What the tasks of these tools ask the person for."""

FAILS_AFTER_S = 1.0


def said(text: str, **facts: Any) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=facts or None
    )


def question(about: str) -> ElicitRequest:
    schema = {"type": "object", "properties": {about: {"type": "string"}}, "required": [about]}
    return ElicitRequest(
        params=ElicitRequestFormParams(message=f"Your {about}?", requested_schema=schema)
    )


async def greet(name: str) -> CallToolResult:
    """Answers at once."""
    return said(f"Hello, {name}!")


async def slow_compute(seconds: float = 1, label: str = "") -> CallToolResult:
    """Ends after some seconds."""
    return said("begun", job="slow_compute", seconds=seconds)


async def failing_job(ctx: Context[Any, Any]) -> CallToolResult:
    """Fails as a tool does; cannot be answered without a task."""
    require_tasks(ctx.request_context)
    return said("begun", job="failing_job", seconds=FAILS_AFTER_S)


async def protocol_error_job() -> CallToolResult:
    """Fails as a request does."""
    return said("begun", job="protocol_error_job", seconds=0)


async def confirm_delete(filename: str = "") -> CallToolResult:
    """Asks once while it runs."""
    return said("begun", job="confirm_delete", seconds=0)


async def multi_input() -> CallToolResult:
    """Asks for two things at the same time."""
    return said("begun", job="multi_input", seconds=0)


async def test_tool_with_task(ctx: Context[Any, Any]) -> CallToolResult | InputRequiredResult:
    """Asks before it begins."""
    require_tasks(ctx.request_context)
    answer: Any = (ctx.input_responses or {}).get("user_name")
    if answer is None:
        return InputRequiredResult(input_requests={"user_name": question("name")})
    name = next(iter((answer.content or {}).values()))
    return said("begun", job="test_tool_with_task", seconds=0, name=name)


FIXTURES = (
    greet,
    slow_compute,
    failing_job,
    protocol_error_job,
    confirm_delete,
    multi_input,
    test_tool_with_task,
)


@dataclass
class Job:
    """One task of a fixture."""

    tool: str
    facts: dict[str, Any]
    since: float = field(default_factory=time.time)
    answers: dict[str, Any] = field(default_factory=dict)
    cancelled: bool = False

    def state(self, task_id: str) -> TaskState:
        """As the clock has it."""
        common: dict[str, Any] = {
            "task_id": task_id,
            "created_at": self.since,
            "updated_at": time.time(),
            "poll_s": 0.1,
        }
        if self.cancelled:
            return TaskState(status="cancelled", message="cancelled", **common)
        if open_keys := [key for key in ASKS.get(self.tool, ()) if key not in self.answers]:
            asked: InputRequests = {
                key: question(key).model_dump(by_alias=True, mode="json", exclude_none=True)
                for key in open_keys
            }
            return TaskState(
                status="input_required", message="asks", input_requests=asked, **common
            )
        if time.time() < self.since + self.facts["seconds"]:
            return TaskState(status="working", message="works", **common)
        if self.tool == "protocol_error_job":
            error = {"code": -32603, "message": "broken"}
            return TaskState(status="failed", message="broken", error=error, **common)
        result = said(f"{self.tool} done {self.facts.get('name', '')}")
        result.is_error = self.tool == "failing_job"
        return TaskState(status="completed", message="done", result=result, **common)


class FixtureTasks(VideoTasks):
    """The product's desk, and that of the fixtures."""

    def __init__(self) -> None:
        super().__init__()
        self._jobs: dict[str, Job] = {}

    async def begun(self, tool: str, result: CallToolResult, ctx: Ctx) -> TaskState | None:
        facts = result.structured_content or {}
        if "job" not in facts:
            return await super().begun(tool, result, ctx)
        task_id = uuid.uuid4().hex
        self._jobs[task_id] = Job(tool, facts)
        return self._jobs[task_id].state(task_id)

    async def knows(self, task_id: str, ctx: Ctx) -> bool:
        return task_id in self._jobs or await super().knows(task_id, ctx)

    async def state(self, task_id: str, ctx: Ctx) -> TaskState | None:
        job = self._jobs.get(task_id)
        return job.state(task_id) if job else await super().state(task_id, ctx)

    async def answer(self, task_id: str, responses: Mapping[str, Any], ctx: Ctx) -> bool:
        if job := self._jobs.get(task_id):
            asked = ASKS.get(job.tool, ())
            job.answers |= {key: value for key, value in responses.items() if key in asked}
            return True
        return await super().answer(task_id, responses, ctx)

    async def cancel(self, task_id: str, ctx: Ctx) -> str | None:
        if job := self._jobs.get(task_id):
            job.cancelled = job.state(task_id).status in ("working", "input_required")
            return "cancelled"
        return await super().cancel(task_id, ctx)


def fixture_server(folder: Path, others: Sequence[Tool] = ()) -> MCPServer[Any]:
    """The product's server over a sandbox in this folder, with the fixtures, and other tools,
    beside its own."""
    product_toolset = kling_mcp.protocol.server._toolset
    product_desk = kling_mcp.protocol.server.VideoTasks
    try:
        kling_mcp.protocol.server._toolset = lambda *args, **more: [  # type: ignore[assignment,list-item]
            *product_toolset(*args, **more),
            *(Tool.from_function(fixture) for fixture in FIXTURES),
            *others,
        ]
        kling_mcp.protocol.server.VideoTasks = FixtureTasks  # type: ignore[misc]
        return kling_mcp.protocol.server.build_server(sandbox_settings(folder))
    finally:
        kling_mcp.protocol.server._toolset = product_toolset
        kling_mcp.protocol.server.VideoTasks = product_desk  # type: ignore[misc]


if __name__ == "__main__":
    with TemporaryDirectory() as home:
        app = fixture_server(Path(home)).streamable_http_app()
        uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
