"""`kling://tasks/ID/frames/…` and `kling://tasks/ID/contact-sheet`: what a video shows, to look at
without playing it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anyio import to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from kling_mcp.protocol.middleware import current_service, readable_errors
from kling_tools.addresses import FRAME_URI, SHEET_URI

__all__ = ["PART_BYTES", "PART_URI", "add_frame_resources", "add_video_parts"]


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
            return (await service.frames.frame(task_id, which)).data

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
            return (await service.frames.contact_sheet(task_id)).data


PART_URI = "kling://tasks/{task_id}/video/{span}"
"""`span` is FIRST-LAST, in bytes as HTTP counts them: both ends are part of it."""

PART_BYTES = 4 * 1024 * 1024
"""Bytes that one read hands over at most."""


def add_video_parts(server: MCPServer[Any]) -> None:
    """Give the server the parts of saved videos; one behind the end of the file is empty."""

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
        record = await service.rows.find(task_id)
        if record is None:
            raise ResourceNotFoundError(f"There is no task {task_id[:64]!r} in the ledger.")
        if record.path is None:
            raise ResourceError(f"The video of {record.handle} is not saved yet.")
        with readable_errors():
            file = await service.file(record)
        if file is None:
            raise ResourceError(f"The file of {record.handle} is not there any more: save it anew.")
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
