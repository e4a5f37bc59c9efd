"""Tasks and their videos as resources, read from the ledger and from the disk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server import MCPServer
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from kling_tools.addresses import TASK_URI, TASKS_URI, VIDEO_URI
from kling_tools.errors import KlingError, TaskNotFound

if TYPE_CHECKING:
    from kling_mcp.ledger import Record
    from kling_mcp.service import Service
    from kling_tools.results import TaskView

__all__ = ["INLINE_BYTES", "add_account_resource", "add_task_resources", "told"]


INLINE_BYTES = 8 * 1024 * 1024
"""Bytes of the largest video that is handed over whole; as base64 in JSON it is a third more."""

JSON = "application/json"


asked: ContextVar[Service] = ContextVar("asked")
"""The service of the request being answered: the SDK hands a context to templates only, not to a
resource with a fixed address."""


async def _remember(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    asked.set(ctx.lifespan_context)
    return await call_next(ctx)


def add_task_resources(server: MCPServer[Any]) -> None:
    """Give the server `kling://tasks`, `kling://tasks/ID` and `kling://tasks/ID/video`."""
    server.middleware.append(_remember)

    @server.resource(
        TASKS_URI,
        name="tasks",
        title="Kling tasks",
        description="The newest tasks made here, in the state last seen.",
        mime_type=JSON,
    )
    async def tasks() -> str:
        with told():
            page = await asked.get().rows.recent()
        return json.dumps(page.structured(), ensure_ascii=False)

    @server.resource(
        TASK_URI,
        name="task",
        title="One Kling task",
        description="The state of a task now, by its task_id or external_task_id.",
        mime_type=JSON,
    )
    async def task(task_id: str, ctx: Context[Any, Any]) -> str:
        service = _service(ctx)
        with told():
            record = await service.rows.find(task_id)
            view = await service.look(record) if record else await service.task(task_id)
        return json.dumps(view.structured(), ensure_ascii=False)

    @server.resource(
        VIDEO_URI,
        name="video",
        title="The video of a Kling task",
        description="The saved MP4, if it is small enough to be handed over whole.",
        mime_type="video/mp4",
    )
    async def video(task_id: str, ctx: Context[Any, Any]) -> bytes:
        with told():
            service = _service(ctx)
            record = await service.rows.find(task_id)
            if record is None:
                raise ResourceNotFoundError(f"There is no task {task_id[:64]!r} in the ledger.")
            file = await service.file(record)
        return await _saved_bytes(record, file, service.rows.view(record))


@contextmanager
def told() -> Iterator[None]:
    """Turns our errors into those whose text the SDK passes on."""
    try:
        yield
    except TaskNotFound as error:
        raise ResourceNotFoundError(str(error)) from error
    except KlingError as error:
        raise ResourceError(str(error)) from error


async def _saved_bytes(record: Record, file: Path | None, view: TaskView) -> bytes:
    """The bytes of the saved file. Raises ResourceError, which says where the video is instead."""
    if record.status != "succeed":
        raise ResourceError(f"Task {record.handle} is {record.status}, there is no video.")
    if record.path is None:
        link = view.videos[0].url if view.videos else "kling_get_task"
        raise ResourceError(
            f"Task {record.handle} is not saved: save it with kling_save_video, or fetch {link}"
        )
    named = view.path or "The saved video"
    if file is None:
        raise ResourceError(
            f"{named} cannot be read: it is gone, or not the file any more that was saved for "
            f"{record.handle}. Save it anew with kling_save_video."
        )
    if record.bytes is not None and record.bytes > INLINE_BYTES:
        where = f"{view.path} ({Path(view.path).as_uri()})" if view.path else view.url
        raise ResourceError(
            f"The video has {record.bytes} bytes, more than the {INLINE_BYTES} that are handed "
            f"over whole. It lies at {where}."
        )
    try:
        return await anyio.Path(file).read_bytes()
    except OSError as error:
        raise ResourceError(
            f"{named} cannot be read ({error.strerror}); save it anew with kling_save_video."
        ) from error


def _service(ctx: Context[Any, Any]) -> Service:
    service: Service = ctx.request_context.lifespan_context
    return service


ACCOUNT_URI = "kling://account"


def add_account_resource(server: MCPServer[Any]) -> None:
    """Give the server `kling://account`; after `add_task_resources`, which keeps the service."""

    @server.resource(
        ACCOUNT_URI,
        name="account",
        title="Kling account",
        description="Units left at each provider that tells them, up to 12 h late. Free.",
        mime_type="application/json",
    )
    async def account() -> str:
        try:
            document = await asked.get().account()
        except KlingError as error:
            raise ResourceError(str(error)) from error
        return json.dumps(document, ensure_ascii=False)
