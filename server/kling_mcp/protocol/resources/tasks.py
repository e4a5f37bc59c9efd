"""Tasks, their videos and pictures of their videos as resources, from the ledger and the disk.

`kling://tasks/ID/frames/...` and `kling://tasks/ID/contact-sheet` show what is in a video.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from kling_mcp.protocol.middleware import current_service, readable_errors
from kling_tools.addresses import FRAME_URI, IMAGE_URI, SHEET_URI, TASK_URI, TASKS_URI, VIDEO_URI

if TYPE_CHECKING:
    from kling_mcp.ledger import Record
    from kling_tools.results import TaskView

__all__ = [
    "INLINE_BYTES",
    "PART_BYTES",
    "PART_URI",
    "add_account_resource",
    "add_frame_resources",
    "add_task_resources",
    "add_video_parts",
]


INLINE_BYTES = 8 * 1024 * 1024
"""Bytes of the largest video that one read returns whole; base64 in JSON adds a third."""

JSON = "application/json"


def add_task_resources(server: MCPServer[Any]) -> None:
    """Give the server `kling://tasks`, `kling://tasks/ID` and `kling://tasks/ID/video`."""

    @server.resource(
        TASKS_URI,
        name="tasks",
        title="Kling tasks",
        description="The newest tasks made here, in their last known state.",
        mime_type=JSON,
    )
    async def tasks() -> str:
        with readable_errors():
            page = await current_service().recent()
        return json.dumps(page.structured(), ensure_ascii=False)

    @server.resource(
        TASK_URI,
        name="task",
        title="One Kling task",
        description="The state of a task now, by its task_id or external_task_id.",
        mime_type=JSON,
    )
    async def task(task_id: str) -> str:
        service = current_service()
        with readable_errors():
            record = await service.reader.find(task_id)
            view = await service.view_now(record) if record else await service.task(task_id)
        return json.dumps(view.structured(), ensure_ascii=False)

    @server.resource(
        VIDEO_URI,
        name="video",
        title="The video of a Kling task",
        description="The saved MP4, if it is small enough to be read whole.",
        mime_type="video/mp4",
    )
    async def video(task_id: str) -> bytes:
        with readable_errors():
            service = current_service()
            record = await service.reader.find(task_id)
            if record is None:
                raise ResourceNotFoundError(f"There is no task {task_id[:64]!r} in the ledger.")
            file = await service.file(record)
        return await _saved_bytes(record, file, service.reader.view(record))


async def _saved_bytes(record: Record, file: Path | None, view: TaskView) -> bytes:
    """The bytes of the saved file. Raises ResourceError, which says where the video is."""
    if record.result == "picture":
        images = IMAGE_URI.format(task_id=record.handle, number=1)
        raise ResourceError(f"Task {record.handle} makes pictures: read {images}.")
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
            f"{named} cannot be read: it is gone, or has changed since it was saved for "
            f"{record.handle}. Save it again with kling_save_video."
        )
    if record.bytes is not None and record.bytes > INLINE_BYTES:
        where = f"{view.path} ({Path(view.path).as_uri()})" if view.path else view.url
        raise ResourceError(
            f"The video has {record.bytes} bytes, more than the {INLINE_BYTES} that one read "
            f"returns. It is at {where}."
        )
    try:
        return await anyio.Path(file).read_bytes()
    except OSError as error:
        raise ResourceError(
            f"{named} cannot be read ({error.strerror}); save it again with kling_save_video."
        ) from error


ACCOUNT_URI = "kling://account"


def add_account_resource(server: MCPServer[Any]) -> None:
    """Give the server `kling://account`."""

    @server.resource(
        ACCOUNT_URI,
        name="account",
        title="Kling account",
        description="Units left at each provider that tells them, up to 12 h late. Free.",
        mime_type="application/json",
    )
    async def account() -> str:
        with readable_errors():
            document = await current_service().balances()
        return json.dumps(document, ensure_ascii=False)


def add_frame_resources(server: MCPServer[Any]) -> None:
    """Give the server the frames and contact sheets of finished tasks."""

    @server.resource(
        FRAME_URI,
        name="frame",
        title="A frame of a Kling video",
        description="which: first, last or seconds (2.5). Full size; also taken as image, to "
        "continue the clip.",
        mime_type="image/png",
    )
    async def frame(task_id: str, which: str) -> bytes:
        service = current_service()
        with readable_errors():
            return await service.frame(task_id, which)

    @server.resource(
        IMAGE_URI,
        name="image",
        title="A picture that Kling made",
        description="number: 1 for the first picture of the task. Also taken as image.",
        mime_type="image/png",
    )
    async def image(task_id: str, number: int) -> bytes:
        service = current_service()
        with readable_errors():
            return await service.image(task_id, number)

    @server.resource(
        SHEET_URI,
        name="contact-sheet",
        title="Contact sheet of a Kling video",
        description="Eight evenly spaced frames with their times in one picture.",
        mime_type="image/jpeg",
    )
    async def sheet(task_id: str) -> bytes:
        service = current_service()
        with readable_errors():
            return await service.contact_sheet(task_id)


PART_URI = "kling://tasks/{task_id}/video/{span}"
"""`span` is FIRST-LAST, in bytes as HTTP counts them: both ends are part of it."""

PART_BYTES = 4 * 1024 * 1024
"""Bytes that one read of a part returns at most."""


def add_video_parts(server: MCPServer[Any]) -> None:
    """Give the server the parts of saved videos; a part behind the end of the file is empty."""

    @server.resource(
        PART_URI,
        name="video-part",
        title="Part of a Kling video",
        description="Bytes FIRST-LAST of a saved MP4, for players.",
        mime_type="video/mp4",
    )
    async def part(task_id: str, span: str) -> bytes:
        first, last = _bounds(span)
        service = current_service()
        record = await service.reader.find(task_id)
        if record is None:
            raise ResourceNotFoundError(f"There is no task {task_id[:64]!r} in the ledger.")
        with readable_errors():
            file = await service.file(record)
        if record.path is None:
            raise ResourceError(f"The video of {record.handle} is not saved yet.")
        if file is None:
            raise ResourceError(f"The file of {record.handle} is gone: save it again.")
        try:
            return await to_thread.run_sync(_read, file, first, last - first + 1)
        except OSError as error:
            raise ResourceError(f"It cannot be read: {error.strerror}.") from error


def _bounds(span: str) -> tuple[int, int]:
    first, _, last = span.partition("-")
    numbers = [int(text) for text in (first, last) if text.isdecimal() and len(text) <= 15]
    if len(numbers) != 2 or numbers[1] < numbers[0]:
        raise ResourceError(f"{span[:40]!r} is no span of bytes like 0-{PART_BYTES - 1}.")
    return numbers[0], min(numbers[1], numbers[0] + PART_BYTES - 1)


def _read(path: Path, first: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(first)
        return file.read(length)
